"""A folder of files, on this machine or in an object store that fsspec knows (s3://, gs://, ...).

Writing is atomic in both: a reader sees the whole file or none. In a local folder no link is
followed. Local folders need only the standard library. fsspec is imported only for the others.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gpubench.errors import InputError, first_line
from gpubench.files.locks import exclusive
from gpubench.files.untrusted import open_regular, read_regular, refuse_larger

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# Stores in which one put is atomic. Others that fsspec knows (zip, ftp, ...) are refused.
_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "memory")

LOCK = ".gpubench-lock"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
# The test file that shows whether the folder can be written.
TRIAL = ".gpubench-write-test"
# Temporary files that only the holder of the lock writes.
_TEMPORARY_OF_A_SWEEP = re.compile(
    r"\.(search-)?[0-9a-f]{16}(-[0-9]+)?\.(json|parquet)\.[0-9a-f]{8}\.tmp"
    rf"|(\.{TRIAL}\.[0-9a-f]{{8}}\.tmp|{TRIAL})"
)
_OLD_S = 3600.0  # writing a file never takes so long


class Folder(Protocol):
    """Files by name. Methods raise OSError as the file system does."""

    url: str

    def create(self) -> None:
        """Create the folder and its parents if they do not exist."""

    def exists(self) -> bool: ...

    def names(self) -> list[str]:
        """Sorted names of the files directly in the folder, including links and pipes."""

    def size(self, name: str) -> int:
        """Bytes of a file. Raises FileNotFoundError if there is none."""

    def read(self, name: str, limit: int) -> bytes:
        """Raises FileNotFoundError if there is no such file, and OSError over `limit` bytes."""

    def write(self, name: str, data: bytes, replace: bool = True) -> None:
        """Write the whole file in one step, and replace an existing one.

        Without `replace`, raises FileExistsError if one exists, as far as the folder can detect it.
        """

    def remove(self, name: str) -> None: ...

    def digest(self, name: str) -> str | None:
        """SHA-256 of a file. None if the whole file would have to be downloaded for it."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock of the folder. Raises LockHeld if another process has it.

        Temporary files of processes that were killed are removed. A remote folder has no lock.
        """


def open_folder(url: str) -> Folder:
    """The folder at a path or URL. Nothing is created or read yet.

    Raises InputError for a URL that cannot be used from here.
    """
    if not url.strip():
        raise InputError("the name of a directory is empty; give a path or a URL")
    scheme, separator, rest = url.partition("://")
    if not separator:
        return LocalFolder(Path(url))
    if scheme == "file":
        if not rest.startswith("/"):
            raise InputError(f"{url}: write the whole path, like file:///home/me/run")
        return LocalFolder(Path(rest))
    if scheme not in _STORES:
        raise InputError(
            f"{url}: gpubench cannot use {scheme}://; give a local path or a URL like "
            "s3://bucket/dir"
        )
    return _remote_folder(url)


# Tests kill the process at each of these points of a write. A file that must be new is linked to
# its name before its temporary name is removed.
WRITE_POINTS = ("opened", "half written", "written", "synced", "linked", "renamed", "folder synced")


def _reached(point: str) -> None:
    """Does nothing. Tests replace this function."""


def write_file(path: Path, data: bytes) -> None:
    """Write a local file in one step: the file is complete or absent, even after a crash.

    The user has named the path. So if it is a link, its target is written, and a device or a pipe
    is written directly.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if _TEMPORARY.fullmatch(left.name):
            _remove_temporary(left, _OLD_S)
    _write(path, data, replace=True)


def _write(path: Path, data: bytes, replace: bool) -> None:
    """Write a temporary file beside `path` and rename it. A link is replaced, not followed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            _reached("opened")
            file.write(data[: len(data) // 2])
            file.flush()
            _reached("half written")
            file.write(data[len(data) // 2 :])
            file.flush()
            _reached("written")
            os.fsync(file.fileno())  # otherwise the file may be empty after a power failure
        _reached("synced")
        if replace:
            temporary.replace(path)
        else:
            _rename_to_new(temporary, path)
        _reached("renamed")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    _reached("folder synced")


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename, but raise FileExistsError if `path` exists."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists") from None
        temporary.replace(path)
    else:
        _reached("linked")
        temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power failure, if the file system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class LocalFolder:
    def __init__(self, path: Path) -> None:
        self.url = str(path)
        self._path = path

    def create(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)

    def exists(self) -> bool:
        return self._path.is_dir()

    def names(self) -> list[str]:
        with os.scandir(self._path) as found:
            return sorted(entry.name for entry in found if not entry.is_dir(follow_symlinks=False))

    def size(self, name: str) -> int:
        status = (self._path / name).lstat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", name)
        return status.st_size

    def read(self, name: str, limit: int) -> bytes:
        return read_regular(self._path / name, limit, follow_links=False)

    def write(self, name: str, data: bytes, replace: bool = True) -> None:
        _write(self._path / name, data, replace)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def digest(self, name: str) -> str:
        """SHA-256, in hexadecimal digits. Raises OSError as `read`."""
        with open_regular(self._path / name, follow_links=False) as file:
            found = hashlib.sha256()
            while part := file.read(1 << 20):
                found.update(part)
            return found.hexdigest()

    @contextmanager
    def locked(self) -> Iterator[None]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()} since {now}"
        with exclusive(self._path / LOCK, False, holder, remove=True, mode=0o644):
            for name in self.names():
                if _TEMPORARY_OF_A_SWEEP.fullmatch(name):
                    _remove_temporary(self._path / name, older_than_s=0.0)
                elif _TEMPORARY.fullmatch(name):
                    _remove_temporary(self._path / name, older_than_s=_OLD_S)
            yield


def _remove_temporary(path: Path, older_than_s: float) -> None:
    """Remove a file that a killed process has left, if it belongs to this user."""
    with suppress(OSError):
        status = path.lstat()
        is_old = time.time() - status.st_mtime >= older_than_s
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and is_old:
            path.unlink()


class RemoteFolder:
    """A folder of an object store. One put is atomic. There is no lock."""

    def __init__(self, url: str, files: AbstractFileSystem, root: str) -> None:
        self.url = url.rstrip("/")
        self._files = files
        self._root = root.rstrip("/")

    def create(self) -> None:
        self._files.makedirs(self._root, exist_ok=True)

    def exists(self) -> bool:
        self._files.invalidate_cache()  # another machine may have written meanwhile
        return bool(self._files.isdir(self._root))

    def names(self) -> list[str]:
        self._files.invalidate_cache()
        entries = self._files.ls(self._root, detail=True)
        return sorted(
            entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file"
        )

    def size(self, name: str) -> int:
        self._files.invalidate_cache()
        return int(self._files.size(f"{self._root}/{name}"))

    def read(self, name: str, limit: int) -> bytes:
        path = f"{self._root}/{name}"
        refuse_larger(self.size(name), limit, path)
        return bytes(self._files.cat_file(path))

    def write(self, name: str, data: bytes, replace: bool = True) -> None:
        path = f"{self._root}/{name}"
        self._files.invalidate_cache()
        if not replace and self._files.exists(path):
            raise FileExistsError(f"{path} exists")
        self._files.pipe_file(path, data)

    def remove(self, name: str) -> None:
        self._files.rm_file(f"{self._root}/{name}")

    def digest(self, name: str) -> str | None:
        return None

    def locked(self) -> AbstractContextManager[None]:
        return nullcontext()


def _remote_folder(url: str) -> RemoteFolder:
    from fsspec.core import url_to_fs

    try:
        files, root = url_to_fs(url)
    except ValueError as error:
        raise InputError(
            f"{url}: {error}; give a local path or a URL like s3://bucket/dir"
        ) from None
    except ImportError as error:  # the client of this store is not installed
        raise InputError(f"{url}: {error}") from None
    except Exception as error:  # stores have their own exceptions
        raise InputError(f"{url} cannot be used: {first_line(error)}; give another URL") from None
    return RemoteFolder(url, files, root)
