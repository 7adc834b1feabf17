"""The temperature of what computes: of the CPU, from the kernel's sensors, or of GPUs, from NVML.

The kernel shows sensors in two places. Chips with a driver of their own are in hwmon: coretemp
(Intel), k10temp and zenpower (AMD), cpu_thermal (ARM boards). Others are thermal zones, with names
that differ from board to board, such as cpu-thermal or CPU-therm. Only sensors whose name says that
they are the CPU's are read: the ACPI zone of many machines is a fixed number.

Sources: Documentation/hwmon/sysfs-interface.rst and Documentation/driver-api/thermal/sysfs-api.rst
of Linux. Both give thousandths of a degree Celsius.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpubench.system.gpus import gpus_of
from gpubench.system.kernel_files import number_in, text_of
from gpubench.system.telemetry import Nvml, find, load_nvml

SYS = Path("/sys")  # tests give another folder

_CHIPS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal"})
_ZONE = re.compile(r"cpu|x86_pkg|soc", re.IGNORECASE)


@dataclass(frozen=True)
class Thermometer:
    """One or more sensors that are read together."""

    name: str  # "coretemp", "cpu-thermal", "NVML: cuda:0"
    hottest_c: Callable[[], float | None]  # None: a sensor gives no temperature


def thermometer(devices: Sequence[str]) -> Thermometer | None:
    """The sensors of the CPU, for ("cpu",), or of these GPUs. None if there are none to read."""
    if tuple(devices) == ("cpu",):
        return cpu_thermometer(SYS)
    return gpu_thermometer(devices, load_nvml())


def cpu_thermometer(sys: Path) -> Thermometer | None:
    """The sensors of the CPU below the folder `sys`. None if none of them can be read."""
    chips = {
        folder: name
        for folder in sorted(sys.glob("class/hwmon/hwmon*"))
        if (name := text_of(folder / "name").strip()) in _CHIPS
    }
    found = {file: name for folder, name in chips.items() for file in folder.glob("temp*_input")}
    if not any(_celsius(file) is not None for file in found):
        found = {
            zone / "temp": name
            for zone in sorted(sys.glob("class/thermal/thermal_zone*"))
            if (name := text_of(zone / "type").strip()) and _ZONE.search(name)
        }
    # Some boards list sensors that no reading ever succeeds on, such as those of absent cores.
    readable = {file: name for file, name in found.items() if _celsius(file) is not None}
    if not readable:
        return None
    return Thermometer(
        name=", ".join(dict.fromkeys(readable.values())),
        hottest_c=lambda: _hottest([_celsius(file) for file in readable]),
    )


def gpu_thermometer(devices: Sequence[str], nvml: Nvml | None) -> Thermometer | None:
    """The sensors of these GPUs. None if one of them shows no temperature."""
    gpus = gpus_of(devices)
    if nvml is None or not gpus or len(gpus) < len(devices):
        return None
    sensors = [find(nvml, gpu) for gpu in gpus]
    measured = Thermometer(
        name=f"NVML: {', '.join(devices)}",
        hottest_c=lambda: _hottest([sensor.read().temperature_c for sensor in sensors]),
    )
    return None if measured.hottest_c() is None else measured


def _hottest(readings: Sequence[float | None]) -> float | None:
    known = [each for each in readings if each is not None]
    return max(known) if known and len(known) == len(readings) else None


def _celsius(file: Path) -> float | None:
    thousandths = number_in(file)
    return None if thousandths is None else thousandths / 1000
