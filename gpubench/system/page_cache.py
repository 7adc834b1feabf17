"""The page cache: the copies of files in memory that the kernel keeps.

`drop` removes files from it, without special rights: posix_fadvise(POSIX_FADV_DONTNEED) does so for
pages that are clean and that no process has mapped. mincore(2) shows which pages are still there.
Caches below the kernel (of a hypervisor, of the storage) are not reached.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class DroppedFiles:
    """What `drop` has reached, in bytes of files whose pages this process may see."""

    before_bytes: int  # in the page cache before
    left_bytes: int  # still there afterwards
    unseen_bytes: int  # sizes of the files of other users: the kernel does not say what is there


def drop(paths: Sequence[str]) -> DroppedFiles:
    """Remove these files from the page cache. Files that cannot be opened are left out."""
    seen = [path for path in paths if _is_visible(path)]
    unseen = set(paths).difference(seen)
    before_bytes = sum(map(_resident_bytes, seen))
    for path in paths:
        _drop(path, written_first=False)
    # A page that is not written yet cannot be dropped. To write takes milliseconds for each file,
    # so it is done only where pages are left.
    for path in (path for path in seen if _resident_bytes(path)):
        _drop(path, written_first=True)
    left_bytes = sum(map(_resident_bytes, seen))
    return DroppedFiles(before_bytes, left_bytes, sum(map(_size, unseen)))


def _drop(path: str, written_first: bool) -> None:
    with suppress(OSError), _opened(path) as handle:
        if written_first:
            os.fdatasync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _is_visible(path: str) -> bool:
    """Whether mincore tells the truth about a file: only to its owner and to those who may write.

    To others it says that every page is there. Source: can_do_mincore in mm/mincore.c of Linux.
    """
    with suppress(OSError):
        owner = os.stat(path).st_uid
        return os.geteuid() in {0, owner} or os.access(path, os.W_OK)
    return False


def _size(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_size
    return 0


def _resident_bytes(path: str) -> int:
    """Bytes of a file in the page cache. A mapping alone reads nothing. Source: mincore(2).

    0 for a file that is empty or cannot be mapped.
    """
    try:
        with _opened(path) as handle:
            # Private, because ctypes takes only the address of memory that can be written.
            mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):
        return 0
    with mapped:
        first = ctypes.c_char.from_buffer(mapped)
        pages = -(-len(mapped) // mmap.PAGESIZE)
        flags = (ctypes.c_ubyte * pages)()
        address = ctypes.c_void_p(ctypes.addressof(first))
        failed = ctypes.CDLL(None).mincore(address, ctypes.c_size_t(len(mapped)), flags)
        del first  # it keeps the mapping from being closed
        return 0 if failed else sum(flag & 1 for flag in bytes(flags)) * mmap.PAGESIZE
