"""The processes that measure the cells of an engine, from their start to their end.

gpubench.measure.isolated starts the first one, the template: see gpubench.system.process_template.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from gpubench.cli.entry import console, end_at_once
from gpubench.system.interrupts import ENDING


def start() -> NoReturn:
    """The template. It forks the processes that measure; each returns from `forked`."""
    from gpubench.cli.foreign_code import foreign_code
    from gpubench.system.process_template import forked

    with suppress(OSError):  # standard error is closed
        os.dup2(2, 1)  # nothing that a model prints may be among the results of the command
    # The parent has set this variable for its child processes if it is quiet.
    with foreign_code(quiet=os.environ.get("PYTHONWARNINGS") == "ignore"):
        connection = forked(int(sys.argv[1]))

        def main() -> int:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # now that they have handlers
            from gpubench.measure.isolated_child import answer

            try:
                answer(connection)
            except (EOFError, ConnectionError):  # the process that asked was killed
                end_at_once(1)
            # Python would take half a second to free every object of torch, one by one.
            atexit._run_exitfuncs()
            end_at_once(0)

        console(main)
