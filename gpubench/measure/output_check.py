"""Checks an engine: compares its outputs with those of the fp32 eager model.

A fast engine with wrong outputs is useless. So every engine gets the same requests as the model
from which it was made, before it is measured. docs/measurement.md defines the figures, and explains
why they are meaningful even for random weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from gpubench.engines.base import Engine
from gpubench.measure.output_comparison import compare, repeat_error
from gpubench.measure.reference import Reference, copies
from gpubench.models.base import Tensors, as_tuple
from gpubench.results.result import Numerics
from gpubench.statistics.verdicts import answer_limits, outputs_differ


@dataclass(frozen=True)
class CheckedEngine:
    numerics: Numerics | None  # None: there is no reference to compare with
    first_inference_seconds: float


def check(engine: Engine, reference: Reference, precision: str) -> CheckedEngine:
    """Run `engine` on the requests of `reference`, and compare the outputs.

    The engine must not have run before, since its first inference is timed: from inputs in host
    memory to outputs in host memory. Raises GpubenchError if the outputs have other shapes than
    those of the reference.
    """
    outputs: list[Tensors] = []
    seconds: list[float] = []
    for request in reference.requests:
        on_host, elapsed_s = run_engine(engine, request)
        outputs.append(on_host)
        seconds.append(elapsed_s)
    if reference.outputs is None:
        return CheckedEngine(None, seconds[0])
    device = engine.device.type
    limits = answer_limits(precision, device)
    numerics = compare(
        outputs,
        reference.outputs,
        reference.answers,
        limits.least_variation,
        reference.rounding_errors,
    )
    numerics.reference_repeat_error = reference.repeat_error
    if reference.repeat_error is None and outputs_differ(numerics, precision, device):
        again, _ = run_engine(engine, reference.requests[0])
        numerics.engine_repeat_error = repeat_error(again, outputs[0])
    return CheckedEngine(numerics, seconds[0])


def run_engine(engine: Engine, request: Tensors) -> tuple[Tensors, float]:
    """(outputs in host memory, seconds)."""
    inputs = engine.cast(copies(request))
    started = time.monotonic()
    outputs = engine.forward(*(tensor.to(engine.device) for tensor in inputs))
    on_host = copies(tuple(output.cpu() for output in as_tuple(outputs)))
    return on_host, time.monotonic() - started
