"""Everything that a kept engine depends on: what its entry in the cache is found by."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from gpubench.spec import Spec


def origin(
    module: torch.nn.Module, spec: Spec, recipe: int, packages: tuple[str, ...] = ()
) -> dict[str, object]:
    """The module's code and weights, the settings and the versions that decide what is built.

    `recipe` is the runtime's own number for how it builds; `packages` are those it builds with,
    besides torch and the models' own.
    """
    device = torch.device(spec.device)
    return {
        "recipe": recipe,
        "weights": _weights(module),
        "code": f"{type(module).__module__}.{type(module).__qualname__}",
        "model": spec.model,
        "precision": spec.precision,
        "batch": spec.batch,
        "seq_len": spec.seq_len,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": [version(p) for p in ("torch", "torchvision", "transformers", *packages)],
    }


def _weights(module: torch.nn.Module) -> str:
    """A hash of the weights' content, wherever they came from."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
