"""From a resolved spec to a model that workers can run, with what making it ready took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpubench._numerics import References, check
from gpubench._workers import CpuWorker, make_pool, make_worker
from gpubench.engines import COMPILED_FOR_WORKERS, precision
from gpubench.engines.base import Engine, build
from gpubench.models.base import LoadedModel, Tensors, load, seeded
from gpubench.result import Numerics
from gpubench.spec import Spec

# The settings on which an engine and its inputs depend; cells that differ in others share both.
_ENGINE_SETTINGS = (
    "model", "weights", "runtime", "precision", "batch", "seq_len", "device", "inputs", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    engine: Engine
    pool: list[Tensors]
    weights: str
    parameters: int
    flops: float  # per inference
    load_seconds: float
    build_seconds: float
    first_inference_seconds: float
    numerics: Numerics

    def workers(self, spec: Spec) -> list[CpuWorker]:
        return [make_worker(self.engine, self.pool, spec) for _ in range(spec.workers or 1)]


def engine_key(spec: Spec) -> tuple[object, ...]:
    workers = (spec.workers, spec.threads) if spec.runtime in COMPILED_FOR_WORKERS else ()
    return (*(getattr(spec, name) for name in _ENGINE_SETTINGS), *workers)


def prepare(
    spec: Spec, enter: Callable[[str], None], references: References | None = None
) -> Prepared:
    """Load the model, build its engine, check its outputs; `enter` is told of each stage.

    Everything runs with the CPU threads that a worker will have. Raises GpubenchError where the
    model cannot be loaded, built or checked, and what the runtime raises.
    """
    precision.set_fp32_arithmetic(spec.precision)
    with _threads_of_a_worker(spec), ExitStack() as modes:
        enter("load")
        started = time.monotonic()
        model = load(spec)
        load_seconds = time.monotonic() - started
        flops = count_flops(model)
        reference = (references or References()).of(model, spec)  # building changes the model
        enter("build")
        started = time.monotonic()
        engine = build(model, spec)
        precision.set_fp32_arithmetic(spec.precision)  # which exporting and compiling may change
        modes.enter_context(engine.thread_modes())
        build_seconds = time.monotonic() - started
        enter("check")
        checked = check(engine, reference, spec.batch)
    return Prepared(
        engine=engine,
        pool=make_pool(model, engine, spec),
        weights=model.weights,
        parameters=model.parameters,
        flops=flops,
        load_seconds=load_seconds,
        build_seconds=build_seconds,
        first_inference_seconds=checked.first_inference_seconds,
        numerics=checked.numerics,
    )


@contextmanager
def _threads_of_a_worker(spec: Spec) -> Iterator[None]:
    """Some runtimes compile for the number of threads that they find."""
    threads = torch.get_num_threads()
    torch.set_num_threads(spec.threads or threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def count_flops(model: LoadedModel) -> float:
    """Floating-point operations of one inference: twice the multiply-adds of its products.

    Counted by torch, with attention in its plain form, since fused kernels are counted only from
    some versions on.
    """
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        model.module(*model.make_inputs(seeded(0), 1))
    return float(counter.get_total_flops())
