"""Locks between processes, on a file. The kernel releases a lock when its holder ends."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class LockHeld(OSError):
    """Another process has the lock. `holder` is what that process wrote into the file."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(errno.EWOULDBLOCK, "another process has it", str(path))
        self.holder = holder


@contextmanager
def exclusive(
    path: Path, wait: bool = True, holder: str = "", remove: bool = False, mode: int = 0o600
) -> Iterator[None]:
    """Hold the lock of the file `path`, which is created if it is missing. Links are not followed.

    `holder` is written into the file, for others to read. With `remove` the file is removed
    afterwards. Without `wait`, raises LockHeld if another process has the lock. Raises OSError if
    the file cannot be created, or if the file system has no locks.
    """
    with _held(path, fcntl.LOCK_EX, wait, holder, remove, mode):
        yield


@contextmanager
def shared(path: Path, wait: bool = True, holder: str = "", mode: int = 0o600) -> Iterator[None]:
    """As `exclusive`, but several processes may hold the lock in this way at once.

    `holder` is that of the process which was the last to begin.
    """
    with _held(path, fcntl.LOCK_SH, wait, holder, False, mode):
        yield


@contextmanager
def _held(
    path: Path, kind: int, wait: bool, holder: str, remove: bool, mode: int
) -> Iterator[None]:
    handle, is_writable = _locked(path, kind, wait, mode)
    try:
        text = holder.encode()
        if text and is_writable and os.pread(handle, len(text) + 1, 0) != text:
            os.pwrite(handle, text, 0)
            # Not before: ext4 writes a file to the disk at once that was emptied and written again.
            os.ftruncate(handle, len(text))
        yield
    finally:
        if remove:
            # The lock is still held here, so that no process waits for a removed file.
            with suppress(OSError):
                path.unlink()
        # A process that was forked meanwhile has the open file, too, and would keep the lock.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _locked(path: Path, kind: int, wait: bool, mode: int) -> tuple[int, bool]:
    """(the open file, whether it can be written)."""
    while True:
        handle, is_writable = _opened(path, mode)
        try:
            fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
            if _is_same(handle, path):
                return handle, is_writable
        except BlockingIOError:
            written = os.pread(handle, 1000, 0).decode(errors="replace")
            os.close(handle)
            raise LockHeld(path, written) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the previous holder has removed the file: open the new one


def _opened(path: Path, mode: int) -> tuple[int, bool]:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle, is_writable = os.open(path, flags | os.O_RDWR | os.O_CREAT, mode), True
    except PermissionError:  # another user's file, which can be locked all the same
        handle, is_writable = os.open(path, flags | os.O_RDONLY), False
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise OSError(errno.ENXIO, "it is not a regular file", str(path))
    # A second name may be a link of another user to any file of this one: it is not written to.
    return handle, is_writable and status.st_nlink == 1


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False
