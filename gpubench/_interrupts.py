"""Ctrl-C, put off while something measured is on its way to the disk."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class CtrlC:
    pressed: bool = False


@contextmanager
def uninterrupted() -> Iterator[CtrlC]:
    """Within this block Ctrl-C raises nothing: it is noted in the value, for afterwards.

    Python delivers signals to the main thread alone, so in others there is nothing to put off.
    """
    noted = CtrlC()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.pressed = True

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, previous)
