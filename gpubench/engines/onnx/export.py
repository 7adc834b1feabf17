"""From a module to an ONNX file in the cache: what onnxruntime and TensorRT read.

The file is kept by the content of the program that it is converted from, which torch.export makes
anew each time: for BERT-base that takes a second, and converting it several more.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench import cache
from gpubench.engines import origin, program, refusals
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, TupleOfTensors, seeded
from gpubench.models.onnx_file import OnnxFile

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

PACKAGES = refusals.ONNX_PACKAGES

# Bump when the way a model is exported changes: older entries of the cache are then not found.
_RECIPE = 3


@dataclass(frozen=True)
class Network:
    """A model in ONNX, known by its content before the file is made."""

    content: str | None  # a digest; None: not all of it can be read, so nothing is kept
    path: Path  # where the file is, or will be
    # What the file is converted from, with its inputs; None: the file is the user's own.
    source: torch.export.ExportedProgram | torch.nn.Module | None
    example: Tensors = ()

    def file(self, cell: Cell) -> tuple[Path, bool]:
        """(the file, whether it was in the cache already); makes it where it is missing.

        Raises GpubenchError where the model cannot be exported.
        """
        if self.source is None:
            return self.path, False
        if self.path.exists():
            return self.path, True
        made = _converted(self.source, self.example, cell)
        return cache.save(
            self.path, lambda place: made.save(str(place), external_data=False)
        ), False


def network(model: LoadedModel, cell: Cell, dtype: torch.dtype) -> Network:
    """`model` in ONNX: weights and floating-point inputs in `dtype`, and the batch may vary.

    Inputs are called input_0, input_1, ... in their order. A user's ONNX file is given as it is.
    """
    if isinstance(model.module, OnnxFile):
        return Network(model.module.digest, model.module.path, None)
    if isinstance(model.module, torch.jit.ScriptModule):
        raise GpubenchError(
            f"{cell.model} gives TorchScript, which is not exported to ONNX; use --runtime "
            "torchscript or eager, or give the module itself"
        )
    # A copy: the module itself stays in its format for other engines.
    module = TupleOfTensors(copy.deepcopy(model.module).to("cpu", dtype)).eval()
    # With one sample, an exporter takes the batch for a constant.
    example = tuple(
        tensor.to(dtype) if tensor.is_floating_point() else tensor
        for tensor in model.make_inputs(seeded(cell.seed), 2)
    )
    with _quietly(), torch.no_grad():
        try:
            exported = torch.export.export(
                module,
                example,
                dynamic_shapes=_any_batch(example),
                prefer_deferred_runtime_asserts_over_guards=True,  # as torch.onnx.export has it
            )
        except Exception:  # torch.onnx.export has other ways to try, and gives the reason if not
            return Network(None, cache.temporary(".onnx"), module, example)
        content = program.digest_of(exported, torch.device("cpu"))
    path = origin.entry("onnx", ".onnx", content, {"recipe": _RECIPE}, PACKAGES)
    return Network(content, path, exported, example)


def export(model: LoadedModel, cell: Cell, dtype: torch.dtype) -> tuple[Path, bool]:
    """The file of `network`, and whether it was in the cache already.

    Raises GpubenchError where an operator has no ONNX form, or the outputs' sizes depend on the
    data.
    """
    return network(model, cell, dtype).file(cell)


def _any_batch(example: Tensors) -> tuple[tuple[dict[int, torch.export.Dim], ...]]:
    batch = torch.export.Dim("batch")
    return (tuple({0: batch} for _ in example),)


def _converted(
    source: torch.export.ExportedProgram | torch.nn.Module, example: Tensors, cell: Cell
) -> torch.onnx.ONNXProgram:
    with _quietly(), torch.no_grad():
        try:
            made = torch.onnx.export(
                source,
                example if isinstance(source, torch.nn.Module) else (),
                dynamo=True,
                dynamic_shapes=_any_batch(example),
                input_names=[f"input_{place}" for place in range(len(example))],
                verbose=False,
            )
        except Exception as error:  # the exporter's own, and whatever tracing the model raised
            raise GpubenchError(
                f"{cell.model} cannot be exported to ONNX ({_reason(error)}); "
                "use --runtime torchscript or eager"
            ) from error
    assert made is not None
    return made


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
    return reason_of(error)
