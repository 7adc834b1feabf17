"""Are the answers right? An engine's outputs against those of the fp32 eager model.

Speed bought with wrong outputs is worth nothing, so every engine answers the same seeded requests
as the model it was made from, before it is measured. Both get whole requests of the same batch, so
that nothing has to be known about the outputs: neither their rank nor where their batch is. How the
measures are defined, and why they mean something even for random weights, stands in
docs/measurement.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors, as_tuple, seeded
from gpubench.registry import MODELS
from gpubench.results.result import Numerics
from gpubench.spec.cell import Cell
from gpubench.statistics.verdicts import MOST_REPEAT_ERROR, answer_limits, outputs_differ

# An engine is asked for this many distinct samples, and in no fewer than two requests. The answers
# to one alone would not tell an engine that is right from one that ignores its input.
SAMPLES = 16
_LEAST_REQUESTS = 2

# One step of fp32, relative to the number that it is added to.
_STEP = 2.0**-23
# Above this, an output is mostly rounding: a step in the inputs changes it by more than a tenth of
# what an fp32 engine is allowed.
_MOST_NOISE = 1e-4

# Beside a typical value, a number this many times as large leaves nothing of it in fp32. It is no
# result, but the mark of a place that is left out, as -1e9 or the smallest number of a format.
_MARK = 2.0**24
_LEAST_MARK = 65_000.0  # fp16 has nothing larger than 65504

# The smallest number that every processor keeps: it may round what is smaller to zero.
_SMALLEST = 2.0**-126


@dataclass(frozen=True)
class Reference:
    """What the fp32 eager model answers on the CPU to requests of one batch size."""

    requests: list[Tensors]
    outputs: list[Tensors] | None  # of each request; None: the model cannot be asked
    answers: tuple[str, ...] = ()  # see LoadedModel.answers
    # By output: the relative change that one step of fp32 in the inputs makes.
    noise: tuple[float, ...] = ()
    repeat_error: float | None = None  # see Numerics.reference_repeat_error


class References:
    """The references of one preset at a time, for the neighbouring cells of a sweep to share.

    A model of the user's own is asked each time: its files, or what its function returns, may have
    changed, and no key covers all that decides its answers.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._references: dict[int, Reference] = {}  # by batch

    def of(self, model: LoadedModel, cell: Cell) -> Reference:
        """The reference of `model`, which still has to be as it was loaded."""
        if cell.model not in MODELS:
            return make_reference(model, cell.seed, cell.batch)
        # Random weights follow from the seed; others are files, which can change.
        weights = None if cell.weights == "random" else model.weights_digest
        key = (cell.model, cell.weights, weights, cell.seed, cell.seq_len)
        if key != self._key:
            self._references, self._key = {}, key  # before the next is made: both may not fit
        if cell.batch not in self._references:
            self._references[cell.batch] = make_reference(model, cell.seed, cell.batch)
        return self._references[cell.batch]


def make_reference(model: LoadedModel, seed: int, batch: int) -> Reference:
    """Ask `model` requests of `batch` samples, and the first one again to see whether it repeats.

    The second time its inputs are a step of fp32 away: that changes a model's answers by no more
    than rounding does anyway. Where they change by more, the very same request is asked as well.
    """
    generator = seeded(seed + 2)  # not the seeds of weights and requests
    count = max(_LEAST_REQUESTS, -(-SAMPLES // batch))
    requests = [model.make_inputs(generator, batch) for _ in range(count)]
    if not model.callable_on_cpu:
        return Reference(requests, None, model.answers)
    with torch.inference_mode():
        outputs = [_ask(model.module, request) for request in requests]
        nearby = _ask(model.module, tuple(_a_step_away(t, generator) for t in requests[0]))
        noise = _errors(nearby, outputs[0])
        if max(noise, default=0.0) > _MOST_NOISE:
            repeat_error = _repeat_error(_ask(model.module, requests[0]), outputs[0])
            if repeat_error is not None:
                return Reference(requests, outputs, model.answers, repeat_error=repeat_error)
    return Reference(requests, outputs, model.answers, noise)


def _ask(module: torch.nn.Module, request: Tensors) -> Tensors:
    """The module's outputs in memory of their own, as its inputs are: it may write to either."""
    return _copies(as_tuple(module(*_copies(request))))


def _copies(tensors: Tensors) -> Tensors:
    """Copies that nobody else writes to."""
    return tuple(tensor.clone() for tensor in tensors)


def _a_step_away(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    signs = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
    return (tensor.double() * (1 + _STEP * signs)).to(tensor.dtype)


@dataclass(frozen=True)
class Checked:
    numerics: Numerics | None  # None: there is nothing to compare with
    first_inference_seconds: float


def check(engine: Engine, reference: Reference, precision: str) -> Checked:
    """Ask `engine`, which has not run before, the requests of `reference`.

    The time of its first inference counts from inputs in host memory to outputs in host memory.
    Raises GpubenchError where the outputs do not have the reference's form.
    """
    answers: list[Tensors] = []
    seconds: list[float] = []
    for request in reference.requests:
        outputs, took = _ask_engine(engine, request)
        answers.append(outputs)
        seconds.append(took)
    if reference.outputs is None:
        return Checked(None, seconds[0])
    device = engine.device.type
    limits = answer_limits(precision, device)
    numerics = compare(
        answers, reference.outputs, reference.answers, limits.least_variation, reference.noise
    )
    numerics.reference_repeat_error = reference.repeat_error
    if reference.repeat_error is None and outputs_differ(numerics, precision, device):
        again, _ = _ask_engine(engine, reference.requests[0])
        numerics.engine_repeat_error = _repeat_error(again, answers[0])
    return Checked(numerics, seconds[0])


def _ask_engine(engine: Engine, request: Tensors) -> tuple[Tensors, float]:
    """(outputs in host memory, seconds)."""
    inputs = engine.place(_copies(request))
    started = time.monotonic()
    outputs = engine.forward(*(tensor.to(engine.device) for tensor in inputs))
    on_host = _copies(tuple(output.cpu() for output in as_tuple(outputs)))
    return on_host, time.monotonic() - started


def compare(
    outputs: Sequence[Tensors],
    expected: Sequence[Tensors],
    answers: tuple[str, ...] = (),
    least_variation: float = 0.0,
    noise: tuple[float, ...] = (),
) -> Numerics:
    """Outputs against those expected, both as a list of requests. Computed in float64.

    Of a model with several outputs, each figure is that of the output which fares worst. There is
    no cosine of an output that differs between requests by less than `least_variation` of its size.
    `noise` has, for each output, the relative change that rounding of the inputs alone makes.
    """
    numerics = Numerics()
    agreements: list[_Agreement] = []
    integers: list[_Agreement] = []
    outputs, expected = [_real(each) for each in outputs], [_real(each) for each in expected]
    for ours, theirs in zip(outputs, expected, strict=True):
        _refuse_another_form(ours, theirs)
    for place, (ours, theirs) in enumerate(
        zip(zip(*outputs, strict=True), zip(*expected, strict=True), strict=True)
    ):
        if place < len(answers) and (share := _same_answers(ours, theirs)) is not None:
            setattr(numerics, f"{answers[place]}_agreement", share)
        if all(_is_discrete(tensor) for tensor in (*ours, *theirs)):
            integers.append(_agreement(ours, theirs, 0.0, 0.0))
        else:
            known_noise = noise[place] if place < len(noise) else 0.0
            agreements.append(_agreement(ours, theirs, known_noise, least_variation))
    numerics.reference_not_finite = _not_finite(expected)
    numerics.finite = all(each.finite for each in agreements)
    if numerics.finite:
        cosines = [each.cosine for each in agreements if each.cosine is not None]
        both = agreements + integers
        numerics.max_abs_error = max((each.max_abs_error for each in both), default=None)
        numerics.relative_error = max((each.relative_error for each in agreements), default=None)
        numerics.cosine = min(cosines, default=None)
    if integers:
        numerics.integer_agreement = min(each.equal for each in integers)
        numerics.integer_relative_error = max(each.relative_error for each in integers)
    return numerics


def _real(tensors: Tensors) -> Tensors:
    """Complex numbers as pairs, which some runtimes give in their place."""
    return tuple(
        torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        for tensor in tensors
    )


def _refuse_another_form(ours: Tensors, theirs: Tensors) -> None:
    shapes, wanted = [tuple(o.shape) for o in ours], [tuple(t.shape) for t in theirs]
    if shapes != wanted:
        raise GpubenchError(f"the outputs have shapes {shapes}, those of the fp32 model {wanted}")


def _is_discrete(tensor: torch.Tensor) -> bool:
    """Whether it holds labels, indices, counts or flags."""
    return not (tensor.is_floating_point() or tensor.is_quantized)


def _not_finite(outputs: Sequence[Tensors]) -> Literal["NaN", "infinity"] | None:
    infinite = False
    for tensor in (tensor for request in outputs for tensor in request):
        if _is_discrete(tensor):
            continue
        values = _values(tensor)
        if bool(values.isnan().any()):
            return "NaN"
        infinite = infinite or bool(values.isinf().any())
    return "infinity" if infinite else None


def _same_answers(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float | None:
    """Share of samples with the largest value in the same place; None where there is one value."""
    if ours[0].ndim < 2:
        return None
    same = [
        o.flatten(1).argmax(1) == t.flatten(1).argmax(1) for o, t in zip(ours, theirs, strict=True)
    ]
    return float(torch.cat(same).double().mean())


@dataclass(frozen=True)
class _Agreement:
    """Of one output."""

    finite: bool
    max_abs_error: float
    relative_error: float
    cosine: float | None
    equal: float  # share of values


def _agreement(
    ours: Sequence[torch.Tensor],
    theirs: Sequence[torch.Tensor],
    noise: float,
    least_variation: float,
) -> _Agreement:
    """The figures of one output, from what both answer to each request."""
    o, t = _by_request(ours), _by_request(theirs)
    if not t.numel():
        return _Agreement(True, 0.0, 0.0, None, 1.0)
    o, t = _without_marks(o, t)
    if not (bool(o.isfinite().all()) and bool(t.isfinite().all())):
        return _Agreement(False, 0.0, 0.0, None, 0.0)
    difference = o - t
    error, size = float(difference.norm()), float(t.norm())
    if error <= _SMALLEST * t.numel() ** 0.5:
        error = 0.0
    if noise > _MOST_NOISE:  # the small difference of large numbers: theirs is the size that counts
        size *= noise / _STEP
    our_variation, variation = (each - each.mean(0) for each in (o, t))
    ours_varies, varies = float(our_variation.norm()), float(variation.norm())
    cosine = None
    if varies > least_variation * size:
        product = float(our_variation.flatten() @ variation.flatten())
        cosine = product / (ours_varies * varies) if ours_varies else 0.0
    return _Agreement(
        finite=True,
        max_abs_error=float(difference.abs().max()),
        relative_error=error / size if size else error,
        cosine=cosine,
        equal=float((difference == 0).double().mean()),
    )


def _by_request(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """(requests, values); all in one row where the requests' sizes differ."""
    values = [_values(tensor) for tensor in tensors]
    if len({len(each) for each in values}) > 1:
        return torch.cat(values).unsqueeze(0)
    return torch.stack(values)


def _values(tensor: torch.Tensor) -> torch.Tensor:
    """All values in one row of float64, whatever the format and layout."""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.detach().double().flatten()


def _without_marks(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with zero in the places where the reference has no number to compare with.

    These are NaN, and infinities and other marks that ours has as well, in its own format: what is
    -1e9 in fp32 is -65504 or -infinity in fp16.
    """
    size = theirs.abs()
    if bool((size < _LEAST_MARK).all()):  # nor NaN
        return ours, theirs
    ordinary = size[size.isfinite() & (size > 0)]
    typical = float(ordinary.median()) if ordinary.numel() else 0.0
    marked = size >= max(_LEAST_MARK, _MARK * typical)
    as_large = ours.abs() >= (size / 2).clamp(max=_LEAST_MARK)
    nothing = theirs.isnan() | (marked & as_large & (ours.sign() == theirs.sign()))
    return ours.masked_fill(nothing, 0.0), theirs.masked_fill(nothing, 0.0)


def _errors(outputs: Tensors, expected: Tensors) -> tuple[float, ...]:
    """The relative error of each output; 1 where their forms or their NaNs are not the same."""
    if [o.shape for o in outputs] != [e.shape for e in expected]:
        return (1.0,) * len(expected)
    return tuple(map(_error, _real(outputs), _real(expected)))


def _error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    if not torch.equal(_values(ours).isnan(), _values(theirs).isnan()):
        return 1.0
    figures = _agreement([ours], [theirs], 0.0, 0.0)
    return figures.relative_error if figures.finite else 1.0


def _repeat_error(outputs: Tensors, expected: Tensors) -> float | None:
    """Between two answers to one request; None where they are the same but for rounding."""
    worst = max(_errors(outputs, expected), default=0.0)
    return worst if worst > MOST_REPEAT_ERROR else None
