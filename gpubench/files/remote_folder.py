"""A folder of an object store, through fsspec.

To create a file only if it does not exist is a condition in the request, which the store decides:
If-None-Match for Amazon S3 and Azure, ifGenerationMatch=0 for Google Cloud Storage. The clients
send it with the last request of a large file, too. `check_writable` shows whether the store obeys.
"""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubench.errors import InputError, first_line
from gpubench.files.folder import TRIAL
from gpubench.files.leases import LeaseHeld, Leases
from gpubench.files.locks import LockHeld
from gpubench.files.store_errors import Action, is_conflict, translated
from gpubench.files.untrusted import larger, refuse_larger
from gpubench.files.urls import has_secrets, without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# The clients themselves would try for minutes to reach an address, or to find credentials. Small
# requests, of which one is the first, have this much time.
_ANSWER_S = 20.0
_SMALL_BYTES = 1 << 20
_READ_AT_ONCE = 100
_CONFLICTS = 5
_CONFLICT_S = 0.2


class RemoteFolder:
    def __init__(self, url: str, files: AbstractFileSystem, root: str) -> None:
        self.url = url.rstrip("/")
        self._files = files
        self._root = root.rstrip("/")
        self._scheme = url.partition("://")[0]
        self._soon: dict[str, float] = {"timeout": _ANSWER_S} if files.async_impl else {}

    def create(self) -> None:
        """A store has no folders. A bucket is not created: its name may be mistyped."""

    def exists(self) -> bool:
        self._files.invalidate_cache()  # another machine may have written meanwhile
        if not self._soon:
            return bool(self._call("list", self._files.isdir, self._root))
        from fsspec.asyn import sync

        ask = self._files._isdir  # without a limit of time in the `isdir` of Azure's client
        return bool(self._call("list", sync, self._files.loop, ask, self._root, **self._soon))

    def names(self) -> list[str]:
        return sorted(self.sizes())

    def sizes(self) -> dict[str, int]:
        self._files.invalidate_cache()
        try:
            entries = self._call("list", self._files.ls, self._root, detail=True)
        except FileNotFoundError:  # a folder without files does not exist
            return {}
        finally:
            self._files.invalidate_cache()
        return {
            entry["name"].rpartition("/")[2]: entry["size"]
            for entry in entries
            if entry["type"] == "file"
        }

    def size(self, name: str) -> int:
        return int(self._call("read", self._files.size, self._path(name)))

    def read(self, name: str, limit: int) -> bytes:
        path = self._path(name)
        options = self._soon if limit <= _SMALL_BYTES else {}
        try:
            # With a range this is one request. One byte more shows that the file is too large.
            data = bytes(
                self._call("read", self._files.cat_file, path, start=0, end=limit + 1, **options)
            )
        except (FileNotFoundError, TimeoutError):
            raise
        except OSError:
            if self.size(name):
                raise
            return b""  # an empty file has no range
        refuse_larger(len(data), limit, path)
        return data

    def read_each(self, names: Iterable[str], limit: int) -> Iterator[tuple[str, bytes | OSError]]:
        for some in _batched(names, _READ_AT_ONCE):
            paths = [self._path(name) for name in some]
            found = self._call(
                "read", self._files.cat_ranges, paths, 0, limit + 1, on_error="return"
            )
            for name, path, data in zip(some, paths, found, strict=True):
                if isinstance(data, Exception):
                    yield name, translated(data, "read", self._scheme)
                elif len(data) > limit:
                    yield name, larger(limit, path)
                else:
                    yield name, bytes(data)

    def write(self, name: str, data: bytes, replace: bool = True, durable: bool = True) -> None:
        path = self._path(name)
        if replace:
            self._call("write", self._files.pipe_file, path, data)
        elif not self._create(path, data) and not self._holds(name, data):
            raise FileExistsError(errno.EEXIST, "it exists", path)

    def _holds(self, name: str, data: bytes) -> bool:
        """Whether a file has this content. If the store said that the file exists, then an answer
        was lost, and the client has sent the same file twice.
        """
        try:
            return self.read(name, len(data)) == data
        except OSError:  # it is larger, or somebody has removed it
            return False

    def _create(self, path: str, data: bytes, **options: Any) -> bool:
        for attempt in range(_CONFLICTS):
            try:
                self._files.pipe_file(path, data, mode="create", **options)
                return True
            except Exception as error:
                if is_conflict(error) and attempt + 1 < _CONFLICTS:
                    time.sleep(_CONFLICT_S)
                    continue
                problem = translated(error, "create", self._scheme)
                if isinstance(problem, FileExistsError):
                    return False
                raise problem from error
        return False

    def remove(self, name: str) -> None:
        try:
            self._call("remove", self._files.rm_file, self._path(name))
        except FileNotFoundError:
            return

    def digest(self, name: str) -> str | None:
        return None

    def check_writable(self) -> None:
        path = self._path(f"{TRIAL}-{secrets.token_hex(4)}")
        self._create(path, b"1", **self._soon)
        try:
            is_obeyed = not self._create(path, b"2")
        finally:
            self._call("remove", self._files.rm_file, path)
        if not is_obeyed:
            raise OSError(
                errno.ENOTSUP,
                "the store replaces a file that should only be created (it ignores the condition "
                "of the request), so two machines could write the same result",
            )

    @contextmanager
    def locked(self, shared: bool, machine: str) -> Iterator[None]:
        if shared:
            yield
            return
        with Leases(self) as leases:
            try:
                lease = leases.take_or_refuse(machine)
            except LeaseHeld as error:
                raise LockHeld(Path(self._root), error.holder) from None
            with lease:
                yield

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _call(self, action: Action, method: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except Exception as error:  # stores have their own exceptions
            raise translated(error, action, self._scheme) from error


def _batched(names: Iterable[str], count: int) -> Iterator[list[str]]:
    """Lists of at most `count` names. itertools has it from Python 3.12 on."""
    left = iter(names)
    while some := list(islice(left, count)):
        yield some


def remote_folder(url: str) -> RemoteFolder:
    """Raises InputError for a URL that cannot be used from here."""
    from fsspec.core import url_to_fs

    if has_secrets(url):
        raise InputError(
            f"{without_secrets(url)}: the URL of a directory cannot contain a password or a query; "
            "give credentials as docs/remote_directories.md says"
        )
    logging.getLogger("gcsfs").setLevel(logging.ERROR)  # it warns before it raises
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
