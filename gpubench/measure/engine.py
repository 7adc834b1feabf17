"""Makes the engine of a cell: loads the model, builds the engine and checks its outputs.

It also measures how long each of these steps takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpubench import core
from gpubench.cells.devices import native_precision
from gpubench.engines import precision
from gpubench.engines.base import Engine, build
from gpubench.errors import GpubenchError
from gpubench.measure.output_check import check
from gpubench.measure.python_workers import (
    ModelWorker,
    ProcessingWorker,
    Worker,
    make_pool,
    make_requests,
)
from gpubench.measure.reference import References
from gpubench.measure.streams import pinned
from gpubench.models.base import LoadedModel, PrePostProcessing, Tensors, load, seeded
from gpubench.models.local_files import state_of_files
from gpubench.results.result import EngineInfo, Numerics
from gpubench.spec.cell import Cell
from gpubench.system.cpu_threads import on_ending_thread, set_interop_threads
from gpubench.system.machine import Machine

# The settings on which an engine and its inputs depend. Cells that differ only in other settings
# share both.
_ENGINE_SETTINGS = (
    "model", "given_inputs", "dims", "inputs_file", "weights", "runtime", "precision", "batch",
    "seq_len", "devices", "inputs", "seed",
)  # fmt: skip


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
    processing: PrePostProcessing | None = None
    requests: list[object] = field(default_factory=list)  # what clients send to `processing`

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
            library=self.engine.library,
            first_inference_seconds=self.first_inference_seconds,
            weights=self.weights,
            intra_op_threads=cell.threads if cell.on_cpu else None,
            threads_note=_threads_note(cell, machine.cores) if cell.on_cpu else None,
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

        Raises NotCapturable, with the reason, if Python has to call the engine instead.
        """
        from gpubench.measure.cuda_graphs import NotCapturable, Shape, capture

        if self.processing is not None:
            raise NotCapturable("preprocess and postprocess run in Python for each batch")
        executors = {}
        for device, on_device in self.engines.items():
            shape = Shape(
                workers=cell.worker_devices.count(device),
                depth=cell.depth,
                most_requests=cell.batch_limits.requests,
                inputs=cell.inputs,
            )
            with _threads_of_a_worker(cell):  # TorchInductor compiled the engine for this number
                captured = capture(on_device.engine, on_device.pool, shape)
                executors[device] = iter(captured.executors())
        return [next(executors[device]) for device in cell.worker_devices]


def _requests(on_device: DeviceEngine, cell: Cell) -> list[Tensors]:
    """The inputs of the requests, for workers in Python."""
    return pinned(on_device.pool) if cell.inputs == "pinned" else on_device.pool


def _threads_note(cell: Cell, cores: int) -> str:
    """How the cores of the CPU are divided among the workers."""
    return f"{cores} cores, {cell.workers} workers, {cell.threads} intra-op threads in each"


def engine_key(cell: Cell) -> tuple[object, ...]:
    """Neighbouring cells with equal keys share an engine. The key changes if a file changes."""
    runtime = cell.runtime_entry
    workers = (cell.workers, cell.threads) if runtime.compiled_for_workers else ()
    batches = (cell.batch_limits.samples,) if runtime.built_for_batches else ()
    settings = (getattr(cell, name) for name in _ENGINE_SETTINGS)
    return (*settings, *workers, *batches, state_of_files(cell))


def prepare(
    cell: Cell, enter: Callable[[str], None], references: References | None = None
) -> Prepared:
    """Load the model, build its engine, and check its outputs. `enter` is called for each stage.

    All of this uses as many CPU threads as a worker will have. It runs on a thread that ends before
    this function returns, since its thread pool would slow the workers down (see
    gpubench.system.cpu_threads). Raises GpubenchError if the model cannot be loaded, built or
    checked, and passes on other errors of the runtime.
    """
    return on_ending_thread(lambda: _prepare(cell, enter, references or References()))


def _prepare(cell: Cell, enter: Callable[[str], None], references: References) -> Prepared:
    precision.set_fp32_arithmetic(cell.precision)
    set_interop_threads(_total_threads(cell))  # has no effect after the model has run
    with _threads_of_a_worker(cell), ExitStack() as modes:
        enter("load")
        started = time.monotonic()
        model = load(cell)
        load_seconds = time.monotonic() - started
        if model.processing is not None and cell.inputs != "host":
            raise GpubenchError(
                f"--inputs {cell.inputs}: a model with preprocess or postprocess takes its "
                "requests from host memory and returns results to host memory; use --inputs host"
            )
        flops = count_flops(model) if model.callable_on_cpu else None
        reference = references.get(model, cell)  # first, since building changes the model
        enter("build")
        started = time.monotonic()
        device, *further = cell.devices
        engine = build(model, cell.on(device))
        precision.set_fp32_arithmetic(cell.precision)  # exporting and compiling may change it
        modes.enter_context(engine.thread_modes())
        _refuse_foreign_interop_threads(engine, cell)
        build_seconds = time.monotonic() - started
        enter("check")
        checked = check(engine, reference, cell.precision)
    engines = {device: _device_engine(model, engine, cell)}
    for device in further:  # each device needs another copy: building moves the model to its device
        on_device = cell.on(device)
        copy = load(on_device)
        engines[device] = _device_engine(copy, build(copy, on_device), on_device)
    return Prepared(
        engines=engines,
        weights=model.weights,
        parameters=model.parameters,
        flops=flops,
        load_seconds=load_seconds,
        build_seconds=build_seconds,
        first_inference_seconds=checked.first_inference_seconds,
        numerics=checked.numerics,
        processing=model.processing,
        requests=make_requests(model.processing, cell) if model.processing else [],
    )


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


def _device_engine(model: LoadedModel, engine: Engine, cell: Cell) -> DeviceEngine:
    return DeviceEngine(engine, [] if model.processing else make_pool(model, engine, cell))


@contextmanager
def _threads_of_a_worker(cell: Cell) -> Iterator[None]:
    """Set torch's number of CPU threads to that of a worker: some runtimes compile for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(cell.threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
