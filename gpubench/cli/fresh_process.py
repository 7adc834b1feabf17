"""The process of one repeat of a search with `--fresh`. gpubench.measure.fresh starts it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

from gpubench.cli.entry import console
from gpubench.system.interrupts import ENDING

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def start() -> NoReturn:
    """Search what standard input says, and end the process with an exit status."""
    console(_main)


def _main() -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # now that they have handlers
    _end_with_parent()
    from gpubench.cli.foreign_code import foreign_code
    from gpubench.cli.program import FAILED, fail
    from gpubench.errors import GpubenchError
    from gpubench.measure.fresh import answer
    from gpubench.measure.progress import Progress

    # The parent has set this variable for its child processes if it is quiet.
    quiet = os.environ.get("PYTHONWARNINGS") == "ignore"

    def search_progress() -> Progress:
        from gpubench.cli.search import SearchProgress

        return SearchProgress(quiet)

    with foreign_code(quiet):
        try:
            answer(sys.stdin.buffer.read(), search_progress)
        except GpubenchError as error:
            return fail(str(error), FAILED)
    return 0


def _end_with_parent() -> None:
    """Let the kernel end this process if its parent is killed: it would disturb what follows."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
