"""The cores on which this process runs: its affinity, set while a cell is measured.

The kernel keeps the affinity for each thread, and a new thread has that of the thread that starts
it. So `on_cores` sets it for all threads that exist, and those that start later inherit it: the
workers, OpenMP pools, the threads of a runtime. Source: sched_setaffinity(2).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def on_cores(cores: Collection[int] | None) -> Iterator[None]:
    """Inside the block, the process runs on these cores only. None: nothing is changed.

    Afterwards every thread has the cores that it had before. Threads that started in the block get
    those of the calling thread. Raises OSError if the process may not use any of the cores.
    """
    if cores is None:
        yield
        return
    before = {}
    for thread in _threads():
        with suppress(ProcessLookupError):  # it has ended
            before[thread] = os.sched_getaffinity(thread)
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # first, since it may be refused
    try:
        for thread in _threads():
            _set(thread, cores)
        yield
    finally:
        for thread in _threads():
            _set(thread, before.get(thread, own))


def usable_now() -> frozenset[int]:
    """The cores on which the calling thread, and all that it starts, may run."""
    return frozenset(os.sched_getaffinity(0))


def _threads() -> list[int]:
    """The threads of this process, by the numbers that the kernel gives them."""
    return [int(entry.name) for entry in Path("/proc/self/task").iterdir()]


def _set(thread: int, cores: Collection[int]) -> None:
    with suppress(OSError):  # it has ended, or the machine has lost these cores
        os.sched_setaffinity(thread, cores)
