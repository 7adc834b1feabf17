"""Makes one repeat of a search in a new process, and writes its document from there.

A process decides many things once: where its memory lies, in which order it loads what, which of
several equal kernels it chooses. Repeats in one process share these decisions. Repeats of a cell
have processes of their own through gpubench.measure.isolated.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable

from pydantic import BaseModel

from gpubench.errors import InputError
from gpubench.measure.progress import Progress
from gpubench.results.result import Repeat
from gpubench.results.run_directory import RunDirectory, open_run
from gpubench.spec.objective import SearchSettings
from gpubench.spec.spec import Spec
from gpubench.system.interrupts import ENDING

THIS_PROCESS = secrets.token_hex(4)  # the name of this process in documents

# The new process finds the same modules as this one, those of models included.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from gpubench.cli.fresh_process import start; start()"
)


class RepeatRequest(BaseModel):
    """What the new process searches, and where it writes the document."""

    spec: Spec
    allow_code: bool  # of the spec, which leaves it out of documents
    search: SearchSettings
    directory: str
    name: str
    repeat: Repeat


def refuse_unreachable(directory: RunDirectory) -> None:
    """Raises InputError if another process cannot write to this directory."""
    if directory.url.startswith("memory:"):
        raise InputError(
            f"--fresh: another process cannot write to {directory.url}; choose another --output"
        )


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


def answer(text: bytes, progress: Callable[[], Progress]) -> None:
    """In the new process: search what a RepeatRequest says, in JSON, and write the document.

    Raises KeyboardInterrupt on Ctrl-C, when what was measured is written.
    """
    from gpubench.measure.search_rounds import search_and_write

    request = RepeatRequest.model_validate_json(text)
    spec = request.spec.model_copy(update={"allow_code": request.allow_code})
    directory = open_run(request.directory)
    repeat = request.repeat.model_copy(update={"process": THIS_PROCESS})
    search_and_write(spec, request.search, directory, request.name, repeat, progress())
