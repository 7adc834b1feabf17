"""A TorchScript file of the user's: FILE.pt, with --input-shape for what it takes."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors, random_inputs

if TYPE_CHECKING:
    from gpubench.spec import Spec

_INPUT = re.compile(r"(\d+(?:x\d+)*)(?::(float32|int64|int32))?")


def load(spec: Spec) -> LoadedModel:
    path = Path(spec.model)
    shapes = _shapes(spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated but maintained
            module = torch.jit.load(str(path), map_location="cpu").eval().float()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GpubenchError(
            f"{path} is not a TorchScript file ({reason}); save one with torch.jit.save, or give a "
            "function that loads it, as FILE.py:function"
        ) from error

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return random_inputs(shapes, generator, samples)

    return LoadedModel(module, f"local: {path.name}", make_inputs)


def _shapes(spec: Spec) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """One sample's inputs, from '3x224x224' or '128:int64+128:int64'."""
    if spec.input_shape is None:
        raise GpubenchError(
            f"{spec.model} does not say what it takes; add --input-shape, like 3x224x224 or "
            "128:int64+128:int64, one sample without the batch"
        )
    shapes = []
    for part in spec.input_shape.split("+"):
        match = _INPUT.fullmatch(part)
        if match is None:
            raise GpubenchError(
                f"--input-shape: '{part}' is not a shape; write it like 3x224x224 or 128:int64"
            )
        size = tuple(int(length) for length in match[1].split("x"))
        shapes.append((size, getattr(torch, match[2] or "float32")))
    return shapes
