"""aotinductor: the model compiled ahead of time into a .pt2 package.

A package runs without Python and without a compiler. The cache finds it by the content of the
program from which it was compiled. The program is exported for every run: for BERT-base this takes
half a second, and compiling takes a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as call_once
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch._inductor.package.package import load_package

from gpubench import cache
from gpubench.engines import cache_key, inductor, linear_int8, precision, program
from gpubench.engines.base import Engine
from gpubench.engines.package_check import reason_not_loadable
from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Increase this number when the way in which a package is made changes.
_RECIPE = 2

refusal = inductor.refusal


def build(model: LoadedModel, cell: Cell) -> Engine:
    module, example = inductor.ready(model, cell)
    with cache_key.searching():
        exported = _export(module, example, cell)
        path = _entry(exported, module, cell)
    package = _load(path, cell) if path.exists() else None
    from_cache = package is not None
    if package is None:
        compile_ = partial(_compile, exported, module, example, cell)
        path = cache.save(path, compile_, model.weights_bytes)
        package = _load(path, cell)
    if package is None:
        raise GpubenchError(
            f"{cell.model}: the compiled package is damaged; clear the cache (gpubench cache "
            "clear), or use --runtime compile"
        )
    return Engine(
        forward=package,
        device=torch.device(cell.device),
        input_dtype=precision.weight_dtype(cell.precision),
        thread_modes=torch.no_grad,  # the casts of autocast are part of the package
        for_graph=call_once(partial(_for_graphs, path, cell)),
        from_cache=from_cache,
        library=inductor.library(cell),
        artifact_bytes=path.stat().st_size,
    )


def _export(module: torch.nn.Module, example: Tensors, cell: Cell) -> torch.export.ExportedProgram:
    try:
        with inductor.modes(cell):
            return torch.export.export(module, example)
    except Exception as error:  # any error of the model or of tracing
        raise inductor.failure(cell, error) from error


def _entry(exported: torch.export.ExportedProgram, module: torch.nn.Module, cell: Cell) -> Path:
    """The path of the package in the cache, from everything that the package depends on.

    For int8 the key contains the program before quantisation, the names of the quantised layers,
    and the version of torchao. Exporting the quantised program would take eight times as long.
    """
    quantised = cell.precision == "int8"
    device = torch.device(cell.device)
    settings = {
        "recipe": _RECIPE,
        "precision": cell.precision,  # fp32 and tf32 are the same program
        "int8": linear_int8.quantised_layers(module) if quantised else None,
        "device": cache_key.hardware(cell),
        "threads": cell.threads,
        "compiler": inductor.compiler() if device.type == "cpu" else None,
        "options": inductor.settings(),
    }
    builds_with = (linear_int8.PACKAGE,) if quantised else ()
    content = program.digest_of(exported, device)
    return cache_key.entry("aotinductor", ".pt2", content, settings, builds_with)


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
    except Exception as error:  # any error of generating code or compiling it
        raise inductor.failure(cell, error) from error
    if reason := reason_not_loadable(path, _device_index(cell)):
        raise GpubenchError(
            f"{cell.model}: the package that {inductor.compiler()} compiled cannot be loaded "
            f"({reason}); set CXX to another C++ compiler, or use --runtime compile"
        )


def _load(path: Path, cell: Cell, *, one_caller: bool = False) -> Callable[..., Tensors] | None:
    """The model of a package, with one instance for each worker; None if the file is damaged.

    With `one_caller` it has a single instance, and no locks between callers.
    """
    try:
        package: Callable[..., Tensors] = load_package(
            str(path),
            run_single_threaded=one_caller,
            num_runners=1 if one_caller else cell.workers,
            device_index=_device_index(cell),
        )
        return package
    except Exception:  # the type depends on the damaged part: ZIP, JSON or library
        path.unlink(missing_ok=True)
        return None


def _device_index(cell: Cell) -> int:
    """The number of the GPU, or -1 for the CPU."""
    device = torch.device(cell.device)
    return device.index or 0 if device.type == "cuda" else -1


def _for_graphs(path: Path, cell: Cell) -> Callable[..., Tensors]:
    """The model from which all graphs are captured, one after another.

    It is separate from the one that workers share: that one queries CUDA events to find a free
    instance, and a capture forbids such queries.
    """
    package = _load(path, cell, one_caller=True)
    if package is None:
        raise GpubenchError("the compiled package cannot be loaded a second time")
    return package
