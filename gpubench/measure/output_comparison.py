"""Compares the outputs of an engine with those of the reference: errors, cosine, agreement.

docs/measurement.md defines these figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gpubench.errors import GpubenchError
from gpubench.models.base import Tensors
from gpubench.results.result import Numerics
from gpubench.statistics.verdicts import MOST_REPEAT_ERROR

# One rounding step of fp32, relative to the number.
FP32_EPSILON = 2.0**-23
# If one rounding step in the inputs changes an output by more than this, the output is mostly
# rounding: the change is more than a tenth of the error that is allowed for fp32.
MOST_ROUNDING_ERROR = 1e-4

# Some models write a very large number, such as -1e9, to masked positions. A number counts as a
# mask if it is this many times a typical value: in fp32 the typical value is lost beside it.
_MASK_RATIO = 2.0**24
_LEAST_MASK = 65_000.0  # the largest number of fp16 is 65504

# The smallest normal number of fp32. Some processors round smaller numbers to zero.
_SMALLEST = 2.0**-126


def compare(
    outputs: Sequence[Tensors],
    expected: Sequence[Tensors],
    answers: tuple[str, ...] = (),
    least_variation: float = 0.0,
    rounding_errors: tuple[float, ...] = (),
) -> Numerics:
    """Compare `outputs` with `expected`; both have one item per request. Computed in float64.

    If a model has several outputs, each figure is that of its worst output. An output has no cosine
    if it differs between requests by less than `least_variation` of its size. `rounding_errors`
    holds, for each output, the relative change that rounding of the inputs causes.

    Raises GpubenchError if the shapes differ.
    """
    numerics = Numerics()
    agreements: list[_Agreement] = []
    integers: list[_Agreement] = []
    outputs, expected = (
        [_as_reals(each) for each in outputs],
        [_as_reals(each) for each in expected],
    )
    for ours, theirs in zip(outputs, expected, strict=True):
        _refuse_other_shapes(ours, theirs)
    for number, (ours, theirs) in enumerate(
        zip(zip(*outputs, strict=True), zip(*expected, strict=True), strict=True)
    ):
        if number < len(answers) and (share := _argmax_agreement(ours, theirs)) is not None:
            setattr(numerics, f"{answers[number]}_agreement", share)
        if all(_is_discrete(tensor) for tensor in (*ours, *theirs)):
            integers.append(_agreement(ours, theirs, 0.0, 0.0))
        else:
            rounding = rounding_errors[number] if number < len(rounding_errors) else 0.0
            agreements.append(_agreement(ours, theirs, rounding, least_variation))
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


def _as_reals(tensors: Tensors) -> Tensors:
    """Complex numbers as pairs of real numbers: some runtimes return them like this."""
    return tuple(
        torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        for tensor in tensors
    )


def _refuse_other_shapes(ours: Tensors, theirs: Tensors) -> None:
    shapes, expected = [tuple(o.shape) for o in ours], [tuple(t.shape) for t in theirs]
    if shapes != expected:
        raise GpubenchError(f"the outputs have shapes {shapes}, those of the fp32 model {expected}")


def _is_discrete(tensor: torch.Tensor) -> bool:
    """Whether the tensor holds integers or booleans: labels, indices, counts or flags."""
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


def _argmax_agreement(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float | None:
    """The share of samples whose largest value is at the same position in both.

    None if each sample has a single value.
    """
    if ours[0].ndim < 2:
        return None
    same = [
        o.flatten(1).argmax(1) == t.flatten(1).argmax(1) for o, t in zip(ours, theirs, strict=True)
    ]
    return float(torch.cat(same).double().mean())


@dataclass(frozen=True)
class _Agreement:
    """How well one output agrees with the reference."""

    finite: bool
    max_abs_error: float
    relative_error: float
    cosine: float | None
    equal: float  # the share of values that are equal


def _agreement(
    ours: Sequence[torch.Tensor],
    theirs: Sequence[torch.Tensor],
    rounding_error: float,
    least_variation: float,
) -> _Agreement:
    """The figures of one output, from its tensors for each request."""
    o, t = _by_request(ours), _by_request(theirs)
    if not t.numel():
        return _Agreement(True, 0.0, 0.0, None, 1.0)
    o, t = _without_masked_values(o, t)
    if not (bool(o.isfinite().all()) and bool(t.isfinite().all())):
        return _Agreement(False, 0.0, 0.0, None, 0.0)
    difference = o - t
    error, size = float(difference.norm()), float(t.norm())
    if error <= _SMALLEST * t.numel() ** 0.5:
        error = 0.0
    if rounding_error > MOST_ROUNDING_ERROR:
        # The output is the small difference of large numbers. The error is relative to their size.
        size *= rounding_error / FP32_EPSILON
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
    """A tensor of shape (requests, values); (1, values) if the requests have different sizes."""
    values = [_values(tensor) for tensor in tensors]
    if len({len(each) for each in values}) > 1:
        return torch.cat(values).unsqueeze(0)
    return torch.stack(values)


def _values(tensor: torch.Tensor) -> torch.Tensor:
    """All values of a tensor of any format and layout, as a vector of float64."""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.detach().double().flatten()


def _without_masked_values(
    ours: torch.Tensor, theirs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with zero at the positions where the reference has no value to compare with.

    These are NaN, and masks (infinity or a very large number) that both have. A mask may differ
    between formats: -1e9 in fp32 is -65504 or -infinity in fp16.
    """
    size = theirs.abs()
    if bool((size < _LEAST_MASK).all()):  # False if there is a NaN
        return ours, theirs
    ordinary = size[size.isfinite() & (size > 0)]
    typical = float(ordinary.median()) if ordinary.numel() else 0.0
    is_mask = size >= max(_LEAST_MASK, _MASK_RATIO * typical)
    as_large = ours.abs() >= (size / 2).clamp(max=_LEAST_MASK)
    excluded = theirs.isnan() | (is_mask & as_large & (ours.sign() == theirs.sign()))
    return ours.masked_fill(excluded, 0.0), theirs.masked_fill(excluded, 0.0)


def relative_errors(outputs: Tensors, expected: Tensors) -> tuple[float, ...]:
    """The relative error of each output; 1 if their shapes or the positions of NaN differ."""
    if [o.shape for o in outputs] != [e.shape for e in expected]:
        return (1.0,) * len(expected)
    return tuple(map(_relative_error, _as_reals(outputs), _as_reals(expected)))


def _relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    if not torch.equal(_values(ours).isnan(), _values(theirs).isnan()):
        return 1.0
    figures = _agreement([ours], [theirs], 0.0, 0.0)
    return figures.relative_error if figures.finite else 1.0


def repeat_error(outputs: Tensors, expected: Tensors) -> float | None:
    """The relative error between two outputs for one request; None if they differ by rounding."""
    worst = max(relative_errors(outputs, expected), default=0.0)
    return worst if worst > MOST_REPEAT_ERROR else None
