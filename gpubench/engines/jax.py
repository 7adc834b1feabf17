"""jax: a user's function of JAX, compiled by XLA for a CPU, a TPU or an NVIDIA GPU.

`gpubench.models.jax_function` says how a function comes in. It was run on CPUs only.

What a request does: its tensors become arrays (on a CPU and on a GPU they share the memory), the
jitted function is called, and the worker waits for its outputs (`jax.block_until_ready`), since JAX
returns before it has computed them. A TPU takes its inputs from host memory and returns its outputs
to host memory; both copies are part of the request.

`build` compiles the function for the batch of the cell. Each other shape of the inputs is another
program, which JAX compiles when the shape first occurs. The warm-up has every batch that can occur.
The number of compiled programs comes from the events of jax.monitoring (Engine.compilations).

| precision | weights and inputs | products of matrices |
|---|---|---|
| fp32 | fp32 | IEEE fp32 (`highest`): without it, JAX uses TF32 on GPUs and bf16 on TPUs |
| tf32 | fp32 | TF32, on NVIDIA GPUs |
| fp16, bf16 | converted once | those of the device for this format |

JAX has no int64 and no fp64 unless the user enables x64, so inputs are converted before the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax
import torch
from torch.utils.dlpack import from_dlpack

from gpubench.engines import precision, refusals, weights_bytes
from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, seeded, with_floats
from gpubench.models.jax_function import JaxFunction, as_tensors, matmul_precision
from gpubench.system import jax_threads

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Events of jax.monitoring. The first occurs for each program, even if its cache on disk has it.
_COMPILED = "/jax/core/compile/backend_compile_duration"
_FOUND_IN_CACHE = "/jax/compilation_cache/cache_hits"

_events: Counter[str] = Counter()  # since this file was imported


def _count(event: str, *_: object, **__: object) -> None:
    _events[event] += 1


jax.monitoring.register_event_duration_secs_listener(_count)
jax.monitoring.register_event_listener(_count)


def refusal(cell: Cell) -> str | None:
    if reason := refusals.of_jax(cell):
        return reason
    if cell.computes_on_cpu:
        return None
    jax_threads.start(cell.workers * cell.threads)
    try:
        _device(cell)
    except RuntimeError as error:
        what = "tpu" if cell.accelerator else "cuda13"
        return (
            f"JAX finds no {cell.device} ({reason_of(error)}); pip install 'jax[{what}]' on a "
            "machine that has one, or use --device cpu"
        )
    return None


def build(model: LoadedModel, cell: Cell) -> Engine:
    assert isinstance(model.module, JaxFunction)  # of a cell with this runtime
    dtype = precision.weight_dtype(cell.precision)
    if dtype != torch.float32 and not model.module.has_weights:
        raise GpubenchError(
            f"--precision {cell.precision}: {cell.model} returns a function whose weights are not "
            "its arguments, so they cannot be converted; return functools.partial(function, "
            "weights), or use --precision fp32"
        )
    device = _device(cell)
    module = model.module.to(dtype)
    function = module.on(device)
    host = torch.device(cell.device if device.platform == "gpu" else "cpu")
    example = with_floats(model.make_inputs(seeded(cell.seed), cell.batch), dtype)
    arrays = [jax.device_put(jax.dlpack.from_dlpack(each), device) for each in example]
    found_before = _events[_FOUND_IN_CACHE]
    cache_folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]

    @contextmanager
    def thread_modes() -> Iterator[None]:
        """The settings of JAX belong to a thread. Programs are compiled for them."""
        with torch.inference_mode(), jax.default_device(device), matmul_precision(cell.precision):
            yield

    with thread_modes():
        function.compile(arrays)
    from_cache = _events[_FOUND_IN_CACHE] > found_before if cache_folder else None

    def forward(*inputs: torch.Tensor) -> Tensors:
        arrays: Any = [jax.dlpack.from_dlpack(tensor) for tensor in inputs]
        if cell.accelerator:
            arrays = jax.device_put(arrays, device)
        try:
            outputs = jax.block_until_ready(function(*arrays))
        except (RuntimeError, ValueError) as error:
            if function.donates_weights():
                raise GpubenchError(
                    f"{cell.model} donates its weights, so it can be called only once; remove "
                    "them from donate_argnums"
                ) from error
            raise
        if host.type == "cpu":
            return as_tensors(outputs)
        return tuple(from_dlpack(output) for output in jax.tree.leaves(outputs))

    return Engine(
        forward=forward,
        device=host,
        input_dtype=dtype,
        input_dtypes=tuple(each.dtype for each in as_tensors(arrays)),
        thread_modes=thread_modes,
        not_capturable="JAX launches its kernels on streams of its own",
        from_cache=from_cache,
        shares_threads=True,
        library=f"jax {jax.__version__}",
        artifact_bytes=weights_bytes.of_module(module) or None,
        compilations=lambda: _events[_COMPILED],
    )


def _device(cell: Cell) -> jax.Device:
    """The device of JAX. Raises RuntimeError if JAX has none of this kind."""
    name, _, number = cell.device.partition(":")
    devices = jax.local_devices(backend=name)
    if int(number or 0) >= len(devices):
        raise RuntimeError(f"it has {len(devices)}")
    return devices[int(number or 0)]
