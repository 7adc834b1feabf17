"""The processes in which the nodes of a Ray cluster on this machine measure."""

from __future__ import annotations

from pathlib import Path


def worker_processes(starter: int) -> list[int]:
    """Those of the nodes that the process `starter` has started. Ray gives them this name."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::NodeWorker" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended
            continue
    return [each for each in found if starter in _ancestors(each)]


def _ancestors(process: int) -> list[int]:
    found: list[int] = []
    try:
        while process > 1:
            # "PID (NAME) STATE PARENT ...", and the name may contain spaces
            text = Path(f"/proc/{process}/stat").read_text()
            process = int(text.rpartition(")")[2].split()[1])
            found.append(process)
    except OSError:  # it has ended
        pass
    return found
