"""A folder of files, on this machine or in an object store that fsspec knows (s3://, gs://, ...).

Writing is atomic in both: a reader sees the whole file or none. In a local folder no link is
followed. Local folders need only the standard library. fsspec is imported only for the others: see
gpubench.files.remote_folder.
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
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gpubench.errors import InputError
from gpubench.files import locks
from gpubench.files.untrusted import open_regular, read_regular

# Stores in which one put is atomic. Others that fsspec knows (zip, ftp, ...) are refused.
_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "memory")

LOCK = ".gpubench-lock"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
# The test file that shows whether the folder can be written.
TRIAL = ".gpubench-write-test"
# Temporary files that only processes with the lock write.
_TEMPORARY_OF_A_SWEEP = re.compile(
    r"\.((search-)?[0-9a-f]{16}(-[0-9]+)?\.(json|parquet)"
    r"|\.interrupted-[0-9a-f]{16}(-[0-9]+)?|\.lease-[0-9a-f]{16}-[0-9]+)"
    r"\.[0-9a-f]{8}\.tmp"
    rf"|\.{TRIAL}-[0-9a-f]{{8}}\.[0-9a-f]{{8}}\.tmp|{TRIAL}-[0-9a-f]{{8}}"
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

    def write(self, name: str, data: bytes, replace: bool = True, durable: bool = True) -> None:
        """Write the whole file in one step, and replace an existing one.

        What is not `durable` may be lost when the power of the machine fails.
        Without `replace`, raises FileExistsError if one exists. Of several processes that create
        the same file, one succeeds.
        """

    def remove(self, name: str) -> None: ...

    def digest(self, name: str) -> str | None:
        """SHA-256 of a file. None if the whole file would have to be downloaded for it."""

    def sizes(self) -> dict[str, int] | None:
        """The bytes of all files by their names. None if it is as fast to ask for each file."""

    def read_each(self, names: Iterable[str], limit: int) -> Iterator[tuple[str, bytes | OSError]]:
        """Each name with what `read` returns or raises. A remote folder reads many at once."""

    def check_writable(self) -> None:
        """Write a test file and remove it. Raises OSError if that fails.

        Also raises it if the store would let two processes create the same file.
        """

    def locked(self, shared: bool, machine: str) -> AbstractContextManager[None]:
        """Hold the lock of the folder. Raises LockHeld if another process has it.

        With `shared`, others may share it. Temporary files of processes that were killed are
        removed. A remote folder has a lease for the processes of each `machine` in place of the
        lock, and none that is shared.
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
    from gpubench.files.remote_folder import remote_folder

    return remote_folder(url)


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


def _write(path: Path, data: bytes, replace: bool, durable: bool = True) -> None:
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
            if durable:
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
    if durable:
        _sync_folder(path.parent)
    _reached("folder synced")


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename, but raise FileExistsError if `path` exists."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        # Of several processes, one creates the empty file. Only that one replaces it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
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

    def write(self, name: str, data: bytes, replace: bool = True, durable: bool = True) -> None:
        _write(self._path / name, data, replace, durable)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def digest(self, name: str) -> str:
        """SHA-256, in hexadecimal digits. Raises OSError as `read`."""
        with open_regular(self._path / name, follow_links=False) as file:
            found = hashlib.sha256()
            while part := file.read(1 << 20):
                found.update(part)
            return found.hexdigest()

    def sizes(self) -> None:
        return None

    def read_each(self, names: Iterable[str], limit: int) -> Iterator[tuple[str, bytes | OSError]]:
        for name in names:
            try:
                yield name, self.read(name, limit)
            except OSError as error:
                yield name, error

    def check_writable(self) -> None:
        name = f"{TRIAL}-{secrets.token_hex(4)}"
        self.write(name, b"")
        self.remove(name)

    @contextmanager
    def locked(self, shared: bool, machine: str) -> Iterator[None]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()} since {now}"
        path = self._path / LOCK
        with ExitStack() as stack:
            if shared:
                stack.enter_context(locks.joint(path, holder, 0o644, self._remove_left))
            else:
                stack.enter_context(locks.exclusive(path, False, holder, remove=True, mode=0o644))
                self._remove_left()
            yield

    def _remove_left(self) -> None:
        """Remove the temporary files of processes that were killed, while nobody else writes."""
        for name in self.names():
            if _TEMPORARY_OF_A_SWEEP.fullmatch(name):
                _remove_temporary(self._path / name, older_than_s=0.0)
            elif _TEMPORARY.fullmatch(name):
                _remove_temporary(self._path / name, older_than_s=_OLD_S)


def _remove_temporary(path: Path, older_than_s: float) -> None:
    """Remove a file that a killed process has left, if it belongs to this user."""
    with suppress(OSError):
        status = path.lstat()
        is_old = time.time() - status.st_mtime >= older_than_s
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and is_old:
            path.unlink()
