"""A TorchScript file of the user's: FILE.pt, with --input-shape for what it takes."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, random_inputs
from gpubench.spec import INPUT_SHAPE, Spec


def load(spec: Spec) -> LoadedModel:
    path = Path(spec.model)
    shapes = _shapes(spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated but maintained
            module = torch.jit.load(str(path), map_location="cpu").eval().float()
    except (RuntimeError, ValueError, OSError) as error:
        reason = reason_of(error)
        raise GpubenchError(
            f"{path} is not a TorchScript file ({reason}); save one with torch.jit.save, or give a "
            "function that loads it, as FILE.py:function"
        ) from error

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return random_inputs(shapes, generator, samples)

    return LoadedModel(module, f"local: {path.name}", make_inputs)


def _shapes(spec: Spec) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """One sample's inputs, from '3x224x224' or '128:int64+128:int64'."""
    shapes = []
    for part in (spec.input_shape or "").split("+"):
        match = INPUT_SHAPE.fullmatch(part)
        assert match is not None  # Spec has checked it
        size = tuple(int(length) for length in match[1].split("x"))
        shapes.append((size, getattr(torch, match[2] or "float32")))
    return shapes
