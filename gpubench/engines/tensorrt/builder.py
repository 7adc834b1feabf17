"""Builds an engine of TensorRT from an ONNX file, for one kind of GPU.

The same code works with the libraries `tensorrt` (10 and 11) and `tensorrt_rtx`. Networks are
strongly typed: the precision is the one of the exported model. Precision flags and calibrators are
not used, since newer versions of the libraries do not have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench import cache
from gpubench.engines.tensorrt.library import ErrorLog, library, one_line
from gpubench.errors import GpubenchError
from gpubench.files.folder import write_file
from gpubench.spec.input_shapes import RequestInput

if TYPE_CHECKING:
    import tensorrt as trt

    from gpubench.spec.cell import Cell


def architecture(capability: tuple[int, int]) -> str:
    """The name of a compute capability: (8, 6) is sm_86."""
    return f"sm_{capability[0]}{capability[1]}"


def targets(runtime: str) -> dict[str, int]:
    """The numbers of the architectures for which the library builds, by their names.

    Empty for tensorrt, which builds for the GPU of the machine.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library(runtime)
    is_rtx = runtime == "tensorrt-rtx"
    if not is_rtx:
        return {}
    members = trt.ComputeCapability.__members__.items()
    return {f"sm_{name[2:]}": int(value) for name, value in members if name[:2] == "SM"}


@dataclass(frozen=True)
class Batches:
    """The batch sizes that an engine takes, in samples: from `least` to `most`."""

    least: int
    most: int

    @staticmethod
    def of(cell: Cell) -> Batches:
        return Batches(cell.batch, cell.batch_limits.samples)


@dataclass(frozen=True)
class Binding:
    """An input or output of an engine."""

    name: str
    dtype: str  # the name in the library: FLOAT, HALF, INT64
    shape: tuple[int, ...]  # -1: the batch


class Builder:
    """Builds one engine: parses an ONNX file, configures the build, and writes the engine."""

    def __init__(
        self,
        cell: Cell,
        source: Path,
        capability: tuple[int, int],
        batches: Batches,
        known: Mapping[str, RequestInput],
    ) -> None:
        """`known` are inputs whose sizes are known from the settings, by name."""
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = library(cell.runtime)
        self._trt = trt
        self._cell = cell
        self._log = ErrorLog(cell.runtime)
        self._builder = trt.Builder(self._log.logger)
        # TensorRT 11 and TensorRT-RTX have only such networks. They also accept the flag.
        strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self._builder.create_network(strongly_typed)
        parser = trt.OnnxParser(self.network, self._log.logger)
        if not parser.parse_from_file(str(source)):
            errors = [parser.get_error(number) for number in range(parser.num_errors)]
            reasons = [f"{e.node_operator()}: {e.code().name}, {e.desc()}" for e in errors]
            raise GpubenchError(
                f"{cell.runtime} cannot parse {cell.model} ({one_line(reasons)}); "
                "use another --runtime"
            )
        self._config = self._builder.create_builder_config()
        if cell.precision != "tf32":
            self._config.clear_flag(trt.BuilderFlag.TF32)
        if cell.sparsity == "2:4":
            self._config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        self._set_batches(batches, known)
        is_rtx = cell.runtime == "tensorrt-rtx"
        if is_rtx:
            self._config.num_compute_capabilities = 1
            target = trt.ComputeCapability(targets(cell.runtime)[architecture(capability)])
            self._config.set_compute_capability(target, 0)
            # Without this flag an engine may allocate while it runs, and cannot be captured then.
            self._config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)

    def _set_batches(self, batches: Batches, known: Mapping[str, RequestInput]) -> None:
        """Set the batch sizes. If there are several, kernels are tuned for the largest."""
        profile = self._builder.create_optimization_profile()
        for input_ in self.inputs():
            sizes = known[input_.name].sizes if input_.name in known else tuple(input_.shape)[1:]
            if any(size < 0 for size in sizes):
                raise GpubenchError(
                    f"input {input_.name} has shape {tuple(input_.shape)}; only the batch may vary"
                )
            least, most = (batches.least, *sizes), (batches.most, *sizes)
            profile.set_shape(input_.name, least, most, most)
        self._config.add_optimization_profile(profile)

    def write(self, path: Path) -> None:
        """Build the engine and write it to `path`. Raises GpubenchError if the library fails."""
        timings = cache.cache_dir() / self._cell.runtime / ".timing"
        is_rtx = self._cell.runtime == "tensorrt-rtx"
        if not is_rtx:  # TensorRT-RTX does not time kernels when it builds
            timing_cache = self._config.create_timing_cache(_bytes_of(timings))
            self._config.set_timing_cache(timing_cache, ignore_mismatch=True)
        serialized = self._builder.build_serialized_network(self.network, self._config)
        if serialized is None:
            raise GpubenchError(
                f"{self._cell.runtime} cannot build {self._cell.model} in {self._cell.precision} "
                f"({self._log.first}); use another --precision or --runtime"
            )
        path.write_bytes(serialized)
        if not is_rtx:
            _save(timings, bytes(self._config.get_timing_cache().serialize()))

    def inputs(self) -> list[trt.ITensor]:
        return [self.network.get_input(number) for number in range(self.network.num_inputs)]

    def outputs(self) -> list[trt.ITensor]:
        return [self.network.get_output(number) for number in range(self.network.num_outputs)]

    def dtypes(self) -> tuple[str, ...]:
        """The formats of everything that layers compute, sorted.

        Constants are left out: TensorRT stores a zero point of int8 in fp32.
        """
        layers = (self.network.get_layer(number) for number in range(self.network.num_layers))
        return tuple(
            sorted(
                {
                    layer.get_output(number).dtype.name
                    for layer in layers
                    if layer.type != self._trt.LayerType.CONSTANT
                    for number in range(layer.num_outputs)
                }
            )
        )


def binding(tensor: trt.ITensor) -> Binding:
    return Binding(tensor.name, tensor.dtype.name, tuple(tensor.shape))


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _save(path: Path, data: bytes) -> None:
    """Save the builder's timings. They make the build of the next engine faster."""
    try:
        write_file(path, data)
    except OSError:
        return
