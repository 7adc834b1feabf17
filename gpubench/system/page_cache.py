"""The page cache: the copies of files in memory that the kernel keeps.

`drop` removes files from it, without special rights: posix_fadvise(POSIX_FADV_DONTNEED) does so for
pages that are clean and that no process has mapped. mincore(2) shows which pages are still there.
Caches below the kernel (of a hypervisor, of the storage) are not reached.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
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
    before = _resident_bytes(seen)
    for path in paths:
        with suppress(OSError):
            _drop(path)
    unseen = set(paths).difference(seen)
    return DroppedFiles(before, _resident_bytes(seen), sum(map(_size, unseen)))


def _drop(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(handle)  # a page that is not written yet cannot be dropped
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
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


def _resident_bytes(paths: Iterable[str]) -> int:
    total = 0
    for path in paths:
        with suppress(OSError, ValueError):  # empty, or not a file that can be mapped
            total += _resident_bytes_of(path)
    return total


def _resident_bytes_of(path: str) -> int:
    """Bytes of one file in the page cache. A mapping alone reads nothing. Source: mincore(2)."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # A private mapping, because ctypes takes only the address of memory that can be written.
        mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)
    finally:
        os.close(handle)
    with mapped:
        first = ctypes.c_char.from_buffer(mapped)
        pages = -(-len(mapped) // mmap.PAGESIZE)
        flags = (ctypes.c_ubyte * pages)()
        address = ctypes.c_void_p(ctypes.addressof(first))
        failed = ctypes.CDLL(None).mincore(address, ctypes.c_size_t(len(mapped)), flags)
        del first  # it keeps the mapping from being closed
        if failed:
            raise OSError("mincore failed")
        return sum(flag & 1 for flag in bytes(flags)) * mmap.PAGESIZE
