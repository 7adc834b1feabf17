"""The installed command: from its first signal handler to the end of the process."""

from __future__ import annotations

import os
import sys

from gpubench.system import interrupts

TYPE_CHECKING = False  # as in typing, which takes time to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def _command_line() -> int:
    from gpubench.cli.program import main

    return main()


def console(main: Callable[[], int] = _command_line) -> NoReturn:
    """Run the command line of this process, or another `main`, and end it with its exit status.

    Signals have their handlers before anything that takes time is imported.
    """
    interrupts.install()
    status = 1
    try:
        from gpubench.cli import streams

        streams.separate()
        status = main()
        interrupts.finish()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else status
    except BaseException:
        if not interrupts.received():
            raise
    interrupts.finish()
    # If KeyboardInterrupt has left an exec() of a text, as that of a dataclass, Python ends itself
    # with SIGINT, even if it was caught. The next exec() of a text makes it forget that:
    # run_eval_code_obj in https://github.com/python/cpython/blob/3.13/Python/pythonrun.c
    exec("")
    end(interrupts.exit_status() if interrupts.received() else status)


def end(status: int) -> NoReturn:
    """End the process, whatever may hold it up."""
    _flush()
    core = sys.modules.get("gpubench.core")
    if core is not None and core.abandoned_workers():
        os._exit(status)  # a hung batch still runs in a thread, and would keep Python from ending
    sys.exit(status)


def end_at_once(status: int) -> NoReturn:
    """End the process without freeing its objects and without waiting for its threads."""
    _flush()
    os._exit(status)


def _flush() -> None:
    streams = sys.modules.get("gpubench.cli.streams")
    if streams is not None:
        from contextlib import suppress

        with suppress(OSError):  # what main has told already
            streams.flush()
        sys.stdout = sys.stderr  # what foreign code may still print is no result
