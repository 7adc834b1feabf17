"""Locks between processes, on a file. The kernel releases a lock when its holder ends."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A process that shares a lock has it for itself only for a shorter time than this, when it begins
# and when it ends.
_MOMENT_S = 2.0


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
        _name_holder(handle, is_writable, holder)
        yield
    finally:
        if remove:
            # The lock is still held here, so that no process waits for a removed file.
            with suppress(OSError):
                path.unlink()
        _release(handle)


def _name_holder(handle: int, is_writable: bool, holder: str) -> None:
    text = holder.encode()
    if text and is_writable and os.pread(handle, len(text) + 1, 0) != text:
        os.pwrite(handle, text, 0)
        # Not before: ext4 writes a file to the disk at once that was emptied and written again.
        os.ftruncate(handle, len(text))


def _release(handle: int) -> None:
    # A process that was forked meanwhile has the open file, too, and would keep the lock.
    fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


@contextmanager
def joint(
    path: Path, holder: str = "", mode: int = 0o600, when_alone: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock of the file `path` together with others that share it.

    `when_alone` is called first if nobody else has the lock. The last one removes the file. Raises
    LockHeld if another process has the lock for itself, and OSError as `exclusive`.
    """
    handle, is_writable = _joint(path, mode, when_alone or (lambda: None))
    try:
        _name_holder(handle, is_writable, holder)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()  # nobody else has it
        _release(handle)


def _joint(path: Path, mode: int, when_alone: Callable[[], None]) -> tuple[int, bool]:
    end_s = time.monotonic() + _MOMENT_S
    while True:
        try:
            handle, is_writable = _locked(path, fcntl.LOCK_EX, wait=False, mode=mode)
            try:
                when_alone()
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return handle, is_writable
            except BaseException as error:
                os.close(handle)
                if isinstance(error, BlockingIOError):  # another process was faster
                    continue
                raise
        except LockHeld:
            try:
                return _locked(path, fcntl.LOCK_SH, wait=False, mode=mode)
            except LockHeld:
                if time.monotonic() > end_s:
                    raise
        time.sleep(_MOMENT_S / 100)


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
    is_writable = is_writable and status.st_nlink == 1
    if is_writable and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != mode:
        with suppress(OSError):  # a file system without modes
            os.fchmod(handle, mode)  # open() applies the umask
    return handle, is_writable


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False
