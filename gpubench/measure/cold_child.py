"""The process of one cold start: `python -m gpubench.measure.cold_child TASK`.

It writes one line of JSON to a file of its parent when a stage ends, so that a process that is
killed leaves what it has measured. `gpubench.measure.cold` reads the lines.
"""

from __future__ import annotations

import time

FIRST_LINE_NS = time.monotonic_ns()  # before anything else is imported: the interpreter is ready

TYPE_CHECKING = False  # as in typing, which takes time to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class StartClock:
    """Divides the time from the first line on into stages that leave no gap."""

    def __init__(self, write: Callable[[dict[str, Any]], None]) -> None:
        self.write = write
        self._stage, self._since_ns = "imports", FIRST_LINE_NS
        write({"first_line_ns": FIRST_LINE_NS})

    def enter(self, stage: str, excluded_s: float = 0.0) -> None:
        """End the stage in progress, and begin `stage`. "excluded" is in no sum of the start.

        `excluded_s` is the part of the stage in progress that a server does not need.
        """
        now_ns = time.monotonic_ns()
        excluded_ns = round(excluded_s * 1e9)
        spent_ns = now_ns - self._since_ns - excluded_ns
        self.write(
            {"stage": self._stage, "ns": spent_ns, "next": stage, "excluded_ns": excluded_ns}
        )
        self._stage, self._since_ns = stage, now_ns


def _main() -> None:
    import json
    import os
    import sys

    task: dict[str, Any] = json.loads(sys.argv[1])

    def write(fields: dict[str, Any]) -> None:
        os.write(task["file"], json.dumps(fields).encode() + b"\n")

    if task.get("cpus") is not None:
        os.sched_setaffinity(0, task["cpus"])
    opened: set[str] = set()
    if task["list_files"]:

        def note(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and isinstance(arguments[0], str):
                opened.add(arguments[0])

        sys.addaudithook(note)
    try:
        if task["resolve"]:
            from gpubench.measure.cold_start import resolved

            write(resolved(task["spec"]))
            return
        clock = StartClock(write)
        from gpubench.measure.cold_start import files_read, start

        cell = start(task["spec"], clock, describe=task["list_files"])
        if task["list_files"]:
            write({"files": files_read(cell, opened)})
    except (Exception, SystemExit) as error:
        from gpubench.errors import one_line

        write({"error": one_line(error)})


if __name__ == "__main__":
    _main()
