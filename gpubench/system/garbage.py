"""Python's garbage collector, kept from running at the wrong moment."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, and not again before the block ends.

    The collector stops every thread that runs Python for milliseconds, which a window would show;
    and what it frees may call the CUDA driver, which a capture does not survive.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
