"""Signals that end the program: SIGINT (Ctrl-C), SIGTERM and SIGHUP.

The command line turns each of them into KeyboardInterrupt (`install`), so that all three end it
alike; its exit status is 128 and the number of the first one. A program that imports gpubench keeps
its own handlers. There only Python's own handler of Ctrl-C is replaced for a moment, while
something measured is on its way to its place (`Deferral`).

Python runs handlers in the main thread alone, so in others there is nothing to do.
"""

from __future__ import annotations

import os
import signal
import sys
import time

# Imported before there is a handler, so it imports as little as it can: no dataclasses, no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Signals that come so soon after the first are about the same end: a terminal, a shell and a
# supervisor may each send one. One that comes later means that the program does not end.
_PATIENCE_S = 5.0
# Until Python has left the place where it could not raise an exception.
_SOON_S = 0.02


class Deferral:
    """A block that can put signals off, from `begin` to its end: `with Deferral() as deferral`."""

    def __init__(self) -> None:
        self.pressed = False  # a signal has come meanwhile
        self._then: Callable[[], None] | None = None
        self._is_begun = False
        self._replaced = False

    def __enter__(self) -> Deferral:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, then: Callable[[], None] | None = None) -> None:
        """From now on a signal raises nothing. It is noted, and `then` is called, if given.

        A host program's own handlers stay as they are.
        """
        self._then = then
        if self._is_begun or not _in_main_thread():
            return
        self._is_begun = True
        _state.deferrals.append(self)
        # The command line's handler knows of deferrals; Python's own has to be replaced.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _note)
            self._replaced = True

    def end(self) -> None:
        if not self._is_begun:
            return
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _state.deferrals.remove(self)
        self._is_begun = False

    def note(self) -> None:
        self.pressed = True
        if self._then is not None:
            self._then()


class _State:
    """Of this process."""

    first: int | None = None  # the signal that ends the command line
    first_at = 0.0
    lost = False  # KeyboardInterrupt was raised where Python has to ignore it
    finishing = False

    def __init__(self) -> None:
        self.deferrals: list[Deferral] = []


_state = _State()


def install() -> None:
    """Have the signals end this program, from now on. For the command line alone.

    A signal that is ignored stays so: nohup ignores SIGHUP, and shells ignore SIGINT for programs
    in the background. All others get a handler: the system drops signals to process 1 that have
    none.
    """
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    sys.unraisablehook = _unraisable
    os.register_at_fork(after_in_child=_uninstall)


def _uninstall() -> None:
    """A forked child of a model or a library ends as it would in any other program."""
    for number in _ENDING:
        if signal.getsignal(number) is _handle:
            is_ctrl_c = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)


def finish() -> None:
    """From now on signals are noted only: the program writes what it has, and ends."""
    _state.finishing = True


def received() -> bool:
    """Whether a signal has come that ends the command line."""
    return _state.first is not None


def exit_status() -> int:
    """Of a program that was interrupted: 130, 143 or 129."""
    return 128 + (_state.first or signal.SIGINT)


def raise_if_received() -> None:
    """Raise KeyboardInterrupt again, where foreign code has caught the first one."""
    if received():
        raise KeyboardInterrupt


def _handle(number: int, frame: FrameType | None) -> None:
    """The command line's handler."""
    if _state.lost:
        _state.lost = False
    elif _state.first is None:
        _state.first, _state.first_at = number, time.monotonic()
    elif time.monotonic() - _state.first_at < _PATIENCE_S:
        return
    else:
        os._exit(exit_status())
    if _state.deferrals or _state.finishing:
        _note(number, frame)
        return
    raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    for deferral in _state.deferrals:
        deferral.note()


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    """A signal came in a finaliser or a callback, where Python ignores exceptions: again, later."""
    if not issubclass(what.exc_type, KeyboardInterrupt) or not received():
        sys.__unraisablehook__(what)
        return
    import threading

    def again() -> None:
        _state.lost = True
        signal.raise_signal(_state.first or signal.SIGINT)

    timer = threading.Timer(_SOON_S, again)
    timer.daemon = True
    timer.start()


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
