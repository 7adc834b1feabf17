"""The settings and the requirements of TorchInductor, for `compile` and `aotinductor`.

Freezing is on: weights become constants, so their layout is chosen once and operations on them are
folded, as in frozen TorchScript. On a CPU this makes ResNet50 several times as fast. The machine
code is made for one batch size and, on a CPU, for the number of threads of a worker.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from gpubench import cache
from gpubench.engines import linear_int8, precision
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

OPTIONS: Mapping[str, bool] = {"freezing": True}


def refusal(cell: Cell) -> str | None:
    if cell.on_cpu and compiler() is None:
        return "it needs a C++ compiler; apt install g++, or choose --runtime torchscript"
    if cell.joins_requests:
        return (
            "it is compiled for one batch size; remove --dynamic-batch, or choose "
            "--runtime torchscript"
        )
    if cell.precision == "int8":
        return linear_int8.refusal(cell)
    return precision.refusal(cell, *precision.floats_of_torch(cell))


def compiler() -> str | None:
    """The path of the C++ compiler; None if there is none.

    Links are followed, since the target's name often contains the version: /usr/bin/g++ may be a
    link to /usr/bin/x86_64-linux-gnu-g++-12.
    """
    names = (os.environ.get("CXX", "g++"), "g++", "clang++")
    found = next((path for name in names if (path := shutil.which(name))), None)
    return None if found is None else os.path.realpath(found)


def settings() -> str:
    """A digest of all settings of TorchInductor. Environment variables can also change them."""
    with torch._inductor.config.patch(dict(OPTIONS)):
        return torch._inductor.config.get_hash().hex()


def ready(model: LoadedModel, cell: Cell) -> tuple[torch.nn.Module, Tensors]:
    """(the module on its device in its precision, the inputs of one request to compile it with)."""
    if isinstance(model.module, torch.jit.ScriptModule):
        raise GpubenchError(
            f"{cell.model} is TorchScript, which cannot be compiled; use --runtime torchscript "
            "or eager, or give the Python module"
        )
    # Kernels that several engines use are compiled once.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache.folder("inductor")))
    module = precision.convert(model.module, cell).requires_grad_(False)
    return module, precision.example(model, cell)


def library(cell: Cell) -> str:
    """The libraries that execute an engine, with their versions."""
    compiler = f"torch {torch.__version__}, TorchInductor with freezing"
    return f"{compiler}, {linear_int8.library()}" if cell.precision == "int8" else compiler


@contextmanager
def modes(cell: Cell) -> Iterator[None]:
    """torch's modes while the module is compiled. Threads that run it need the same modes."""
    device_type = torch.device(cell.device).type
    with (
        torch.no_grad(),
        torch.autocast(
            device_type,
            dtype=precision.autocast_dtype(device_type),
            enabled=cell.precision == "amp",
            cache_enabled=False,  # the casts of weights are folded into constants
        ),
    ):
        yield


def failure(cell: Cell, error: Exception) -> GpubenchError:
    reason = reason_of(error)
    return GpubenchError(
        f"{cell.model} cannot be compiled ({reason}); use --runtime torchscript or eager"
    )
