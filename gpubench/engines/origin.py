"""What a kept engine depends on besides its content: its entry in the cache is found by both."""

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

# With the operators that a program may have: see gpubench.engines.program.
_OPERATORS = ("torch", "torchvision")


def entry(
    kind: str,
    suffix: str,
    content: str | None,
    settings: Mapping[str, object],
    packages: tuple[str, ...] = (),
) -> Path:
    """The place of what is made from `content` with `settings`.

    `content` is a digest of all that goes in: an exported program, or an ONNX file with its data.
    Where it is None, because not all of that can be read, the place is a new one each time.
    `settings` are those that decide what comes out, with a number for the way it is made, and
    `packages` are those that make it, besides torch.
    """
    if content is None:
        return cache.temporary(suffix)
    versions = [version(package) for package in (*_OPERATORS, *packages)]
    return cache.entry(kind, {"content": content, "versions": versions, **settings}, suffix)


def hardware(cell: Cell) -> str:
    """The model of the device, for machine code: that of one CPU may not run on another."""
    device = torch.device(cell.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else this_machine().cpu
