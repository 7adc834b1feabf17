"""Cache keys of engines: the content of the model, and everything else an engine depends on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench import cache
from gpubench.system.machine import this_machine

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# The packages whose operators a program may contain: see gpubench.engines.program.
_OPERATOR_PACKAGES = ("torch", "torchvision")


def entry(
    kind: str,
    suffix: str,
    content: str | None,
    settings: Mapping[str, object],
    packages: tuple[str, ...] = (),
) -> Path:
    """The path in the cache of a file that is made from `content` with `settings`.

    `content` is a digest of the whole input: an exported program, or an ONNX file with its data. If
    it is None, since not all of the input can be read, the path is a new temporary one each time.
    `settings` are all settings that the file depends on, with a number for the way in which it is
    made. `packages` are the packages that make it, besides torch.
    """
    if content is None:
        return cache.temporary(suffix)
    versions = [version(package) for package in (*_OPERATOR_PACKAGES, *packages)]
    return cache.entry(kind, {"content": content, "versions": versions, **settings}, suffix)


def hardware(cell: Cell) -> str:
    """The model name of the device. Machine code for one CPU may not run on another."""
    device = torch.device(cell.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else this_machine().cpu
