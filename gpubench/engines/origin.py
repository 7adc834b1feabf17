"""Everything that a kept engine depends on: what its entry in the cache is found by."""

from __future__ import annotations

import functools
import hashlib
import inspect
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch

from gpubench.models.base import LoadedModel

if TYPE_CHECKING:
    from gpubench.spec import Spec


def origin(
    model: LoadedModel, spec: Spec, recipe: int, packages: tuple[str, ...] = ()
) -> dict[str, object]:
    """The model's code and weights, the settings and the versions that decide what is built.

    To be asked before the model's weights are converted, which happens in place.
    `recipe` is the runtime's own number for how it builds; `packages` are those it builds with,
    besides torch and the models' own.
    """
    device = torch.device(spec.device)
    return {
        "recipe": recipe,
        "weights": model.weights_digest,
        "code": _code(model.module),
        "model": spec.model,
        "precision": spec.precision,
        "batch": spec.batch,
        "seq_len": spec.seq_len,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": [version(p) for p in ("torch", "torchvision", "transformers", *packages)],
    }


def _code(module: torch.nn.Module) -> str:
    """A hash of the source of every class of layers in it, so that a changed one is built anew."""
    if isinstance(module, torch.jit.ScriptModule):
        return hashlib.sha256(str(module.inlined_graph).encode()).hexdigest()
    classes = {type(layer) for layer in module.modules()}
    sources = {
        # mypy asks for the hash of a layer, where the class is what is hashed
        f"{layer.__module__}.{_source(layer)}"  # type: ignore[arg-type]
        for layer in classes
    }
    return hashlib.sha256("".join(sorted(sources)).encode()).hexdigest()


@functools.cache  # Python parses the whole file to find a class
def _source(layer: type[torch.nn.Module]) -> str:
    try:
        return inspect.getsource(layer)
    except (OSError, TypeError):  # written in an interpreter
        return layer.__qualname__
