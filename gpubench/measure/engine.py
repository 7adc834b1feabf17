"""Makes the engine of a cell: loads the model, builds the engine and checks its outputs.

It also measures how long each of these steps takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpubench import core
from gpubench.cells.devices import native_precision
from gpubench.engines import memory_format, precision
from gpubench.engines.base import Engine, build
from gpubench.errors import GpubenchError
from gpubench.measure.accuracy import Evaluation, measure_accuracy, open_data
from gpubench.measure.output_check import check
from gpubench.measure.python_workers import (
    ModelWorker,
    ProcessingWorker,
    Worker,
    make_pool,
    make_requests,
)
from gpubench.measure.reference import Reference
from gpubench.measure.shared import Shared
from gpubench.measure.stage_times import StageTimes
from gpubench.measure.streams import pinned
from gpubench.models.base import (
    LoadedModel,
    MakeInputs,
    PrePostProcessing,
    Tensors,
    load,
    seeded,
)
from gpubench.registry import MODELS
from gpubench.results.result import Accuracy, EngineInfo, Numerics
from gpubench.spec.cell import Cell, ClosedLoad
from gpubench.system.cpu_threads import on_ending_thread, set_interop_threads
from gpubench.system.machine import Machine, usable_cores
from gpubench.system.process_memory import ResidentPeak

if TYPE_CHECKING:
    from gpubench.measure.cuda_graphs import Captured, Shape


@dataclass(frozen=True)
class DeviceEngine:
    """The engine of one device, and the inputs of the requests in the formats that it takes."""

    engine: Engine
    pool: list[Tensors]  # empty if a preprocess function makes the inputs


@dataclass(frozen=True)
class Prepared:
    """The engines of a cell, ready to be measured, and what is known about them."""

    engines: dict[str, DeviceEngine]  # by device
    weights: str
    parameters: int | None
    flops: float | None  # per inference; None: not counted
    load_seconds: float
    build_seconds: float
    first_inference_seconds: float
    numerics: Numerics | None  # None: there is no reference to compare with
    accuracy: Accuracy | None = None  # None: there is no --eval
    processing: PrePostProcessing | None = None
    requests: list[object] = field(default_factory=list)  # what clients send to `processing`
    # Makes another request, as `processing` or the model takes it, not yet in the engine's format.
    # None: new requests are not needed.
    make_request: Callable[[torch.Generator], object] | None = None
    build_peak_host_bytes: int | None = None  # resident memory while all this was made
    # The graphs of the last cell, by device. A cell that needs graphs of another shape drops them.
    captured: dict[str, tuple[Shape, Captured]] = field(default_factory=dict)

    @property
    def engine(self) -> Engine:
        """The engine of the first device. The other devices have equal engines."""
        return next(iter(self.engines.values())).engine

    def describe(self, cell: Cell, machine: Machine) -> EngineInfo:
        """The description of the engine in the result."""
        return EngineInfo(
            parameters=self.parameters,
            flops=self.flops,
            load_seconds=self.load_seconds,
            build_seconds=self.build_seconds,
            from_cache=self.engine.from_cache,
            build_peak_host_bytes=self.build_peak_host_bytes,
            artifact_bytes=self.engine.artifact_bytes,
            library=self.engine.library,
            first_inference_seconds=self.first_inference_seconds,
            weights=self.weights,
            intra_op_threads=cell.threads if cell.computes_on_cpu else None,
            threads_note=(
                _threads_note(cell, cell.cores_of(machine.cores), self.engine)
                if cell.computes_on_cpu
                else None
            ),
            native_precision=native_precision(cell, machine),
        )

    def workers(self, cell: Cell) -> list[Worker]:
        """One worker for each worker of the cell. It calls the engine of its device from Python."""
        engines = [self.engines[device] for device in cell.worker_devices]
        if self.processing is None:
            pools = {device: _requests(each, cell) for device, each in self.engines.items()}
            return [
                ModelWorker(each.engine, pools[device], cell)
                for device, each in zip(cell.worker_devices, engines, strict=True)
            ]
        return [
            ProcessingWorker(each.engine, self.requests, self.processing, cell) for each in engines
        ]

    def graph_executors(self, cell: Cell) -> list[core.Executor]:
        """One executor for each worker. It replays the engine of its GPU as CUDA graphs.

        Cells that share the engine also share its graphs, if they need graphs of the same shape.
        Raises NotCapturable, with the reason, if Python has to call the engine instead.
        """
        from gpubench.measure.cuda_graphs import NotCapturable, capture

        if self.processing is not None:
            raise NotCapturable("preprocess and postprocess run in Python for each batch")
        executors = {}
        takes_turns = isinstance(cell.load, ClosedLoad)
        for device, on_device in self.engines.items():
            shape = _graph_shape(cell, device)
            known, captured = self.captured.get(device, (None, None))
            if captured is None or known != shape:
                self.captured.pop(device, None)  # first: the memory may be too small for both
                captured = None
                with torch_threads(
                    cell.threads
                ):  # TorchInductor compiled the engine for this number
                    captured = capture(on_device.engine, on_device.pool, shape)
                self.captured[device] = shape, captured
            executors[device] = iter(captured.executors(takes_turns))
        return [next(executors[device]) for device in cell.worker_devices]

    def has_graphs(self, cell: Cell) -> bool:
        """Whether an earlier cell has captured the graphs of `cell` on all its devices."""
        return all(
            device in self.captured and self.captured[device][0] == _graph_shape(cell, device)
            for device in self.engines
        )


def _graph_shape(cell: Cell, device: str) -> Shape:
    """The shape of the graphs that `cell` needs on one of its devices."""
    from gpubench.measure.cuda_graphs import Shape

    return Shape(
        workers=cell.worker_devices.count(device),
        depth=cell.depth,
        most_requests=cell.batch_limits.requests,
        inputs=cell.inputs,
    )


def _requests(on_device: DeviceEngine, cell: Cell) -> list[Tensors]:
    """The inputs of the requests, for workers in Python."""
    return pinned(on_device.pool) if cell.inputs == "pinned" else on_device.pool


def _threads_note(cell: Cell, cores: int, engine: Engine) -> str:
    """How the cores of the CPU are divided among the workers."""
    if engine.shares_threads:
        pool = _total_threads(cell)
        return f"{cores} cores, {cell.workers} workers, one pool of {pool} threads for all of them"
    return f"{cores} cores, {cell.workers} workers, {cell.threads} intra-op threads in each"


def prepare(
    cell: Cell,
    enter: Callable[[str], None],
    shared: Shared | None = None,
    times: StageTimes | None = None,
) -> Prepared:
    """Load the model, build its engine, check its outputs and measure its accuracy.

    `enter` is called for each stage.

    `shared` may hold what an earlier cell has made. `times` gets the parts of the stages.

    The work runs on threads that end before this function returns, since their thread pools would
    slow the workers down (see gpubench.system.cpu_threads). Loading and the reference use all
    cores; the engine is built and checked with as many CPU threads as a worker will have. Raises
    GpubenchError if the model cannot be loaded, built or checked, and passes on other errors of the
    runtime.
    """
    shared, times = shared or Shared(keep=False), times or StageTimes()
    peak = ResidentPeak()
    loaded = on_ending_thread(lambda: _load(cell, enter, shared, times))
    prepared = on_ending_thread(lambda: _build(cell, loaded, enter, shared, times))
    return replace(prepared, build_peak_host_bytes=peak.bytes())


@dataclass(frozen=True)
class _Loaded:
    """A model, and what is known about it before an engine is built from it."""

    model: LoadedModel  # building changes it
    seconds: float  # that loading took, for this cell or for an earlier one
    flops: float | None
    reference: Reference
    evaluation: Evaluation | None  # None: there is no --eval


def _load(cell: Cell, enter: Callable[[str], None], shared: Shared, times: StageTimes) -> _Loaded:
    precision.set_fp32_arithmetic(cell.precision)
    set_interop_threads(_total_threads(cell))  # has no effect after the model has run
    with torch_threads(usable_cores()):
        enter("load")
        times.enter("load")
        kept = shared.kept(cell)
        if kept is not None:
            times.share("load")
        else:
            kept = shared.load(cell)
        model = kept.model
        to_build = kept.copy() if shared.keeps(cell) else model
        if model.processing is not None and cell.inputs != "host":
            raise GpubenchError(
                f"--inputs {cell.inputs}: a model with preprocess or postprocess takes its "
                "requests from host memory and returns results to host memory; use --inputs host"
            )
        refuse_memory_format(model, cell)
        data = open_data(model, cell)
        flops = flops_of(model, cell, shared, times) if model.callable_on_cpu else None
        if shared.references.has(model, cell):
            times.share("reference")
        else:
            times.enter("reference")
        reference = shared.references.get(model, cell)  # first, since building changes the model
        evaluation = None
        if data is not None:
            enter("accuracy")
            if shared.evaluations.has(model, cell):
                times.share("accuracy")
            else:
                times.enter("accuracy")
            evaluation = shared.evaluations.get(model, cell, data)
        return _Loaded(to_build, kept.seconds, flops, reference, evaluation)


def flops_of(model: LoadedModel, cell: Cell, shared: Shared, times: StageTimes) -> float | None:
    """The operations of one inference. Those of a preset depend only on the length of its text."""
    key = cell.model, cell.seq_len
    if cell.model not in MODELS:
        times.enter("flops")
        return count_flops(model)
    if key in shared.flops:
        times.share("flops")
    else:
        times.enter("flops")
        shared.flops[key] = count_flops(model)
    return shared.flops[key]


def _build(
    cell: Cell, loaded: _Loaded, enter: Callable[[str], None], shared: Shared, times: StageTimes
) -> Prepared:
    model = loaded.model
    device, *further = cell.devices
    with torch_threads(cell.threads), ExitStack() as modes:
        enter("build")
        times.enter("build")
        started = time.monotonic()
        with memory_format.explained(cell):
            engine = build(model, cell.on(device))
        precision.set_fp32_arithmetic(cell.precision)  # exporting and compiling may change it
        modes.enter_context(engine.thread_modes())
        _refuse_foreign_interop_threads(engine, cell)
        build_seconds = time.monotonic() - started
        enter("check")
        times.enter("check")
        with memory_format.explained(cell):
            checked = check(engine, loaded.reference, cell.precision)
        accuracy = None
        if loaded.evaluation is not None:
            enter("accuracy")
            times.enter("accuracy")
            accuracy = measure_accuracy(engine, loaded.evaluation, cell.batch)
    engines = {device: _device_engine(model, engine, cell, shared, times)}
    for device in further:  # each device needs another copy: building moves the model to its device
        on_device = cell.on(device)
        times.enter("build")
        kept = shared.kept(on_device)
        copy = kept.copy() if kept else load(on_device)
        engine = build(copy, on_device)
        engines[device] = _device_engine(copy, engine, on_device, shared, times)
    return Prepared(
        engines=engines,
        weights=model.weights,
        parameters=model.parameters,
        flops=loaded.flops,
        load_seconds=loaded.seconds,
        build_seconds=build_seconds,
        first_inference_seconds=checked.first_inference_seconds,
        numerics=checked.numerics,
        accuracy=accuracy,
        make_request=partial(_make_request, model.processing, model.make_inputs, cell.batch),
        processing=model.processing,
        requests=make_requests(model.processing, cell) if model.processing else [],
    )


def _make_request(
    processing: PrePostProcessing | None,
    make_inputs: MakeInputs,
    batch: int,
    generator: torch.Generator,
) -> object:
    if processing is not None:
        return processing.make_requests(generator, batch)
    return make_inputs(generator, batch)


def refuse_memory_format(model: LoadedModel, cell: Cell) -> None:
    """Raises GpubenchError if the model cannot have the cell's memory format."""
    if cell.memory_format == "contiguous":
        return  # before the inputs are made
    inputs = model.make_inputs(seeded(0), model.fixed_batch or 1)
    if reason := memory_format.refusal(model, inputs, cell):
        raise GpubenchError(reason)


def _refuse_foreign_interop_threads(engine: Engine, cell: Cell) -> None:
    """Raises GpubenchError if the engine has parallel branches and the wrong number of threads.

    Parallel branches of TorchScript run on threads that the whole process shares. torch sets their
    number only once; it may be another one than that of the cell's workers.
    """
    threads, available = _total_threads(cell), torch.get_num_interop_threads()
    if available == threads or not isinstance(engine.forward, torch.jit.ScriptModule):
        return
    graph: Any = engine.forward.inlined_graph
    if graph.findAllNodes("prim::fork", recurse=True):
        raise GpubenchError(
            f"{cell.model} runs branches in parallel (torch.jit.fork) and needs {threads} threads "
            f"for them; this process has {available}, and torch sets the number only once; measure "
            "this cell with a separate gpubench run"
        )


def _total_threads(cell: Cell) -> int:
    """The number of CPU threads of all workers together."""
    return cell.workers * cell.threads


def _device_engine(
    model: LoadedModel, engine: Engine, cell: Cell, shared: Shared, times: StageTimes
) -> DeviceEngine:
    times.enter("inputs")
    if model.processing:
        return DeviceEngine(engine, [])
    if shared.requests is not None and shared.requests.has(cell):
        times.share("inputs")
    return DeviceEngine(engine, make_pool(model, engine, cell, shared.requests))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of CPU threads with which torch computes on this thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_flops(model: LoadedModel) -> float | None:
    """Floating-point operations of one inference: two for each multiply-add of its products.

    torch counts them. Attention runs without fused kernels, since older versions of torch do not
    count these. None if torch cannot count them. Raises what the model raises.
    """
    counter = FlopCounterMode(display=False)
    inputs = model.make_inputs(seeded(0), samples := model.fixed_batch or 1)
    with torch.inference_mode():
        try:
            with sdpa_kernel(SDPBackend.MATH), counter:
                model.module(*inputs)
        except Exception:  # the counter hides the reason if TorchScript fails
            model.module(*inputs)
            return None  # the model runs, but torch cannot count its operations
    return counter.get_total_flops() / samples or None  # torch sees no operations of ONNX Runtime
