"""What `compile` and `aotinductor` share: how TorchInductor is set, and what it needs.

Freezing is on: weights become constants, so that they can be laid out and folded once, as a frozen
TorchScript has them (on a CPU it makes ResNet50 several times as fast). The machine code is made
for one batch size, and on a CPU for the number of threads of a worker.
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
from gpubench.models.base import LoadedModel, Tensors, seeded

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
    """The C++ compiler's file, the name of which often has its version; None where there is none.

    Links are followed: /usr/bin/g++ is one to /usr/bin/x86_64-linux-gnu-g++-12, say.
    """
    names = (os.environ.get("CXX", "g++"), "g++", "clang++")
    found = next((path for name in names if (path := shutil.which(name))), None)
    return None if found is None else os.path.realpath(found)


def settings() -> str:
    """A digest of all of TorchInductor's settings, which environment variables can change too."""
    with torch._inductor.config.patch(dict(OPTIONS)):
        return torch._inductor.config.get_hash().hex()


def ready(model: LoadedModel, cell: Cell) -> tuple[torch.nn.Module, Tensors]:
    """(the module with its weights in place, one request to compile it for)."""
    if isinstance(model.module, torch.jit.ScriptModule):
        raise GpubenchError(
            f"{cell.model} gives TorchScript, which cannot be compiled; use --runtime torchscript "
            "or eager, or give the module itself"
        )
    # Kernels that two engines share are compiled once.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache.folder("inductor")))
    module = precision.convert(model.module, cell).requires_grad_(False)
    dtype, device = precision.weight_dtype(cell.precision), torch.device(cell.device)
    return module, tuple(
        tensor.to(device, dtype if tensor.is_floating_point() else None)
        for tensor in model.make_inputs(seeded(cell.seed), cell.batch)
    )


def library(cell: Cell) -> str:
    """What executes an engine, with its version."""
    compiler = f"torch {torch.__version__}, TorchInductor with freezing"
    return f"{compiler}, {linear_int8.library()}" if cell.precision == "int8" else compiler


@contextmanager
def modes(cell: Cell) -> Iterator[None]:
    """Those under which the module is compiled, and so those of a thread that runs it."""
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
