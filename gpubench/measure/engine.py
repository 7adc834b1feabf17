"""From a cell to a model that workers can run, with what making it ready took."""

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
from gpubench.measure.output_check import References, check
from gpubench.measure.python_workers import (
    AroundWorker,
    ModelWorker,
    Worker,
    make_pool,
    make_requests,
)
from gpubench.models.base import Around, LoadedModel, Tensors, load, seeded
from gpubench.models.local_files import state_of_files
from gpubench.results.result import EngineInfo, Numerics
from gpubench.spec.cell import Cell
from gpubench.system.cpu_threads import on_ending_thread, set_interop_threads
from gpubench.system.machine import Machine

# The settings on which an engine and its inputs depend; cells that differ in others share both.
_ENGINE_SETTINGS = (
    "model", "given_inputs", "dims", "inputs_file", "weights", "runtime", "precision", "batch",
    "seq_len", "devices", "inputs", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A device, with an engine of its own and the requests' inputs as that engine takes them."""

    engine: Engine
    pool: list[Tensors]  # empty where a preprocess makes the inputs


@dataclass(frozen=True)
class Prepared:
    places: dict[str, Place]  # by device
    weights: str
    parameters: int | None
    flops: float | None  # per inference; None: not counted
    load_seconds: float
    build_seconds: float
    first_inference_seconds: float
    numerics: Numerics | None  # None: there is nothing to compare with
    around: Around | None = None
    requests: list[object] = field(default_factory=list)  # what clients send, where `around` is

    @property
    def engine(self) -> Engine:
        """That of the first device; the others have its like."""
        return next(iter(self.places.values())).engine

    def describe(self, cell: Cell, machine: Machine) -> EngineInfo:
        """The engine, for the result."""
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
        """Workers that call the engine of their device from Python."""
        places = [self.places[device] for device in cell.worker_devices]
        if self.around is None:
            return [ModelWorker(place.engine, place.pool, cell) for place in places]
        return [AroundWorker(place.engine, self.requests, self.around, cell) for place in places]

    def graph_executors(self, cell: Cell) -> list[core.Executor]:
        """Workers on GPUs that replay the engine as CUDA graphs.

        Raises NotCapturable, with the reason, where it has to be called from Python.
        """
        from gpubench.measure.cuda_graphs import NotCapturable, Shape, capture

        if self.around is not None:
            raise NotCapturable("preprocess and postprocess surround each batch with Python")
        made = {}
        for device, place in self.places.items():
            shape = Shape(
                workers=cell.worker_devices.count(device),
                depth=cell.depth,
                most_requests=cell.batch_limits.requests,
                host_inputs=cell.inputs == "host",
            )
            with _threads_of_a_worker(cell):  # for which TorchInductor compiled it
                made[device] = iter(capture(place.engine, place.pool, shape).executors())
        return [next(made[device]) for device in cell.worker_devices]


def _threads_note(cell: Cell, cores: int) -> str:
    """How the CPU's cores are shared out."""
    return f"{cores} cores, {cell.workers} workers, {cell.threads} intra-op threads in each"


def engine_key(cell: Cell) -> tuple[object, ...]:
    """What an engine is shared by, among neighbouring cells; a file that is edited is another."""
    runtime = cell.runtime_entry
    workers = (cell.workers, cell.threads) if runtime.compiled_for_workers else ()
    batches = (cell.batch_limits.samples,) if runtime.built_for_batches else ()
    settings = (getattr(cell, name) for name in _ENGINE_SETTINGS)
    return (*settings, *workers, *batches, state_of_files(cell))


def prepare(
    cell: Cell, enter: Callable[[str], None], references: References | None = None
) -> Prepared:
    """Load the model, build its engine, check its outputs; `enter` is told of each stage.

    All of it runs with as many CPU threads as a worker will have, on a thread that has ended when
    this returns: its pool of threads would slow the workers down (see `_cpu_threads`). Raises
    GpubenchError where the model cannot be loaded, built or checked, and what the runtime raises.
    """
    return on_ending_thread(lambda: _prepare(cell, enter, references or References()))


def _prepare(cell: Cell, enter: Callable[[str], None], references: References) -> Prepared:
    precision.set_fp32_arithmetic(cell.precision)
    set_interop_threads(_threads_in_all(cell))  # before the model runs: later it has no effect
    with _threads_of_a_worker(cell), ExitStack() as modes:
        enter("load")
        started = time.monotonic()
        model = load(cell)
        load_seconds = time.monotonic() - started
        if model.around is not None and cell.inputs == "device":
            raise GpubenchError(
                "--inputs device: with a preprocess or postprocess every request begins and ends "
                "in host memory; use --inputs host"
            )
        flops = count_flops(model) if model.callable_on_cpu else None
        reference = references.of(model, cell)  # building changes the model
        enter("build")
        started = time.monotonic()
        device, *further = cell.devices
        engine = build(model, cell.on(device))
        precision.set_fp32_arithmetic(cell.precision)  # which exporting and compiling may change
        modes.enter_context(engine.thread_modes())
        _refuse_foreign_interop_threads(engine, cell)
        build_seconds = time.monotonic() - started
        enter("check")
        checked = check(engine, reference, cell.precision)
    places = {device: _place(model, engine, cell)}
    for device in further:  # a model moves to its device, so each has its own
        there = cell.on(device)
        own = load(there)
        places[device] = _place(own, build(own, there), there)
    return Prepared(
        places=places,
        weights=model.weights,
        parameters=model.parameters,
        flops=flops,
        load_seconds=load_seconds,
        build_seconds=build_seconds,
        first_inference_seconds=checked.first_inference_seconds,
        numerics=checked.numerics,
        around=model.around,
        requests=make_requests(model.around, cell) if model.around else [],
    )


def _refuse_foreign_interop_threads(engine: Engine, cell: Cell) -> None:
    """Parallel branches of TorchScript run on threads that the whole process shares.

    Raises GpubenchError where the engine has such branches, and the process already has another
    number of threads for them than the cell gives its workers.
    """
    threads, available = _threads_in_all(cell), torch.get_num_interop_threads()
    if available == threads or not isinstance(engine.forward, torch.jit.ScriptModule):
        return
    graph: Any = engine.forward.inlined_graph
    if graph.findAllNodes("prim::fork", recurse=True):
        raise GpubenchError(
            f"{cell.model} runs branches in parallel (torch.jit.fork) on {threads} threads, and "
            f"this process has {available} for them, which torch sets only once: measure this "
            "cell with a gpubench run of its own"
        )


def _threads_in_all(cell: Cell) -> int:
    """CPU threads of all workers together."""
    return cell.workers * cell.threads


def _place(model: LoadedModel, engine: Engine, cell: Cell) -> Place:
    return Place(engine, make_pool(model, engine, cell) if model.around is None else [])


@contextmanager
def _threads_of_a_worker(cell: Cell) -> Iterator[None]:
    """Some runtimes compile for the number of threads that they find."""
    threads = torch.get_num_threads()
    torch.set_num_threads(cell.threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def count_flops(model: LoadedModel) -> float | None:
    """Floating-point operations of one inference: twice the multiply-adds of its products.

    Counted by torch, with attention in its plain form, since fused kernels are counted only from
    some versions on.
    """
    counter = FlopCounterMode(display=False)
    inputs = model.make_inputs(seeded(0), samples := model.fixed_batch or 1)
    with torch.inference_mode():
        try:
            with sdpa_kernel(SDPBackend.MATH), counter:
                model.module(*inputs)
        except Exception:  # under the counter, TorchScript does not say why
            model.module(*inputs)
            return None  # it runs, and cannot be counted
    return counter.get_total_flops() / samples or None  # ONNX Runtime, say, is not seen
