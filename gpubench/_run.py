"""Measure one cell: the whole path from a spec to a result.

spec -> plan -> engine -> drive (warm-up, measured run) -> analysis -> verdict -> costs -> result
"""

from __future__ import annotations

import gc
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from gpubench import _gpus, _plan
from gpubench._drive import (
    Drive,
    drive,
    hung_threads,
    longest_delay_ns,
    most_requests_per_batch,
    synthetic_executors,
    torch_executors,
)
from gpubench._interrupts import Deferral, raise_if_received, received
from gpubench.cost import costs
from gpubench.errors import GpubenchError, first_line, reason_of, shorten
from gpubench.machine import Machine, this_machine
from gpubench.result import (
    EngineInfo,
    Environment,
    Failure,
    Harness,
    Requests,
    Result,
    Verdict,
    Window,
)
from gpubench.spec import Spec
from gpubench.statistics import analyse
from gpubench.statistics.gpus import device_report
from gpubench.verdicts import Evidence, judge

if TYPE_CHECKING:
    from gpubench._numerics import References
    from gpubench._prepare import Prepared

DISTRIBUTION = "gpubench-inference"

# How a run can end before it is done; otherwise it is "finished", "completions" or "time".
_ENDED_EARLY = frozenset({"timeline full", "stopped", "error", "deadline"})

Say = Callable[[str], None]
Keep = Callable[[Result], None]


def _silent(stage: str) -> None:
    pass


def _nowhere(result: Result) -> None:
    pass


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during the measured run. `result` holds what was measured until then."""

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted")
        self.result = result


def run(spec: Spec, say: Say = _silent, keep: Keep = _nowhere) -> Result:
    """Measure one cell on this machine.

    `say` is called with each stage as it begins: load, build, measure. `keep` is given the result
    as soon as it is whole, while signals are still put off. A cell that fails in one of the stages
    comes back with `error` set and whatever was measured before.

    Handlers of signals stay those of the program that calls this. Only where Ctrl-C has Python's
    own handler, it is put off while a result is made; KeyboardInterrupt, from whatever handler,
    ends the measured run.

    Raises InputError for a spec that this machine cannot measure, before anything is loaded, and
    Interrupted, with the partial result, on KeyboardInterrupt.
    """
    machine = this_machine()
    return Bench(machine, say).measure(_plan.resolve(spec, machine), keep)


class Bench:
    """Measures cells one after another; neighbours with the same engine share it."""

    def __init__(self, machine: Machine, say: Say = _silent) -> None:
        self._machine = machine
        self._say = say
        self._stage = "load"
        self._hung_before = hung_threads()
        self._prepared: Prepared | None = None
        self._references: References | None = None
        self._key: tuple[object, ...] | None = None

    def measure(self, spec: Spec, keep: Keep = _nowhere) -> Result:
        """The result of one resolved spec; see `run`.

        `keep` is given the result as soon as it is whole, and no Ctrl-C comes in between.
        """
        result = _blank(spec, self._machine)
        driven: Drive | None = None
        interrupted = False
        with Deferral() as deferral:  # begun by the measured run: a signal ends it, no more
            try:
                driven = self._drive(spec, result, deferral)
            except KeyboardInterrupt:
                interrupted = True
            except (Exception, SystemExit) as error:  # a cell must never take the sweep down
                result.error = Failure(stage=self._stage, message=one_line(error))
                interrupted = received()  # C++ code turns KeyboardInterrupt into what it likes
            deferral.begin()
            if interrupted:
                result.error = Failure(
                    stage=self._stage, message="interrupted before it was measured"
                )
            if driven is None or driven.error is not None:
                self._forget_engine()
            if driven is not None:
                fill(result, driven, self._machine)
                interrupted = driven.interrupted
            if driven is not None or not interrupted:
                keep(result)
        if interrupted or deferral.pressed:
            raise Interrupted(result)
        return result

    @property
    def worn_out(self) -> bool:
        """Whether a batch hung, so that its thread still runs and would disturb further cells."""
        return hung_threads() > self._hung_before

    def _drive(self, spec: Spec, result: Result, deferral: Deferral) -> Drive:
        """Load what is needed and measure; what is known of the engine goes into the result."""
        if spec.model == "synthetic":
            self._enter("measure")
            return drive(spec, synthetic_executors(spec), deferral)
        from gpubench._workers import with_around

        prepared = self._prepare(spec)
        result.engine = _describe(prepared, spec, self._machine)
        result.numerics = prepared.numerics
        if spec.device != "cpu":
            from gpubench._capture import NotCapturable

            self._enter("capture")
            try:
                executors = prepared.graph_executors(spec)
            except NotCapturable as reason:
                result.harness.not_captured = str(reason)
                spec = spec.model_copy(update={"depth": 1})  # Python waits for each batch
            else:
                result.engine.captured = True
                self._enter("measure")
                return drive(spec, executors, deferral)
        self._enter("measure")
        workers = prepared.workers(spec)
        driven = drive(spec, torch_executors(workers), deferral)
        return replace(driven, samples=with_around(driven.samples, workers))

    def _enter(self, stage: str) -> None:
        raise_if_received()  # foreign code of the last stage may have caught it
        self._stage = stage
        self._say(stage)

    def _prepare(self, spec: Spec) -> Prepared:
        from gpubench._numerics import References
        from gpubench._prepare import engine_key, prepare

        self._references = self._references or References()

        key = engine_key(spec)
        if self._prepared is None or self._key != key:
            self._forget_engine()  # before the next is loaded: both may not fit
            self._prepared, self._key = prepare(spec, self._enter, self._references), key
        return self._prepared

    def _forget_engine(self) -> None:
        self._prepared = self._key = None
        gc.collect()


def one_line(error: BaseException) -> str:
    """What an error says, in one line; with its type where that is not gpubench's own."""
    if isinstance(error, GpubenchError):
        return shorten(first_line(error))
    return f"{type(error).__name__}: {reason_of(error)}"


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


def _blank(spec: Spec, machine: Machine) -> Result:
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


def _describe(prepared: Prepared, spec: Spec, machine: Machine) -> EngineInfo:
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
        threads_note=_plan.threads_note(spec, machine.cores) if on_cpu else None,
        native_precision=_plan.native_precision(spec, machine),
    )


def environment(machine: Machine, spec: Spec) -> Environment:
    """The machine and the versions, for a resolved cell."""
    cuda = driver = None
    gpus = list(machine.gpus)
    if spec.device != "cpu":
        driver = _driver_version()
        if spec.model == "synthetic":  # torch plays no part
            gpus = [gpu.name for gpu in _gpus.visible_gpus()]
        else:
            import torch

            cuda = torch.version.cuda
            gpus = [gpu.name for gpu in _gpus.torch_gpus()]
    return Environment(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        gpubench=_version(DISTRIBUTION) or "source tree",
        python=platform.python_version(),
        platform=machine.platform,
        torch=_version("torch"),
        torchvision=_version("torchvision"),
        transformers=_version("transformers"),
        cuda=cuda,
        driver=driver,
        cpu=machine.cpu,
        cores=machine.cores,
        gpus=gpus,
        instance=machine.instance,
    )


def _driver_version() -> str | None:
    """Of the NVIDIA kernel driver, as it says itself."""
    try:
        with open("/sys/module/nvidia/version") as file:
            return file.read().strip()
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
