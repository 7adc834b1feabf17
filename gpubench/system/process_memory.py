"""The largest memory that this process had in use, as the Linux kernel counts it."""

from __future__ import annotations

from pathlib import Path

from gpubench.errors import reason_of

_THIS_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"


class ResidentPeak:
    """The largest resident memory of this process since this object was made.

    The kernel keeps one peak for each process. Making this object sets it back to the present use,
    so only the newest object has the right peak. `unknown` says why it cannot be set back or read;
    None: it can. Sources: proc_pid_clear_refs(5), and VmHWM in proc_pid_status(5).
    """

    def __init__(self, process: Path = _THIS_PROCESS) -> None:
        """Tests give the folder of the process."""
        self._process = process
        self.unknown: str | None = None
        try:
            with (process / "clear_refs").open("w") as file:
                file.write(_RESET_PEAK)
        except OSError as error:
            self.unknown = f"the kernel does not reset the peak ({reason_of(error)})"
        else:
            if self._read() is None:
                self.unknown = "the kernel does not report the peak"

    def bytes(self) -> int | None:
        """The peak until now; None if it is unknown."""
        return None if self.unknown else self._read()

    def _read(self) -> int | None:
        try:
            lines = (self._process / "status").read_text(errors="replace").splitlines()
        except OSError:
            return None
        for line in lines:
            name, _, value = line.partition(":")
            number, _, unit = value.strip().partition(" ")
            if name == "VmHWM" and number.isdecimal() and unit == "kB":  # they are KiB
                return int(number) * 1024
        return None
