"""The energy counters of the CPU packages: RAPL, as Linux shows it in /sys/class/powercap.

A package is a socket with its cores, caches and memory controller. Only packages are read: cores
and memory are parts of them or beside them, and psys is the whole platform, which few machines
have. AMD's processors have the same names. Since a security flaw of 2020 (CVE-2020-8694) only root
may read the counters, unless the machine is set up otherwise.

A counter begins again at zero after `max_energy_range_uj`, which takes from minutes to hours.
Source: Documentation/power/powercap/powercap.rst of Linux.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gpubench.system.kernel_files import number_in, text_of

SYS = Path("/sys")  # tests give another folder

ABSENT = "the kernel shows no energy counter of the CPU (RAPL); most virtual machines have none"
UNREADABLE = (
    "the energy counter of the CPU (RAPL) cannot be read, which usually only root may: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj allows it until the next start"
)
_DOMAINS = "class/powercap/intel-rapl:*"


@dataclass
class Package:
    """The counter of one package, from the time on when this object was made."""

    name: str  # "package-0"
    _file: Path
    _range_uj: int
    _last_uj: int
    _wrapped_uj: int = field(default=0, init=False)

    def energy_j(self) -> float | None:
        """Joules since any one moment, which never fall. None if the counter cannot be read.

        It must be read at least once in each round of the counter.
        """
        now_uj = number_in(self._file)
        if now_uj is None:
            return None
        if now_uj < self._last_uj:
            self._wrapped_uj += self._range_uj
        self._last_uj = now_uj
        return (self._wrapped_uj + now_uj) / 1e6


@dataclass(frozen=True)
class Packages:
    """All packages of this machine. `unknown` says why there are none; None: there are some."""

    packages: tuple[Package, ...] = ()
    unknown: str | None = None


def cpu_packages(sys: Path | None = None) -> Packages:
    """The packages of this machine: all of them, or none if one cannot be read."""
    found = []
    for domain in sorted((sys or SYS).glob(_DOMAINS)):
        name = text_of(domain / "name").strip()
        # intel-rapl:0:1 is a part of intel-rapl:0.
        if domain.name.count(":") > 1 or not name.startswith("package"):
            continue
        energy_uj = number_in(domain / "energy_uj")
        range_uj = number_in(domain / "max_energy_range_uj")
        if energy_uj is None or range_uj is None:
            return Packages(unknown=UNREADABLE)
        found.append(Package(name, domain / "energy_uj", range_uj, energy_uj))
    return Packages(tuple(found)) if found else Packages(unknown=ABSENT)
