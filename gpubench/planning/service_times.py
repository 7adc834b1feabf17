"""The times of one instance, as they were measured: of its batches, and of its start.

    sample files ──> times of batches by their number of requests
    cold starts ──> time until a new instance serves

docs/autoscaling.md says which measurements are taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpubench.errors import InputError
from gpubench.planning.measured import setting_key
from gpubench.results.run_directory import open_run
from gpubench.results.samples import Samples

if TYPE_CHECKING:
    from gpubench.planning.candidates import Candidate
    from gpubench.results.result import Result
    from gpubench.results.run_directory import RunDirectory

_NS = 1e9
_MOST_TIMES = 100_000  # of a size of a batch; more would hardly change a percentile


@dataclass(frozen=True, eq=False)
class ServiceTimes:
    """How one instance serves requests."""

    # Entry k - 1: the times of batches of k requests, in ns.
    by_size: tuple[NDArray[np.int64], ...]
    workers: int  # batches that the whole instance executes at the same time
    max_delay_ns: int  # of dynamic batching
    inferences: int  # of a request
    note: str  # where the times come from

    @property
    def most_per_second(self) -> float:
        """Inferences per second of one instance that is never idle. Infinite if no time passes."""
        means_ns = [float(times.mean()) for times in self.by_size]
        rates = [size * _NS / mean if mean else math.inf for size, mean in enumerate(means_ns, 1)]
        return self.workers * self.inferences * max(rates)


def service_times(
    candidate: Candidate, directories: Sequence[str], rate_per_second: float
) -> ServiceTimes:
    """The service times of a candidate's setting, from samples, or else from its mean stages.

    Of the cells of this setting in `directories`, measured on a machine of the same kind, those
    nearest to `rate_per_second` (inferences) are taken; open loops come before closed ones. Without
    samples the service time is constant. Raises InputError if a sample file cannot be read, and if
    the result has no stages either.
    """
    spec = candidate.spec
    largest, delay_s = spec.dynamic_batch_limits()
    most_joined = largest // spec.batch
    # An instance with more GPUs than were measured has as many workers on each of them.
    factor = round(candidate.rate_per_second / candidate.point.rate_per_second)
    workers = (spec.workers or 1) * max(1, factor)
    parts, load = _samples_near(candidate, directories, rate_per_second / max(1, factor))
    if parts:
        count, times = _times_by_size(parts, most_joined)
        note = f"service times of {count:,} batches, measured {load}"
    else:
        mean_ns = round(_mean_service_ms(candidate.result) * 1e6)
        times = (np.array([mean_ns], np.int64),) * most_joined
        workers *= (
            spec.depth or 1
        )  # the stages contain the time in which other batches are computed
        note = (
            f"constant service time of {mean_ns / 1e6:.3g} ms, the mean that was measured, because "
            "no samples of this setting are there; real times vary, so real percentiles are higher"
        )
    return ServiceTimes(times, workers, round(delay_s * _NS), spec.batch, note)


def _samples_near(
    candidate: Candidate, directories: Sequence[str], rate_per_second: float
) -> tuple[list[Samples], str]:
    """Samples of all repeats of the best load of this setting, and that load in words."""
    wanted = setting_key(candidate.result)
    by_load: dict[tuple[bool, float, str], list[tuple[RunDirectory, str]]] = {}
    for url in directories:
        run = open_run(url)
        for key, result in run.read_all(searches=True, cold=True).cells:
            if result.error is None and setting_key(result) == wanted:
                load = _load_of(result, rate_per_second)
                by_load.setdefault(load, []).append((run, key))
    for load in sorted(by_load):
        found = [run.read_samples(key) for run, key in by_load[load]]
        parts = [part for part in found if part is not None and len(part)]
        if parts:
            return parts, load[2]
    return [], ""


def _load_of(result: Result, rate_per_second: float) -> tuple[bool, float, str]:
    """How good a load is for the simulation, the best first, and the load in words."""
    spec = result.spec
    if not spec.open_loop:
        return True, -float(spec.clients or 0), f"with {spec.clients} clients"
    requests = result.offered_per_second if spec.rate is None else spec.rate
    rate = (requests or 0.0) * spec.batch
    return False, abs(rate - rate_per_second), f"at {rate:.4g} inferences/s"


def _times_by_size(
    parts: list[Samples], most_joined: int
) -> tuple[int, tuple[NDArray[np.int64], ...]]:
    """The number of batches, and their service times by the number of joined requests.

    A size that was not measured gets the times of the next larger one that was, or else of the
    next smaller one.
    """
    sizes, times = [], []
    for part in parts:
        starts = part.batch_starts
        counted = np.ones(len(starts), np.bool_) if part.warmup is None else ~part.warmup[starts]
        sizes.append(part.batch_size[starts][counted])
        times.append(added_ns(part)[counted])
    size, time_ns = np.concatenate(sizes), np.concatenate(times)
    by_size: list[NDArray[np.int64] | None] = []
    for wanted in range(1, most_joined + 1):
        found = time_ns[size == wanted]
        by_size.append(found[:: -(-len(found) // _MOST_TIMES)] if len(found) else None)
    filled = []
    for index in range(most_joined):
        larger = [each for each in by_size[index:] if each is not None]
        smaller = [each for each in by_size[:index] if each is not None]
        if not larger and not smaller:
            raise InputError(
                "the samples have batches of more requests than dynamic batching allows; measure "
                "the cell again"
            )
        filled.append(larger[0] if larger else smaller[-1])
    return len(time_ns), tuple(filled)


def added_ns(part: Samples) -> NDArray[np.int64]:
    """By how much each batch prolongs the time in which its worker is busy.

    If a worker has one batch at a time, this is the time from departure to completion. With several
    in flight, a batch waits for those before it; this wait is not part of its own time. It is
    Lindley's recursion of a FIFO queue, solved for the service time:
    completed[n] = max(departed[n], completed[n - 1]) + service[n].
    """
    starts = part.batch_starts
    departed, completed = part.departed_ns[starts], part.completed_ns[starts]
    added = np.empty(len(starts), np.int64)
    for worker in np.unique(part.worker[starts]):
        own = np.flatnonzero(part.worker[starts] == worker)
        own = own[np.argsort(departed[own], kind="stable")]
        ends = np.maximum.accumulate(completed[own])
        before = np.concatenate([departed[own[:1]], ends[:-1]])
        added[own] = ends - np.maximum(departed[own], before)
    return added


def _mean_service_ms(result: Result) -> float:
    """From the departure of a batch to its completion, on average."""
    stages = result.stages_ms
    means: list[float] = [
        stage.mean
        for name in type(stages).model_fields
        if name not in {"queue", "batching"} and (stage := getattr(stages, name)) is not None
    ]
    if not means:
        raise InputError(
            f"{result.spec.describe()}: its document has no stages; measure it again, or leave out "
            "--autoscale"
        )
    return sum(means)


@dataclass(frozen=True)
class StartTime:
    """How long an instance needs until it serves."""

    seconds: float
    note: str


# The state of the page cache that is most like that of a new machine comes first.
_STATES = ("cold", "not dropped", "warm")
_OF_THE_START = (
    *("model", "weights", "input_shape", "dim", "runtime", "precision", "memory_format"),
    *("batch", "seq_len"),
)


def measured_start(directories: Sequence[str], candidate: Candidate) -> StartTime | None:
    """The P95 of the measured cold starts of a candidate's setting. None: there are none.

    With fewer than 20 starts there is no P95, and the longest start counts. Raises InputError if a
    directory cannot be read.
    """
    machine = candidate.result.environment
    for url in directories:
        for key, found in open_run(url).read_all(searches=True, cold=True).cold:
            where = found.environment
            same = all(
                getattr(found.spec, name) == getattr(candidate.spec, name) for name in _OF_THE_START
            )
            if (
                found.function is not None
                or not same
                or (where.cpu, where.gpus) != (machine.cpu, machine.gpus)
            ):
                continue
            by_state = {each.page_cache: each.ready for each in found.figures}
            for state in _STATES:
                if (ready := by_state.get(state)) is not None:
                    is_p95 = ready.p95 is not None
                    seconds = ready.max if ready.p95 is None else ready.p95
                    image = found.image
                    return StartTime(
                        seconds + (0.0 if image is None else image.seconds),
                        f"{'P95' if is_p95 else 'the longest'} of {ready.count} cold starts "
                        f"({key}, page cache {state}), without the time in which the machine boots",
                    )
    return None
