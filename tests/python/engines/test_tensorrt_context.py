"""Tests of loading and executing engine files, with fakes of TensorRT and of the GPU.

The fake library has the names that the code uses from both libraries. It computes on the CPU: its
engine has one input and doubles it. tests/tensorrt_api shows that the real libraries have these
names. Their behaviour cannot be tested without a GPU.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from factories import a_cell

from gpubench.cells.resolve import resolve
from gpubench.engines.tensorrt import plan_file
from gpubench.engines.tensorrt.context import LoadedEngine
from gpubench.engines.tensorrt.engine import build
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.cuda_graphs import NotCapturable, Shape, capture
from gpubench.models.base import seeded
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec
from gpubench.system.machine import this_machine

SIZES = (3, 4)  # of one sample


@dataclass
class FakeContext:
    engine: FakeEngine
    config: SimpleNamespace
    addresses: dict[str, int] = field(default_factory=dict)
    batch: int = 0
    memory: tuple[int, int] | None = None

    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "images"
        assert shape[1:] == SIZES
        self.batch = shape[0]
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == "doubled"
        return (self.batch, *(SIZES if self.engine.fixed_outputs else (-1, 4)))

    def is_stream_capturable(self, stream: int) -> bool:
        return self.engine.capturable

    def execute_async_v3(self, stream_handle: int) -> bool:
        self.engine.library.streams.append(stream_handle)
        if self.engine.fails:
            return False
        images, doubled = (self._tensor(name) for name in ("images", "doubled"))
        doubled.copy_(images * 2)
        return True

    def _tensor(self, name: str) -> torch.Tensor:
        count = self.batch * SIZES[0] * SIZES[1]
        memory = (ctypes.c_float * count).from_address(self.addresses[name])
        return torch.frombuffer(memory, dtype=torch.float32)


@dataclass
class FakeEngine:
    library: FakeLibrary
    least: int = 1
    most: int = 8
    fixed_outputs: bool = True
    capturable: bool = True
    fails: bool = False
    no_memory: bool = False
    num_io_tensors: int = 2
    device_memory_size_v2: int = 1000

    def get_tensor_name(self, index: int) -> str:
        return ("doubled", "images")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "images" else "output"

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name="FLOAT")

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert (name, profile_index) == ("images", 0)
        return [(batch, *SIZES) for batch in (self.least, self.most, self.most)]

    def create_runtime_config(self) -> SimpleNamespace:
        config = SimpleNamespace(allocation=None)
        config.set_execution_context_allocation_strategy = lambda strategy: setattr(
            config, "allocation", strategy
        )
        return config

    def create_execution_context(self, runtime_config: SimpleNamespace) -> FakeContext | None:
        if self.no_memory:
            return None
        context = FakeContext(self, runtime_config)
        self.library.contexts.append(context)
        return context


class FakeLibrary(SimpleNamespace):
    """Either of the two libraries."""

    def __init__(self) -> None:
        super().__init__(__version__="1.2.3", contexts=[], streams=[])
        self.engine = FakeEngine(self)
        severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal error")
        self.ILogger = type("ILogger", (), {"Severity": severity})
        self.TensorIOMode = SimpleNamespace(INPUT="input")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
        self.CudaGraphStrategy = SimpleNamespace(DISABLED="disabled")
        self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")

    def Runtime(self, logger: Any) -> SimpleNamespace:
        def deserialize(data: bytes) -> FakeEngine | None:
            if data == b"an engine":
                return self.engine
            logger.log("warning", "weather")
            logger.log("error", "The engine plan file is\nnot compatible")
            return None

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    library = FakeLibrary()
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, library)
    stream = SimpleNamespace(cuda_stream=77)
    for name, stand_in in {
        "device": lambda device: nullcontext(),
        "current_stream": lambda device: stream,
        "get_device_name": lambda device: "NVIDIA A10G",
        "is_current_stream_capturing": lambda: False,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return library


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.plan"
    path.write_bytes(b"an engine")
    return path


def loaded(path: Path, runtime: str = "tensorrt-rtx") -> LoadedEngine:
    return LoadedEngine(path, runtime, torch.device("cpu"))


def cell_of(path: Path, **settings: Any) -> Cell:
    """A resolved cell. Its device takes the place of a GPU."""
    asked = {"model": str(path), "runtime": "tensorrt-rtx", "precision": "fp32", "device": "cpu"}
    return a_cell(**(asked | settings))


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_file_is_executed_on_the_current_stream(
    path: Path, library: FakeLibrary, runtime: str
) -> None:
    context = loaded(path, runtime).context()
    images = torch.randn(2, *SIZES)
    (doubled,) = context.run(images)
    assert torch.equal(doubled, images * 2)
    assert library.streams == [77]


def test_inputs_of_any_layout_are_read_correctly(path: Path, library: FakeLibrary) -> None:
    images = torch.randn(*SIZES, 5).permute(2, 0, 1)
    (doubled,) = loaded(path).context().run(images)
    assert torch.equal(doubled, images * 2)


def test_the_outputs_of_each_batch_size_are_allocated_once(
    path: Path, library: FakeLibrary
) -> None:
    context = loaded(path).context()
    two, three = torch.randn(2, *SIZES), torch.randn(3, *SIZES)
    first = context.run(two)[0]
    assert context.run(three)[0].shape == (3, *SIZES)
    assert context.run(two)[0].data_ptr() == first.data_ptr()


def test_scratch_memory_is_given_to_every_context(path: Path, library: FakeLibrary) -> None:
    engine = loaded(path)
    contexts = [engine.context(), engine.context()]
    given = [context.memory for context in library.contexts]
    assert [size for _, size in given] == [1000, 1000]
    assert given[0] != given[1]
    assert all(context.config.allocation == "user managed" for context in library.contexts)
    del contexts


def test_tensorrt_rtx_captures_no_graphs_and_compiles_at_once(
    path: Path, library: FakeLibrary
) -> None:
    loaded(path).context()
    assert library.contexts[0].config.cuda_graph_strategy == "disabled"
    strategy = library.contexts[0].config.dynamic_shapes_kernel_specialization_strategy
    assert strategy == "eager"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"no_memory": True}, "no memory for another execution context"),
        ({"fails": True}, "could not be executed"),
        ({"fixed_outputs": False}, r"output doubled has shape \(2, -1, 4\), which depends on"),
    ],
)
def test_every_failure_gives_a_one_line_error(
    path: Path, library: FakeLibrary, fault: dict[str, bool], expected: str
) -> None:
    vars(library.engine).update(fault)
    with pytest.raises(GpubenchError, match=expected):
        loaded(path).context().run(torch.zeros(2, *SIZES))


def test_an_engine_for_another_gpu_or_version_gives_a_one_line_error(
    path: Path, library: FakeLibrary
) -> None:
    path.write_bytes(b"another")
    with pytest.raises(GpubenchError) as failure:
        loaded(path)
    assert str(failure.value).endswith(
        "net.plan is not an engine for NVIDIA A10G and tensorrt_rtx 1.2.3 (The engine plan file is "
        "not compatible); build it for both with gpubench build, or measure the model from which "
        "it was built"
    )


@pytest.mark.parametrize(
    ("least", "most", "settings", "expected"),
    [
        (4, 4, {"batch": 2}, "takes batches of 4 samples, and this cell needs 2;"),
        (1, 8, {"batch": 16}, "takes batches of 1 to 8 samples, and this cell needs 16;"),
        (1, 8, {"batch": 2, "dynamic_batch": "16:1ms"}, "this cell needs 2 to 16;"),
    ],
)
def test_batches_that_an_engine_does_not_take_give_a_one_line_error(
    path: Path,
    library: FakeLibrary,
    least: int,
    most: int,
    settings: dict[str, Any],
    expected: str,
) -> None:
    library.engine.least, library.engine.most = least, most
    cell = cell_of(path, **settings)
    with pytest.raises(GpubenchError, match=expected):
        build(plan_file.load(cell), cell)


def test_an_engine_file_is_a_model_with_inputs_but_without_a_reference(
    path: Path, library: FakeLibrary
) -> None:
    model = plan_file.load(cell_of(path))
    (images,) = model.make_inputs(seeded(0), 5)
    assert (images.shape, images.dtype) == ((5, *SIZES), torch.float32)
    assert (model.parameters, model.callable_on_cpu) == (None, False)


def test_every_worker_and_every_graph_has_a_separate_context(
    path: Path, library: FakeLibrary
) -> None:
    cell = cell_of(path)
    engine = build(plan_file.load(cell), cell)
    assert engine.artifact_bytes == len(b"an engine")
    images = torch.randn(1, *SIZES)
    with engine.thread_modes():
        (answer,) = engine.forward(images)
    assert engine.for_graph is not None
    graphs = [engine.for_graph(), engine.for_graph()]
    addresses = {answer.data_ptr(), *(graph(images)[0].data_ptr() for graph in graphs)}
    assert len(library.contexts) == len(addresses) == 3


def test_an_engine_that_cannot_be_captured_is_called_from_python(
    path: Path, library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.engine.capturable = False
    cell = cell_of(path)
    model = plan_file.load(cell)
    engine = build(model, cell)
    assert engine.for_graph is not None
    with pytest.raises(GpubenchError, match="says that this engine cannot be captured"):
        engine.for_graph()(torch.randn(1, *SIZES))
    with engine.thread_modes():
        engine.forward(torch.randn(1, *SIZES))

    def no_memory() -> None:
        raise GpubenchError("no memory for another execution context")

    monkeypatch.setattr(torch.cuda, "MemPool", no_memory)
    with pytest.raises(NotCapturable, match="no memory for another"):
        capture(engine, [model.make_inputs(seeded(0), 1)], Shape(1, 1, 1, inputs="device"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"precision": None}, "--precision: net.plan does not say what it was built in; name it"),
        ({"runtime": "torchscript"}, "--runtime: net.plan runs with tensorrt or tensorrt-rtx"),
    ],
)
def test_settings_that_an_engine_file_needs_are_demanded(
    settings: dict[str, Any], expected: str
) -> None:
    asked = {"model": "net.plan", "runtime": "tensorrt", "precision": "fp16"} | settings
    with pytest.raises(InputError) as refused:
        make_spec({name: value for name, value in asked.items() if value is not None})
    assert str(refused.value) == expected


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_measuring_without_a_gpu_is_refused_with_the_fix(runtime: str) -> None:
    asked = Spec(model="resnet50", runtime=runtime, device="cpu")
    with pytest.raises(InputError, match=r"runs only on NVIDIA GPUs \(gpubench build"):
        resolve(asked, this_machine())
