"""Cache keys of engines: the content of the model, and everything else an engine depends on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from gpubench import cache
from gpubench.errors import GpubenchError
from gpubench.system.machine import this_machine

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# The packages whose operators a program may contain: see gpubench.engines.program.
_OPERATOR_PACKAGES = ("torch", "torchvision")


T = TypeVar("T")


class KeySearch:
    """How long this process has taken to find out which entries it needs.

    A server names the file of its engine, and needs no search.
    """

    seconds = 0.0


@contextmanager
def searching() -> Iterator[None]:
    """A block that only finds out what an engine is made from. A model is exported for that."""
    began = time.monotonic()
    try:
        yield
    finally:
        KeySearch.seconds += time.monotonic() - began


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


def loaded(
    make: Callable[[], tuple[Path, bool]], load: Callable[[Path], T]
) -> tuple[T, Path, bool]:
    """(what `load` makes of a file, the file, whether it was in the cache).

    `make` returns the last two. If `load` raises GpubenchError for a file from the cache, the file
    is damaged: it is deleted, and made again.
    """
    path, from_cache = make()
    try:
        return load(path), path, from_cache
    except GpubenchError:
        if not from_cache:
            raise
    path.unlink(missing_ok=True)
    path, from_cache = make()
    return load(path), path, from_cache


def hardware(cell: Cell) -> str:
    """The model name of the device. Machine code for one CPU may not run on another."""
    device = torch.device(cell.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else this_machine().cpu
