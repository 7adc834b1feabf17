"""The reference: the outputs of the fp32 eager model on the CPU, for seeded requests.

The engine and the reference get the same samples. For a user's own model they get the same whole
requests, with the same batch. So nothing has to be known about its outputs: neither their number of
dimensions nor which dimension is the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from gpubench.measure.output_comparison import (
    FP32_EPSILON,
    MOST_ROUNDING_ERROR,
    relative_errors,
    repeat_error,
)
from gpubench.models.base import LoadedModel, Tensors, as_tuple, seeded
from gpubench.registry import MODELS
from gpubench.spec.cell import Cell

# An engine is checked with at least this many distinct samples, in at least two requests. A single
# request would not show whether an engine ignores its inputs.
SAMPLES = 16
_LEAST_REQUESTS = 2
# The samples of a preset run in batches of this size. They are fast on a CPU with many cores.
_PRESET_BATCH = 4


@dataclass(frozen=True)
class Reference:
    """Requests of one batch size, and the outputs of the fp32 eager model on the CPU."""

    requests: list[Tensors]
    outputs: list[Tensors] | None  # of each request; None: the CPU cannot run the model
    answers: tuple[str, ...] = ()  # see LoadedModel.answers
    # For each output: its relative change if the inputs change by one rounding step of fp32.
    rounding_errors: tuple[float, ...] = ()
    repeat_error: float | None = None  # see Numerics.reference_repeat_error


class References:
    """The reference outputs of a preset. The cells of a sweep share them, whatever their batch.

    A preset computes each sample on its own, with the batch as the first dimension of its outputs.
    So it runs only once for each seed and sequence length, on SAMPLES samples. The requests of a
    cell consist of these samples.

    A user's own model is run again for each cell, with the batch of the cell. Its files, or what
    its function returns, may have changed, and no key covers everything that its outputs depend on.
    """

    def __init__(self) -> None:
        self._weights: tuple[object, ...] | None = None
        self._references: dict[tuple[int, int | None], Reference] = {}  # by seed and seq_len

    def has(self, model: LoadedModel, cell: Cell) -> bool:
        """Whether `get` needs no run of `model`."""
        return (
            cell.model in MODELS
            and self._weights == weights_of(model, cell)
            and (cell.seed, cell.seq_len) in self._references
        )

    def get(self, model: LoadedModel, cell: Cell) -> Reference:
        """The reference of `model`, which must not have been changed since it was loaded."""
        if cell.model not in MODELS:
            return make_reference(model, cell.seed, cell.batch)
        if not self.has(model, cell):
            if self._weights != (weights := weights_of(model, cell)):
                self._references, self._weights = {}, weights
            reference = make_reference(model, cell.seed, _PRESET_BATCH)
            self._references[cell.seed, cell.seq_len] = reference
        return _with_batch(self._references[cell.seed, cell.seq_len], cell.batch)


def weights_of(model: LoadedModel, cell: Cell) -> tuple[object, ...]:
    """What identifies the weights of a preset."""
    # Random weights follow from the seed. Other weights are in files, which can change.
    weights = None if cell.weights == "random" else model.weights_digest
    return cell.model, cell.weights, cell.sparsity, weights


def _with_batch(reference: Reference, batch: int) -> Reference:
    """The reference with the same samples in requests of `batch` samples."""
    if batch == _PRESET_BATCH:
        return reference
    rows = _rows(batch)

    def in_requests(parts: list[Tensors]) -> list[Tensors]:
        joined = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        return [tuple(tensor[chosen] for tensor in joined) for chosen in rows]

    outputs = None if reference.outputs is None else in_requests(reference.outputs)
    return replace(reference, requests=in_requests(reference.requests), outputs=outputs)


def _rows(batch: int) -> list[torch.Tensor]:
    """The numbers of the samples in each request of `batch` samples.

    A request of more than SAMPLES samples has every sample several times, in a random order, so an
    engine that exchanges two rows is found. No two requests have the same sample in the same row.
    """
    if 2 * batch <= SAMPLES:
        every = torch.arange(-(-SAMPLES // batch) * batch) % SAMPLES
        return list(every.view(-1, batch))
    generator = seeded(batch)
    blocks = [torch.randperm(SAMPLES, generator=generator) for _ in range(-(-batch // SAMPLES))]
    first = torch.cat(blocks)[:batch]
    return [first, (first + SAMPLES // 2) % SAMPLES]


def make_reference(model: LoadedModel, seed: int, batch: int) -> Reference:
    """Run `model` on requests of `batch` samples, and check whether it repeats its outputs.

    For this check the first request runs again, with inputs changed by one rounding step of fp32.
    Such a change usually changes the outputs only by rounding. If they change by more, the
    unchanged request runs again too.
    """
    generator = seeded(seed + 2)  # different from the seeds of the weights and of the requests
    count = max(_LEAST_REQUESTS, -(-SAMPLES // batch))
    requests = [model.make_inputs(generator, batch) for _ in range(count)]
    if not model.callable_on_cpu:
        return Reference(requests, None, model.answers)
    with torch.inference_mode():
        outputs = [run_model(model.module, request) for request in requests]
        rounded = tuple(_changed_by_rounding(tensor, generator) for tensor in requests[0])
        rounding_errors = relative_errors(run_model(model.module, rounded), outputs[0])
        if max(rounding_errors, default=0.0) > MOST_ROUNDING_ERROR:
            error = repeat_error(run_model(model.module, requests[0]), outputs[0])
            if error is not None:
                return Reference(requests, outputs, model.answers, repeat_error=error)
    return Reference(requests, outputs, model.answers, rounding_errors)


def run_model(module: torch.nn.Module, request: Tensors) -> Tensors:
    """The outputs of the module. Inputs and outputs are copied, since it may write to either."""
    return copies(as_tuple(module(*copies(request))))


def copies(tensors: Tensors) -> Tensors:
    """Copies in new memory, to which no model writes."""
    return tuple(tensor.clone() for tensor in tensors)


def _changed_by_rounding(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each number one rounding step of fp32 larger or smaller; integers stay as they are."""
    if not tensor.is_floating_point():
        return tensor
    signs = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
    return (tensor.double() * (1 + FP32_EPSILON * signs)).to(tensor.dtype)
