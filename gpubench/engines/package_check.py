"""Loads a compiled package in a child process, to see whether it can be loaded at all.

Some C++ compilers link a second C++ library into the package. Beside torch, such a package ends the
process when it is loaded (seen with a GCC that links libstdc++ statically), or raises an error that
has nothing to do with its cause ("std::bad_cast"). In a child process both become a message.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from gpubench.errors import reason_in

# The arguments of the child: the package, and the number of its GPU or -1.
_LOAD = """
import sys
from torch._inductor.package.package import load_package
load_package(sys.argv[1], device_index=int(sys.argv[2]))
"""


def reason_not_loadable(package: Path, device_index: int) -> str | None:
    """Why the package cannot be loaded, in a few words; None if it can.

    `device_index` is the number of the GPU, or -1 for the CPU. Takes as long as importing torch.
    """
    child = subprocess.run(
        [sys.executable, "-c", _LOAD, str(package), str(device_index)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if child.returncode == 0:
        return None
    if child.returncode < 0:
        return f"loading it ends the process with {signal.Signals(-child.returncode).name}"
    lines = child.stderr.strip().splitlines() or ["no message"]
    return reason_in(lines[-1])
