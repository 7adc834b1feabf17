"""The messages between a process that measures cells and the one that asks for them.

A message is a line of JSON. Bytes may follow it: `sizes` says how many. The process that asks sends
`measure` with a CellRequest. The other one sends an event at a time (stage, waits, window_opens,
window_closed), and goes on when it has the answer `told`. Last comes `measured`, with the files of
the cell. The answer to `resolve` with a SpecRequest is `resolved` or `refused`.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pydantic import BaseModel

from gpubench.results.result import Repeat
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine

Message = dict[str, Any]

_PART = 1 << 20


class SpecRequest(BaseModel):
    """The settings of a cell that the process resolves."""

    spec: Spec
    allow_code: bool  # of the spec, which leaves it out of documents
    machine: Machine

    @property
    def whole_spec(self) -> Spec:
        return self.spec.model_copy(update={"allow_code": self.allow_code})


class CellRequest(SpecRequest):
    """The cell that the process measures. All defaults are filled in."""

    repeat: Repeat | None  # part of the document; its `process` is replaced
    lost_attempts: int | None = None  # part of the document


class Channel:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._received = bytearray()

    def send(self, message: Message, data: Sequence[bytes] = ()) -> None:
        """Raises OSError if the other process has ended."""
        line = json.dumps(message | {"sizes": [len(each) for each in data]})
        self.connection.sendall(b"".join([line.encode(), b"\n", *data]))

    def receive(self) -> tuple[Message, list[bytes]] | None:
        """The next message. None: the other process has closed its end."""
        while (complete := self.complete()) is None:
            if not self.read():
                return None
        return complete

    def read(self) -> bool:
        """Wait until some bytes have come. False: the other process has closed its end."""
        try:
            part = self.connection.recv(_PART)
        except ConnectionError:
            return False
        self._received += part
        return bool(part)

    def close(self) -> None:
        with suppress(OSError):  # the other process has ended
            # A process that was forked from this one meanwhile has the open socket, too.
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def read_all(self) -> None:
        """Read what has come until now, without waiting."""
        while select.select([self.connection], [], [], 0)[0] and self.read():
            pass

    def complete(self) -> tuple[Message, list[bytes]] | None:
        """The next message, if all its bytes have come."""
        end = self._received.find(b"\n")
        if end < 0:
            return None
        message: Message = json.loads(self._received[:end])
        sizes, begin = message["sizes"], end + 1
        if len(self._received) < begin + sum(sizes):
            return None
        data = []
        for size in sizes:
            data.append(bytes(self._received[begin : begin + size]))
            begin += size
        del self._received[:begin]
        return message, data
