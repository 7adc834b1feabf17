"""Signals that end the program: SIGINT (Ctrl-C), SIGTERM and SIGHUP.

The command line turns each of them into KeyboardInterrupt (`install`), so all three end it in the
same way. Its exit status is 128 plus the number of the first signal. A program that imports
gpubench keeps its own handlers. Only Python's own handler of Ctrl-C is replaced there, for the
short time in which a measured result is stored (`Deferral`).

Python runs handlers only in the main thread, so other threads need nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time

# This file is imported before the handlers exist, so it imports little: no dataclasses, no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Signals so soon after the first have the same cause: a terminal, a shell and a supervisor may each
# send one. A later one means that the program does not end.
_PATIENCE_S = 5.0
# After this time Python has left the function that could not raise an exception.
_SOON_S = 0.02


class Deferral:
    """Defers signals from `begin` to the end of the block: `with Deferral() as deferral`."""

    def __init__(self) -> None:
        self.pressed = False  # whether a signal has come meanwhile
        self._then: Callable[[], None] | None = None
        self._is_begun = False
        self._replaced = False

    def __enter__(self) -> Deferral:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, then: Callable[[], None] | None = None) -> None:
        """From now on, a signal raises no exception. It is noted, and `then` is called if given.

        The own handlers of a program that uses gpubench stay as they are.
        """
        self._then = then
        if self._is_begun or not _in_main_thread():
            return
        self._is_begun = True
        _state.deferrals.append(self)
        # The handler of the command line checks for deferrals. Python's own must be replaced.
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
    """The state of this process."""

    first: int | None = None  # the signal that ends the command line
    first_at = 0.0
    lost = False  # KeyboardInterrupt was raised in a function where Python ignores it
    finishing = False

    def __init__(self) -> None:
        self.deferrals: list[Deferral] = []


_state = _State()


def install() -> None:
    """Let the signals end this program from now on. Only the command line calls this.

    A signal that is ignored stays ignored: nohup ignores SIGHUP, and shells ignore SIGINT for
    programs in the background. All others get a handler, because the system drops signals to
    process 1 that have none.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    sys.unraisablehook = _unraisable
    os.register_at_fork(after_in_child=_uninstall)


def _uninstall() -> None:
    """A child process that a model or a library forks has the usual handlers."""
    for number in ENDING:
        if signal.getsignal(number) is _handle:
            is_ctrl_c = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)


def finish() -> None:
    """From now on, signals are only noted: the program writes its results and ends."""
    _state.finishing = True


def received() -> bool:
    """Whether a signal has come that ends the command line."""
    return _state.first is not None


def exit_status() -> int:
    """The exit status of a program that was interrupted: 130, 143 or 129."""
    return 128 + (_state.first or signal.SIGINT)


def raise_if_received() -> None:
    """Raise KeyboardInterrupt again, because foreign code may have caught the first one."""
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
    """Raise a signal again that came in a finaliser or callback, which ignores exceptions."""
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
