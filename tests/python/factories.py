"""Results as a measurement would leave them, for tests of what comes after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpubench.cells.resolve import cell_of
from gpubench.pricing.cost import costs
from gpubench.pricing.start_cost import with_costs
from gpubench.registry import model_entry
from gpubench.results.cold_result import ColdResult, ColdStart, ContainerImage, StartSeconds
from gpubench.results.result import (
    SCHEMA,
    Achieved,
    CellSeconds,
    EngineInfo,
    Environment,
    Failure,
    Harness,
    Latency,
    Memory,
    Numerics,
    Reason,
    Repeat,
    Requests,
    Result,
    TrainingReport,
    Verdict,
    WindowInfo,
)
from gpubench.results.samples import Samples
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec
from gpubench.statistics.cold_starts import figures_of
from gpubench.system.machine import Machine

LAPTOP: dict[str, Any] = {"cpu": "Intel(R) Xeon(R) Processor @ 2.10GHz", "cores": 2}
G5: dict[str, Any] = {
    "cpu": "AMD EPYC 7R32",
    "cores": 16,
    "gpus": ["NVIDIA A10G"],
    "cuda": "13.2",
    "driver": "580.65.06",
    "instance": "g5.4xlarge",
}
G4DN: dict[str, Any] = {
    "cpu": "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz",
    "cores": 16,
    "gpus": ["Tesla T4"],
    "cuda": "13.2",
    "driver": "580.65.06",
    "instance": "g4dn.4xlarge",
}

TOO_FEW = Reason(code="too-few-samples", figure=64, limit=130, remedy="measure --requests 130")
DRIFT = Reason(
    code="drift",
    figure=0.17,
    limit=0.05,
    remedy="stop other programs, or lengthen --duration",
)
WRONG_ANSWERS = Reason(
    code="outputs-differ",
    figure=0.5,
    limit=0.98,
    remedy="choose another --precision or --runtime before relying on this speed",
)


def environment(
    machine: dict[str, Any] = LAPTOP, time: str = "2026-11-21T10:00:00Z"
) -> Environment:
    software: dict[str, Any] = {
        "gpubench": "0.1.0",
        "python": "3.11.7",
        "platform": "Linux 6.1 x86_64",
        "torch": "2.15.0",
        "torchvision": "0.29.2",
        "transformers": "5.23.0",
    }
    return Environment(time=time, **software, **machine)


def result(
    throughput: float | None = 18.4,
    p95_ms: float | None = 120.0,
    *,
    relative_interval: float | None = 0.02,
    machine: dict[str, Any] = LAPTOP,
    time: str = "2026-11-21T10:00:00Z",
    reasons: tuple[Reason, ...] = (),
    error: Failure | None = None,
    completed: int = 130,
    native_precision: bool = True,
    numerics: Numerics | None = None,
    achieved: Achieved | None = None,
    memory: Memory | None = None,
    **settings: Any,
) -> Result:
    """A measured cell; keyword arguments that are not named here are settings of its spec.

    Intervals are `relative_interval` of the figure to either side.
    """
    on_gpu = bool(machine.get("gpus"))
    workers = settings.get("workers", 1)
    defaults: dict[str, Any] = {
        "model": "resnet50",
        "device": "cuda:0" if on_gpu else "cpu",
        "workers": workers,
        "clients": None if "rate" in settings else workers,
        "threads": None if on_gpu else max(1, machine["cores"] // workers),
        "depth": 1,
        "requests": 130,
    }
    if settings.get("model", "resnet50") in {"bert-base", "bert-large", "distilbert"}:
        defaults["seq_len"] = 128
    spec = make_spec(defaults | settings)

    def interval(value: float | None) -> tuple[float, float] | None:
        if value is None or relative_interval is None:
            return None
        return value * (1 - relative_interval), value * (1 + relative_interval)

    latency = Latency()
    if p95_ms is not None:
        latency = Latency(
            mean=p95_ms * 0.93,
            min=p95_ms * 0.9,
            max=p95_ms * 1.4,
            p50=p95_ms * 0.92,
            p90=p95_ms * 0.98,
            p95=p95_ms,
            p99=p95_ms * 1.25,
            p95_interval=interval(p95_ms),
        )
    measured = Result(
        schema=SCHEMA,
        spec=spec,
        environment=environment(machine, time),
        engine=EngineInfo(
            parameters=25_557_032, intra_op_threads=spec.threads, native_precision=native_precision
        ),
        window=WindowInfo(seconds=7.1, warmup_seconds=2.0),
        seconds=CellSeconds(
            load=0.5,
            build=1.0,
            warmup=2.0,
            measure=7.2,
            other=0.3,
            total=11.0,
            shared=["reference"],
        ),
        requests=Requests(offered=completed + 2, completed=completed, unfinished=2),
        throughput_per_second=throughput,
        throughput_interval=interval(throughput),
        latency_ms=latency,
        harness=Harness(executor="python", cpu_cores=1.9, littles_law_residual=0.001),
        numerics=numerics,
        achieved=achieved or Achieved(),
        memory=memory or Memory(),
        verdict=Verdict(status="suspect" if reasons or error else "valid", reasons=list(reasons)),
        error=error,
    )
    measured.costs = costs(measured)
    return measured


def failed(message: str = "CUDA out of memory", stage: str = "measure", **settings: Any) -> Result:
    """A cell that failed before it measured anything."""
    failure = Failure(stage=stage, message=message)
    return result(None, None, error=failure, completed=0, **settings)


def repeated(*throughputs: float | None, processes: bool = False, **settings: Any) -> list[Result]:
    """Repeats of one cell, in one process or in one each. None: the repeat failed."""
    results = []
    for number, throughput in enumerate(throughputs, 1):
        error = None if throughput else Failure(stage="measure", message="it failed")
        p95_ms = None if throughput is None else 1000 / throughput
        completed = 130 if throughput else 0
        measured = result(throughput, p95_ms, error=error, completed=completed, **settings)
        measured.repeat = Repeat(
            number=number,
            of=len(throughputs),
            round=number,
            series="s",
            process=f"p{number}" if processes else "p",
        )
        results.append(measured)
    return results


def quick_start(**common: Any) -> list[Result]:
    """The quick start's cells on two cores, with figures like those really measured."""
    instance = common.pop("instance", "c7i.xlarge")
    rows = [
        ("bert-base", "fp32", 1, 1, 6.98, 146.0),
        ("bert-base", "fp32", 1, 2, 7.61, 271.0),
        ("bert-base", "bf16", 1, 1, 12.9, 79.1),
        ("bert-base", "bf16", 1, 2, 13.8, 149.0),
        ("resnet50", "fp32", 1, 1, 13.52, 75.2),
        ("resnet50", "fp32", 1, 2, 18.41, 112.0),
        ("resnet50", "bf16", 1, 1, 26.3, 39.4),
        ("resnet50", "bf16", 1, 2, 33.7, 60.9),
        ("resnet50", "fp32", 4, 1, 14.4, 283.0),
    ]
    return [
        result(
            throughput,
            p95,
            model=model,
            precision=precision,
            batch=batch,
            workers=workers,
            instance=instance,
            **common,
        )
        for model, precision, batch, workers, throughput, p95 in rows
    ]


def cold_start(
    number: int, page_cache: str = "warm", error: Failure | None = None, slower_s: float = 0.0
) -> ColdStart:
    """A start that takes 4.5 s and `slower_s`; with `error` it ends before the build."""
    stages = {"interpreter": 0.03125, "imports": 2.5, "weights": 1.0 + slower_s}
    if error is None:
        stages |= {"build": 0.71875, "first_inference": 0.25, "settling": 0.5}
    seconds = StartSeconds.model_validate(stages)
    return ColdStart(
        number=number,
        time="2026-11-21T10:00:00Z",
        page_cache=page_cache,
        seconds=seconds,
        ready_seconds=seconds.ready(),
        total_seconds=seconds.total(),
        settled_after=None if error else 4,
        error=error,
    )


def cold_result(
    starts: list[ColdStart] | None = None,
    machine: dict[str, Any] = LAPTOP,
    image: ContainerImage | None = None,
    **settings: Any,
) -> ColdResult:
    """20 starts of ResNet50, or `starts`."""
    defaults = {"model": "resnet50", "device": "cpu", "workers": 1, "clients": 1, "threads": 2}
    if starts is None:
        starts = [cold_start(number, slower_s=number / 64) for number in range(1, 21)]
    return with_costs(
        ColdResult(
            spec=make_spec(defaults | settings),
            environment=environment(machine),
            engine=EngineInfo(parameters=25_557_032, weights="random (seed 0)"),
            first_start=cold_start(0, slower_s=5.0),
            starts=starts,
            image=image,
            figures=figures_of(starts),
        )
    )


def a_machine(**changes: object) -> Machine:
    facts: dict[str, object] = {
        "cpu": "Test CPU",
        "cores": 2,
        "cpu_flags": frozenset(),
        "gpus": (),
        "instance": None,
        "platform": "Linux",
    }
    return Machine(**(facts | changes))  # type: ignore[arg-type]


STAMPS = (
    "scheduled_ns",
    "opened_ns",
    "departed_ns",
    "submitted_ns",
    "completed_ns",
    "batch",
    "id",
)


def samples(count: int = 1000, unfinished: int = 0, first_ns: int = 10**15) -> Samples:
    """A worker that answers every millisecond."""
    scheduled = first_ns + np.arange(count, dtype=np.int64) * 1_000_000
    return Samples(
        scheduled_ns=scheduled,
        opened_ns=scheduled + 50,
        departed_ns=scheduled + 100,
        submitted_ns=scheduled + 200,
        completed_ns=scheduled + 900_000,
        worker=np.zeros(count, np.int32),
        batch=np.arange(count, dtype=np.int64),
        id=np.arange(count, dtype=np.int64),
        unfinished_scheduled_ns=np.arange(unfinished, dtype=np.int64) + first_ns,
    )


def as_cell(spec: Spec) -> Cell:
    """The cell of `spec` on a CPU, or on the GPUs it names; no machine is asked what it can do."""
    known = model_entry(spec.model)
    filled: dict[str, object] = {
        "device": "cpu" if spec.device == "auto" else spec.device,
        "workers": spec.workers or 1,
        "depth": spec.depth or 1,
        "threads": spec.threads or 1,
        "seq_len": spec.seq_len or (known.seq_len if known else None),
    }
    if spec.trains:
        filled |= {
            "optimizer": spec.optimizer or "adamw",
            "accumulate": spec.accumulate or 1,
            "replicas": spec.replicas or 1,
        }
    if not spec.open_loop:
        filled["clients"] = spec.clients or spec.workers or 1
    return cell_of(spec.model_copy(update=filled))


def a_cell(**settings: Any) -> Cell:
    """See `as_cell`."""
    return as_cell(make_spec(settings))


def another(cell: Cell, **settings: object) -> Cell:
    """The cell with other settings."""
    return cell_of(cell.spec.model_copy(update=settings))


def training_report(**figures: Any) -> TrainingReport:
    """The report of steps that train, with other figures."""
    defaults: dict[str, Any] = {
        "optimizer": "adamw",
        "replicas": 1,
        "samples_per_step": 1,
        "loss": "own",
        "toy_steps": 20,
        "toy_first_loss": 3.0,
        "toy_last_loss": 2.0,
        "parameters_changed": True,
        "trains": True,
        "flop_factor": 3.0,
    }
    return TrainingReport(**defaults | figures)
