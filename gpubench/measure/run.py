"""Runs the load of a cell: first a warm-up, then the measured run.

Both use the same worker threads, because torch, OpenMP and CUDA keep state for each thread. The
throughput of the warm-up determines how large the timeline has to be.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

from gpubench import core
from gpubench.errors import reason_in
from gpubench.measure.collect import collect
from gpubench.measure.loads import offered_load
from gpubench.measure.stage_times import StageTimes
from gpubench.measure.warm_up import WarmedUp, warm_up
from gpubench.results.result import EventClock, InputRepetition, WarmUp
from gpubench.results.samples import Samples
from gpubench.spec.cell import Cell
from gpubench.statistics import ClosedLoopRule, OpenLoopRule
from gpubench.system.affinity import usable_now
from gpubench.system.cpu_threads import end_pools_of_this_thread
from gpubench.system.garbage import no_garbage_collection
from gpubench.system.gpus import Gpu, gpus_of
from gpubench.system.interrupts import Deferral
from gpubench.system.machine import busy_core_seconds
from gpubench.system.process_memory import ResidentPeak
from gpubench.system.rapl import Packages, cpu_packages
from gpubench.system.telemetry import Readings, recorded

# A batch that takes longer than this, and than 20 batches of the warm-up, counts as hung.
_LEAST_DEADLINE_NS = 60 * 10**9
# When a signal ends a run, batches in flight get this much time. The run ends within a second.
_GRACE_S = 0.5
# The timeline takes at most this share of the free memory.
_MEMORY_PART = 0.1
_BYTES_PER_REQUEST = 88  # at batch 1, with device events


@dataclass(frozen=True)
class MeasuredRun:
    """What the measured run of a cell recorded."""

    samples: Samples
    loop: ClosedLoopRule | OpenLoopRule  # which of the samples count
    offered: int
    failed: int
    warmup_seconds: float
    cpu_cores: float
    # Cores that other processes used meanwhile: of the cell, with --cpus. None: unknown.
    other_busy_cores: float | None
    cpus: frozenset[int]  # on which this process could run
    reason: str
    error: str | None
    interrupted: bool
    enqueue_ms: float | None = None  # mean host time of a graph's launch; None: no graphs
    peak_host_bytes: int | None = None  # resident memory, from the warm-up on
    peak_host_note: str | None = None  # why it is None
    compilations: int | None = None  # programs compiled in the measured run; None: not counted
    padded: int = 0  # requests that only filled up batches to a captured batch size
    event_clock: list[EventClock] | None = None  # one per worker; None: no device events
    gpus: tuple[Gpu, ...] = ()  # the GPUs of the run that could be identified
    # Telemetry of these GPUs, or of the packages of the CPU, during the run.
    readings: Readings = field(default_factory=dict)
    packages: Packages = field(default_factory=Packages)  # none if the CPU does not compute
    inputs: InputRepetition | None = None  # whether repeated inputs are faster; None: not checked
    # Only of --warmup auto: what it found, and its requests.
    warmup: WarmUp | None = None
    warmup_samples: Samples | None = None


# Arguments: the runner, the requests per second of the warm-up, and its length in seconds.
AfterWarmUp = Callable[[core.Runner, float, float], None]
BeforeWindow = Callable[[WarmedUp], None]


def hung_threads() -> int:
    """The number of worker threads of this process that hung. They may run for ever."""
    return core.abandoned_workers()


def measured_run(
    cell: Cell,
    executors: Sequence[core.Executor],
    deferral: Deferral | None = None,
    times: StageTimes | None = None,
    after_warm_up: AfterWarmUp | None = None,
    before_window: BeforeWindow | None = None,
    compilations: Callable[[], int] | None = None,
    helpers_cpu_seconds: Callable[[], float] | None = None,
) -> MeasuredRun:
    """Warm up, measure, and return all time stamps.

    `after_warm_up` may run further requests between the two. `before_window` is called last.
    `compilations` counts the programs that were compiled until now (Engine.compilations).
    `helpers_cpu_seconds` is the CPU time of processes that work for this one: it counts as its own.

    From the measured run on, `deferral` defers signals until the caller ends it; without it, they
    are deferred until this function returns. A signal then ends the run, and nothing that was
    measured is lost.

    The returned value reports an error or an interruption during the measured run, together with
    everything that was measured before it. Raises GpubenchError for an error during the warm-up,
    and KeyboardInterrupt for an interruption during the warm-up. `times` gets the stages.
    """
    times = times or StageTimes()
    times.enter("start")
    end_pools_of_this_thread()
    peak = ResidentPeak()
    runner = core.Runner(list(executors), wait=cell.wait)
    own_deferral = Deferral()
    try:
        times.enter("warmup")
        warmed_up = warm_up(runner, cell)
        if after_warm_up is not None:
            after_warm_up(runner, warmed_up.requests_per_second, warmed_up.seconds)
        if before_window is not None:
            before_window(warmed_up)
        compiled_before = None if compilations is None else compilations()
        run = _measure(
            runner, cell, warmed_up, peak, deferral or own_deferral, times, helpers_cpu_seconds
        )
        replays = [executor for executor in executors if _replays(executor)]
        launches = sum(executor.launches for executor in replays)
        enqueue_ns = sum(executor.enqueue_ns for executor in replays)
        return replace(
            run,
            samples=replace(run.samples, filled=any(each.fills_inputs for each in replays)),
            enqueue_ms=enqueue_ns / launches / 1e6 if launches else None,
            compilations=(
                None
                if compilations is None or compiled_before is None
                else compilations() - compiled_before
            ),
            padded=sum(executor.padded for executor in replays),
            event_clock=_event_clocks(executors),
        )
    finally:
        own_deferral.end()
        runner.close()


def _replays(executor: core.Executor) -> TypeGuard[core.cuda.GraphExecutor]:
    return isinstance(executor, core.cuda.GraphExecutor)


def _event_clocks(executors: Sequence[core.Executor]) -> list[EventClock] | None:
    """The clocks of the device events in the last run; None if a worker has no device events."""
    fits = [executor.clock for executor in executors if _replays(executor)]
    if not fits or len(fits) < len(executors):
        return None
    return [
        EventClock(
            width_us=None if fit.width_ns is None else fit.width_ns / 1e3,
            contradiction_us=fit.contradiction_ns / 1e3,
            drift_ppm=fit.drift_ppm,
            shifted_batches=fit.shifted_batches,
            largest_shift_us=fit.largest_shift_ns / 1e3,
            squeezed_batches=fit.squeezed_batches,
            largest_squeeze_us=fit.largest_squeeze_ns / 1e3,
        )
        for fit in fits
        if fit is not None  # None for a worker that executed no batch
    ]


def _measure(
    runner: core.Runner,
    cell: Cell,
    warmed_up: WarmedUp,
    peak: ResidentPeak,
    deferral: Deferral,
    times: StageTimes,
    helpers_cpu_seconds: Callable[[], float] | None,
) -> MeasuredRun:
    helpers_cpu_seconds = helpers_cpu_seconds or (lambda: 0.0)
    times.enter("start")
    load = offered_load(cell, warmed_up.requests_per_second)
    gpus = gpus_of(cell.devices)
    limits: dict[str, Any] = {
        "max_batch": cell.batch_limits.requests,
        "max_delay_ns": cell.batch_limits.delay_ns,
        "stop_after_completions": load.stop_after_completions,
        "stop_after_ns": None if load.stop_after_s is None else round(load.stop_after_s * 1e9),
        "batch_deadline_ns": max(_LEAST_DEADLINE_NS, 20 * warmed_up.slowest_batch_ns),
        "capacity": _capacity(load.expected, cell.workers),
    }
    packages = cpu_packages() if cell.computes_on_cpu else Packages()
    with recorded(gpus, packages=packages.packages) as readings, no_garbage_collection():
        busy_before, clock_before = busy_core_seconds(cell.cpus), time.monotonic()
        helped_before = helpers_cpu_seconds()
        deferral.begin(lambda: runner.stop(_GRACE_S))
        if deferral.pressed:  # a signal came before there was a run to stop
            raise KeyboardInterrupt
        times.enter("measure")
        outcome = runner.run(load.source, **limits)
        times.enter("analyse")
        busy_after, elapsed_s = busy_core_seconds(cell.cpus), time.monotonic() - clock_before
        cpu_seconds = outcome.cpu_seconds + max(0.0, helpers_cpu_seconds() - helped_before)
    peak_host_bytes = peak.bytes()  # before the samples are copied
    others = None
    if busy_before is not None and busy_after is not None:
        others = max(0.0, (busy_after - busy_before - cpu_seconds) / elapsed_s)
    return MeasuredRun(
        samples=collect(outcome),
        loop=load.counted(outcome.start_ns),
        offered=outcome.offered,
        failed=outcome.failed,
        warmup_seconds=warmed_up.seconds,
        warmup=warmed_up.found,
        warmup_samples=warmed_up.samples,
        cpu_cores=cpu_seconds / elapsed_s,
        other_busy_cores=others,
        cpus=usable_now(),
        reason=outcome.reason,
        error=reason_in(outcome.error) if outcome.error else None,
        interrupted=outcome.interrupted or (deferral.pressed and outcome.reason == "stopped"),
        peak_host_bytes=peak_host_bytes,
        peak_host_note=peak.unknown,
        gpus=gpus,
        readings=readings,
        packages=packages,
    )


def _capacity(expected: int, workers: int) -> int:
    """The number of requests that the timelines of all workers together have room for.

    A single worker may serve most of the requests, so each has room for all of them.
    """
    room = expected * workers + 10_000
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(room, max(100_000, int(free * _MEMORY_PART) // _BYTES_PER_REQUEST))
