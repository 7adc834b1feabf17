"""Workers called from Python: what goes to the device and back, in what order, and what is noted.

There is no GPU here, so torch's streams and events are stood in for, and what would be copied to a
device stays where it is. On a GPU the same is tested in tests/gpu.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from factories import a_cell, another

from gpubench.engines.base import Engine
from gpubench.measure import streams
from gpubench.measure.cell import Bench
from gpubench.measure.cuda_graphs import NotCapturable
from gpubench.measure.engine import Place, Prepared
from gpubench.measure.environment import environment
from gpubench.measure.python_workers import AroundWorker
from gpubench.measure.streams import OnStream
from gpubench.models.base import Around, Tensors
from gpubench.results.result import Numerics, Result
from gpubench.spec.cell import Cell
from gpubench.system.machine import this_machine


@dataclass
class FakeTorch:
    """Notes what is asked of torch.cuda, of the engine and of what is around it, in order."""

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
        """Doubles its input, and says how large each sample is."""

        def forward(numbers: torch.Tensor) -> Tensors:
            self.note("forward")
            self.received.append((numbers,))
            return numbers * 2, numbers.sum(1)

        return Engine(forward, torch.device("cpu"), torch.float32, torch.inference_mode)

    def around(self) -> Around:
        """Clients send a number; two samples a request have it."""

        def preprocess(request: object) -> Tensors:
            assert isinstance(request, int)
            self.note("preprocess")
            return (torch.full((2, 3), float(request)),)

        def postprocess(outputs: Tensors) -> None:
            self.note("postprocess")
            self.answered.append(tuple(output.clone() for output in outputs))
            assert all(map(self.is_pinned, outputs))

        return Around(lambda generator, samples: 0, preprocess, postprocess)


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
def worker(fake: FakeTorch, monkeypatch: pytest.MonkeyPatch) -> AroundWorker:
    """Of a GPU, with clients that send 0 to 4."""
    monkeypatch.setattr(
        "gpubench.measure.python_workers.execution",
        lambda engine, cell: OnStream(engine, from_host=True, sleeps=False),
    )
    return AroundWorker(fake.engine(), list(range(5)), fake.around(), the_cell())


def test_a_batch_goes_to_the_device_and_back_between_preprocess_and_postprocess(
    fake: FakeTorch, worker: AroundWorker
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


def test_pinned_memory_is_taken_once_for_each_size_of_batch(
    fake: FakeTorch, worker: AroundWorker
) -> None:
    worker.open()
    assert len(fake.pinned) == 3  # an input and two outputs
    worker.run(np.array([1]))
    assert len(fake.pinned) == 3
    worker.run(np.array([1, 2]))
    worker.run(np.array([3, 4]))
    worker.close()
    assert len(fake.pinned) == 6


def test_what_stays_on_the_device_is_not_copied_but_waited_for(fake: FakeTorch) -> None:
    stream = OnStream(fake.engine(), from_host=False, sleeps=False)
    stream.open()
    fake.events.clear()
    inputs = (torch.ones(2, 3),)
    stream.run(inputs)
    assert fake.received == [inputs]
    assert fake.pinned == []
    assert fake.events == ["forward", "record", "synchronize"]


def test_each_batch_is_noted_with_what_its_two_sides_took(worker: AroundWorker) -> None:
    worker.open()
    for number in range(3):
        worker.run(np.array([number]))
    worker.close()
    began, before, after = zip(*worker.log, strict=True)
    assert len(began) == 4  # opening runs one
    assert list(began) == sorted(began)
    assert min(before + after) >= 0


def counting_engine(name: str, calls: list[str]) -> Engine:
    def forward(numbers: torch.Tensor) -> Tensors:
        calls.append(name)
        return (numbers,)

    return Engine(forward, torch.device("cpu"), torch.float32, torch.inference_mode)


def prepared(calls: list[str], *devices: str) -> Prepared:
    """A model with something around it, made ready for several devices."""
    around = Around(lambda generator, samples: 0, lambda request: (torch.ones(1, 2),), list)
    return Prepared(
        places={device: Place(counting_engine(device, calls), []) for device in devices},
        weights="",
        parameters=0,
        flops=None,
        load_seconds=0,
        build_seconds=0,
        first_inference_seconds=0,
        numerics=Numerics(),
        around=around,
        requests=[0],
    )


def test_each_worker_calls_the_engine_of_its_own_device() -> None:
    calls: list[str] = []
    cell = the_cell(device="cuda:0,cuda:1", workers=4)
    for worker in prepared(calls, "cuda:0", "cuda:1").workers(cell):
        worker.run(np.array([0]))
    assert calls == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


def test_a_model_with_something_around_it_is_no_graph_and_the_result_says_so(
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
        "preprocess and postprocess surround each batch with Python"
    )
    stages = result.stages_ms
    assert stages.preprocess is not None
    assert stages.compute is not None
    assert stages.postprocess is not None
    assert (stages.h2d, stages.d2h) == (None, None)
