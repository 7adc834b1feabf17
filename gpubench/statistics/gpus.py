"""What each GPU contributed to a cell and its state meanwhile, from samples and telemetry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

from gpubench.results.result import (
    ClockFrequency,
    Clocks,
    DeviceReport,
    GpuReadings,
    GpuReport,
)
from gpubench.statistics.analysis import Analysis
from gpubench.system.gpus import Gpu
from gpubench.system.telemetry import CLOCK_EVENTS, HEAT_OR_PROTECTION, Reading, Readings

MOST_READINGS = 200  # of each GPU in the result: all of a window of 40 seconds
_NS_PER_S = 1e9

# The energy counter and the power readings are compared if there are as many readings, over as much
# time. From Ampere on a power reading is the mean of the last second, so at either end of a shorter
# time it would say too much about what was before.
_FEWEST_READINGS = 10
_SHORTEST_S = 5.0
_MOST_DISAGREEMENT = 0.1

_Number = TypeVar("_Number", int, float)
_Item = TypeVar("_Item")


def device_report(
    worker_devices: Sequence[str],
    analysis: Analysis,
    inferences_per_request: int,
    readings: Readings,
    gpus: Sequence[Gpu],
    *,
    replicas: int = 1,
) -> DeviceReport:
    """Every GPU that a cell ran on, and all of them together.

    `worker_devices` has the device of each worker, in the order of their numbers. Figures of a
    device that is missing in `readings` or `gpus` are None. In training, each of the `replicas` has
    a device, and makes every step of the only worker; `inferences_per_request` is then the share of
    one replica.
    """
    reports = []
    known = {gpu.device: gpu for gpu in gpus}
    completed = list(analysis.completed_by_worker) * replicas
    for device in dict.fromkeys(worker_devices):
        workers = [number for number, at in enumerate(worker_devices) if at == device]
        requests = sum(completed[number] for number in workers if number < len(completed))
        reports.append(
            _gpu_report(
                device,
                workers,
                requests * inferences_per_request,
                analysis,
                readings.get(device, ()),
                known.get(device),
            )
        )
    return _together(reports, sum(completed) * inferences_per_request)


def _gpu_report(
    device: str,
    workers: list[int],
    inferences: int,
    analysis: Analysis,
    recorded: Sequence[Reading],
    gpu: Gpu | None,
) -> GpuReport:
    window_seconds = analysis.window_seconds
    readings = inside(recorded, analysis.window_ns)
    power = _power(readings)
    power_w = power.watts
    energy_j = None if power_w is None or window_seconds is None else power_w * window_seconds
    events = _clock_events(readings)
    throttled_share = _share_with(readings, HEAT_OR_PROTECTION)
    utilization_percent = _mean(_known(readings, lambda r: r.utilization_percent))
    processes = _known(readings, lambda r: r.processes)
    return GpuReport(
        device=device,
        name=gpu.name if gpu else None,
        uuid=gpu.uuid if gpu else None,
        pci_bus_id=gpu.pci_bus_id if gpu else None,
        workers=workers,
        throughput_per_second=inferences / window_seconds if window_seconds else None,
        clocks=Clocks(
            sm_mhz=_clock(_known(readings, lambda r: r.sm_clock_mhz)),
            memory_mhz=_clock(_known(readings, lambda r: r.memory_clock_mhz)),
        ),
        clock_events=events,
        throttled=None if throttled_share is None else throttled_share > 0,
        throttled_share=throttled_share,
        power_w=power_w,
        energy_j=energy_j,
        energy_from=None if energy_j is None else power.source,
        energy_disagreement=power.disagreement,
        energy_note=power.note,
        energy_j_per_inference=_per_inference(energy_j, inferences),
        temperature_c=max(_known(readings, lambda r: r.temperature_c), default=None),
        utilization=None if utilization_percent is None else utilization_percent / 100,
        memory_used_bytes=max(_known(readings, lambda r: r.memory_used_bytes), default=None),
        other_processes=max(processes) - 1 if processes else None,  # one of them is this one
        readings=_over_time(readings, analysis.window_ns),
    )


def _together(reports: Sequence[GpuReport], inferences: int) -> DeviceReport:
    """Sums, means and extremes. None if the figure of one of the GPUs is unknown."""

    def every(figure: Callable[[GpuReport], float | None]) -> list[float]:
        known = [value for report in reports if (value := figure(report)) is not None]
        return known if len(known) == len(reports) else []

    def clock(which: Callable[[Clocks], ClockFrequency | None]) -> ClockFrequency | None:
        clocks = [clock for report in reports if (clock := which(report.clocks)) is not None]
        if len(clocks) < len(reports):
            return None
        mean = sum(clock.mean for clock in clocks) / len(clocks)
        return ClockFrequency(mean=mean, min=min(clock.min for clock in clocks))

    power_w, energy_j = every(lambda r: r.power_w), every(lambda r: r.energy_j)
    shares = every(lambda r: r.throttled_share)
    memory = every(lambda r: r.memory_used_bytes)
    processes = every(lambda r: r.other_processes)
    total_j = sum(energy_j) if energy_j else None
    return DeviceReport(
        clocks=Clocks(sm_mhz=clock(lambda c: c.sm_mhz), memory_mhz=clock(lambda c: c.memory_mhz)),
        throttled=max(shares) > 0 if shares else None,
        throttled_share=max(shares, default=None),
        power_w=sum(power_w) if power_w else None,
        energy_j=total_j,
        energy_j_per_inference=_per_inference(total_j, inferences),
        temperature_c=max(every(lambda r: r.temperature_c), default=None),
        utilization=_mean(every(lambda r: r.utilization)),
        memory_used_bytes=int(max(memory)) if memory else None,
        other_processes=int(max(processes)) if processes else None,
        gpus=list(reports),
    )


def inside(readings: Sequence[Reading], window_ns: tuple[int, int] | None) -> list[Reading]:
    """The readings in the window, which are in the order of time."""
    if window_ns is None:
        return []
    opens_ns, closes_ns = window_ns
    return [reading for reading in readings if opens_ns <= reading.time_ns <= closes_ns]


def _over_time(
    readings: Sequence[Reading], window_ns: tuple[int, int] | None
) -> GpuReadings | None:
    known = [r for r in readings if r.sm_clock_mhz is not None or r.power_w is not None]
    if window_ns is None or not known:
        return None
    kept = evenly_chosen(known, MOST_READINGS)
    return GpuReadings(
        seconds=[round((r.time_ns - window_ns[0]) / _NS_PER_S, 3) for r in kept],
        sm_clock_mhz=[r.sm_clock_mhz for r in kept],
        power_w=[r.power_w for r in kept],
        total=len(known),
    )


def evenly_chosen(items: Sequence[_Item], most: int) -> list[_Item]:
    """The items; if there are more than `most` (at least 2), so many from the first to the last."""
    if len(items) <= most:
        return list(items)
    step = (len(items) - 1) / (most - 1)
    return [items[round(number * step)] for number in range(most)]


def _known(
    readings: Sequence[Reading], figure: Callable[[Reading], _Number | None]
) -> list[_Number]:
    return [value for reading in readings if (value := figure(reading)) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _clock(mhz: Sequence[float]) -> ClockFrequency | None:
    return ClockFrequency(mean=sum(mhz) / len(mhz), min=min(mhz)) if mhz else None


@dataclass(frozen=True)
class _Power:
    """The mean power of a GPU, and how well its two meters agree."""

    watts: float | None = None
    source: Literal["counter", "power"] | None = None
    disagreement: float | None = None  # integral of the readings / energy of the counter, minus 1
    note: str | None = None  # why there is no power, or why the meters were not compared


def _power(readings: Sequence[Reading]) -> _Power:
    """The power by the energy counter, which is checked against the power readings.

    If the two meters contradict each other, it is unknown which of them is right, and there is
    neither power nor energy. Without a counter it is the mean of the power readings.
    """
    read_w = _mean(_known(readings, lambda r: r.power_w))
    counted_w = power_from_counter(readings)
    if counted_w is None:
        if read_w is None:
            return _Power()
        return _Power(read_w, "power", note="not checked: the energy counter reports nothing")
    measured = [
        (r.time_ns / _NS_PER_S, r.power_w, r.energy_j)
        for r in readings
        if r.power_w is not None and r.energy_j is not None
    ]
    if not measured:
        return _Power(counted_w, "counter", note="not checked: there are no power readings")
    (start_s, _, start_j), (end_s, _, end_j) = measured[0], measured[-1]
    if len(measured) < _FEWEST_READINGS or end_s - start_s < _SHORTEST_S or end_j <= start_j:
        return _Power(
            counted_w,
            "counter",
            note=f"not checked: {len(measured)} power readings in {end_s - start_s:.1f} s; "
            f"{_FEWEST_READINGS} in {_SHORTEST_S:g} s are needed",
        )
    integral_j = sum(
        (after_s - before_s) * (before_w + after_w) / 2
        for (before_s, before_w, _), (after_s, after_w, _) in pairwise(measured)
    )
    disagreement = integral_j / (end_j - start_j) - 1
    if abs(disagreement) > _MOST_DISAGREEMENT:
        return _Power(
            disagreement=disagreement,
            note=f"the power readings add up to {1 + disagreement:.2f} times the energy of the "
            "counter, so neither is used",
        )
    return _Power(counted_w, "counter", disagreement)


def power_from_counter(readings: Sequence[Reading]) -> float | None:
    """Mean watts between the first and the last reading of the energy counter.

    None if there is no counter, or if it did not rise: every device uses energy, and the counter of
    a GPU starts again at zero when the driver is loaded again.
    """
    counted = [(r.time_ns, r.energy_j) for r in readings if r.energy_j is not None]
    if len(counted) < 2:
        return None
    (first_ns, first_j), (last_ns, last_j) = counted[0], counted[-1]
    if last_j <= first_j or last_ns <= first_ns:
        return None
    return (last_j - first_j) / ((last_ns - first_ns) / _NS_PER_S)


def _clock_events(readings: Sequence[Reading]) -> dict[str, float] | None:
    """Share of the readings with each clock event that occurred, except "idle"."""
    if _share_with(readings, 0) is None:
        return None
    shares = {name: _share_with(readings, bit) for bit, name in CLOCK_EVENTS.items()}
    return {name: share for name, share in shares.items() if share and name != "idle"}


def _share_with(readings: Sequence[Reading], bits: int) -> float | None:
    """Share of the readings in which any of these clock events was on. None if unknown."""
    known = _known(readings, lambda r: r.clock_events)
    return sum(1 for events in known if events & bits) / len(known) if known else None


def _per_inference(energy_j: float | None, inferences: int) -> float | None:
    return energy_j / inferences if energy_j is not None and inferences else None
