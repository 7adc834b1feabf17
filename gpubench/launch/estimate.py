"""The time and the money of a launch, before anything is started, and the limits on them.

Known are the warm-up and the window of each cell. What else a cell takes (loading, building,
checking) comes from earlier measurements of the same model and runtime in the directory. Without
them, and for the start of a machine, the figures below are assumed, and the estimate says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.launch.manifest import Job
from gpubench.launch.plan_jobs import as_asked
from gpubench.measure.time_left import from_settings
from gpubench.report.format import elapsed, usd
from gpubench.results.result import Result
from gpubench.spec.spec import Spec

# Assumed. They are rough figures for a model of some hundred megabytes on a cloud machine.
START_S = 300.0  # from the request for a machine until its worker runs, with a pulled image
ENGINE_S = 120.0  # to start a process, and to load, build and check an engine
AROUND_CELL_S = 3.0  # inputs, workers, analysis, writing the result
RUN_S = 15.0  # a warm-up and a window whose length is not known: --warmup auto, --requests


@dataclass(frozen=True)
class FleetEstimate:
    """The machines of one type of instance."""

    instance: str | None
    machines: int
    jobs: int
    measurements: int  # that are missing: cells x repeats
    longest_s: float  # the work of the machine that has most of it, after its start
    work_s: float  # of all machines together
    usd_per_hour: float | None  # of one machine

    @property
    def seconds(self) -> float:
        """From the launch until the last machine has ended."""
        return START_S + self.longest_s

    @property
    def usd(self) -> float | None:
        if self.usd_per_hour is None:
            return None
        return (self.machines * START_S + self.work_s) / 3600 * self.usd_per_hour


@dataclass(frozen=True)
class LaunchEstimate:
    fleets: tuple[FleetEstimate, ...]
    assumptions: tuple[str, ...]  # sentences

    @property
    def seconds(self) -> float:
        """All fleets run at the same time."""
        return max(fleet.seconds for fleet in self.fleets)

    @property
    def usd(self) -> float | None:
        """None: the price of an instance is not known."""
        parts = [fleet.usd for fleet in self.fleets]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


def estimate(
    jobs: Sequence[Job],
    repeats: int,
    missing: Mapping[str, int],
    machines: int,
    earlier: Sequence[Result],
    usd_per_hour: Mapping[str | None, float | None],
) -> LaunchEstimate:
    """What these jobs take on at most `machines` machines for each type of instance.

    `missing` has the measurements that each job still needs, by its digest; of a job that is not in
    it, all. `earlier` are measurements in the same directory.
    """
    instances = dict.fromkeys(job.instance for job in jobs)
    used: set[str] = {f"{elapsed(START_S)} for the start of a machine"}
    fleets = []
    for instance in instances:
        own = [job for job in jobs if job.instance == instance]
        count = min(machines, len(own))
        each = [job_seconds(job, repeats, missing, earlier, used) for job in own]
        by_machine = [sum(each[number::count]) for number in range(count)]
        fleets.append(
            FleetEstimate(
                instance=instance,
                machines=count,
                jobs=len(own),
                measurements=sum(missing.get(job.digest, repeats * len(job.cells)) for job in own),
                longest_s=max(by_machine),
                work_s=sum(each),
                usd_per_hour=usd_per_hour.get(instance),
            )
        )
    return LaunchEstimate(tuple(fleets), tuple(f"Assumed: {text}." for text in sorted(used)))


def job_seconds(
    job: Job,
    repeats: int,
    missing: Mapping[str, int],
    earlier: Sequence[Result],
    assumed: set[str],
) -> float:
    """The missing measurements of a job. What is assumed is added to `assumed`, as phrases."""
    all_s = sum(_measurement_s(cell.spec, earlier, assumed) for cell in job.cells)
    wanted = repeats * len(job.cells)
    share = missing.get(job.digest, wanted) / wanted
    engine_s = 0.0
    if not (job.cells[0].spec.synthetic or _similar(job.cells[0].spec, earlier)):
        engine_s = ENGINE_S
        assumed.add(f"{elapsed(ENGINE_S)} to load, build and check each engine")
    return engine_s + repeats * share * all_s


def _measurement_s(spec: Spec, earlier: Sequence[Result], assumed: set[str]) -> float:
    seconds, basis = from_settings(as_asked(spec), earlier)
    if seconds is None or spec.arrivals.startswith("trace:"):
        assumed.add(
            f"{elapsed(RUN_S)} for each warm-up and window whose length is not known before"
        )
        return RUN_S + AROUND_CELL_S
    if basis == "settings":
        assumed.add(f"{elapsed(AROUND_CELL_S)} around each warm-up and window")
        return seconds + AROUND_CELL_S
    return seconds


def _similar(spec: Spec, earlier: Sequence[Result]) -> bool:
    return any(
        result.seconds is not None
        and result.error is None
        and (result.spec.model, result.spec.runtime) == (spec.model, spec.runtime)
        for result in earlier
    )


def refuse_expensive(estimated: LaunchEstimate, max_usd: float) -> None:
    """Raises InputError if a launch would probably cost more than `max_usd`."""
    unknown = [each.instance for each in estimated.fleets if each.usd_per_hour is None]
    if unknown:
        raise InputError(
            f"--max-usd: the price of {unknown[0] or 'the machines'} is not known; give it with "
            "--prices, or with --usd-per-hour"
        )
    if (cost := estimated.usd) is not None and cost > max_usd:
        raise InputError(
            f"this launch costs about ${usd(cost)}, and --max-usd is ${usd(max_usd)}; measure less "
            "(fewer cells or instances, a shorter --duration), or raise --max-usd"
        )


def time_limits(estimated: LaunchEstimate, max_usd: float) -> dict[str | None, int]:
    """The seconds after which the machines of each fleet must end, so that all cost `max_usd`.

    Each machine gets the same multiple of the longest work of its fleet. The limit is that of its
    worker, so the assumed start of each machine is paid from `max_usd` too.

    Raises InputError if `max_usd` does not even pay the start of the machines.
    """
    start_usd = work_usd = 0.0
    for fleet in estimated.fleets:
        price = fleet.machines * (fleet.usd_per_hour or 0.0) / 3600
        start_usd += price * START_S
        work_usd += price * fleet.longest_s
    if not work_usd:  # the machines cost nothing
        return {}
    multiple = (max_usd - start_usd) / work_usd
    limits = {each.instance: math.floor(multiple * each.longest_s) for each in estimated.fleets}
    if min(limits.values()) < 1:
        raise InputError(
            f"--max-usd ${usd(max_usd)} does not pay for the start of these machines, about "
            f"${usd(start_usd)}; raise it, or start fewer --machines"
        )
    return limits
