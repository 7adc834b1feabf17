"""The energy of the CPU packages in the window of a cell, from the readings of their counters."""

from __future__ import annotations

from gpubench.results.result import CpuEnergy
from gpubench.statistics.analysis import Analysis
from gpubench.statistics.gpus import inside, power_from_counter
from gpubench.system.rapl import Packages
from gpubench.system.telemetry import Readings

_UNKNOWN = (
    "the window is too short for the energy counter of the CPU, which is read every 0.2 s, or the "
    "counter stands still"
)


def cpu_energy(
    analysis: Analysis, inferences_per_request: int, readings: Readings, packages: Packages
) -> CpuEnergy:
    """The energy of all packages together, over the whole window.

    It is the mean power between the first and the last reading in the window, times its length. It
    is unknown if that of one package is.
    """
    if packages.unknown is not None:
        return CpuEnergy(note=packages.unknown)
    count = len(packages.packages)
    powers = [
        power_from_counter(inside(readings.get(package.name, ()), analysis.window_ns))
        for package in packages.packages
    ]
    known = [power for power in powers if power is not None]
    seconds = analysis.window_seconds
    if seconds is None or not count or len(known) < count:
        return CpuEnergy(packages=count, note=_UNKNOWN)
    energy_j = sum(known) * seconds
    inferences = sum(analysis.completed_by_worker) * inferences_per_request
    return CpuEnergy(
        power_w=sum(known),
        energy_j=energy_j,
        energy_j_per_inference=energy_j / inferences if inferences else None,
        packages=count,
    )
