"""A process that measures cells, as the process that asks sees it."""

from __future__ import annotations

import select
import signal
import time
from contextlib import suppress

from gpubench.measure.cell_channel import Channel, Message
from gpubench.system.process_template import ProcessEnded, ProcessSilent, Template

# Between the signal that asks a process to end and the one that ends it.
GRACE_S = 10.0


class CellProcess:
    """A process that `template` has forked."""

    def __init__(self, template: Template, modules: list[str], timeout_s: float) -> None:
        """Fork it. `modules` are imported before.

        Raises ProcessEnded if the template ends, and ProcessSilent.
        """
        self._template = template
        self._channel = Channel(template.fork(modules, timeout_s))
        self._status: int | None = None
        self._is_open = True

    def send(self, message: Message) -> None:
        with suppress(OSError):  # it has ended, which `receive` will tell
            self._channel.send(message)

    def receive(self, timeout_s: float | None) -> tuple[Message, list[bytes]]:
        """The next message. What a process has sent before its end is received.

        Raises ProcessEnded and ProcessSilent.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        control, connection = self._template.control, self._channel.connection
        while (message := self._channel.complete()) is None:
            if self._status is not None:
                raise ProcessEnded(self._status)
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            sources = [control, connection] if self._is_open else [control]
            ready, _, _ = select.select(sources, [], [], left_s)
            if not ready:
                raise ProcessSilent(timeout_s or 0.0)
            if control in ready:
                self._status = self._template.answer()
                self._channel.read_all()
            elif not self._channel.read():
                self._is_open = False  # it is ending
        return message

    def terminate(self) -> None:
        """Ask the process to end, as Ctrl-C does."""
        self._template.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._template.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """Let the process end, and wait until it has. It is killed if it does not."""
        self._channel.close()
        control = self._template.control
        with suppress(ProcessEnded):
            if self._status is None and not select.select([control], [], [], GRACE_S)[0]:
                self._template.send_signal(signal.SIGKILL)
            if self._status is None:
                self._status = self._template.answer()


def death(status: int) -> str:
    """Why a process with this exit status has written no result."""
    number = -status if status < 0 else status - 128  # it has a handler for some signals
    name = signal.strsignal(number) if number > 0 else None
    if name is None:
        return f"its process ended with status {status} before it wrote a result"
    hint = "; the machine may have too little memory" if number == signal.SIGKILL else ""
    return f"its process was ended by signal {number} ({name}) before it wrote a result{hint}"
