"""Are the answers right? An engine's outputs against those of the fp32 eager model.

Speed bought with wrong outputs is worth nothing, so every engine answers the same seeded samples
as the model it was made from, before it is measured. How the measures are defined, and why they
mean something even for random weights, stands in docs/measurement.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError
from gpubench.models import MODELS
from gpubench.models.base import LoadedModel, Tensors, as_tuple, seeded
from gpubench.result import Numerics
from gpubench.spec import Spec

# Distinct samples that an engine is asked. The answers to one alone would not tell an engine that
# is right from one that ignores its input.
SAMPLES = 16


@dataclass(frozen=True)
class Reference:
    """What the fp32 eager model answers on the CPU: `SAMPLES` rows in every tensor."""

    inputs: Tensors
    outputs: Tensors | None  # None: it cannot be asked
    answers: tuple[str, ...]  # see LoadedModel.answers


class References:
    """The reference of one preset at a time, for the neighbouring cells of a sweep to share.

    A model of the user's own is asked each time: its files, or what its function returns, may have
    changed, and no key covers all that decides its answers.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._reference: Reference | None = None

    def of(self, model: LoadedModel, spec: Spec) -> Reference:
        """The reference of `model`, which still has to be as it was loaded."""
        if spec.model not in MODELS:
            return make_reference(model, spec.seed)
        # Random weights follow from the seed; others are files, which can change.
        weights = None if spec.weights == "random" else model.weights_digest
        key = (spec.model, spec.weights, weights, spec.seed, spec.seq_len)
        if self._reference is None or key != self._key:
            self._reference = None  # before the next is made: both may not fit
            self._reference, self._key = make_reference(model, spec.seed), key
        return self._reference


def make_reference(model: LoadedModel, seed: int) -> Reference:
    inputs = model.make_inputs(seeded(seed + 2), SAMPLES)  # not the seeds of weights and requests
    outputs = None
    if model.callable_on_cpu:
        with torch.inference_mode():
            outputs = as_tuple(model.module(*inputs))
    return Reference(inputs, outputs, model.answers)


@dataclass(frozen=True)
class Checked:
    numerics: Numerics | None  # None: there is nothing to compare with
    first_inference_seconds: float


def check(engine: Engine, reference: Reference, batch: int) -> Checked:
    """Ask `engine`, which has not run before, the samples of `reference` in requests of `batch`.

    The time of its first inference counts from inputs in host memory to outputs in host memory.
    Raises GpubenchError where the outputs do not have the reference's form.
    """
    rows: list[torch.Tensor] = []
    answers: list[Tensors] = []
    seconds: list[float] = []
    for ids, request in _requests(reference.inputs, batch):
        inputs = engine.place(request)
        started = time.monotonic()
        outputs = engine.forward(*(tensor.to(engine.device) for tensor in inputs))
        answers.append(tuple(output.cpu().clone() for output in as_tuple(outputs)))
        seconds.append(time.monotonic() - started)
        rows.append(ids)
    if reference.outputs is None:
        return Checked(None, seconds[0])
    outputs = tuple(torch.cat(parts) for parts in zip(*answers, strict=True))
    expected = tuple(output[torch.cat(rows)] for output in reference.outputs)
    return Checked(compare(outputs, expected, reference.answers), seconds[0])


def _requests(inputs: Tensors, batch: int) -> Iterator[tuple[torch.Tensor, Tensors]]:
    """Full requests that ask every sample at least once, and the numbers of their samples."""
    requests = -(-SAMPLES // batch)
    for ids in (torch.arange(requests * batch) % SAMPLES).split(batch):
        yield ids, tuple(tensor[ids] for tensor in inputs)


def compare(outputs: Tensors, expected: Tensors, answers: tuple[str, ...] = ()) -> Numerics:
    """Outputs against those expected: each tensor has one row a sample. Computed in float64.

    Of a model with several outputs, each figure is that of the output which fares worst.
    """
    shapes, wanted = [tuple(o.shape) for o in outputs], [tuple(e.shape) for e in expected]
    if shapes != wanted:
        raise GpubenchError(f"the outputs have shapes {shapes}, those of the fp32 model {wanted}")
    pairs = [(_rows(o), _rows(e)) for o, e in zip(outputs, expected, strict=True)]
    numerics = Numerics()
    for name, (ours, theirs) in zip(answers, pairs, strict=False):
        same = float((ours.argmax(1) == theirs.argmax(1)).double().mean())
        setattr(numerics, f"{name}_agreement", same)
    numerics.finite = all(bool(ours.isfinite().all()) for ours, _ in pairs)
    if numerics.finite:
        cosines = [cosine for pair in pairs if (cosine := _centred_cosine(*pair)) is not None]
        numerics.max_abs_error = max(float((ours - theirs).abs().max()) for ours, theirs in pairs)
        numerics.relative_error = max(_relative_error(*pair) for pair in pairs)
        numerics.cosine = min(cosines, default=None)
    return numerics


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().double().flatten(1)


def _relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    size = float(theirs.norm())
    error = float((ours - theirs).norm())
    return error / size if size else error


def _centred_cosine(ours: torch.Tensor, theirs: torch.Tensor) -> float | None:
    """Cosine of what each sample adds to the mean of all; None where the samples do not differ."""
    ours, theirs = ours - ours.mean(0), theirs - theirs.mean(0)
    size = float(theirs.norm())
    if size == 0:
        return None
    return float((ours * theirs).sum()) / (size * float(ours.norm())) if bool(ours.any()) else 0.0
