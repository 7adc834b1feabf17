"""Sessions of ONNX Runtime on CUDA, without a GPU: which memory, stream and graph a run uses.

ONNX Runtime's provider for CPUs takes the place of that for CUDA, and a fake takes the place of
torch's streams. The provider for CPUs ignores the options of a run, so the tests record them.
Whether ONNX Runtime captures and replays a graph was never seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import onnxruntime
import pytest
import torch
from factories import a_cell, another
from small_models import SMALL, small_cell

from gpubench.engines import onnxruntime as runtime
from gpubench.engines.base import Engine
from gpubench.engines.onnxruntime import build
from gpubench.errors import GpubenchError
from gpubench.measure.engine_key import engine_settings
from gpubench.models import onnx_file
from gpubench.models.base import LoadedModel, seeded
from gpubench.spec.cell import Cell

PLAIN = {"gpu_graph_id": "-1"}
ENQUEUED = PLAIN | {"disable_synchronize_execution_providers": "1"}
GRAPH = {"gpu_graph_id": "1"}


@dataclass
class FakeStream:
    cuda_stream: int
    waits_for: list[FakeStream] = field(default_factory=list)

    def wait_stream(self, other: FakeStream) -> None:
        self.waits_for.append(other)


@dataclass
class FakeCuda:
    """Records what sessions are made and run with."""

    current: FakeStream = field(default_factory=lambda: FakeStream(cuda_stream=77))
    providers: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    runs: list[dict[str, str]] = field(default_factory=list)  # the options of each run
    addresses: list[int] = field(default_factory=list)  # of the first input, by run
    refuses_graphs: bool = False

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before


class Options:
    """The options of a run, which those of ONNX Runtime cannot list."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value


class Session(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no types
    """Runs on the CPU whatever provider it is made with."""

    cuda: FakeCuda

    def __init__(self, path: str, options: Any, *, providers: Any, enable_fallback: int) -> None:
        assert enable_fallback == 0
        self.cuda.providers += providers
        if self.cuda.refuses_graphs and providers[0][1]["enable_cuda_graph"] == "1":
            raise RuntimeError("not all nodes are on CUDA")
        super().__init__(path, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> None:
        self.cuda.runs.append(run_options.entries)
        super().run_with_iobinding(iobinding)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(Session, "cuda", fake, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "RunOptions", Options)
    monkeypatch.setattr(Cell, "on_cpu", property(lambda self: False))
    for name, stand_in in {
        "current_stream": lambda device: fake.current,
        "stream": fake.stream,
        "Stream": lambda device: FakeStream(cuda_stream=88),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)

    of_gpu = runtime._stream
    monkeypatch.setattr(runtime, "_stream", lambda device: of_gpu(torch.device("cuda:0")))

    def bind_input(binding: Any, name: str, tensor: torch.Tensor) -> None:
        fake.addresses.append(tensor.data_ptr())
        onnx_file.bind_input(binding, name, tensor)

    monkeypatch.setattr(runtime, "bind_input", bind_input)
    return fake


def engine_of(model: LoadedModel, **settings: Any) -> Engine:
    return build(model, another(small_cell("resnet", "onnxruntime"), **settings))


def test_a_session_replays_a_graph_that_reads_fixed_addresses(cuda: FakeCuda) -> None:
    model = SMALL["resnet"]()
    engine = engine_of(model)
    assert engine.not_capturable == runtime._OWN_GRAPH
    cuda.runs.clear()
    requests = [model.make_inputs(seeded(seed), 1) for seed in range(3)]
    with engine.thread_modes():
        outputs = [engine.forward(*request)[0].clone() for request in requests]
    # The first run shows the shapes of the outputs. The next one captures, and all others replay.
    assert cuda.runs == [PLAIN, GRAPH, GRAPH, GRAPH]
    read = cuda.addresses[-1]
    assert read not in {request[0].data_ptr() for request in requests}
    for (images,), output in zip(requests, outputs, strict=True):
        assert output.allclose(model.module(images), atol=1e-5)


def test_inputs_of_another_shape_run_without_a_graph(cuda: FakeCuda) -> None:
    model = SMALL["resnet"]()
    engine = engine_of(model)
    one, three = model.make_inputs(seeded(0), 1), model.make_inputs(seeded(1), 3)
    with engine.thread_modes():
        engine.forward(*one)
        cuda.runs.clear()
        for _ in range(2):
            (output,) = engine.forward(*three)
            assert output.allclose(model.module(*three), atol=1e-5)
        assert cuda.runs == [PLAIN, ENQUEUED]
        assert cuda.addresses[-1] == three[0].data_ptr()  # read where they are
        (output,) = engine.forward(*one)
    assert cuda.runs[-1] == GRAPH
    assert output.allclose(model.module(*one), atol=1e-5)


@pytest.mark.parametrize("settings", [{"workers": 2}, {"dynamic_batch": "4:1ms"}])
def test_several_workers_or_batch_sizes_have_no_graphs(
    cuda: FakeCuda, settings: dict[str, Any]
) -> None:
    model = SMALL["resnet"]()
    engine = engine_of(model, **settings)
    assert engine.not_capturable == runtime._ONE_WORKER
    request = model.make_inputs(seeded(0), 1)
    with engine.thread_modes():
        for _ in range(3):
            engine.forward(*request)
    assert cuda.runs == [PLAIN, ENQUEUED, ENQUEUED]
    assert {options["enable_cuda_graph"] for _, options in cuda.providers} == {"0"}


def test_a_model_that_cannot_be_captured_runs_without_a_graph_and_the_reason_is_kept(
    cuda: FakeCuda,
) -> None:
    cuda.refuses_graphs = True
    engine = engine_of(SMALL["resnet"]())
    assert engine.not_capturable is not None
    assert "onnxruntime cannot capture it" in engine.not_capturable
    assert "not all nodes are on CUDA" in engine.not_capturable
    request = SMALL["resnet"]().make_inputs(seeded(0), 1)
    with engine.thread_modes():
        engine.forward(*request)
        engine.forward(*request)
    assert cuda.runs == [PLAIN, ENQUEUED]


def test_a_session_uses_the_stream_of_its_worker(cuda: FakeCuda) -> None:
    engine = engine_of(SMALL["resnet"]())
    with engine.thread_modes():
        engine.forward(*SMALL["resnet"]().make_inputs(seeded(0), 1))
    name, options = cuda.providers[-1]
    assert (name, options["user_compute_stream"]) == ("CUDAExecutionProvider", "77")
    assert (options["enable_cuda_graph"], options["use_tf32"]) == ("1", "0")
    assert cuda.current.waits_for == []  # nothing to wait for on one stream


def test_the_default_stream_is_replaced_and_both_wait_for_each_other(cuda: FakeCuda) -> None:
    caller = cuda.current = FakeStream(cuda_stream=0)
    engine = engine_of(SMALL["resnet"]())
    caller.waits_for.clear()
    with engine.thread_modes():
        engine.forward(*SMALL["resnet"]().make_inputs(seeded(0), 1))
    assert cuda.providers[-1][1]["user_compute_stream"] == "88"
    [own] = caller.waits_for
    assert own.cuda_stream == 88
    assert own.waits_for == [caller]


def test_a_provider_that_cannot_be_loaded_is_an_error_and_not_a_run_on_the_cpu(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(GpubenchError, match="could not load its CUDAExecutionProvider"):
        engine_of(SMALL["resnet"]())


def test_cells_with_and_without_graphs_have_different_engines() -> None:
    alone, together = (
        a_cell(model="resnet50", runtime="onnxruntime", device="cuda:0", workers=workers, clients=2)
        for workers in (1, 2)
    )
    assert engine_settings(alone) != engine_settings(together)
    on_cpu = [engine_settings(another(each, device="cpu")) for each in (alone, together)]
    assert on_cpu[0] == on_cpu[1]
