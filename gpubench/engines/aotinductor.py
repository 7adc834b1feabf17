"""aotinductor: compiled ahead into a .pt2 package, which runs without Python or a compiler."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as remembered
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch._inductor.package.package import load_package

from gpubench import cache
from gpubench.engines import inductor, linear_int8, precision
from gpubench.engines.base import Engine
from gpubench.engines.origin import origin
from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec import Spec

# Bump when the way a package is made changes.
_RECIPE = 1

refusal = inductor.refusal


def build(model: LoadedModel, spec: Spec) -> Engine:
    builds_with = (linear_int8.PACKAGE,) if spec.precision == "int8" else ()
    parts = origin(model, spec, _RECIPE, builds_with) | {"threads": spec.threads}
    path = cache.entry("aotinductor", parts, ".pt2")
    module, example = inductor.ready(model, spec)
    package = _load(path, spec) if path.exists() else None
    kept = package is not None
    if package is None:
        path = cache.save(path, partial(_compile, module, example, spec), model.weights_bytes)
        package = _load(path, spec)
    if package is None:
        raise GpubenchError(
            f"{spec.model}: the package just compiled does not load; clear the cache ("
            "gpubench cache clear), or use --runtime compile"
        )
    return Engine(
        forward=package,
        device=torch.device(spec.device),
        input_dtype=precision.weight_dtype(spec.precision),
        thread_modes=torch.no_grad,  # autocast's casts are part of the package
        for_graph=remembered(partial(_for_graphs, path, spec)),
        from_cache=kept,
        library=inductor.library(spec),
    )


def _compile(module: torch.nn.Module, example: Tensors, spec: Spec, path: Path) -> None:
    if spec.precision == "int8":
        linear_int8.quantise(module, example, spec)
    try:
        with inductor.modes(spec):
            program = torch.export.export(module, example)
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs=dict(inductor.OPTIONS)
            )
    except Exception as error:  # whatever exporting, generating or compiling raised
        raise inductor.failure(spec, error) from error


def _load(path: Path, spec: Spec, *, one_caller: bool = False) -> Callable[..., Tensors] | None:
    """A model that each worker has an instance of; None where the file is damaged.

    With `one_caller` it has a single instance, and nothing that keeps callers apart.
    """
    device = torch.device(spec.device)
    try:
        package: Callable[..., Tensors] = load_package(
            str(path),
            run_single_threaded=one_caller,
            num_runners=1 if one_caller else spec.workers or 1,
            device_index=device.index or 0 if device.type == "cuda" else -1,
        )
        return package
    except Exception:  # of many kinds: a zip, a JSON file or a library that is cut off
        path.unlink(missing_ok=True)
        return None


def _for_graphs(path: Path, spec: Spec) -> Callable[..., Tensors]:
    """What all graphs are captured from, one after another.

    The instances that workers share ask events when they are free, which a capture forbids.
    """
    package = _load(path, spec, one_caller=True)
    if package is None:
        raise GpubenchError("the compiled package does not load a second time")
    return package
