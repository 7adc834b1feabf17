"""Exports a module to an ONNX file in the cache, for onnxruntime and TensorRT.

The cache finds the file by the content of the program from which it is converted. torch.export
makes this program for every run: for BERT-base this takes a second, and the conversion to ONNX
takes several more.
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
from gpubench.engines import cache_key, program, refusals
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, TupleOfTensors, seeded, with_floats
from gpubench.models.onnx_file import OnnxFile

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

PACKAGES = refusals.ONNX_PACKAGES

# Increase this number when the way in which a model is exported changes. The cache then does not
# find older files.
_RECIPE = 3


@dataclass(frozen=True)
class Network:
    """A model in ONNX. Its content is known before the file is made."""

    content: str | None  # a digest; None: not all of it can be read, so nothing is cached
    path: Path  # the path of the file, which may not exist yet
    # The program or module that is converted, and its inputs; None: the file is the user's.
    source: torch.export.ExportedProgram | torch.nn.Module | None
    example: Tensors = ()

    def file(self, cell: Cell) -> tuple[Path, bool]:
        """(the file, whether it was already in the cache). Makes the file if it does not exist.

        Raises GpubenchError if the model cannot be exported.
        """
        if self.source is None:
            return self.path, False
        if self.path.exists():
            return self.path, True
        converted = _converted(self.source, self.example, cell)
        return cache.save(
            self.path, lambda target: converted.save(str(target), external_data=False)
        ), False


def network(model: LoadedModel, cell: Cell, dtype: torch.dtype) -> Network:
    """`model` in ONNX. Weights and floating-point inputs are in `dtype`, and the batch may vary.

    The inputs have the names input_0, input_1, ... in their order. A user's ONNX file is returned
    unchanged.
    """
    if isinstance(model.module, OnnxFile):
        return Network(model.module.digest, model.module.path, None)
    if isinstance(model.module, torch.jit.ScriptModule):
        raise GpubenchError(
            f"{cell.model} is TorchScript, which is not exported to ONNX; use --runtime "
            "torchscript or eager, or give the Python module"
        )
    with cache_key.searching():
        return _exported(model, cell, dtype)


def _exported(model: LoadedModel, cell: Cell, dtype: torch.dtype) -> Network:
    # A copy, since other engines need the module in its original format.
    module = TupleOfTensors(copy.deepcopy(model.module).to("cpu", dtype)).eval()
    # Two samples: with one sample, exporters assume that the batch is constant.
    example = with_floats(model.make_inputs(seeded(cell.seed), 2), dtype)
    with quietly(), torch.no_grad():
        try:
            exported = exported_program(module, example)
        except Exception:  # torch.onnx.export tries other ways too, and reports the reason
            return Network(None, cache.temporary(".onnx"), module, example)
        content = program.digest_of(exported, torch.device("cpu"))
    path = cache_key.entry("onnx", ".onnx", content, {"recipe": _RECIPE}, PACKAGES)
    return Network(content, path, exported, example)


def exported_program(module: torch.nn.Module, example: Tensors) -> torch.export.ExportedProgram:
    """The program of a module whose batch may vary. `example` holds the inputs of two samples.

    Raises what torch.export raises if the module cannot be exported.
    """
    return torch.export.export(
        module,
        example,
        dynamic_shapes=_any_batch(example),
        prefer_deferred_runtime_asserts_over_guards=True,  # as in torch.onnx.export
    )


def export(model: LoadedModel, cell: Cell, dtype: torch.dtype) -> tuple[Path, bool]:
    """(the file of `network`, whether it was already in the cache).

    Raises GpubenchError if ONNX has no form of an operator, or if the sizes of the outputs depend
    on the data.
    """
    return network(model, cell, dtype).file(cell)


def _any_batch(example: Tensors) -> tuple[tuple[dict[int, torch.export.Dim], ...]]:
    batch = torch.export.Dim("batch")
    return (tuple({0: batch} for _ in example),)


def _converted(
    source: torch.export.ExportedProgram | torch.nn.Module, example: Tensors, cell: Cell
) -> torch.onnx.ONNXProgram:
    with quietly(), torch.no_grad():
        try:
            converted = torch.onnx.export(
                source,
                example if isinstance(source, torch.nn.Module) else (),
                dynamo=True,
                dynamic_shapes=_any_batch(example),
                input_names=[f"input_{number}" for number in range(len(example))],
                verbose=False,
            )
        except Exception as error:  # any error of the exporter or of tracing the model
            raise GpubenchError(
                f"{cell.model} cannot be exported to ONNX ({_reason(error)}); "
                "use --runtime torchscript or eager"
            ) from error
    assert converted is not None
    return converted


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress the exporter's messages about versions and deprecations.

    It also prints some to stdout, which must contain only the result.
    """
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
    """The first line of the original error. The exporter's error has a page of advice around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return reason_of(error)
