"""From a module to an ONNX file in the cache: what onnxruntime and TensorRT read."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench import cache
from gpubench.engines import refusals
from gpubench.engines.origin import origin
from gpubench.errors import GpubenchError, first_line
from gpubench.models.base import LoadedModel, Tensors, seeded
from gpubench.models.onnx_file import OnnxFile

if TYPE_CHECKING:
    from gpubench.spec import Spec

PACKAGES = refusals.ONNX_PACKAGES

# Bump when the way a model is exported changes: older entries of the cache are then not found.
_RECIPE = 2


class _Positional(torch.nn.Module):
    """The module with its inputs as one list, whatever it calls them."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | Tensors:
        outputs: torch.Tensor | Tensors = self.module(*inputs)
        return outputs


def export(model: LoadedModel, spec: Spec, dtype: torch.dtype) -> tuple[Path, bool]:
    """(the model as an ONNX file, whether it was there already).

    Weights and floating-point inputs are in `dtype`, and the batch may vary. Inputs are called
    input_0, input_1, ... in their order. A user's ONNX file is given as it is. Raises GpubenchError
    where an operator has no ONNX form, or the outputs' sizes depend on the data.
    """
    if isinstance(model.module, OnnxFile):
        return model.module.path, False
    of_any_batch = {"batch": None, "device": "any", "precision": str(dtype)}
    parts = origin(model, spec, _RECIPE, PACKAGES) | of_any_batch
    path = cache.entry("onnx", parts, ".onnx")
    if path.exists():
        return path, True
    # A copy: other engines are made from the same model, and found by its weights.
    module = copy.deepcopy(model.module).to("cpu", dtype)
    # With one sample, an exporter takes the batch for a constant.
    example = tuple(
        tensor.to(dtype) if tensor.is_floating_point() else tensor
        for tensor in model.make_inputs(seeded(spec.seed), 2)
    )
    batch = torch.export.Dim("batch")
    with _quietly(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Positional(module).eval(),
                example,
                dynamo=True,
                dynamic_shapes=(tuple({0: batch} for _ in example),),
                input_names=[f"input_{place}" for place in range(len(example))],
                verbose=False,
            )
        except Exception as error:  # the exporter's own, and whatever tracing the model raised
            raise GpubenchError(
                f"{spec.model} cannot be exported to ONNX ({_reason(error)}); "
                "use --runtime torchscript or eager"
            ) from error
    assert program is not None
    return cache.save(path, lambda place: program.save(str(place), external_data=False)), False


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporter remarks on versions and deprecations, on stdout too, which holds results."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first line of the cause; the exporter wraps it in a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
