"""Stops Python's garbage collector during a measurement or a capture."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
