"""Measures the cells that another process asks for: the side of the process that measures."""

from __future__ import annotations

import secrets
import socket
import sys
from dataclasses import asdict

from gpubench.cells.resolve import cell_of, resolve
from gpubench.errors import InputError
from gpubench.measure.cell import Bench
from gpubench.measure.cell_channel import CellRequest, Channel, Message, SpecRequest
from gpubench.measure.progress import Opening, Progress
from gpubench.results.result import Result
from gpubench.results.run_directory import cell_files

# They take long to import, and not every cell needs them. pyarrow imports pandas if there is one.
_SLOW_LIBRARIES = ("torchvision", "transformers", "pandas", "pyarrow")
_MOST = 2000  # of their modules: the names must fit into one message


def answer(connection: socket.socket) -> None:
    """Measure what is asked for, until the other process closes the connection.

    Raises KeyboardInterrupt on a signal, when what was measured is sent.
    """
    channel = Channel(connection)
    name = secrets.token_hex(4)
    bench: Bench | None = None
    while (received := channel.receive()) is not None:
        message, _ = received
        if "resolve" in message:
            channel.send(_resolved(SpecRequest.model_validate(message["resolve"])))
            continue
        request = CellRequest.model_validate(message["measure"])
        if bench is None:  # the end of the process frees what it keeps
            bench = Bench(request.machine, _Told(channel)).__enter__()
        _measure(request, channel, bench, name)


def _resolved(request: SpecRequest) -> Message:
    try:
        cell = resolve(request.whole_spec, request.machine)
    except InputError as error:
        return {"event": "refused", "reason": str(error)}
    return {"event": "resolved", "spec": cell.spec.model_dump(mode="json", exclude_unset=True)}


def _measure(request: CellRequest, channel: Channel, bench: Bench, name: str) -> None:
    repeat = request.repeat and request.repeat.model_copy(update={"process": name})

    def send(result: Result) -> None:
        result.repeat = repeat
        files = cell_files(result, result.samples)
        message: Message = {
            "event": "measured",
            "has_hung_batch": bench.has_hung_batch,
            "imported": [name for name in sys.modules if name.startswith(_SLOW_LIBRARIES)][:_MOST],
        }
        channel.send(message, [files.document, *([files.samples] if files.samples else [])])

    bench.measure(cell_of(request.whole_spec), send)


class _Told(Progress):
    """Tells the other process, and waits until it has told its listeners.

    So that process does not compute any more when a warm-up or a measured window begins.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def stage(self, name: str) -> None:
        self._tell({"event": "stage", "name": name})

    def window_opens(self, opening: Opening) -> None:
        self._tell({"event": "window_opens", "opening": asdict(opening)})

    def window_closed(self) -> None:
        self._tell({"event": "window_closed"})

    def waits(self, reason: str) -> None:
        self._tell({"event": "waits", "reason": reason})

    def _tell(self, message: Message) -> None:
        self._channel.send(message)
        if self._channel.receive() is None:
            raise EOFError("the process that asked for this cell has ended")
