"""tensorrt and tensorrt-rtx: an engine is built from the model for one GPU, and executed there.

plan.py describes how engines are built, and in which precisions. context.py describes how they are
executed.

What is tested: on a machine without a GPU the tests build engines with `tensorrt_rtx` for three
GPUs. They compare the quantised models with the fp32 outputs on the CPU. They check every use of
the three libraries against their Python bindings (tests/tensorrt_api). No engine has been executed
on a GPU yet, and none has been built with `tensorrt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench.engines import cache_key, refusals
from gpubench.engines.base import Engine, PerWorker
from gpubench.engines.tensorrt import plan
from gpubench.engines.tensorrt.context import Context, LoadedEngine
from gpubench.engines.tensorrt.library import version_of
from gpubench.engines.tensorrt.plan_file import PlanFile
from gpubench.models.base import LoadedModel

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


def refusal(cell: Cell) -> str | None:
    if cell.on_cpu:
        return refusals.of_tensorrt_on_cpu(cell)
    if reason := plan.missing(cell):
        return reason
    capabilities = (torch.cuda.get_device_capability(device) for device in cell.devices)
    reasons = (plan.refused_on(cell, capability) for capability in capabilities)
    return next((reason for reason in reasons if reason), None)


def build(model: LoadedModel, cell: Cell) -> Engine:
    device = torch.device(cell.device)
    loaded, from_cache = _load(model, cell, device)
    loaded.refuse_batch(cell.batch, cell.batch_limits.samples)
    context: PerWorker[Context] = PerWorker(loaded.context)
    return Engine(
        forward=lambda *inputs: context.of_this_thread.run(*inputs),
        device=device,
        input_dtype=loaded.float_dtype,
        thread_modes=context.entered,
        for_graph=lambda: loaded.context(captured=True).run,
        from_cache=from_cache,
        library=version_of(cell.runtime),
        artifact_bytes=loaded.file_bytes,
    )


def _load(model: LoadedModel, cell: Cell, device: torch.device) -> tuple[LoadedEngine, bool | None]:
    """(the engine, whether it was in the cache); None instead for a user's engine file."""
    if isinstance(model.module, PlanFile):
        return model.module.engine, None
    capability = torch.cuda.get_device_capability(device)

    def make() -> tuple[Path, bool]:
        made = plan.plan(model, cell, capability)
        return made.path, made.from_cache

    engine, _, from_cache = cache_key.loaded(
        make, lambda path: LoadedEngine(path, cell.runtime, device)
    )
    return engine, from_cache
