"""The network that OpenVINO reads: a converted model, in one file in the cache.

torch.export makes a program from the module, and OpenVINO converts the program. Its content is the
key in the cache. A module that cannot be exported is traced by OpenVINO. Its content is not known,
so it is converted for every run. OpenVINO reads a user's ONNX file without changes.

The weights are fp32 for all precisions but int8. OpenVINO converts them to the precision in which
it computes when it compiles the network for a device.

int8: NNCF quantises the weights and activations of products. Calibration uses the same generated
inputs of the model as for ONNX Runtime (gpubench.engines.onnx.quantise).

OpenVINO's format is two files: the graph in XML, and the weights. An entry of the cache is one
file: the weights, the XML, and 8 bytes with the length of the XML. The weights are first, so that
they can be mapped into memory with the alignment of a page.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpubench import cache
from gpubench.engines import cache_key, program
from gpubench.engines.onnx import export, quantise
from gpubench.engines.openvino.devices import core
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, TupleOfTensors, seeded, with_floats
from gpubench.models.onnx_file import OnnxFile, is_int8_file
from gpubench.system.machine import this_machine

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Increase this number when the way in which a network is converted or quantised changes.
_RECIPE = 1

_LENGTH_BYTES = 8


def file_of(model: LoadedModel, cell: Cell) -> tuple[Path, bool]:
    """(the file of the network in the cell's precision, whether it was already in the cache).

    Raises GpubenchError if OpenVINO cannot convert the model, or NNCF cannot quantise it.
    """
    source = _source(model, cell)
    is_quantised = cell.precision == "int8" and not is_int8_file(model.module)
    if isinstance(source, _OnnxSource) and not is_quantised:
        return source.path, False
    settings: dict[str, object] = {"recipe": _RECIPE}
    packages = ["openvino"]
    if is_quantised:
        settings["calibration"] = quantise.calibration_digest(model, cell)
        settings["reduces_range"] = _reduces_range(cell)
        packages.append("nncf")
    kind = "openvino-int8" if is_quantised else "openvino"
    path = cache_key.entry(kind, ".ir", source.content, settings, tuple(packages))
    if path.exists():
        return path, True

    def write(target: Path) -> None:
        with _without_telemetry(), export.quietly():
            network = source.network(cell)
            save(_quantised(network, model, cell) if is_quantised else network, target)

    return cache.save(path, write), False


def save(network: Any, path: Path) -> None:
    """Write a network of OpenVINO to one file."""
    import openvino

    with TemporaryDirectory() as folder:
        xml, weights = Path(folder) / "network.xml", Path(folder) / "network.bin"
        openvino.serialize(network, xml, weights)
        graph = xml.read_bytes()
        with path.open("wb") as file, weights.open("rb") as stored:
            shutil.copyfileobj(stored, file)
            file.write(graph)
            file.write(len(graph).to_bytes(_LENGTH_BYTES, "little"))


def read(path: Path) -> tuple[Any, object]:
    """(the network in an ONNX file or in a file of `save`, what must live as long as it).

    Raises what OpenVINO raises if the file is damaged.
    """
    import openvino

    if path.suffix.lower() == ".onnx":
        return core().read_model(path), None
    # "c": writable memory, as OpenVINO demands. The file stays as it is.
    content = np.memmap(path, np.uint8, mode="c")
    graph_end = len(content) - _LENGTH_BYTES
    graph_begin = graph_end - int.from_bytes(content[graph_end:].tobytes(), "little")
    if graph_begin < 0:
        raise ValueError("the file is damaged")
    graph = content[graph_begin:graph_end].tobytes()
    weights = openvino.Tensor(content[:graph_begin], shared_memory=True)
    return core().read_model(graph, weights), content


@dataclass(frozen=True)
class _OnnxSource:
    content: str | None
    path: Path

    def network(self, cell: Cell) -> Any:
        return core().read_model(self.path)


@dataclass(frozen=True)
class _TorchSource:
    content: str | None  # a digest; None: not all of it can be read, so nothing is cached
    program: torch.export.ExportedProgram | torch.nn.Module
    example: Tensors

    def network(self, cell: Cell) -> Any:
        import openvino

        is_module = isinstance(self.program, torch.nn.Module)
        try:
            return openvino.convert_model(
                self.program, example_input=self.example if is_module else None
            )
        except Exception as error:  # OpenVINO's exceptions, and those of tracing the module
            raise GpubenchError(
                f"{cell.model} cannot be converted by OpenVINO ({reason_of(error)}); use --runtime "
                "torchscript or eager"
            ) from error


def _source(model: LoadedModel, cell: Cell) -> _OnnxSource | _TorchSource:
    if isinstance(model.module, OnnxFile):
        return _OnnxSource(model.module.digest, model.module.path)
    with cache_key.searching(), export.quietly(), torch.no_grad():
        # Two samples: with one sample, exporting assumes that the batch is constant.
        example = with_floats(model.make_inputs(seeded(cell.seed), 2), torch.float32)
        if isinstance(model.module, torch.jit.ScriptModule):
            return _TorchSource(None, model.module, example)
        # A copy, since other engines need the module in its original format.
        module = TupleOfTensors(copy.deepcopy(model.module).float()).eval()
        try:
            exported = export.exported_program(module, example)
        except Exception:  # OpenVINO traces the module instead, and reports the reason
            return _TorchSource(None, module, example)
        return _TorchSource(program.digest_of(exported, torch.device("cpu")), exported, example)


def _quantised(network: Any, model: LoadedModel, cell: Cell) -> Any:
    import nncf

    requests = [
        tuple(tensor.numpy() for tensor in with_floats(request, torch.float32))
        for request in quantise.calibration_requests(model, cell)
    ]
    types = [operation.get_type_name() for operation in network.get_ops()]
    is_transformer = types.count("MatMul") > types.count("Convolution")
    fix = nncf.OverflowFix.ENABLE if _reduces_range(cell) else nncf.OverflowFix.DISABLE
    try:
        return nncf.quantize(
            network,
            nncf.Dataset(requests),
            subset_size=len(requests),
            model_type=nncf.ModelType.TRANSFORMER if is_transformer else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
        )
    except Exception as error:  # the exceptions of nncf and of openvino have no common base class
        raise GpubenchError(
            f"{cell.model} cannot be quantised by NNCF ({reason_of(error)}); use --precision fp32"
        ) from error


def _reduces_range(cell: Cell) -> bool:
    """Whether weights get 7 bits: see gpubench.engines.onnx.quantise.reduces_range."""
    return cell.computes_on_cpu and quantise.reduces_range(this_machine().cpu_flags)


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Without this, openvino and nncf report each conversion to Google Analytics.

    They ask nobody before. They send nothing in continuous integration, which they know by this
    environment variable. They read it once, at their first use in a process.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
