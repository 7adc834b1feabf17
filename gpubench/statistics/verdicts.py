"""The verdict on a result: `valid`, or `suspect` with reasons from a closed list.

No result is discarded. Each reason has its figure, its limit and a remedy of one short line. What
was not observed (None) is not judged. docs/measurement.md has a table of the reasons and says why
each limit is what it is; docs/verdicts.md explains each reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt
from typing import Literal, TypeGuard

from gpubench.results.result import (
    NOT_DETERMINISTIC,
    OUTPUTS_DIFFER,
    Accuracy,
    Cooling,
    InputRepetition,
    Numerics,
    Reason,
    ServerReport,
    TrainingReport,
    Verdict,
    WarmUp,
)
from gpubench.spec.settings import Inputs
from gpubench.statistics import Analysis, Change
from gpubench.statistics.accuracy import samples_to_decide
from gpubench.statistics.offered import least_kept_up
from gpubench.statistics.warm_up import LEAST_CHANGE as WARM_UP_CHANGE

# The smallest number of requests for which the second slowest is, with 99% confidence, at least as
# slow as the true P95: 0.95**n + n * 0.05 * 0.95**(n - 1) <= 0.01. MLPerf's early stopping has the
# same numbers: 64, 130 and 662 for P90, P95 and P99
# (https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc).
LEAST_REQUESTS = 130

TOO_FEW_INDEPENDENT = "too-few-independent-samples"

# The smallest effective sample size for which the slowest request is, with 99% confidence, at least
# as slow as the true P95: 0.95**n <= 0.01. P95 also has an interval from about this number on.
LEAST_EFFECTIVE_SIZE_OF_P95 = 90
# The effective sample size is an estimate, which is uncertain for few requests: 130 independent
# requests sometimes look like 60. So an effective sample size above requests / 4 is accepted.
MOST_REQUESTS_PER_INDEPENDENT = 4
# The standard error of P95 is 1.3 * (P95 - P50) / sqrt(effective sample size) if the latencies have
# a normal distribution: 1.3 = sqrt(0.95 * 0.05) / density / 1.645. If it is below LEAST_CHANGE of
# P95, the latencies are so similar that few of them are enough.
P95_ERROR = 1.3
# A smaller effective sample size only shows that many more requests are needed, not how many.
_LEAST_SIZE_TO_EXTRAPOLATE = 10

# On a shared machine, the speed changes by about this much from one day to the next. A change must
# also be larger than chance explains (Change.noise).
LEAST_CHANGE = 0.05

# Little's law holds exactly, except for the requests that the two ends of the window cut. Their
# part is at most the longest latency divided by the length of the window, which is added.
MOST_LITTLES_LAW_RESIDUAL = 0.02

# P99 of the lag may be this share of the median latency ...
MOST_LAG_SHARE = 0.05
# ... or, if that is more, the time that a general-purpose operating system takes to wake a thread.
LEAST_LAG_LIMIT_US = 200.0

# First come, first served gives every client an equal share. It is judged only if an equal share is
# at least 20 requests. With fewer, random service times alone leave some client far behind.
LEAST_CLIENT_SHARE = 0.25
LEAST_SHARE_JUDGED = 20

# Share of the cores that other processes may use: daemons need a few percent, a program a tenth.
MOST_BUSY_SHARE = 0.1

# Threads that wait for the next operation spin. So a forward pass that has work for all its CPU
# threads keeps them busy: ResNet50, MobileNet and BERT used 95% or more of two cores. They used 50%
# when the threads slept between operations.
LEAST_THREADS_BUSY = 0.7
# A forward pass that takes less than this is often too small to be divided among threads.
LEAST_COMPUTE_JUDGED_MS = 1.0

# Share of the window in which heat or a hardware protection held the clock of a GPU down. The power
# limit is not counted: every such card reaches it under full load.
MOST_THROTTLED_SHARE = 0.05


# The threads that send requests to a server share the GIL of one Python process, so together they
# use about one core at most. From here on they wait for each other, and not only for the server.
MOST_CLIENT_CORES = 0.8


@dataclass(frozen=True)
class AnswerLimits:
    """How much an engine's outputs may differ from the fp32 reference: see docs/measurement.md."""

    most_relative_error: float
    least_cosine: float
    # If the outputs of the requests differ by less than this share of their size, rounding may have
    # the same effect, and the cosine means nothing. It is the unit roundoff of the format, and for
    # fp32 the largest error that is accepted.
    least_variation: float
    # The share of integers that may differ is ten times the relative error, and at most a half.
    least_integer_agreement: float


# By the format in which products are computed.
ANSWER_LIMITS = {
    "fp64": AnswerLimits(1e-3, 0.999, 1e-3, 0.99),  # as fp32: a runtime may compute in fp32
    "fp32": AnswerLimits(1e-3, 0.999, 1e-3, 0.99),
    "tf32": AnswerLimits(5e-3, 0.995, 2**-11, 0.95),
    "fp16": AnswerLimits(1e-2, 0.99, 2**-11, 0.9),
    "bf16": AnswerLimits(4e-2, 0.98, 2**-8, 0.6),
    "int8": AnswerLimits(1e-1, 0.95, 2**-7, 0.5),
    "fp8": AnswerLimits(2.5e-1, 0.9, 2**-4, 0.5),
}

# Relative error of two answers to the same request: a tenth of the limit for fp32.
MOST_REPEAT_ERROR = 1e-4

# Below this, the outputs have nothing to do with those of the reference, in any precision.
_UNRELATED_COSINE = 0.5


def answer_limits(precision: str | None, device: str | None = None) -> AnswerLimits:
    """The limits of a precision. Mixed precision computes in bf16 on a CPU and in fp16 on a GPU."""
    if precision == "amp":
        precision = "fp16" if (device or "").startswith("cuda") else "bf16"
    return ANSWER_LIMITS[precision or "fp32"]


# A new input of a small model is not in the caches of the CPU, which takes a few percent.
MOST_NEW_INPUTS_SLOWER = 0.1

# Median time for which the device waits for the CPU to gather the inputs of a batch, divided by the
# median compute time. And the same for its launch.
MOST_INPUT_SHARE = 0.5
MOST_LAUNCH_SHARE = 0.5

# Median time of the copies to and from the device, divided by the median compute time.
MOST_TRANSFER_SHARE = 1.0


@dataclass(frozen=True)
class Evidence:
    """What the samples do not contain. None: not observed, so not judged."""

    device: str | None = None  # "cpu", "cuda:0"
    executor: Literal["python", "graph", "delay"] | None = None
    failed_requests: int | None = None
    ended_early: str | None = None  # why the run stopped before it was done: "stopped", ...
    other_busy_cores: float | None = None  # used by other processes, before or during the run
    busy_cores: float | None = None  # used by this process, during the run
    cpu_threads: int | None = None  # of all workers; None if a worker may wait for a request
    cores: int | None = None
    cooling: Cooling | None = None  # the wait of --cool-to
    throttled_share: float | None = None  # of the window, of the GPU with the largest share
    other_gpu_processes: int | None = None  # on the GPU with the most
    numerics: Numerics | None = None
    accuracy: Accuracy | None = None
    max_drop: float | None = None  # of the accuracy; None: any
    precision: str | None = None
    runtime: str | None = None
    inputs: Inputs | None = None
    warmup: WarmUp | None = None  # what --warmup auto found
    repetition: InputRepetition | None = None
    compilations: int | None = None  # programs that the runtime compiled in the measured run
    # The part of the cell that the developers of gpubench have never run on a real GPU.
    unproven_on_gpus: str | None = None
    server: ServerReport | None = None  # None: this machine executed the model
    server_is_this_machine: bool = False
    training: TrainingReport | None = None  # None: the requests are inferences


def judge(analysis: Analysis, evidence: Evidence | None = None) -> Verdict:
    """Compare every figure with its limit. A result without a reason is valid."""
    reasons = list(_reasons(analysis, evidence or Evidence()))
    return Verdict(status="suspect" if reasons else "valid", reasons=reasons)


def _reasons(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    yield from _run_incomplete(analysis, evidence)
    yield from _changes_of_speed(analysis, evidence.warmup)
    yield from _compilations(evidence.compilations)
    yield from _harness(analysis, evidence)
    yield from _load(analysis)
    yield from _threads(analysis, evidence)
    yield from _machine(evidence)
    yield from _server(evidence)
    yield from _inputs(evidence.repetition)
    yield from _answers(evidence)
    yield from _accuracy(evidence)
    yield from _training(evidence.training)
    yield from _device(analysis, evidence)


def _run_incomplete(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    if evidence.ended_early is not None:
        yield Reason(
            code="ended-early",
            figure=evidence.ended_early,
            limit=None,
            remedy="correct the cause, if there is one, and measure this cell again",
        )
    if evidence.failed_requests:
        yield Reason(
            code="failed-requests",
            figure=evidence.failed_requests,
            limit=0,
            remedy="read the error of this cell, correct its cause and measure again",
        )
    if analysis.unfinished:
        yield Reason(
            code="unfinished-requests",
            figure=analysis.unfinished,
            limit=0,
            remedy="lower --rate, or add --workers",
        )
    if analysis.completed < LEAST_REQUESTS:
        yield Reason(
            code="too-few-samples",
            figure=analysis.completed,
            limit=LEAST_REQUESTS,
            remedy=f"use --requests {LEAST_REQUESTS} or more, or a longer --duration",
        )
    yield from _too_few_independent(analysis)


def _too_few_independent(analysis: Analysis) -> Iterator[Reason]:
    effective, latency = analysis.p95_effective_size, analysis.latency
    if effective is None or latency.p95 is None or latency.p50 is None:
        return
    error = P95_ERROR * (latency.p95 - latency.p50) / sqrt(effective)
    if _falls_behind(analysis) or error <= LEAST_CHANGE * latency.p95:
        return
    requests = analysis.completed + analysis.unfinished
    limit = min(LEAST_EFFECTIVE_SIZE_OF_P95, requests / MOST_REQUESTS_PER_INDEPENDENT)
    if effective >= limit:
        return
    yield Reason(
        code=TOO_FEW_INDEPENDENT,
        figure=round(effective, 1),
        limit=limit,
        remedy=_how_much_longer(analysis, effective),
    )


def _how_much_longer(analysis: Analysis, effective: float) -> str:
    times = LEAST_REQUESTS / effective  # more than LEAST_EFFECTIVE_SIZE_OF_P95: room for chance
    requests = _two_digits(times * (analysis.completed + analysis.unfinished))
    asked = f"--requests {requests:.0f}"
    if analysis.window_seconds is not None:
        asked += f" or --duration {_two_digits(times * analysis.window_seconds):g}s"
    advice = f"measure with {asked}, about {_two_digits(times):g} times as long"
    if effective < _LEAST_SIZE_TO_EXTRAPOLATE:
        advice = advice.replace("about", "at least")
    if analysis.clients is None:
        advice += ", or lower --rate"
    return advice


def _two_digits(value: float) -> float:
    """Rounded up to two significant digits."""
    unit = 10.0 ** (floor(log10(value)) - 1)
    return round(ceil(value / unit - 1e-9) * unit, 9)


def _changes_of_speed(analysis: Analysis, warmup: WarmUp | None) -> Iterator[Reason]:
    settling, drift = analysis.settling, analysis.drift
    started_slowly = _is_change(settling) and settling.figure > 0
    if started_slowly:
        assert settling is not None
        longer = (
            "raise --warmup" if warmup is None else "give --warmup a longer time than auto took"
        )
        yield Reason(
            code="warm-up-not-settled",
            figure=settling.figure,
            limit=_least_change(settling),
            remedy=f"the first requests were slower than the rest: {longer}",
        )
    elif warmup is not None and warmup.limit_reached and warmup.slower is not None:
        yield Reason(
            code="warm-up-not-settled",
            figure=warmup.slower,
            limit=WARM_UP_CHANGE,
            remedy="the speed never settled: look for heat and other programs, measure again",
        )
    # If the first fifth was faster than the rest, something slowed down: this is drift.
    changed = drift if _is_change(drift) or started_slowly else settling
    if _is_change(changed):
        yield Reason(
            code="drift",
            figure=changed.figure,
            limit=_least_change(changed),
            remedy="look for heat, power limits and other programs; measure again, and longer",
        )


def _is_change(change: Change | None) -> TypeGuard[Change]:
    return change is not None and abs(change.figure) > _least_change(change)


def _least_change(change: Change) -> float:
    return max(LEAST_CHANGE, change.noise)


def _compilations(compilations: int | None) -> Iterator[Reason]:
    if compilations:
        yield Reason(
            code="recompiled",
            figure=compilations,
            limit=0,
            remedy="programs compiled meanwhile: give all requests one shape, or raise --warmup",
        )


def _harness(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    residual, longest_ms = analysis.littles_law_residual, analysis.latency.max
    if residual is not None and longest_ms is not None and analysis.window_seconds is not None:
        limit = MOST_LITTLES_LAW_RESIDUAL + longest_ms / 1e3 / analysis.window_seconds
        if abs(residual) > limit:
            yield Reason(
                code="littles-law",
                figure=residual,
                limit=limit,
                remedy="measure longer; if it stays, report a bug with this cell's sample file",
            )
    lag, median_ms = analysis.lag, analysis.latency.p50
    if lag is not None and median_ms is not None:
        limit = max(LEAST_LAG_LIMIT_US, MOST_LAG_SHARE * 1e3 * median_ms)
        if lag.p99 > limit:
            remedy = "lag in us: leave a core free (fewer --workers or --threads)"
            if evidence.executor == "python":
                remedy += "; Python workers share the GIL"
            yield Reason(code="harness-lag", figure=lag.p99, limit=limit, remedy=remedy)


def _load(analysis: Analysis) -> Iterator[Reason]:
    if _falls_behind(analysis):
        yield Reason(
            code="rate-not-kept-up",
            figure=analysis.kept_up,
            limit=least_kept_up(analysis.completed + analysis.unfinished),
            remedy="requests arrived faster than they were served: lower --rate, or add --workers",
        )
    share, clients = analysis.least_served_client, analysis.clients
    if share is None or clients is None or analysis.completed < LEAST_SHARE_JUDGED * clients:
        return
    if share < LEAST_CLIENT_SHARE:
        yield Reason(
            code="clients-starved",
            figure=share,
            limit=LEAST_CLIENT_SHARE,
            remedy="look for a worker that is slow or hangs, or measure with fewer --clients",
        )


def _threads(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    compute, busy, threads = analysis.stages.compute, evidence.busy_cores, evidence.cpu_threads
    if compute is None or busy is None or threads is None:
        return
    limit = LEAST_THREADS_BUSY * threads
    if compute.p50 >= LEAST_COMPUTE_JUDGED_MS and busy < limit:
        more = "more --workers" if evidence.training is None else "a larger --batch"
        yield Reason(
            code="threads-idle",
            figure=busy,
            limit=limit,
            remedy=f"cores in use: end other programs, or try fewer --threads and {more}",
        )


def _falls_behind(analysis: Analysis) -> bool:
    due = analysis.completed + analysis.unfinished
    return analysis.kept_up is not None and analysis.kept_up < least_kept_up(due)


def _machine(evidence: Evidence) -> Iterator[Reason]:
    if evidence.server_is_this_machine:
        yield from _shared_with_the_server(evidence)
    elif evidence.other_busy_cores is not None and evidence.cores:
        limit = MOST_BUSY_SHARE * evidence.cores
        if evidence.other_busy_cores > limit:
            yield Reason(
                code="cpu-busy",
                figure=evidence.other_busy_cores,
                limit=limit,
                remedy="cores used by other processes: end them and measure again",
            )
    cooling = evidence.cooling
    if cooling is not None and cooling.temperature_c > cooling.limit_c:
        yield Reason(
            code="not-cooled",
            figure=cooling.temperature_c,
            limit=cooling.limit_c,
            remedy="degrees C after the longest wait: cool it better, or raise --cool-to",
        )
    if evidence.other_gpu_processes:
        yield Reason(
            code="gpu-shared",
            figure=evidence.other_gpu_processes,
            limit=0,
            remedy="end the other processes on this GPU (nvidia-smi lists them), measure again",
        )
    throttled = evidence.throttled_share
    if throttled is not None and throttled > MOST_THROTTLED_SHARE:
        yield Reason(
            code="gpu-throttled",
            figure=throttled,
            limit=MOST_THROTTLED_SHARE,
            remedy="cool the GPU better, or lock its clock lower (nvidia-smi --lock-gpu-clocks)",
        )


def _shared_with_the_server(evidence: Evidence) -> Iterator[Reason]:
    """A server on this machine is one of the other processes, so only a lack of cores counts."""
    busy, others, cores = evidence.busy_cores, evidence.other_busy_cores, evidence.cores
    if busy is None or others is None or not cores:
        return
    limit = (1 - MOST_BUSY_SHARE) * cores
    if busy + others > limit:
        yield Reason(
            code="cpu-busy",
            figure=busy + others,
            limit=limit,
            remedy="cores in use: client and server share them, so measure from another machine",
        )


def _server(evidence: Evidence) -> Iterator[Reason]:
    server = evidence.server
    if server is None:
        return
    counted = server.statistics.requests if server.statistics else None
    if counted is not None and server.requests is not None and counted > server.requests:
        yield Reason(
            code="server-shared",
            figure=counted - server.requests,
            limit=0,
            remedy="requests of other clients in the window: stop these and measure again",
        )
    if server.client_cores is not None and server.client_cores > MOST_CLIENT_CORES:
        yield Reason(
            code="client-bound",
            figure=server.client_cores,
            limit=MOST_CLIENT_CORES,
            remedy="cores of one Python process: the client may be the limit, use fewer --workers",
        )


def _inputs(repetition: InputRepetition | None) -> Iterator[Reason]:
    if repetition is None or repetition.new_inputs_slower is None or repetition.by_chance is None:
        return
    limit = max(MOST_NEW_INPUTS_SLOWER, repetition.by_chance)
    if repetition.new_inputs_slower > limit:
        yield Reason(
            code="inputs-cached",
            figure=repetition.new_inputs_slower,
            limit=limit,
            remedy="repeated inputs are answered faster than new ones: turn that cache off",
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
            remedy="the model itself gives such values: check its weights and inputs",
        )
    # An eager engine runs the model itself.
    own = numerics.engine_repeat_error if evidence.runtime == "eager" else None
    repeat_error = numerics.reference_repeat_error or own
    if repeat_error is not None:
        yield Reason(
            code=NOT_DETERMINISTIC,
            figure=repeat_error,
            limit=MOST_REPEAT_ERROR,
            remedy="relative error of two answers: look for random numbers and state in forward",
        )
    elif differ := outputs_differ(numerics, evidence.precision, evidence.device, evidence.runtime):
        yield differ


def outputs_differ(
    numerics: Numerics | None,
    precision: str | None,
    device: str | None = None,
    runtime: str | None = None,
) -> Reason | None:
    """The reason if an engine's outputs differ from the reference more than its precision explains.

    None if they do not, or if nothing can be compared.
    """
    if numerics is None or numerics.reference_repeat_error is not None:
        return None
    limits = answer_limits(precision, device)
    agreement = numerics.integer_agreement
    figure: float | str
    limit: float | None
    if not numerics.finite:
        figure, limit = "not finite", None
        measure = "NaN or infinity"
    elif numerics.cosine is not None and numerics.cosine < limits.least_cosine:
        figure, limit = numerics.cosine, limits.least_cosine
        measure = "cosine"
    elif (
        numerics.relative_error is not None and numerics.relative_error > limits.most_relative_error
    ):
        figure, limit = numerics.relative_error, limits.most_relative_error
        measure = "relative error"
    elif agreement is not None and _integers_differ(numerics, limits):
        figure, limit = agreement, limits.least_integer_agreement
        measure = "share of equal integers"
    else:
        return None
    advice = _advice(numerics, precision or "fp32", device or "cpu", runtime)
    return Reason(code=OUTPUTS_DIFFER, figure=figure, limit=limit, remedy=f"{measure}: {advice}")


def _integers_differ(numerics: Numerics, limits: AnswerLimits) -> bool:
    """Labels change if two classes are close. Pixels and counts may be off by one."""
    agreement, error = numerics.integer_agreement, numerics.integer_relative_error
    if agreement is None or agreement >= limits.least_integer_agreement:
        return False
    coarse = limits != ANSWER_LIMITS["fp32"]
    return not (coarse and error is not None and error <= limits.most_relative_error)


def _advice(numerics: Numerics, precision: str, device: str, runtime: str | None) -> str:
    """What to do about outputs that differ, and their cause if it is known."""
    if numerics.engine_repeat_error is not None:
        return "two answers to a request differ; look for random numbers or state"
    if precision not in {"fp32", "fp64"}:
        in_fp16 = precision in {"fp16", "int8", "fp8"} or (
            precision == "amp" and device.startswith("cuda")
        )
        if not numerics.finite and in_fp16:
            return "fp16 ends at 65504; use --precision fp32 or bf16"
        if numerics.finite and not (
            numerics.cosine is not None and numerics.cosine < _UNRELATED_COSINE
        ):
            return f"{precision} may be too coarse; check with --precision fp32"
        return f"rounding to {precision} does not explain it; check with --precision fp32"
    if runtime == "kserve":
        return "the server has another model or other weights; serve the model of --model"
    if runtime == "eager":
        return "look for state in forward, and operators that differ by device"
    return "no other precision will help; use --runtime eager, report a bug"


def _accuracy(evidence: Evidence) -> Iterator[Reason]:
    """Whether it is certain that the drop is at most --max-drop, and if not, why not."""
    accuracy, most = evidence.accuracy, evidence.max_drop
    if accuracy is None or most is None or accuracy.drop is None or accuracy.drop_interval is None:
        return
    engine = evidence.runtime, evidence.precision, evidence.device
    if engine == ("eager", "fp32", "cpu") and accuracy.drop == 0:
        return  # it is the fp32 model itself
    low, high = accuracy.drop_interval
    if low > most:
        yield Reason(
            code="accuracy-drop",
            figure=accuracy.drop,
            limit=most,
            remedy="less accurate than the fp32 model: choose another --precision or --runtime",
        )
    elif high > most:
        needed = samples_to_decide(accuracy.drop, (low, high), most, accuracy.samples)
        more = "more" if needed is None else f"about {needed:,}"
        yield Reason(
            code="accuracy-drop-unsure",
            figure=high,
            limit=most,
            remedy=f"the drop may be this large: measure it with {more} samples",
        )


def _training(training: TrainingReport | None) -> Iterator[Reason]:
    """Whether the steps trained: the loss of the toy task fell, and stayed finite afterwards."""
    if training is None:
        return
    first, last = training.toy_first_loss, training.toy_last_loss
    if not training.trains:
        if first is None or last is None:
            figure: float | str = "not finite"
            remedy = "loss on one batch: use another --precision or --optimizer"
        elif not training.parameters_changed:
            figure, remedy = "no parameter changed", "the optimiser did nothing: check the model"
        else:
            figure = last
            remedy = "loss on one batch, which did not fall: check the model and its loss"
        yield Reason(code="no-training", figure=figure, limit=first, remedy=remedy)
    elif training.last_loss_finite is False:
        yield Reason(
            code="no-training",
            figure="not finite",
            limit=None,
            remedy="loss of the last step: use another --precision or --optimizer",
        )


def _device(analysis: Analysis, evidence: Evidence) -> Iterator[Reason]:
    if evidence.unproven_on_gpus is not None:
        yield Reason(
            code="unproven-on-gpus",
            figure=evidence.unproven_on_gpus,
            limit=None,
            remedy="never run on such hardware by its developers: compare with another tool",
        )
    stages, launch_gap, input_gap = analysis.stages, analysis.launch_gap_ms, analysis.input_gap_ms
    if stages.compute is None or launch_gap is None:
        return
    compute = stages.compute.p50
    if input_gap is not None and input_gap > MOST_INPUT_SHARE * compute:
        # With pinned inputs the CPU still gathers small tensors of joined requests.
        pinned = "" if evidence.inputs == "pinned" else "--inputs pinned, "
        yield Reason(
            code="input-bound",
            figure=input_gap,
            limit=MOST_INPUT_SHARE * compute,
            remedy=f"ms of waiting: use {pinned}more --clients and --depth, or smaller inputs",
        )
    if launch_gap > MOST_LAUNCH_SHARE * compute:
        yield Reason(
            code="launch-bound",
            figure=launch_gap,
            limit=MOST_LAUNCH_SHARE * compute,
            remedy="ms of waiting: use a larger --batch, or more --clients and --depth",
        )
    copies = sum(stage.p50 for stage in (stages.h2d, stages.d2h) if stage is not None)
    if copies > MOST_TRANSFER_SHARE * compute:
        yield Reason(
            code="transfer-bound",
            figure=copies,
            limit=MOST_TRANSFER_SHARE * compute,
            remedy="ms of copies: use smaller inputs, or --inputs device if they start on the GPU",
        )
