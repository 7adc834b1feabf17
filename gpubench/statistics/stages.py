"""The stages of a request: the parts of its latency, which add up to it exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import Stages, StageSummary, TrtexecTimes
from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.percentiles import rank

_NS_PER_MS = 1e6


def stages_ns(samples: Samples) -> dict[str, Nanoseconds]:
    """Nanoseconds of every request in each stage, in the order of the stages.

    Each stage ends when the next one begins, so the stages add up to the latency exactly. `fill` is
    the time in which the CPU gathered the inputs, if it did. `submit` ends at the first event on
    the device. Without device events it ends when the model is called, and `compute` is the time
    from then to the completion. A copy that no batch needed is absent.
    """
    both_ready = np.maximum(samples.scheduled_ns, samples.opened_ns)  # request and worker
    stages = {
        "queue": both_ready - samples.scheduled_ns,
        "batching": samples.departed_ns - both_ready,
    }
    if samples.filled:
        stages["fill"] = samples.submitted_ns - samples.departed_ns
    if samples.device_ns is None:
        if not samples.filled:
            stages["submit"] = samples.submitted_ns - samples.departed_ns
        stages["compute"] = samples.completed_ns - samples.submitted_ns
        if samples.around_ns is not None:
            stages["preprocess"], stages["postprocess"] = samples.around_ns.T
            stages["compute"] = stages["compute"] - stages["preprocess"] - stages["postprocess"]
    else:
        e0, e1, e2, e3 = samples.device_ns.T
        stages["submit"] = e0 - (samples.submitted_ns if samples.filled else samples.departed_ns)
        stages |= _copy("h2d", e1 - e0)
        stages["compute"] = e2 - e1
        stages |= _copy("d2h", e3 - e2)
        stages["return"] = samples.completed_ns - e3
    return stages


# The columns of Samples.step_ns.
_PARTS_OF_A_STEP = ("forward", "backward", "optimizer")


def parts_of_compute_ns(samples: Samples) -> dict[str, Nanoseconds]:
    """Nanoseconds of every training step in the parts of its `compute`. Empty for inferences.

    They are no stages: they lie inside one, and what lies between them is in none.
    """
    if samples.step_ns is None:
        return {}
    return dict(zip(_PARTS_OF_A_STEP, samples.step_ns.T, strict=True))


def _copy(name: str, duration_ns: Nanoseconds) -> dict[str, Nanoseconds]:
    """The stage of a copy. It is absent if the data stay on the device (both events are one)."""
    return {name: duration_ns} if duration_ns.any() else {}


def trtexec_times(samples: Samples, counted: NDArray[np.bool_]) -> TrtexecTimes | None:
    """The times of a batch as trtexec defines them, for comparison. None without device events.

    trtexec's latency is the sum of both copies and the computation. It leaves out the gaps between
    them, the queue and the way back to the host, so it is not a round trip.
    Source: "Explanations of Performance Metrics" in trtexec's README.
    """
    batches = samples.batch_starts[counted[samples.batch_starts]]
    if samples.device_ns is None or not len(batches):
        return None
    h2d_ns, compute_ns, d2h_ns = np.diff(samples.device_ns[batches], axis=1).T
    return TrtexecTimes(
        latency=_summary(h2d_ns + compute_ns + d2h_ns),
        h2d=_summary(h2d_ns) if h2d_ns.any() else None,
        gpu_compute=_summary(compute_ns),
        d2h=_summary(d2h_ns) if d2h_ns.any() else None,
    )


def summarise_stages(samples: Samples, counted: NDArray[np.bool_]) -> Stages:
    """Mean, median and P95 of each stage over the counted requests. None for absent stages.

    Those of training steps also have the parts of `compute`.
    """
    if not counted.any():
        return Stages.model_validate({})
    return Stages.model_validate(
        {
            name: _summary(stage[counted])
            for name, stage in (stages_ns(samples) | parts_of_compute_ns(samples)).items()
        }
    )


def mean_service_ms(samples: Samples) -> float | None:
    """Milliseconds from the call of the model to its outputs, mean over all batches of a run."""
    batches = samples.batch_starts
    if not len(batches):
        return None
    service_ns = samples.completed_ns[batches] - samples.submitted_ns[batches]
    return float(service_ns.mean()) / _NS_PER_MS


def _summary(stage_ns: Nanoseconds) -> StageSummary:
    median, p95 = rank(50, len(stage_ns)) - 1, rank(95, len(stage_ns)) - 1
    ordered = np.partition(stage_ns, (median, p95))
    return StageSummary(
        mean=float(stage_ns.mean()) / _NS_PER_MS,
        p50=float(ordered[median]) / _NS_PER_MS,
        p95=float(ordered[p95]) / _NS_PER_MS,
    )


@dataclass(frozen=True)
class DeviceGaps:
    """For each batch, how long the device waited for the CPU before it began, in nanoseconds."""

    input_ns: Nanoseconds | None  # for the CPU to gather the inputs; None: it does not gather them
    launch_ns: Nanoseconds  # for the launch


def device_gaps(samples: Samples) -> DeviceGaps | None:
    """How long the device waited for the CPU before each batch. None without device events.

    A device that still executes the previous batch of this worker does not wait. So the gap begins
    when the previous batch ends or when this batch departs, whichever is later. It ends when this
    batch begins on the device. `submitted_ns` divides it into its two parts.
    """
    if samples.device_ns is None:
        return None
    starts = samples.batch_starts
    worker = samples.worker[starts]
    order = np.argsort(worker, kind="stable")
    rows = starts[order]
    begins, ends = samples.device_ns[rows, 0], samples.device_ns[rows, 3]
    free = samples.departed_ns[rows].copy()
    same = np.diff(worker[order]) == 0
    free[1:] = np.where(same, np.maximum(free[1:], ends[:-1]), free[1:])

    def gaps(from_ns: Nanoseconds, to_ns: Nanoseconds) -> Nanoseconds:
        found = np.empty(len(rows), np.int64)
        found[order] = np.maximum(0, to_ns - from_ns)
        return found

    if not samples.filled:
        return DeviceGaps(input_ns=None, launch_ns=gaps(free, begins))
    submitted = samples.submitted_ns[rows]
    return DeviceGaps(
        input_ns=gaps(free, submitted), launch_ns=gaps(np.maximum(free, submitted), begins)
    )
