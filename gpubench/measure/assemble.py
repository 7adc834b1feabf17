"""A result, from what is known of an engine and from a measured run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gpubench.cells import resolve
from gpubench.measure.dispatch import longest_delay_ns, most_requests_per_batch
from gpubench.measure.environment import environment
from gpubench.measure.run import Drive
from gpubench.pricing.cost import costs
from gpubench.results.result import (
    EngineInfo,
    Failure,
    Harness,
    Requests,
    Result,
    Verdict,
    Window,
)
from gpubench.spec.spec import Spec
from gpubench.statistics import analyse
from gpubench.statistics.gpus import device_report
from gpubench.statistics.verdicts import Evidence, judge
from gpubench.system.machine import Machine

if TYPE_CHECKING:
    from gpubench.measure.engine import Prepared


# How a run can end before it is done; otherwise it is "finished", "completions" or "time".
_ENDED_EARLY = frozenset({"timeline full", "stopped", "error", "deadline"})


def fill(result: Result, driven: Drive, machine: Machine) -> None:
    """Complete `result` with everything that follows from the measured run."""
    spec = result.spec
    analysis = analyse(
        driven.samples,
        driven.loop,
        inferences_per_request=spec.batch,
        max_batch=most_requests_per_batch(spec),
        max_delay_ns=longest_delay_ns(spec),
    )
    result.window = Window(
        seconds=analysis.window_seconds, warmup_seconds=round(driven.warmup_seconds, 3)
    )
    result.requests = Requests(
        offered=driven.offered,
        completed=analysis.completed,
        unfinished=analysis.unfinished,
        failed=driven.failed,
        padded=driven.padded * spec.batch,
    )
    result.offered_per_second = analysis.offered_per_second
    result.throughput_per_second = analysis.throughput_per_second
    result.throughput_interval = analysis.throughput_interval
    result.throughput_interval_note = analysis.throughput_interval_note
    result.latency_ms = analysis.latency
    result.stages_ms = analysis.stages
    result.trtexec_ms = analysis.trtexec
    if result.trtexec_ms is not None:
        result.trtexec_ms.enqueue_mean = driven.enqueue_ms
    result.harness = Harness(
        lag_us=analysis.lag,
        cpu_cores=driven.cpu_cores,
        littles_law_residual=analysis.littles_law_residual,
        executor=driven.executor,
        not_captured=result.harness.not_captured,
        event_clock=driven.event_clock,
    )
    if spec.device != "cpu":
        result.device = device_report(
            spec.worker_devices, analysis, spec.batch, driven.readings, driven.gpus
        )
    if driven.error is not None:
        result.error = Failure(stage="measure", message=driven.error)
    elif driven.interrupted:
        result.error = Failure(
            stage="measure", message=f"interrupted after {analysis.completed} requests"
        )
    evidence = Evidence(
        device=spec.device,
        executor=result.harness.executor,
        failed_requests=driven.failed,
        ended_early=driven.reason if driven.reason in _ENDED_EARLY else None,
        other_busy_cores=driven.other_busy_cores,
        busy_cores=driven.cpu_cores,
        cpu_threads=_threads_always_busy(spec),
        cores=machine.cores,
        numerics=result.numerics,
        precision=spec.precision,
        runtime=spec.runtime,
        throttled_share=result.device.throttled_share if result.device else None,
        other_gpu_processes=result.device.other_processes if result.device else None,
    )
    result.verdict = judge(analysis, evidence)
    result.costs = costs(result)
    result.with_samples(driven.samples, analysis.counted)


def _threads_always_busy(spec: Spec) -> int | None:
    """The CPU threads of all workers, where no worker waits for requests; None otherwise."""
    workers = spec.workers or 1
    waits = spec.clients is None or spec.clients < workers or spec.dynamic_batch is not None
    if spec.device != "cpu" or spec.threads is None or waits:
        return None
    return workers * spec.threads


def blank(spec: Spec, machine: Machine) -> Result:
    return Result(
        spec=spec,
        environment=environment(machine, spec),
        harness=Harness(executor=_executor(spec)),
        verdict=Verdict(status="suspect"),
    )


def _executor(spec: Spec) -> Literal["python", "graph", "delay"]:
    if spec.model != "synthetic":
        return "python"
    return "delay" if spec.device == "cpu" else "graph"


def describe_engine(prepared: Prepared, spec: Spec, machine: Machine) -> EngineInfo:
    on_cpu = spec.device == "cpu"
    return EngineInfo(
        parameters=prepared.parameters,
        flops=prepared.flops,
        load_seconds=prepared.load_seconds,
        build_seconds=prepared.build_seconds,
        from_cache=prepared.engine.from_cache,
        library=prepared.engine.library,
        first_inference_seconds=prepared.first_inference_seconds,
        weights=prepared.weights,
        intra_op_threads=spec.threads if on_cpu else None,
        threads_note=resolve.threads_note(spec, machine.cores) if on_cpu else None,
        native_precision=resolve.native_precision(spec, machine),
    )
