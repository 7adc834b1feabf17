"""When this process began, as the Linux kernel counts it."""

from __future__ import annotations

import os
import time
from pathlib import Path

_START_FIELD = 22  # of proc_pid_stat(5): clock ticks after the boot of the machine


def process_began_ns(stat: Path = Path("/proc/self/stat")) -> int | None:
    """The start of this process on the clock of time.monotonic_ns(), to about 10 ms.

    None if the kernel does not tell it. Tests give the file.
    """
    try:
        # The name of the program, in parentheses, may itself contain spaces and parentheses.
        fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        ticks = int(fields[_START_FIELD - 3])
        after_boot_ns = ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - after_boot_ns
    return time.monotonic_ns() - age_ns if age_ns >= 0 else None
