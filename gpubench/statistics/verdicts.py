"""Is this result fit to rely on? `valid`, or `suspect` with reasons from a closed list.

A result is never thrown away: each reason gives its figure, its limit, and what to do about it.
What was not observed (None) is not judged. The table in docs/measurement.md lists every reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt
from typing import Literal, TypeGuard

from gpubench.results.result import NOT_DETERMINISTIC, OUTPUTS_DIFFER, Numerics, Reason, Verdict
from gpubench.statistics import Analysis, Change
from gpubench.statistics.offered import least_kept_up

# The smallest number of requests of which the second slowest is, with 99% confidence, no faster
# than the true P95: 0.95**n + n * 0.05 * 0.95**(n - 1) <= 0.01. MLPerf's early stopping asks for
# the same, 64, 130 and 662 for P90, P95 and P99
# (https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc).
LEAST_REQUESTS = 130

TOO_DEPENDENT = "too-few-independent-samples"

# The smallest number of independent requests of which the slowest is, with 99% confidence, no
# faster than the true P95: 0.95**n <= 0.01. It is also about the number from which on P95 carries
# an interval.
LEAST_INDEPENDENT = 90
# How many requests are worth one independent one is an estimate, and of few requests a poor one:
# 130 that are independent look like 60 at times. So fewer than this are not held against a result.
MOST_REQUESTS_PER_INDEPENDENT = 4
# The standard error of P95 is this part of its distance from the median, over the square root of
# the independent requests, where latencies are normal: sqrt(0.95 * 0.05) / density / 1.645. Where
# that is under LEAST_CHANGE of P95, latencies are so alike that few of them are enough.
P95_ERROR = 1.3
# From fewer, it is known only that many more are needed.
_FEWEST_TO_ESTIMATE_FROM = 10

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


@dataclass(frozen=True)
class AnswerLimits:
    """How far an engine's outputs may be from the fp32 reference: see docs/measurement.md."""

    most_relative_error: float
    least_cosine: float
    # Where requests' outputs differ by less than this share of their size, rounding may do as much
    # and the cosine means nothing: the unit roundoff of the format, and for fp32 its largest error.
    least_variation: float
    least_integer_agreement: float  # ten times the relative error may disagree, a half at most


# The one table of limits, by the format that products are computed in.
ANSWER_LIMITS = {
    "fp64": AnswerLimits(1e-3, 0.999, 1e-3, 0.99),  # as fp32, which a runtime may compute it in
    "fp32": AnswerLimits(1e-3, 0.999, 1e-3, 0.99),
    "tf32": AnswerLimits(5e-3, 0.995, 2**-11, 0.95),
    "fp16": AnswerLimits(1e-2, 0.99, 2**-11, 0.9),
    "bf16": AnswerLimits(4e-2, 0.98, 2**-8, 0.6),
    "int8": AnswerLimits(1e-1, 0.95, 2**-7, 0.5),
    "fp8": AnswerLimits(2.5e-1, 0.9, 2**-4, 0.5),
}

# Between two answers of one model to the same request, a tenth of what fp32 is allowed.
MOST_REPEAT_ERROR = 1e-4

# Below this the answers have nothing to do with those of the reference, in whatever precision.
_UNRELATED_COSINE = 0.5


def answer_limits(precision: str | None, device: str | None = None) -> AnswerLimits:
    """The limits of a precision; mixed precision computes in bf16 on a CPU and in fp16 on a GPU."""
    if precision == "amp":
        precision = "fp16" if (device or "").startswith("cuda") else "bf16"
    return ANSWER_LIMITS[precision or "fp32"]


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
    runtime: str | None = None


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
    yield from _answers(evidence)
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
    yield from _too_dependent(analysis)


def _too_dependent(analysis: Analysis) -> Iterator[Reason]:
    independent, latency = analysis.independent, analysis.latency
    if independent is None or latency.p95 is None or latency.p50 is None:
        return
    error = P95_ERROR * (latency.p95 - latency.p50) / sqrt(independent)
    if _falls_behind(analysis) or error <= LEAST_CHANGE * latency.p95:
        return
    requests = analysis.completed + analysis.unfinished
    limit = min(LEAST_INDEPENDENT, requests / MOST_REQUESTS_PER_INDEPENDENT)
    if independent >= limit:
        return
    yield Reason(
        code=TOO_DEPENDENT,
        figure=round(independent, 1),
        limit=limit,
        remedy="successive requests depend on each other, so the P95 is known as badly as from "
        f"this many independent ones: {_how_much_longer(analysis, independent)}",
    )


def _how_much_longer(analysis: Analysis, independent: float) -> str:
    times = LEAST_REQUESTS / independent  # with room for chance above LEAST_INDEPENDENT
    requests = _two_digits(times * (analysis.completed + analysis.unfinished))
    asked = f"--requests {requests:.0f}"
    if analysis.window_seconds is not None:
        asked += f" or --duration {_two_digits(times * analysis.window_seconds):g}s"
    advice = f"measure with {asked}, about {_two_digits(times):g} times as long"
    if independent < _FEWEST_TO_ESTIMATE_FROM:
        advice = advice.replace("about", "at least")
    if analysis.clients is None:
        advice += ", or lower --rate"
    return advice


def _two_digits(value: float) -> float:
    """Rounded up to two significant digits."""
    unit = 10.0 ** (floor(log10(value)) - 1)
    return round(ceil(value / unit - 1e-9) * unit, 9)


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
    if _falls_behind(analysis):
        yield Reason(
            code="rate-not-kept-up",
            figure=analysis.kept_up,
            limit=least_kept_up(analysis.completed + analysis.unfinished),
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


def _falls_behind(analysis: Analysis) -> bool:
    due = analysis.completed + analysis.unfinished
    return analysis.kept_up is not None and analysis.kept_up < least_kept_up(due)


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


def _answers(evidence: Evidence) -> Iterator[Reason]:
    numerics = evidence.numerics
    if numerics is None:
        return
    if numerics.reference_not_finite is not None:
        yield Reason(
            code="model-not-finite",
            figure=numerics.reference_not_finite,
            limit=None,
            remedy=f"the model itself gives {numerics.reference_not_finite}, in fp32 eager mode "
            "too: no runtime or precision is the cause; look at its weights and inputs, unless "
            "such values are meant (as a mask)",
        )
    # What an eager engine does in its own time, its model does.
    own = numerics.engine_repeat_error if evidence.runtime == "eager" else None
    repeat_error = numerics.reference_repeat_error or own
    if repeat_error is not None:
        yield Reason(
            code=NOT_DETERMINISTIC,
            figure=repeat_error,
            limit=MOST_REPEAT_ERROR,
            remedy="the model itself answers the same request differently each time (relative "
            "error), so its answers cannot be compared: look for dropout or noise that eval() does "
            "not turn off, and for state that forward changes",
        )
    elif differ := outputs_differ(numerics, evidence.precision, evidence.device, evidence.runtime):
        yield differ


def outputs_differ(
    numerics: Numerics | None,
    precision: str | None,
    device: str | None = None,
    runtime: str | None = None,
) -> Reason | None:
    """Whether an engine's answers are further from the reference than its precision explains."""
    if numerics is None or numerics.reference_repeat_error is not None:
        return None
    limits = answer_limits(precision, device)
    agreement = numerics.integer_agreement
    figure: float | str
    limit: float | None
    if not numerics.finite:
        figure, limit = "not finite", None
        measure = "the outputs have NaN or infinity where those of the fp32 reference have numbers"
    elif numerics.cosine is not None and numerics.cosine < limits.least_cosine:
        figure, limit = numerics.cosine, limits.least_cosine
        measure = (
            "the outputs do not change with the inputs as those of the fp32 reference (cosine)"
        )
    elif (
        numerics.relative_error is not None and numerics.relative_error > limits.most_relative_error
    ):
        figure, limit = numerics.relative_error, limits.most_relative_error
        measure = "the outputs are not those of the fp32 reference (relative error)"
    elif agreement is not None and _integers_differ(numerics, limits):
        figure, limit = agreement, limits.least_integer_agreement
        measure = (
            "the labels or other integers among the outputs are not those of the fp32 reference "
            "(share of equal values)"
        )
    else:
        return None
    cause = _cause(numerics, precision or "fp32", device or "cpu", runtime)
    return Reason(code=OUTPUTS_DIFFER, figure=figure, limit=limit, remedy=f"{measure}: {cause}")


def _integers_differ(numerics: Numerics, limits: AnswerLimits) -> bool:
    """Labels change where two classes are close; pixels and counts may be off by one."""
    agreement, error = numerics.integer_agreement, numerics.integer_relative_error
    if agreement is None or agreement >= limits.least_integer_agreement:
        return False
    coarse = limits != ANSWER_LIMITS["fp32"]
    return not (coarse and error is not None and error <= limits.most_relative_error)


def _cause(numerics: Numerics, precision: str, device: str, runtime: str | None) -> str:
    """Why an engine's answers differ, as far as it can be told, and what to do."""
    if numerics.engine_repeat_error is not None:
        return (
            "this engine answers the same request differently each time; look for random numbers "
            "or state in the model, and if there is none use --runtime eager and report a bug of "
            "this runtime"
        )
    if precision not in {"fp32", "fp64"}:
        in_fp16 = precision in {"fp16", "int8", "fp8"} or (
            precision == "amp" and device.startswith("cuda")
        )
        if not numerics.finite and in_fp16:
            return (
                "values may be beyond the range of fp16, which ends at 65504; choose --precision "
                "fp32, or bf16 where the hardware has it"
            )
        if numerics.finite and not (
            numerics.cosine is not None and numerics.cosine < _UNRELATED_COSINE
        ):
            return (
                f"more than rounding to {precision} explains in the models that the limits come "
                f"from; {precision} is too coarse for this model if the same runtime agrees with "
                "--precision fp32, so choose a finer one, and otherwise the runtime is wrong"
            )
        return (
            f"rounding to {precision} does not explain that; check the same runtime with "
            "--precision fp32, and if it differs there too the runtime is wrong: use --runtime "
            "eager"
        )
    if runtime == "eager":
        return (
            "eager mode in fp32 runs the very module that the reference is, so precision is not "
            "the cause; look for state that forward changes, and for operators that depend on the "
            "device"
        )
    return (
        f"{precision} does not explain that, so no other precision will help: this runtime "
        "computes something else than the model; use --runtime eager, and report a bug of this "
        "runtime"
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
