"""xla: torch_xla executes the module on a TPU, or on the CPU (PJRT's CPU device).

An inference is one step of torch_xla: the inputs are copied to the device, `forward` records its
operations as a graph, `torch_xla.sync` starts the graph, and the copies of the outputs to the host
wait for it. All of this is in the round trip. Python records the operations again for each
inference; they are compiled only if no equal graph was compiled before. `build` compiles for the
batch of the cell, so that the time is in build_seconds. The warm-up compiles for the other batches
that dynamic batching may form. What compiles later is counted, for the verdict `recompiled`.

torch_xla keeps one graph for all threads of a process: a sync of one thread also takes what another
thread has half recorded, and then fails (seen with 2.9.0: "Check failed: tensor_data"). So there is
one worker.

A process has one device and one number of threads. PJRT reads both from environment variables when
it starts: PJRT_DEVICE, and NPROC for the CPU device.

A TPU multiplies fp32 numbers in bf16 unless it is told otherwise. It is told here: fp32 means fp32.
fp16 is left out: a TPU has none, and the CPU device took over a minute for four images.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import torch

from gpubench.engines import precision, refusals, weights_bytes
from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, as_tuple, seeded, with_floats
from gpubench.system.tpus import tpus

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_started: tuple[str, int] | None = None  # the device and the threads of this process


def refusal(cell: Cell) -> str | None:
    if reason := refusals.of_xla(cell):
        return reason
    if cell.accelerator is not None and not tpus():
        return (
            "this machine has no TPU; use --device cpu, or a machine with a TPU, such as Google "
            "Cloud's ct5lp-hightpu-1t"
        )
    return None


def build(model: LoadedModel, cell: Cell) -> Engine:
    """Copy the weights to the device, and compile the model for the batch of the cell."""
    xla: Any = _start(cell)
    device = xla.device()
    dtype = precision.weight_dtype(cell.precision)
    module = model.module.to(dtype)
    stored = weights_bytes.of_module(module)
    inputs = with_floats(model.make_inputs(seeded(cell.seed), cell.batch), dtype)

    def forward(*on_host: torch.Tensor) -> Tensors:
        outputs = as_tuple(module(*(tensor.to(device) for tensor in on_host)))
        xla.sync()
        return tuple(output.cpu() for output in outputs)

    try:
        with torch.no_grad():
            module = module.to(device)
            xla.sync(wait=True)  # else the first graph would also contain the copies of the weights
            forward(*inputs)
    except Exception as error:  # any error of recording or of compiling
        raise GpubenchError(
            f"torch_xla cannot execute {cell.model} ({reason_of(error)}); use --runtime eager"
        ) from error
    return Engine(
        forward=forward,
        device=torch.device("cpu"),  # where inputs begin and outputs arrive
        input_dtype=dtype,
        thread_modes=torch.no_grad,  # inference_mode ends in an error of torch_xla
        compilations=_compilations,
        library=f"torch_xla {xla.__version__} ({_kind(cell)})",
        artifact_bytes=stored,
    )


def _kind(cell: Cell) -> str:
    """The name of the cell's device in PJRT."""
    return "CPU" if cell.accelerator is None else cell.accelerator.upper()


def _start(cell: Cell) -> object:
    """The module torch_xla, with its device started.

    Raises GpubenchError if it was started in this process with another device or number of threads.
    """
    global _started
    wanted = _kind(cell), cell.threads if cell.computes_on_cpu else 0
    if _started not in {None, wanted}:
        raise GpubenchError(
            "torch_xla has one device and one number of threads in a process, and this process "
            "began with others; measure this cell with a separate gpubench run"
        )
    os.environ["PJRT_DEVICE"] = wanted[0]  # torch_xla reads it again and again
    if wanted[1]:
        os.environ["NPROC"] = str(wanted[1])
    try:
        import torch_xla
        import torch_xla.backends
        import torch_xla.runtime

        if _started is None:
            # It warns even if it is called only once.
            logging.getLogger("torch_xla.backends").setLevel(logging.ERROR)
            torch_xla.backends.set_mat_mul_precision("highest")
        found = torch_xla.runtime.device_type()  # starts the device
    except Exception as error:  # of the library, of its driver or of the device
        raise GpubenchError(
            f"torch_xla cannot start its device {wanted[0]} ({reason_of(error)}); see that no "
            "other process uses it"
        ) from error
    if found != wanted[0]:
        raise GpubenchError(
            f"torch_xla was started with the device {found} before; use --device {found.lower()}"
        )
    _started = wanted
    return torch_xla


def _compilations() -> int:
    """The number of graphs that this process has compiled."""
    from torch_xla.debug import metrics

    measured = metrics.metric_data("CompileTime")  # (count, total in ns, samples)
    return measured[0] if measured else 0
