"""Data parallelism over the GPUs, or the cores, of one machine.

The process that measures has the replica 0, and starts a process for each other replica. Before a
step it writes one byte to the standard input of each: all then make that step. torch's own
DistributedDataParallel exchanges the gradients (gloo on CPUs, NCCL on GPUs) over the loopback
device. A replica ends when its standard input ends, so none outlives the process that measures.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import timedelta
from typing import IO, TYPE_CHECKING

import torch
import torch.distributed as dist
from pydantic import BaseModel

from gpubench.cells.resolve import cell_of
from gpubench.errors import GpubenchError, shorten
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

STEP, TOY_STEP = b"s", b"t"
LOADED = "loaded"

# A replica that takes longer than this for its part of one exchange counts as hung.
_TIMEOUT = timedelta(minutes=5)
_END_S = 2.0  # for a replica to end by itself
_HOST = "127.0.0.1"

# The new process finds the same modules as this one, those of models included.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from gpubench.training.replica_process import start; start()"
)


class ReplicaRequest(BaseModel):
    """What the process of a replica trains."""

    spec: Spec  # all defaults filled in
    allow_code: bool  # of the spec, which leaves it out of documents
    number: int
    port: int  # of the store at which the replicas meet

    @property
    def cell(self) -> Cell:
        return cell_of(self.spec.model_copy(update={"allow_code": self.allow_code}))


class Replicas:
    """The processes of the replicas 1, 2, ... Close it in any case."""

    def __init__(self, cell: Cell) -> None:
        """Start the processes. Each begins to load its model.

        Raises GpubenchError if this process belongs to a process group of torch already.
        """
        if dist.is_initialized():
            raise GpubenchError(
                "this process has a process group of torch.distributed already; measure several "
                "replicas in a process of their own, as gpubench train does"
            )
        self._cell = cell
        self._store = dist.TCPStore(  # type: ignore[attr-defined]
            _HOST, 0, cell.replicas, is_master=True, wait_for_workers=False, timeout=_TIMEOUT
        )
        self._errors: list[IO[bytes]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        for number in range(1, cell.replicas):
            self._processes.append(self._started(number))

    def _started(self, number: int) -> subprocess.Popen[bytes]:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._errors.append(errors)
        request = ReplicaRequest(
            spec=self._cell.spec,
            allow_code=self._cell.allow_code,
            number=number,
            port=self._store.port,
        )
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,  # Ctrl-C of a terminal is for the process that measures
        )
        assert process.stdin is not None
        text = request.model_dump_json(exclude_unset=True) + "\n"
        with suppress(BrokenPipeError):  # `connect` says why it has ended
            process.stdin.write(text.encode())
            process.stdin.flush()
        return process

    def connect(self) -> None:
        """Wait until all have loaded their model, and meet them.

        Raises GpubenchError if one cannot.
        """
        for number, process in enumerate(self._processes, 1):
            assert process.stdout is not None
            while not select.select([process.stdout], [], [], 0.1)[0]:
                pass  # an interruption reaches this thread between two waits
            if process.stdout.readline().decode().strip() != LOADED:
                raise GpubenchError(self._why(number, process))
        join(self._cell, self._store, 0)

    def begin(self, what: bytes) -> None:
        """Let every replica make one step. Raises GpubenchError if one has ended."""
        for number, process in enumerate(self._processes, 1):
            assert process.stdin is not None
            try:
                process.stdin.write(what)
                process.stdin.flush()
            except BrokenPipeError:
                raise GpubenchError(self._why(number, process)) from None

    def ended(self) -> GpubenchError | None:
        """The error for the first replica that has ended; None if all run.

        Call it after an exchange has failed: a process closes its connections shortly before it
        has ended.
        """
        numbered = list(enumerate(self._processes, 1))
        for _, process in numbered:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_S / len(numbered))
        gone = [each for each in numbered if each[1].poll() is not None]
        if not gone:
            return None
        # One that a signal has ended is the cause: the others end because it is gone.
        return GpubenchError(self._why(*min(gone, key=lambda each: each[1].returncode >= 0)))

    def _why(self, number: int, process: subprocess.Popen[bytes]) -> str:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        status = process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        self._errors[number - 1].seek(0)
        text = self._errors[number - 1].read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        reason = f": {lines[-1]}" if lines else ""
        return shorten(f"replica {number} of the training ended ({how}){reason}")

    def cpu_seconds(self) -> float:
        """CPU time of all these processes together. 0 for one that has ended."""
        return sum(_cpu_seconds(process.pid) for process in self._processes)

    def close(self) -> None:
        """End all processes. None of them runs afterwards."""
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        for errors in self._errors:
            errors.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def join(cell: Cell, store: Store, number: int) -> None:
    """Make this process the replica `number` in the process group of the cell."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if not cell.on_cpu:
        torch.cuda.set_device(cell.devices[number])
    dist.init_process_group(
        "gloo" if cell.on_cpu else "nccl",
        store=store,
        rank=number,
        world_size=cell.replicas,
        timeout=_TIMEOUT,
    )


def meeting_place(port: int, replicas: int) -> Store:
    """The store of the process that measures, seen from another replica."""
    store: Store = dist.TCPStore(  # type: ignore[attr-defined]
        _HOST, port, replicas, is_master=False, timeout=_TIMEOUT
    )
    return store


def _cpu_seconds(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime
