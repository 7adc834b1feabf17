"""Generated requests of a model, from which quantisers find the scales of activations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpubench.models.base import LoadedModel, Tensors, add_tensor, seeded

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_SAMPLES = 32


def requests(model: LoadedModel, cell: Cell, samples: int) -> Iterator[Tensors]:
    """Requests of `samples` samples each: 32 samples together, or one request if it has more."""
    generator = seeded(cell.seed + 3)  # other samples than those of the output check
    for _ in range(max(1, _SAMPLES // samples)):
        yield model.make_inputs(generator, samples)


def digest(model: LoadedModel, cell: Cell, samples: int) -> str:
    """A digest of these requests. The user's function that makes them may change."""
    digest = hashlib.blake2b(digest_size=16)
    for request in requests(model, cell, samples):
        for number, tensor in enumerate(request):
            add_tensor(digest, str(number), tensor)
    return digest.hexdigest()
