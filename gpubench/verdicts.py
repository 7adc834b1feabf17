"""Is this result fit to rely on? `valid`, or `suspect` with reasons from a closed list.

A result is never thrown away: each reason gives its figure, its limit, and what to do about it.
What was not observed (None) is not judged. The table in docs/measurement.md lists every reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Literal, TypeGuard

from gpubench.result import OUTPUTS_DIFFER, Numerics, Reason, Verdict
from gpubench.statistics import Analysis, Change

# The smallest number of requests of which the second slowest is, with 99% confidence, no faster
# than the true P95: 0.95**n + n * 0.05 * 0.95**(n - 1) <= 0.01. MLPerf's early stopping asks for
# the same, 64, 130 and 662 for P90, P95 and P99
# (https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc).
LEAST_REQUESTS = 130

# A change of speed below this is smaller than what moves a cost from one day to the next on a
# shared machine. Above it, the change must also be more than chance explains (Change.noise).
LEAST_CHANGE = 0.05

# Little's law holds exactly but for the requests that the window's two ends cut through. They can
# make up no more than the longest latency over the window's length, which is allowed on top.
MOST_LITTLES_LAW_RESIDUAL = 0.02

# The harness may add this share to a typical latency at P99 ...
MOST_LAG_SHARE = 0.05
# ... or what a general-purpose operating system takes to wake a thread, where that is more.
LEAST_LAG_LIMIT_US = 200.0

# A queue that is stable ends about as long as it began. Two percent, or the square root of the
# requests where that is more: what a queue at the brink of its capacity drifts by chance.
MOST_FALLING_BEHIND = 0.02

# First come, first served gives every client an equal share. Judged where a share is at least 20
# completions: below, random service times alone leave some client far behind.
LEAST_CLIENT_SHARE = 0.25
LEAST_SHARE_JUDGED = 20

# Cores that other processes may keep busy: daemons need a few percent; a tenth is a program.
MOST_BUSY_SHARE = 0.1

# A forward pass that has work for all of its CPU threads keeps them busy, also because threads that
# wait for the next operation spin. 0.95 or more of the cores were used by ResNet50, MobileNet and
# BERT on two cores, and 0.5 where the threads slept between operations.
LEAST_THREADS_BUSY = 0.7
# A forward pass that takes less than this is often too small to be divided among threads.
LEAST_COMPUTE_JUDGED_MS = 1.0

# Share of the window in which heat or the hardware's protection held a GPU's clock down. (The power
# cap does too, but it is where every such card runs under full load: no reason for suspicion.)
MOST_THROTTLED_SHARE = 0.05

# Between outputs and the fp32 reference, after subtracting the mean over the samples. Of the models
# at hand, with random weights, bf16 (8 bits) leaves 0.9995 or more and int8 0.989; a mirrored image
# or channels in another order leave 0.85 or less, and other weights or samples 0.2.
LEAST_COSINE = 0.98
# What the cosine does not see, a wrong scale or offset. bf16 leaves 0.015 or less; an attention
# mask that is ignored, 0.12.
MOST_RELATIVE_ERROR = 0.1
# fp8 rounds to 4 significant bits. Rightly rounded it leaves 0.944 and 0.071 of ResNet50, 0.952 and
# 0.17 of BERT-base, so that a mirrored image is still found, and an ignored mask is not.
LEAST_COSINE_FP8, MOST_RELATIVE_ERROR_FP8 = 0.9, 0.25

# Median wait of the device for a launch over its median compute time.
MOST_LAUNCH_SHARE = 0.5

# Median copies to and from the device over median compute time.
MOST_TRANSFER_SHARE = 1.0


@dataclass(frozen=True)
class Evidence:
    """What the samples do not know. None: not observed, so not judged."""

    device: str | None = None  # "cpu", "cuda:0"
    executor: Literal["python", "graph", "delay"] | None = None
    failed_requests: int | None = None
    ended_early: str | None = None  # why the run stopped before it was done: "stopped", ...
    warmup_settled: bool | None = None  # whether service times had stopped falling
    other_busy_cores: float | None = None  # by other processes, before or during the run
    busy_cores: float | None = None  # by this process, during the run
    cpu_threads: int | None = None  # of all workers, which never had to wait for a request
    cores: int | None = None
    throttled_share: float | None = None  # of the window, on the GPU that suffered most
    other_gpu_processes: int | None = None  # on the GPU that has most
    numerics: Numerics | None = None
    precision: str | None = None


def judge(analysis: Analysis, evidence: Evidence | None = None) -> Verdict:
    """Hold every figure against its limit; without a reason the result is valid."""
    reasons = list(_reasons(analysis, evidence or Evidence()))
    return Verdict(status="suspect" if reasons else "valid", reasons=reasons)


def _reasons(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    yield from _run_incomplete(analysis, evidence)
    yield from _not_steady(analysis, evidence)
    yield from _harness(analysis, evidence)
    yield from _load(analysis)
    yield from _threads(analysis, evidence)
    yield from _machine(evidence)
    if wrong := outputs_differ(evidence.numerics, evidence.precision):
        yield wrong
    yield from _device(analysis, evidence)


def _run_incomplete(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    if evidence.ended_early is not None:
        yield Reason(
            code="ended-early",
            figure=evidence.ended_early,
            limit=None,
            remedy="the run stopped before it was done: measure this cell again",
        )
    if evidence.failed_requests:
        yield Reason(
            code="failed-requests",
            figure=evidence.failed_requests,
            limit=0,
            remedy="requests failed and are in no figure: read the error of this cell, mend its "
            "cause and measure again",
        )
    if analysis.unfinished:
        yield Reason(
            code="unfinished-requests",
            figure=analysis.unfinished,
            limit=0,
            remedy="requests of the window never finished and lie above every percentile: lower "
            "--rate, or add --workers",
        )
    if analysis.completed < LEAST_REQUESTS:
        yield Reason(
            code="too-few-samples",
            figure=analysis.completed,
            limit=LEAST_REQUESTS,
            remedy=f"a P95 stands from {LEAST_REQUESTS} requests on: raise --requests or "
            "--duration",
        )


def _not_steady(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    settling, drift = analysis.settling, analysis.drift
    cold_start = _is_change(settling) and settling.figure > 0
    if cold_start or evidence.warmup_settled is False:
        yield Reason(
            code="warm-up-not-settled",
            figure=None if settling is None else settling.figure,
            limit=None if settling is None else _least_change(settling),
            remedy="the first requests took longer than the rest: raise --warmup",
        )
    # A start that was faster than the rest is no cold one: something slowed down.
    changed = drift if _is_change(drift) or cold_start else settling
    if _is_change(changed):
        yield Reason(
            code="drift",
            figure=changed.figure,
            limit=_least_change(changed),
            remedy="the service time changed while it was measured: look for heat, power limits "
            "and other programs, then measure again, longer",
        )


def _is_change(change: Change | None) -> TypeGuard[Change]:
    return change is not None and abs(change.figure) > _least_change(change)


def _least_change(change: Change) -> float:
    return max(LEAST_CHANGE, change.noise)


def _harness(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    residual, longest_ms = analysis.littles_law_residual, analysis.latency.max
    if residual is not None and longest_ms is not None and analysis.window_seconds is not None:
        limit = MOST_LITTLES_LAW_RESIDUAL + longest_ms / 1e3 / analysis.window_seconds
        if abs(residual) > limit:
            yield Reason(
                code="littles-law",
                figure=residual,
                limit=limit,
                remedy="throughput times latency does not account for the clients' time: measure "
                "longer, and if it stays, report a bug with this cell's sample file",
            )
    lag, median_ms = analysis.lag, analysis.latency.p50
    if lag is not None and median_ms is not None:
        limit = max(LEAST_LAG_LIMIT_US, MOST_LAG_SHARE * 1e3 * median_ms)
        if lag.p99 > limit:
            remedy = (
                "batches left the queue late (us): leave a core free for the harness (fewer "
                "--workers or --threads) and close other programs"
            )
            if evidence.executor == "python":
                remedy += "; the workers of this runtime also take turns at Python's lock"
            yield Reason(code="harness-lag", figure=lag.p99, limit=limit, remedy=remedy)


def _load(analysis: Analysis) -> Iterator[Reason]:
    if analysis.kept_up is not None:
        due = max(1, analysis.completed + analysis.unfinished)
        limit = 1 - max(MOST_FALLING_BEHIND, 1 / sqrt(due))
        if analysis.kept_up < limit:
            yield Reason(
                code="rate-not-kept-up",
                figure=analysis.kept_up,
                limit=limit,
                remedy="requests arrived faster than they were served, so latency grows with the "
                "length of the run: lower --rate, or add --workers",
            )
    share, clients = analysis.least_served_client, analysis.clients
    if share is None or clients is None or analysis.completed < LEAST_SHARE_JUDGED * clients:
        return
    if share < LEAST_CLIENT_SHARE:
        yield Reason(
            code="clients-starved",
            figure=share,
            limit=LEAST_CLIENT_SHARE,
            remedy="a client got far fewer answers than its share: look for a worker that hangs, "
            "or measure with fewer --clients",
        )


def _threads(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    compute, busy, threads = analysis.stages.compute, evidence.busy_cores, evidence.cpu_threads
    if compute is None or busy is None or threads is None:
        return
    limit = LEAST_THREADS_BUSY * threads
    if compute.p50 >= LEAST_COMPUTE_JUDGED_MS and busy < limit:
        yield Reason(
            code="threads-idle",
            figure=busy,
            limit=limit,
            remedy=f"the forward pass kept so few of its {threads} CPU threads busy: if other "
            "programs were running, measure again without them; otherwise compare with fewer "
            "--threads and more --workers, or with a larger --batch",
        )


def _machine(evidence: Evidence) -> Iterator[Reason]:
    if evidence.other_busy_cores is not None and evidence.cores:
        limit = MOST_BUSY_SHARE * evidence.cores
        if evidence.other_busy_cores > limit:
            yield Reason(
                code="cpu-busy",
                figure=evidence.other_busy_cores,
                limit=limit,
                remedy="other processes keep cores busy: end them and measure again",
            )
    if evidence.other_gpu_processes:
        yield Reason(
            code="gpu-shared",
            figure=evidence.other_gpu_processes,
            limit=0,
            remedy="other processes use this GPU (nvidia-smi lists them): end them and measure "
            "again",
        )
    throttled = evidence.throttled_share
    if throttled is not None and throttled > MOST_THROTTLED_SHARE:
        yield Reason(
            code="gpu-throttled",
            figure=throttled,
            limit=MOST_THROTTLED_SHARE,
            remedy="heat or its own protection slowed the GPU down: let it cool or cool it better, "
            "or lock its clocks lower (nvidia-smi --lock-gpu-clocks), and measure again",
        )


def outputs_differ(numerics: Numerics | None, precision: str | None) -> Reason | None:
    """Whether an engine's answers are further from the reference than its precision explains."""
    if numerics is None:
        return None
    least_cosine, most_error = LEAST_COSINE, MOST_RELATIVE_ERROR
    if precision == "fp8":
        least_cosine, most_error = LEAST_COSINE_FP8, MOST_RELATIVE_ERROR_FP8
    figure: float | str
    if not numerics.finite:
        figure, limit, measure = "not finite", None, "NaN or infinity is among the outputs"
    elif numerics.cosine is not None and numerics.cosine < least_cosine:
        figure, limit = numerics.cosine, least_cosine
        measure = (
            "the outputs do not change with the inputs as those of the fp32 reference (cosine)"
        )
    elif numerics.relative_error is not None and numerics.relative_error > most_error:
        figure, limit = numerics.relative_error, most_error
        measure = "the outputs are not those of the fp32 reference (relative error)"
    else:
        return None
    return Reason(
        code=OUTPUTS_DIFFER,
        figure=figure,
        limit=limit,
        remedy=f"{measure}: choose another --precision or --runtime before relying on this speed",
    )


def _device(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    if evidence.device is not None and evidence.device != "cpu":
        yield Reason(
            code="unproven-on-gpus",
            figure=evidence.device,
            limit="cpu",
            remedy="this version was never run on a real GPU by its developers: hold its figures "
            "against another tool before relying on them",
        )
    stages, gap = analysis.stages, analysis.launch_gap_ms
    if stages.compute is None or gap is None:
        return
    compute = stages.compute.p50
    if gap > MOST_LAUNCH_SHARE * compute:
        yield Reason(
            code="launch-bound",
            figure=gap,
            limit=MOST_LAUNCH_SHARE * compute,
            remedy="the GPU waits for the CPU to launch its work (ms): use a larger --batch, a "
            "--runtime that is captured as a graph, or more --depth",
        )
    copies = sum(stage.p50 for stage in (stages.h2d, stages.d2h) if stage is not None)
    if copies > MOST_TRANSFER_SHARE * compute:
        yield Reason(
            code="transfer-bound",
            figure=copies,
            limit=MOST_TRANSFER_SHARE * compute,
            remedy="copies take longer than the model (ms): use --inputs device if a real client "
            "would have its inputs there, or smaller inputs",
        )
