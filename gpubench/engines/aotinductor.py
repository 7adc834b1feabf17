"""aotinductor: compiled ahead into a .pt2 package, which runs without Python or a compiler.

A package is kept by the content of the program that it was compiled from, which is exported anew
each time: for BERT-base that takes half a second, compiling a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as remembered
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch._inductor.package.package import load_package

from gpubench import cache
from gpubench.engines import inductor, linear_int8, origin, precision, program
from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Bump when the way a package is made changes.
_RECIPE = 2

refusal = inductor.refusal


def build(model: LoadedModel, cell: Cell) -> Engine:
    module, example = inductor.ready(model, cell)
    exported = _export(module, example, cell)
    path = _entry(exported, module, cell)
    package = _load(path, cell) if path.exists() else None
    kept = package is not None
    if package is None:
        compile_ = partial(_compile, exported, module, example, cell)
        path = cache.save(path, compile_, model.weights_bytes)
        package = _load(path, cell)
    if package is None:
        raise GpubenchError(
            f"{cell.model}: the package just compiled does not load; clear the cache ("
            "gpubench cache clear), or use --runtime compile"
        )
    return Engine(
        forward=package,
        device=torch.device(cell.device),
        input_dtype=precision.weight_dtype(cell.precision),
        thread_modes=torch.no_grad,  # autocast's casts are part of the package
        for_graph=remembered(partial(_for_graphs, path, cell)),
        from_cache=kept,
        library=inductor.library(cell),
    )


def _export(module: torch.nn.Module, example: Tensors, cell: Cell) -> torch.export.ExportedProgram:
    try:
        with inductor.modes(cell):
            return torch.export.export(module, example)
    except Exception as error:  # whatever the model or tracing it raised
        raise inductor.failure(cell, error) from error


def _entry(exported: torch.export.ExportedProgram, module: torch.nn.Module, cell: Cell) -> Path:
    """The package's place, by all that it is compiled from, for and with.

    In int8 the program is the one before its linear layers are quantised, since exporting it
    afterwards takes eight times as long: which layers those are, and the version of what quantises
    them, decide the rest.
    """
    quantised = cell.precision == "int8"
    device = torch.device(cell.device)
    settings = {
        "recipe": _RECIPE,
        "precision": cell.precision,  # fp32 and tf32 are the same program
        "int8": linear_int8.quantised_layers(module) if quantised else None,
        "device": origin.hardware(cell),
        "threads": cell.threads,
        "compiler": inductor.compiler() if device.type == "cpu" else None,
        "options": inductor.settings(),
    }
    builds_with = (linear_int8.PACKAGE,) if quantised else ()
    content = program.digest_of(exported, device)
    return origin.entry("aotinductor", ".pt2", content, settings, builds_with)


def _compile(
    exported: torch.export.ExportedProgram,
    module: torch.nn.Module,
    example: Tensors,
    cell: Cell,
    path: Path,
) -> None:
    if cell.precision == "int8":
        linear_int8.quantise(module, example, cell)
        exported = _export(module, example, cell)
    try:
        with inductor.modes(cell):
            torch._inductor.aoti_compile_and_package(
                exported, package_path=str(path), inductor_configs=dict(inductor.OPTIONS)
            )
    except Exception as error:  # whatever generating or compiling raised
        raise inductor.failure(cell, error) from error


def _load(path: Path, cell: Cell, *, one_caller: bool = False) -> Callable[..., Tensors] | None:
    """A model that each worker has an instance of; None where the file is damaged.

    With `one_caller` it has a single instance, and nothing that keeps callers apart.
    """
    device = torch.device(cell.device)
    try:
        package: Callable[..., Tensors] = load_package(
            str(path),
            run_single_threaded=one_caller,
            num_runners=1 if one_caller else cell.workers,
            device_index=device.index or 0 if device.type == "cuda" else -1,
        )
        return package
    except Exception:  # of many kinds: a zip, a JSON file or a library that is cut off
        path.unlink(missing_ok=True)
        return None


def _for_graphs(path: Path, cell: Cell) -> Callable[..., Tensors]:
    """What all graphs are captured from, one after another.

    The instances that workers share ask events when they are free, which a capture forbids.
    """
    package = _load(path, cell, one_caller=True)
    if package is None:
        raise GpubenchError("the compiled package does not load a second time")
    return package
