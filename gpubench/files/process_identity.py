"""Names a process, so that another process of the same machine can see whether it has ended."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATE, _STARTED = 0, 19  # fields of /proc/PID/stat after the name of the program: see proc(5)


@dataclass(frozen=True)
class ProcessIdentity:
    host: str
    # The start of the kernel, and the namespace in which `pid` is the number of the process: two
    # containers of a machine may use the same number. Empty: not known.
    kernel: str
    pid: int
    started: int  # when it started, in the kernel's clock ticks; 0: not known

    def has_ended(self) -> bool:
        """Whether the process is known to have ended. False for a process of another machine."""
        if not self.kernel or self.kernel != _kernel() or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:
            pass  # it runs, for another user
        fields = _stat(self.pid)
        if fields is None:
            return False  # hidden from this user
        return fields[_STATE] in {"X", "Z"} or self.started not in {0, int(fields[_STARTED])}


def this_process() -> ProcessIdentity:
    fields = _stat(os.getpid())
    return ProcessIdentity(
        host=socket.gethostname()[:255],
        kernel=_kernel(),
        pid=os.getpid(),
        started=int(fields[_STARTED]) if fields else 0,
    )


def _kernel() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, which may itself contain brackets and spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
