"""Python's garbage collector: when it runs, and over which objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Python 3.12 itself leaves 375 objects out of collections when it starts.
_LEFT_OUT_AT_START = 1000


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, and not again before the block ends.

    The collector stops all threads that run Python for milliseconds, which would show in the
    latencies. Objects that it frees may also call the CUDA driver, which would end a capture.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class LongLived:
    """Leaves out of later collections the objects that exist between two engines.

    A collection visits every object of the process. torch and transformers alone have half a
    million, so each collection takes 0.2 s. They stay for as long as the process runs.
    """

    def __init__(self) -> None:
        # If the calling program has left out objects, it decides.
        self._may_freeze = gc.get_freeze_count() <= _LEFT_OUT_AT_START

    def collect(self) -> None:
        """Collect what is not left out, and from now on leave out everything that remains."""
        gc.collect()
        if self._may_freeze:
            gc.freeze()

    def release(self) -> None:
        """Leave out nothing any more."""
        if self._may_freeze:
            gc.unfreeze()
