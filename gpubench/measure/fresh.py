"""Measures one repeat of a cell in a new process, and writes its document from there.

A process decides many things once: where its memory lies, in which order it loads what, which of
several equal kernels it chooses. Repeats in one process share these decisions.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

from pydantic import BaseModel

from gpubench.cells.resolve import cell_of
from gpubench.errors import InputError
from gpubench.measure.assemble import Attempt, assemble
from gpubench.measure.cell import Bench
from gpubench.measure.environment import environment
from gpubench.measure.progress import Progress
from gpubench.results.result import Failure, Repeat, Result
from gpubench.results.run_directory import RunDirectory, open_run
from gpubench.spec.cell import Cell
from gpubench.spec.objective import SearchSettings
from gpubench.spec.spec import Spec
from gpubench.system.interrupts import ENDING
from gpubench.system.machine import Machine

THIS_PROCESS = secrets.token_hex(4)  # the name of this process in documents

# The new process finds the same modules as this one, those of models included.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from gpubench.cli.fresh_process import start; start()"
)


class RepeatRequest(BaseModel):
    """What the new process measures, and where it writes the document."""

    spec: Spec  # of a cell, all defaults are filled in
    allow_code: bool  # of the spec, which leaves it out of documents
    search: SearchSettings | None = None  # None: the cell is measured
    directory: str
    name: str
    repeat: Repeat
    machine: Machine


def refuse_unreachable(directory: RunDirectory) -> None:
    """Raises InputError if another process cannot write to this directory."""
    if directory.url.startswith("memory:"):
        raise InputError(
            f"--fresh: another process cannot write to {directory.url}; choose another --output"
        )


def measure_in_new_process(
    cell: Cell, directory: RunDirectory, name: str, repeat: Repeat, machine: Machine
) -> Result:
    """Measure `cell` in a new process, which writes the document `name` into `directory`.

    If the process dies, the document has the error. On Ctrl-C the process ends as a sweep does: it
    writes what it has measured. KeyboardInterrupt is then passed on. Raises GpubenchError if the
    document cannot be written.
    """
    status = run_process(
        RepeatRequest(
            spec=cell.spec,
            allow_code=cell.allow_code,
            directory=directory.url,
            name=name,
            repeat=repeat,
            machine=machine,
        )
    )
    with suppress(InputError):  # there is no document
        result = directory.read(name)
        if result.repeat is not None and result.repeat.series == repeat.series:
            return result
    failure = Failure(stage="process", message=death(status))
    result = assemble(cell, environment(machine, cell), Attempt(error=failure))
    result.repeat = repeat
    directory.write(name, result)
    return result


def run_process(request: RepeatRequest) -> int:
    """Run the new process, and return its exit status; below 0, the signal that ended it.

    On Ctrl-C it raises KeyboardInterrupt, when the process has ended.
    """
    # Settings that nobody gave stay so: some are then those of the model's file.
    text = request.model_dump_json(exclude_unset=True)
    command = [sys.executable, "-P", "-c", _START, json.dumps(sys.path)]
    # The new process begins with these signals blocked, and unblocks them when it has its handlers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with process:
        try:
            process.communicate(text.encode())
        except KeyboardInterrupt:
            # A terminal sends Ctrl-C to both processes, a supervisor a signal to this one alone.
            # The new process counts only the first signal. It may have inherited to ignore SIGINT.
            process.terminate()
            process.wait()
            raise
    return process.returncode


def death(status: int) -> str:
    """Why a process with this exit status has written no document."""
    if status >= 0:
        return f"its process ended with status {status} before it wrote a result"
    name = f"signal {-status} ({signal.strsignal(-status)})"
    hint = "; the machine may have too little memory" if -status == signal.SIGKILL else ""
    return f"its process was ended by {name} before it wrote a result{hint}"


def answer(text: bytes, search_progress: Callable[[], Progress]) -> None:
    """In the new process: measure what a RepeatRequest says, in JSON, and write the document.

    Raises KeyboardInterrupt on Ctrl-C, when what was measured is written.
    """
    request = RepeatRequest.model_validate_json(text)
    spec = request.spec.model_copy(update={"allow_code": request.allow_code})
    directory = open_run(request.directory)
    repeat = request.repeat.model_copy(update={"process": THIS_PROCESS})
    if request.search is not None:
        from gpubench.measure.search_rounds import search_and_write

        search_and_write(spec, request.search, directory, request.name, repeat, search_progress())
        return

    def keep(result: Result) -> None:
        result.repeat = repeat
        directory.write(request.name, result, result.samples)

    Bench(request.machine).measure(cell_of(spec), keep)
