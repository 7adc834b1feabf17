"""executorch: the model exported into a `.pte` program. ExecuTorch executes it on a CPU.

The operators that XNNPACK has are delegated to it; the others run in ExecuTorch's own kernels. A
program is made for one batch size. It contains no machine code: XNNPACK chooses kernels and packs
weights when the program is loaded. The cache finds it by the content of the exported program.

| precision | how |
|---|---|
| fp32 | as exported |
| int8, network with convolutions | all operators static, with scales from generated inputs |
| int8, other networks | linear layers only: weights per row once, inputs at each call |

Weights are quantised per channel, with torchao's PT2E flow and the quantiser for XNNPACK.

The Python interface of ExecuTorch (seen with 1.5.1) holds the interpreter's lock during a whole
forward pass. Two workers would therefore wait for each other, and are refused.

XNNPACK's thread pool is one for the process, and a loaded program keeps a pointer to it. To give a
worker another number of threads, the pool is replaced. A program that was loaded before must not
run after that (it was seen to hang), so it is loaded again.

Source: https://docs.pytorch.org/executorch/stable/backends/xnnpack/xnnpack-overview.html.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench import cache
from gpubench.engines import cache_key, calibration, precision, program, refusals
from gpubench.engines.base import Engine, PerWorker
from gpubench.errors import GpubenchError, reason_in, reason_of
from gpubench.models.base import LoadedModel, Tensors, TupleOfTensors

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Increase this number when the way in which a program is made changes.
_RECIPE = 1

_PACKAGE = "executorch"

refusal = refusals.of_executorch


def build(model: LoadedModel, cell: Cell) -> Engine:
    example = precision.example(model, cell)
    with cache_key.searching():
        exported = _exported(model, example, cell)
        entry = _entry(exported, model, cell)

    def make() -> tuple[Path, bool]:
        if entry.exists():
            return entry, True
        write = partial(_write, exported, example, model, cell)
        return cache.save(entry, write, model.weights_bytes), False

    first, path, from_cache = cache_key.loaded(make, lambda path: _Loaded(path, cell))
    ready = [first]

    def of_worker() -> _Loaded:
        usable = ready and ready.pop()
        return usable if usable and usable.pool == _pool() else _Loaded(path, cell)

    loaded = PerWorker(of_worker)
    return Engine(
        forward=lambda *inputs: loaded.of_this_thread.run(inputs),
        device=torch.device(cell.device),
        input_dtype=torch.float32,
        thread_modes=loaded.entered,
        from_cache=from_cache,
        library=_library(cell),
        artifact_bytes=path.stat().st_size,
    )


def _library(cell: Cell) -> str:
    names = (_PACKAGE, *_quantiser_packages(cell))
    return ", ".join(f"{name} {version(name)}" for name in names) + ", XNNPACK"


def _quantiser_packages(cell: Cell) -> tuple[str, ...]:
    return (refusals.INT8_PACKAGE,) if cell.precision == "int8" else ()


def _exported(model: LoadedModel, example: Tensors, cell: Cell) -> torch.export.ExportedProgram:
    if isinstance(model.module, torch.jit.ScriptModule):
        raise GpubenchError(
            f"{cell.model} is TorchScript, which is not exported to ExecuTorch; use --runtime "
            "torchscript or eager, or give the Python module"
        )
    with _explained(cell):
        return torch.export.export(TupleOfTensors(model.module).eval(), example)


def _entry(exported: torch.export.ExportedProgram, model: LoadedModel, cell: Cell) -> Path:
    """The path of the program in the cache, from everything that it depends on."""
    static = cell.precision == "int8" and _has_convolutions(exported)
    settings = {
        "recipe": _RECIPE,
        "precision": cell.precision,
        "calibration": calibration.digest(model, cell, cell.batch) if static else None,
    }
    content = program.digest_of(exported, torch.device("cpu"))
    packages = (_PACKAGE, *_quantiser_packages(cell))
    return cache_key.entry("executorch", ".pte", content, settings, packages)


def _write(
    exported: torch.export.ExportedProgram,
    example: Tensors,
    model: LoadedModel,
    cell: Cell,
    path: Path,
) -> None:
    with _explained(cell):
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        if cell.precision == "int8":
            exported = _quantised(exported, example, model, cell)
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        made = lowered.to_executorch()
    with path.open("wb") as file:
        made.write_to_file(file)


def _quantised(
    exported: torch.export.ExportedProgram, example: Tensors, model: LoadedModel, cell: Cell
) -> torch.export.ExportedProgram:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    static = _has_convolutions(exported)
    prepared = prepare_pt2e(exported.module(), _quantiser(static))
    # One call finds the scales of weights.
    for request in calibration.requests(model, cell, cell.batch) if static else [example]:
        prepared(*request)
    return torch.export.export(convert_pt2e(prepared), example)


def _quantiser(static: bool) -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=not static)
    if static:
        return XNNPACKQuantizer().set_global(config)

    class OfLinearLayers(XNNPACKQuantizer):  # type: ignore[misc]
        def transform_for_annotation(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            """Leave numbers in the graph. As fp32 tensors they would turn BERT's indices to fp32.

            Only operators that are quantised with a number need this. Linear layers have none.
            """
            return model

    return OfLinearLayers().set_operator_type(torch.ops.aten.linear.default, config)


def _has_convolutions(exported: torch.export.ExportedProgram) -> bool:
    return any(str(node.target).startswith("aten.conv") for node in exported.graph.nodes)


@contextlib.contextmanager
def _explained(cell: Cell) -> Iterator[None]:
    """A block that makes a program, without the warnings. Any error becomes one line."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # of the model, of exporting, of quantising or of lowering
        raise GpubenchError(
            f"{cell.model} cannot be exported to ExecuTorch in {cell.precision} "
            f"({reason_of(error)}); use --runtime torchscript or onnxruntime"
        ) from error


class _Loaded:
    """A program, loaded for the number of threads that torch has on the calling thread.

    Raises GpubenchError if the file is damaged, or if ExecuTorch lacks one of its operators.
    """

    def __init__(self, path: Path, cell: Cell) -> None:
        self.pool = _pool()  # the thread pool that it uses
        messages = io.StringIO()
        try:
            with contextlib.redirect_stderr(messages):
                from executorch.runtime import Runtime

                self._method = Runtime.get().load_program(path).load_method("forward")
        except Exception as error:
            # The exception has only a number. The reason is what was written to stderr last.
            lines = messages.getvalue().strip().splitlines()
            reason = reason_in(lines[-1]) if lines else reason_of(error)
            raise GpubenchError(
                f"ExecuTorch cannot load {cell.model} in {cell.precision} ({reason}); "
                "use --runtime torchscript or onnxruntime"
            ) from error

    def run(self, inputs: Tensors) -> Tensors:
        return tuple(self._method.execute([tensor.contiguous() for tensor in inputs]))


class _Pools:
    made = 0  # in this process


def _pool() -> int:
    """The number of XNNPACK's thread pool. It is replaced if it has another number of threads.

    A pool has as many threads as torch has on the calling thread, which is one of them.
    """
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # the Python interface is marked as experimental
        from executorch.extension.pybindings import portable_lib

        threads = torch.get_num_threads()
        if portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)
            _Pools.made += 1
    return _Pools.made
