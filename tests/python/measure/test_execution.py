"""Tests of workers in Python: the copies to and from the device, their order, and the log of times.

These tests need no GPU. Fakes replace the streams and events of torch, and nothing is copied to
a device. tests/gpu tests the same on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from factories import a_cell, another

from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError
from gpubench.measure import streams
from gpubench.measure.cell import Bench
from gpubench.measure.cuda_graphs import NotCapturable
from gpubench.measure.engine import DeviceEngine, Prepared
from gpubench.measure.environment import environment
from gpubench.measure.python_workers import ProcessingWorker
from gpubench.measure.streams import OnStream, pinned
from gpubench.models.base import PrePostProcessing, Tensors
from gpubench.results.result import Numerics, Result
from gpubench.spec.cell import Cell
from gpubench.system.machine import this_machine


@dataclass
class FakeTorch:
    """Records the calls of torch.cuda, of the engine and of pre- and postprocessing, in order."""

    events: list[str] = field(default_factory=list)
    pinned: list[torch.Tensor] = field(default_factory=list)
    received: list[Tensors] = field(default_factory=list)  # by the engine
    answered: list[Tensors] = field(default_factory=list)  # to postprocess

    def note(self, event: str) -> None:
        self.events.append(event)

    def pinned_like(self, tensor: torch.Tensor) -> torch.Tensor:
        self.pinned.append(torch.empty_like(tensor))
        return self.pinned[-1]

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        return tensor.data_ptr() in {buffer.data_ptr() for buffer in self.pinned}

    def engine(self) -> Engine:
        """An engine that doubles its input and also returns the size of each sample."""

        def forward(numbers: torch.Tensor) -> Tensors:
            self.note("forward")
            self.received.append((numbers,))
            return numbers * 2, numbers.sum(1)

        return Engine(forward, torch.device("cpu"), torch.float32, torch.inference_mode)

    def processing(self) -> PrePostProcessing:
        """Clients send a number. A request has two samples with this number."""

        def preprocess(request: object) -> Tensors:
            assert isinstance(request, int)
            self.note("preprocess")
            return (torch.full((2, 3), float(request)),)

        def postprocess(outputs: Tensors) -> None:
            self.note("postprocess")
            self.answered.append(tuple(output.clone() for output in outputs))
            assert all(map(self.is_pinned, outputs))

        return PrePostProcessing(lambda generator, samples: 0, preprocess, postprocess)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTorch:
    fake = FakeTorch()

    def event(*, blocking: bool) -> SimpleNamespace:
        return SimpleNamespace(
            record=lambda: fake.note("record"), synchronize=lambda: fake.note("synchronize")
        )

    for name, stand_in in {
        "set_device": lambda device: fake.note("set device"),
        "set_stream": lambda stream: fake.note("set stream"),
        "Stream": lambda device: None,
        "Event": event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(streams, "pinned_like", fake.pinned_like)
    return fake


def the_cell(**settings: object) -> Cell:
    defaults = {"model": "resnet50", "device": "cuda:0", "workers": 1, "threads": 1}
    return a_cell(**(defaults | settings))


@pytest.fixture
def worker(fake: FakeTorch, monkeypatch: pytest.MonkeyPatch) -> ProcessingWorker:
    """A worker on a GPU, with clients that send 0 to 4."""
    monkeypatch.setattr(
        "gpubench.measure.python_workers.execution",
        lambda engine, cell: OnStream(engine, inputs="host", sleeps=False),
    )
    return ProcessingWorker(fake.engine(), list(range(5)), fake.processing(), the_cell())


def test_a_batch_is_copied_to_the_device_and_back_between_preprocess_and_postprocess(
    fake: FakeTorch, worker: ProcessingWorker
) -> None:
    worker.open()
    assert fake.events[:2] == ["set device", "set stream"]
    fake.events.clear()
    worker.run(np.array([3, 4]))
    worker.close()
    assert fake.events == (
        ["preprocess", "preprocess", "forward", "record", "synchronize", "postprocess"]
    )
    (numbers,) = fake.received[-1]
    assert fake.is_pinned(numbers)
    assert numbers[:, 0].tolist() == [3, 3, 4, 4]
    doubled, sums = fake.answered[-1]
    assert doubled[:, 0].tolist() == [6, 6, 8, 8]
    assert sums.tolist() == [9, 9, 12, 12]


def test_pinned_memory_is_allocated_once_for_each_batch_size(
    fake: FakeTorch, worker: ProcessingWorker
) -> None:
    worker.open()
    assert len(fake.pinned) == 3  # an input and two outputs
    worker.run(np.array([1]))
    assert len(fake.pinned) == 3
    worker.run(np.array([1, 2]))
    worker.run(np.array([3, 4]))
    worker.close()
    assert len(fake.pinned) == 6


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pinned_memory_has_the_memory_format_of_the_tensor(
    memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = torch.empty

    def unpinned(*sizes: Any, pin_memory: bool, **settings: Any) -> torch.Tensor:
        assert pin_memory
        return empty(*sizes, **settings)

    monkeypatch.setattr(torch, "empty", unpinned)
    tensor = torch.rand(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=memory_format)
    pinned = streams.pinned_like(tensor)
    assert (pinned.shape, pinned.dtype) == (tensor.shape, tensor.dtype)
    assert pinned.stride() == tensor.stride()


def test_outputs_that_stay_on_the_device_are_not_copied_but_awaited(fake: FakeTorch) -> None:
    stream = OnStream(fake.engine(), inputs="device", sleeps=False)
    stream.open()
    fake.events.clear()
    inputs = (torch.ones(2, 3),)
    stream.run([inputs])
    assert fake.received == [inputs]
    assert fake.pinned == []
    assert fake.events == ["forward", "record", "synchronize"]


def test_an_input_in_pinned_memory_is_copied_from_there(fake: FakeTorch) -> None:
    stream = OnStream(fake.engine(), inputs="pinned", sleeps=False)
    stream.open()
    (request,) = pinned([(torch.ones(2, 3),)])
    allocated = len(fake.pinned)
    outputs = stream.run([request])
    assert fake.received == [request]
    assert fake.received[0][0].data_ptr() == request[0].data_ptr()
    assert len(fake.pinned) == allocated + 2  # the outputs
    assert all(map(fake.is_pinned, outputs))


def test_joined_requests_in_pinned_memory_are_copied_into_one_buffer(fake: FakeTorch) -> None:
    stream = OnStream(fake.engine(), inputs="pinned", sleeps=False)
    stream.open()
    requests = pinned([(torch.full((2, 3), float(number)),) for number in range(4)])
    for chosen in (requests[1:3], requests[2:4]):
        stream.run(chosen)
        (joined,) = fake.received[-1]
        assert torch.equal(joined, torch.cat([request[0] for request in chosen]))
        assert not fake.is_pinned(joined)
    assert fake.received[0][0].data_ptr() == fake.received[1][0].data_ptr()  # the same buffer
    stream.run(requests[:3])
    assert len(fake.received[-1][0]) == 6


def test_the_requests_of_workers_in_python_are_pinned_once_for_each_device(
    fake: FakeTorch,
) -> None:
    request = (torch.ones(2, 3),)
    ready = replace(
        prepared([], "cuda:0", "cuda:1"),
        engines={name: DeviceEngine(fake.engine(), [request] * 3) for name in ("cuda:0", "cuda:1")},
        processing=None,
    )
    cell = the_cell(device="cuda:0,cuda:1", workers=4, inputs="pinned")
    for worker in ready.workers(cell):
        worker.run(np.array([0]))
    assert len(fake.pinned) == 2 * 3
    assert all(fake.is_pinned(received) for (received,) in fake.received)
    host = replace(cell, inputs="host")
    ready.workers(host)
    assert len(fake.pinned) == 2 * 3


def test_too_little_pinned_memory_is_an_error_that_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(streams, "pinned_like", fails)
    with pytest.raises(GpubenchError) as refused:
        pinned([(torch.ones(250_000),)] * 2)
    assert str(refused.value) == (
        "--inputs pinned: the inputs need 2 MB of pinned memory (CUDA error: out of memory); use "
        "--inputs host, or a smaller --batch"
    )


def test_the_times_of_pre_and_postprocessing_are_logged_for_each_batch(
    worker: ProcessingWorker,
) -> None:
    worker.open()
    for number in range(3):
        worker.run(np.array([number]))
    worker.close()
    began, before, after = zip(*worker.log, strict=True)
    assert len(began) == 4  # `open` runs one batch
    assert list(began) == sorted(began)
    assert min(before + after) >= 0


def counting_engine(name: str, calls: list[str]) -> Engine:
    def forward(numbers: torch.Tensor) -> Tensors:
        calls.append(name)
        return (numbers,)

    return Engine(forward, torch.device("cpu"), torch.float32, torch.inference_mode)


def prepared(calls: list[str], *devices: str) -> Prepared:
    """A model with pre- and postprocessing, made ready for several devices."""
    processing = PrePostProcessing(
        lambda generator, samples: 0, lambda request: (torch.ones(1, 2),), list
    )
    return Prepared(
        engines={device: DeviceEngine(counting_engine(device, calls), []) for device in devices},
        weights="",
        parameters=0,
        flops=None,
        load_seconds=0,
        build_seconds=0,
        first_inference_seconds=0,
        numerics=Numerics(),
        processing=processing,
        requests=[0],
    )


def test_each_worker_calls_the_engine_of_its_device() -> None:
    calls: list[str] = []
    cell = the_cell(device="cuda:0,cuda:1", workers=4)
    for worker in prepared(calls, "cuda:0", "cuda:1").workers(cell):
        worker.run(np.array([0]))
    assert calls == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


def test_a_model_with_pre_or_postprocessing_is_not_captured_and_the_result_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = prepared([], "cuda:0")
    cell = the_cell(clients=1, depth=2, requests=20, warmup=0)
    with pytest.raises(NotCapturable):
        ready.graph_executors(cell)
    here = environment(this_machine(), another(cell, device="cpu"))
    monkeypatch.setattr("gpubench.measure.cell.environment", lambda machine, cell: here)
    monkeypatch.setattr(Bench, "_prepare", lambda bench, cell: ready)
    result: Result = Bench(this_machine()).measure(cell)
    assert result.error is None, result.error
    assert (result.harness.executor, result.engine.captured) == ("python", False)
    assert result.harness.not_captured == (
        "preprocess and postprocess run in Python for each batch"
    )
    stages = result.stages_ms
    assert stages.preprocess is not None
    assert stages.compute is not None
    assert stages.postprocess is not None
    assert (stages.h2d, stages.d2h) == (None, None)
