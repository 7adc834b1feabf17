"""A folder of files, on this machine or at any URL that fsspec knows (s3://, gs://, memory://).

Writing is atomic either way: a reader sees the whole file or none. Local folders need nothing
beyond the standard library; fsspec is loaded for the others only.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gpubench.errors import InputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


class Folder(Protocol):
    """Files by name. Methods raise OSError as the file system does."""

    url: str

    def create(self) -> None:
        """Make the folder and its parents, where they do not exist."""

    def exists(self) -> bool: ...

    def names(self) -> list[str]:
        """Names of the files directly in the folder, sorted."""

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is no such file."""

    def write(self, name: str, data: bytes) -> None:
        """Put the whole file there at once, over one that exists."""

    def remove(self, name: str) -> None: ...


def open_folder(url: str) -> Folder:
    """The folder at a path or URL; nothing is created or read yet.

    Raises InputError for a URL that cannot be used from here.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return LocalFolder(Path(url))
    if scheme == "file":
        return LocalFolder(Path(rest))
    return _remote_folder(url)


def write_file(path: Path, data: bytes) -> None:
    """Write a local file at once: a file that exists is complete, whatever interrupts this.

    A device or a pipe is written to as it is, and of a link what it points to.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name on an empty file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class LocalFolder:
    def __init__(self, path: Path) -> None:
        self.url = str(path)
        self._path = path

    def create(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)

    def exists(self) -> bool:
        return self._path.is_dir()

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self._path.iterdir() if entry.is_file())

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        write_file(self._path / name, data)

    def remove(self, name: str) -> None:
        (self._path / name).unlink()


class RemoteFolder:
    """A folder of an object store, where one put is atomic."""

    def __init__(self, url: str, files: AbstractFileSystem, root: str) -> None:
        self.url = url.rstrip("/")
        self._files = files
        self._root = root.rstrip("/")

    def create(self) -> None:
        self._files.makedirs(self._root, exist_ok=True)

    def exists(self) -> bool:
        self._files.invalidate_cache()  # another machine may have written since
        return bool(self._files.isdir(self._root))

    def names(self) -> list[str]:
        self._files.invalidate_cache()
        entries = self._files.ls(self._root, detail=True)
        return sorted(
            entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file"
        )

    def read(self, name: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        self._files.pipe_file(f"{self._root}/{name}", data)

    def remove(self, name: str) -> None:
        self._files.rm_file(f"{self._root}/{name}")


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
    return RemoteFolder(url, files, root)
