"""Assembles the result of a cell, once, after the measurement or after its failure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gpubench.measure.executors import executor_kind
from gpubench.measure.run import MeasuredRun
from gpubench.measure.stage_times import StageTimes
from gpubench.pricing.cost import measured_hardware, price
from gpubench.results.result import (
    INTERRUPTED,
    Accuracy,
    Cooling,
    EngineInfo,
    Environment,
    Failure,
    Harness,
    Numerics,
    Requests,
    Result,
    ServerReport,
    TrainingReport,
    Verdict,
    WindowInfo,
)
from gpubench.results.samples import Samples, with_warm_up
from gpubench.spec.cell import Cell, ClosedLoad
from gpubench.spec.cpus import cpus_text
from gpubench.statistics import Analysis, analyse
from gpubench.statistics.achieved import achieved
from gpubench.statistics.cpu_energy import cpu_energy
from gpubench.statistics.gpus import device_report
from gpubench.statistics.memory import memory
from gpubench.statistics.verdicts import Evidence, judge
from gpubench.statistics.windows import Mask

# Reasons of the core for a run that ended early. The reasons for a complete run are "finished",
# "completions" and "time".
_ENDED_EARLY = frozenset({"timeline full", "stopped", "error", "deadline"})


@dataclass
class Attempt:
    """What is known about a cell. Each stage of the measurement fills in its part."""

    engine: EngineInfo | None = None
    numerics: Numerics | None = None
    accuracy: Accuracy | None = None
    server: ServerReport | None = None
    training: TrainingReport | None = None
    tokens_per_sample: int | None = None  # in training, if the model takes text
    not_captured: str | None = None  # why an engine on a GPU does not run as a CUDA graph
    cooling: Cooling | None = None  # the wait before the warm-up
    run: MeasuredRun | None = None
    error: Failure | None = None
    times: StageTimes = field(default_factory=StageTimes)


def assemble(cell: Cell, here: Environment, attempt: Attempt) -> Result:
    """The result of a cell that was measured on the machine `here`, with its software versions.

    If there is no measured run, the result holds what the earlier stages found out.
    """
    engine = attempt.engine or EngineInfo()
    executor = executor_kind(cell, bool(engine.captured))
    run = attempt.run
    if run is None:
        return Result(
            spec=cell.spec,
            environment=here,
            engine=engine,
            harness=Harness(executor=executor, not_captured=attempt.not_captured),
            verdict=Verdict(status="suspect"),
            numerics=attempt.numerics,
            accuracy=attempt.accuracy,
            training=attempt.training,
            server=attempt.server,
            seconds=attempt.times.seconds(),
            error=attempt.error,
        )
    attempt.times.enter("analyse")
    analysis = analyse(
        run.samples,
        run.loop,
        inferences_per_request=cell.samples_per_request,
        max_batch=cell.batch_limits.requests,
        max_delay_ns=cell.batch_limits.delay_ns,
    )
    harness = Harness(
        lag_us=analysis.lag,
        cpu_cores=run.cpu_cores,
        littles_law_residual=analysis.littles_law_residual,
        cpus=cpus_text(run.cpus),
        executor=executor,
        not_captured=attempt.not_captured,
        event_clock=run.event_clock,
    )
    device = None
    if not cell.on_cpu:
        device = device_report(
            cell.devices if cell.training else cell.worker_devices,
            analysis,
            cell.samples_per_request // cell.replicas,
            run.readings,
            run.gpus,
            replicas=cell.replicas,
        )
    evidence = Evidence(
        device=cell.device,
        executor=executor,
        failed_requests=run.failed,
        ended_early=run.reason if run.reason in _ENDED_EARLY else None,
        other_busy_cores=run.other_busy_cores,
        busy_cores=run.cpu_cores,
        cpu_threads=_threads_always_busy(cell),
        cores=cell.cores_of(here.cores),
        cooling=attempt.cooling,
        numerics=attempt.numerics,
        accuracy=attempt.accuracy,
        max_drop=cell.max_drop,
        precision=cell.precision,
        runtime=cell.runtime,
        inputs=cell.inputs,
        throttled_share=device.throttled_share if device else None,
        other_gpu_processes=device.other_processes if device else None,
        unproven_on_gpus=_unproven_on_gpus(cell),
        warmup=run.warmup,
        repetition=run.inputs,
        compilations=run.compilations,
        server=attempt.server,
        server_is_this_machine=cell.server is not None and cell.server.is_this_machine,
        training=attempt.training,
    )
    trtexec = analysis.trtexec
    result = Result(
        spec=cell.spec,
        environment=here,
        engine=engine,
        window=WindowInfo(
            seconds=analysis.window_seconds,
            warmup_seconds=round(run.warmup_seconds, 3),
            warmup=run.warmup,
            cooling=attempt.cooling,
            counted=analysis.counted_rows,
            compilations=run.compilations,
        ),
        requests=Requests(
            offered=run.offered,
            completed=analysis.completed,
            unfinished=analysis.unfinished,
            failed=run.failed,
            padded=run.padded * cell.batch,
        ),
        offered_per_second=analysis.offered_per_second,
        throughput_per_second=analysis.throughput_per_second,
        throughput_interval=analysis.throughput_interval,
        throughput_interval_note=analysis.throughput_interval_note,
        latency_ms=analysis.latency,
        stages_ms=analysis.stages,
        trtexec_ms=trtexec and trtexec.model_copy(update={"enqueue_mean": run.enqueue_ms}),
        harness=harness,
        verdict=judge(analysis, evidence),
        device=device,
        numerics=attempt.numerics,
        accuracy=attempt.accuracy,
        training=_with_tokens(attempt, analysis),
        achieved=achieved(
            engine.flops,
            analysis.throughput_per_second,
            cell.precision,
            _gpu_names(cell, run),
            trains=cell.training is not None,
        ),
        memory=memory(
            None if cell.server else run.peak_host_bytes,
            "the model is in the memory of the server" if cell.server else run.peak_host_note,
            () if cell.on_cpu else _devices(cell),
            run.readings,
        ),
        cpu_energy=cpu_energy(analysis, cell.samples_per_request, run.readings, run.packages)
        if cell.computes_on_cpu
        else None,
        inputs=run.inputs,
        server=attempt.server,
        costs=price(
            analysis.throughput_per_second,
            analysis.throughput_interval,
            measured_hardware(cell.spec, here),
            cell.spec.instance,
            cell.spec.usd_per_hour,
            dataset_size=cell.spec.dataset_size,
        ),
        error=_failure(run, analysis),
    )
    result.seconds = attempt.times.seconds()
    return result.with_samples(*_all_samples(run, analysis.counted))


def _all_samples(run: MeasuredRun, counted: Mask) -> tuple[Samples, Mask]:
    """The samples with those of the warm-up if they were kept, and which of them count."""
    if run.warmup_samples is None:
        return run.samples, counted
    return (
        with_warm_up(run.warmup_samples, run.samples),
        np.concatenate([np.zeros(len(run.warmup_samples), np.bool_), counted]),
    )


def _with_tokens(attempt: Attempt, analysis: Analysis) -> TrainingReport | None:
    """The report of the training with the tokens a second, if the model takes text."""
    rate, tokens = analysis.throughput_per_second, attempt.tokens_per_sample
    if attempt.training is None or rate is None or tokens is None:
        return attempt.training
    return attempt.training.model_copy(update={"tokens_per_second": rate * tokens})


def _gpu_names(cell: Cell, run: MeasuredRun) -> list[str | None]:
    """The name of each GPU used, None if it is unknown. Empty on a CPU."""
    if cell.on_cpu:
        return []
    names = {gpu.device: gpu.name for gpu in run.gpus}
    return [names.get(device) for device in _devices(cell)]


def _devices(cell: Cell) -> list[str]:
    """The devices on which the cell has workers or replicas."""
    return list(cell.devices if cell.training else dict.fromkeys(cell.worker_devices))


def _failure(run: MeasuredRun, analysis: Analysis) -> Failure | None:
    if run.error is not None:
        return Failure(stage="measure", message=run.error)
    if run.interrupted:
        message = f"{INTERRUPTED} after {analysis.completed} requests"
        return Failure(stage="measure", message=message)
    return None


def _unproven_on_gpus(cell: Cell) -> str | None:
    """The part of the cell that the developers have never run on a real GPU: see docs/cuda.md.

    They have run nothing on another accelerator.
    """
    if cell.accelerator is not None:
        return f"--device {cell.accelerator}"
    if cell.on_cpu:
        return None
    if cell.training is not None:
        return "training"
    if cell.service is None and not cell.runtime_entry.run_on_gpus:
        return f"--runtime {cell.runtime}"
    if cell.precision in {"int8", "fp8"}:
        return f"--precision {cell.precision}"
    if cell.sparsity != "none":
        return f"--sparsity {cell.sparsity}"
    if len(cell.devices) > 1:
        return f"{len(cell.devices)} GPUs"
    return None


def _threads_always_busy(cell: Cell) -> int | None:
    """The number of CPU threads of all workers together; None if they may be idle."""
    load = cell.load
    if cell.runtime_entry.threads_sleep:
        return None
    waits = not isinstance(load, ClosedLoad) or load.clients < cell.workers or cell.joins_requests
    if not cell.computes_on_cpu or cell.service is not None or waits:
        return None
    return cell.workers * cell.threads * cell.replicas
