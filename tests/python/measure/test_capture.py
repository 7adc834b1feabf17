"""Tests of the capture of CUDA graphs: what is captured, in which order, and what is refused.

These tests need no GPU. A fake takes the place of torch.cuda: operations inside a capture run at
once on the CPU, and a replay runs them again. test_cuda_core.py tests how the core replays graphs;
tests/gpu tests both together on a GPU.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import wraps
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gpubench import core
from gpubench.engines.base import Engine
from gpubench.engines.memory_format import of_tensor
from gpubench.errors import GpubenchError
from gpubench.measure import cuda_graphs
from gpubench.measure.cuda_graphs import NotCapturable, Shape, batch_sizes, capture
from gpubench.models.base import Tensors

Forward = Callable[..., torch.Tensor | Tensors]


@dataclass
class FakeGraph:
    handle: int = 0
    calls: list[Callable[[], object]] = field(default_factory=list)

    def replay(self) -> None:
        for call in self.calls:
            call()

    def raw_cuda_graph_exec(self) -> int:
        return self.handle


@dataclass
class FakeTorch:
    """Records the calls of torch.cuda."""

    capturing: FakeGraph | None = None
    memory: list[object] = field(default_factory=list)  # the pool of each capture
    streams: list[object] = field(default_factory=list)  # the stream of each capture
    events: list[str] = field(default_factory=list)
    handles: int = 0
    current_stream: object = None
    forget: bool = False  # if true, operations inside a capture do not become part of the graph
    recording: list[object] = field(default_factory=list)  # pools into which torch still allocates
    released: list[object] = field(default_factory=list)  # pools whose memory was released
    generator_is_capturing: bool = False  # the state of the device's random number generator
    ends_recording: bool = False  # whether a failed capture ends it, as since torch 2.12

    @contextmanager
    def graph(
        self,
        graph: FakeGraph,
        *,
        pool: object = None,
        stream: object,
        capture_error_mode: str,
    ) -> Iterator[None]:
        self.handles += 1
        graph.handle = self.handles
        self.memory.append(pool)
        self.streams.append(stream)
        self.events.append("capture")
        outer, self.current_stream = self.current_stream, stream
        self.capturing = graph
        assert not gc.isenabled()
        try:
            yield
            self.current_stream = outer
        except BaseException:  # as in torch 2.11, which then leaves the stream current
            if not self.ends_recording:
                self.recording.append(pool)
            self.generator_is_capturing = True
            raise RuntimeError("operation failed due to a previous error during capture") from None
        else:
            self.generator_is_capturing = False
        finally:
            self.capturing = None

    def end_recording(self, device: int, pool: object) -> None:
        if pool not in self.recording:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.recording.remove(pool)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTorch:
    fake = FakeTorch()

    def stream(_: object = None) -> SimpleNamespace:
        return SimpleNamespace(wait_stream=lambda other: None, synchronize=lambda: None)

    @contextmanager
    def on_stream(stream: object) -> Iterator[None]:
        outer, fake.current_stream = fake.current_stream, stream
        try:
            yield
        finally:
            fake.current_stream = outer

    for name, stand_in in {
        "Stream": stream,
        "current_stream": lambda device=None: fake.current_stream,
        "stream": on_stream,
        "device": lambda device: nullcontext(),
        "MemPool": object,
        "use_mem_pool": lambda pool, device: nullcontext(),
        "graph_pool_handle": object,
        "get_rng_state": lambda device: torch.get_rng_state(),
        "CUDAGraph": FakeGraph,
        "graph": fake.graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    for name, call in {
        "_cuda_clearCublasWorkspaces": lambda: fake.events.append("clear workspaces"),
        "_cuda_endAllocateToPool": fake.end_recording,
        "_cuda_releasePool": lambda device, pool: fake.released.append(pool),
    }.items():
        monkeypatch.setattr(torch._C, name, call, raising=False)
    outputs_of = cuda_graphs._outputs

    def outputs(forward: Forward, inputs: Tensors, place: torch.Tensor | None) -> torch.Tensor:
        answers = outputs_of(forward, inputs, place)
        if fake.capturing and not fake.forget:
            quiet = forward.__wrapped__  # type: ignore[attr-defined]
            again = lambda: answers.copy_(outputs_of(quiet, inputs, None))  # noqa: E731
            fake.capturing.calls.append(again)
        return answers

    monkeypatch.setattr(cuda_graphs, "_outputs", outputs)
    for name in ("PinnedBuffer", "Slot", "GraphExecutor"):
        monkeypatch.setattr(core.cuda, name, recorder(name))
    return fake


def recorder(name: str) -> Callable[..., SimpleNamespace]:
    """A fake of a class of the core that needs a driver. It stores its arguments."""
    positions = {
        "PinnedBuffer": ["device", "bytes"],
        "Slot": ["graphs"],
        "GraphExecutor": ["device", "slots", "payloads"],
    }[name]
    return lambda *given, **named: SimpleNamespace(
        **dict(zip(positions, given, strict=True)), **named
    )


def recorded(fake: FakeTorch, forward: Forward) -> Forward:
    """A forward pass whose calls are recorded. The graph in which it is captured repeats them."""

    @wraps(forward)
    def called(*inputs: torch.Tensor) -> torch.Tensor | Tensors:
        fake.events.append("call")
        return forward(*inputs)

    return called


def engine(fake: FakeTorch, forward: Forward) -> Engine:
    return Engine(
        forward=recorded(fake, forward),
        device=torch.device("cpu"),
        input_dtype=torch.float32,
        thread_modes=torch.inference_mode,
    )


def graph_executors(engine: Engine, pool: list[Tensors], shape: Shape) -> list[Any]:
    return list(capture(engine, pool, shape).executors())


def pool(requests: int = 8) -> list[Tensors]:
    """Requests of two samples, with two inputs each; every sample differs."""
    return [
        (torch.full((2, 3), float(n)), torch.full((2, 5), n, dtype=torch.int64))
        for n in range(requests)
    ]


def shape(**changes: int | str) -> Shape:
    settings = {"workers": 1, "depth": 1, "most_requests": 1, "inputs": "host"} | changes
    return Shape(**settings)  # type: ignore[arg-type]


def total(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    return images.sum(1) + numbers.sum(1)


def test_captured_sizes_leave_less_than_half_of_a_batch_to_padding() -> None:
    assert [batch_sizes(most) for most in (1, 2, 3, 8, 12)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 4, 8],
        [1, 2, 4, 8, 12],
    ]


def test_every_slot_has_a_separate_stream_and_memory_pool(fake: FakeTorch) -> None:
    graph_executors(engine(fake, total), pool(), shape(workers=2, depth=3, most_requests=2))
    assert len(fake.memory) == 2 * 3 * 2  # two batch sizes in each slot
    assert len(set(map(id, fake.memory))) == 6
    assert len(set(map(id, fake.streams))) == 6


def test_warm_up_calls_share_a_stream(fake: FakeTorch) -> None:
    streams: list[object] = []

    def forward(*inputs: torch.Tensor) -> torch.Tensor:
        if not fake.capturing:
            streams.append(fake.current_stream)
        return total(*inputs)

    graph_executors(engine(fake, forward), pool(), shape(workers=2, depth=2))
    assert len(streams) == 4 * 4  # three warm-up calls and a replay for each slot
    warmups = [stream for number, stream in enumerate(streams) if number % 4 < 3]
    assert len(set(map(id, warmups))) == 1


def test_warm_up_calls_come_first_and_workspaces_are_freed_before_and_after_a_capture(
    fake: FakeTorch,
) -> None:
    graph_executors(engine(fake, total), pool(), shape(most_requests=2))
    one = ["call"] * 3 + ["clear workspaces", "capture", "call", "clear workspaces"]
    assert fake.events == one * 2


def test_inputs_are_at_the_addresses_to_which_the_core_copies_them(fake: FakeTorch) -> None:
    seen: list[Tensors] = []

    def forward(*inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs)
        return total(*inputs)

    requests = pool()
    (executor,) = graph_executors(engine(fake, forward), requests, shape(most_requests=4))
    (slot,) = executor.slots
    payloads = executor.payloads
    assert payloads.count == len(requests)
    for size, (_, input_bytes, output_bytes) in slot.graphs.items():
        inputs = next(i for i in reversed(seen) if len(i[0]) == 2 * size)
        places = [tensor.data_ptr() - slot.device_input for tensor in inputs]
        assert places == payloads.offsets(size)
        assert input_bytes == payloads.arena_bytes(size)
        assert input_bytes <= slot.host_input.bytes
        assert output_bytes == 4 * 2 * size
        assert output_bytes <= slot.host_output.bytes
    assert sorted(slot.graphs) == [1, 2, 4]


def test_a_batch_on_the_device_holds_distinct_requests_and_is_not_copied(fake: FakeTorch) -> None:
    seen: list[torch.Tensor] = []

    def forward(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        seen.append(numbers[:, 0].clone())
        return total(images, numbers)

    (executor,) = graph_executors(
        engine(fake, forward), pool(), shape(depth=2, most_requests=4, inputs="device")
    )
    assert executor.payloads is None
    for slot in executor.slots:
        assert slot.host_input is None
        assert slot.host_output is None
        assert [(brought, back) for _, brought, back in slot.graphs.values()] == [(0, 0)] * 3
    largest = {tuple(numbers.tolist()) for numbers in seen if len(numbers) == 8}
    assert largest == {(0, 0, 1, 1, 2, 2, 3, 3), (4, 4, 5, 5, 6, 6, 7, 7)}


def nhwc_engine(fake: FakeTorch, forward: Forward) -> Engine:
    return replace(engine(fake, forward), memory_format=torch.channels_last)


def image_pool(engine: Engine, requests: int = 8) -> list[Tensors]:
    """Requests of two images and a number for each, as the engine takes them."""
    images = torch.arange(requests * 2 * 3 * 4 * 5.0).view(requests, 2, 3, 4, 5)
    return [engine.cast((images[n], torch.full((2, 1), float(n)))) for n in range(requests)]


def test_the_bytes_that_the_core_copies_are_the_channels_last_inputs_of_the_graphs(
    fake: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads: list[list[np.ndarray[Any, Any]]] = []
    real = core.cuda.Payloads

    def recording(tensors: list[np.ndarray[Any, Any]]) -> core.cuda.Payloads:
        payloads.append(tensors)
        return real(tensors)

    monkeypatch.setattr(core.cuda, "Payloads", recording)
    seen: list[Tensors] = []

    def forward(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        seen.append((images, numbers))
        return images.sum((1, 2, 3)) + numbers[:, 0]

    nhwc = nhwc_engine(fake, forward)
    requests = image_pool(nhwc)
    captured = capture(nhwc, requests, shape(most_requests=4))
    ((slot,),) = captured.workers
    arena = slot.tensors[0]
    assert captured.payloads is not None
    for size in (4, 2, 1):
        images, numbers = next(i for i in reversed(seen) if len(i[0]) == 2 * size)
        assert of_tensor(images) == torch.channels_last
        # The core writes the rows of a batch one after another, and the graph reads them here.
        offsets = captured.payloads.offsets(size)
        for tensor, rows, offset in zip((images, numbers), payloads[0], offsets, strict=True):
            assert tensor.data_ptr() - arena.data_ptr() == offset
            with torch.inference_mode():
                place = arena[offset : offset + tensor.nbytes]
                place.copy_(torch.from_numpy(rows[:size].reshape(-1)))
        assert torch.equal(images, torch.cat([request[0] for request in requests[:size]]))
        assert torch.equal(numbers, torch.cat([request[1] for request in requests[:size]]))


def test_channels_last_inputs_on_the_device_keep_their_format_when_they_are_joined(
    fake: FakeTorch,
) -> None:
    formats: set[torch.memory_format] = set()

    def forward(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        formats.add(of_tensor(images))
        return images.sum((1, 2, 3)) + numbers[:, 0]

    nhwc = nhwc_engine(fake, forward)
    capture(nhwc, image_pool(nhwc), shape(most_requests=4, inputs="device"))
    assert formats == {torch.channels_last}


@pytest.mark.parametrize("outputs", [1, 2])
def test_channels_last_outputs_are_not_rearranged(fake: FakeTorch, outputs: int) -> None:
    """A batch that is smaller than the largest writes the first bytes of its outputs."""

    def forward(images: torch.Tensor, numbers: torch.Tensor) -> Tensors:
        return (images * 2, numbers)[:outputs]

    nhwc = nhwc_engine(fake, forward)
    requests = image_pool(nhwc)
    captured = capture(nhwc, requests, shape(most_requests=2, inputs="device"))
    ((slot,),) = captured.workers
    outputs_of_largest = slot.tensors[2]  # after its two inputs
    for size, graph in slot.graphs.items():
        with torch.inference_mode():
            graph.replay()
        vector = outputs_of_largest[: 2 * size * 3 * 4 * 5]
        joined = torch.cat([request[0] for request in requests[:size]])
        assert torch.equal(vector.view(2 * size, 4, 5, 3).permute(0, 3, 1, 2), joined * 2)
    (image,) = requests[0][:1]
    assert cuda_graphs._concatenated(image).data_ptr() == image.data_ptr()


@pytest.mark.parametrize("fewest_gathered", [1, 2, 9])
def test_inputs_in_pinned_memory_get_a_buffer_only_if_the_cpu_gathers_some(
    fake: FakeTorch, monkeypatch: pytest.MonkeyPatch, fewest_gathered: int
) -> None:
    made: list[int] = []
    layout = core.cuda.Payloads

    def payloads(rows: list[NDArray[np.uint8]], pinned_on: int) -> SimpleNamespace:
        made.append(pinned_on)
        in_ordinary_memory = layout(rows)
        return SimpleNamespace(
            offsets=in_ordinary_memory.offsets,
            arena_bytes=in_ordinary_memory.arena_bytes,
            gathers=lambda most: most >= fewest_gathered,
        )

    monkeypatch.setattr(core.cuda, "Payloads", payloads)
    (executor,) = graph_executors(
        engine(fake, total), pool(), shape(inputs="pinned", depth=2, most_requests=4)
    )
    assert made == [None]  # the device of the fake engine has no number
    for slot in executor.slots:
        assert (slot.host_input is not None) == (fewest_gathered <= 4)
        assert slot.device_input
        assert slot.host_output is not None


def test_too_little_pinned_memory_for_the_inputs_is_not_measured_from_python(
    fake: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(rows: object, pinned_on: int) -> object:
        raise RuntimeError("cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory")

    monkeypatch.setattr(core.cuda, "Payloads", fails)
    with pytest.raises(GpubenchError, match=r"cuMemHostAlloc.*use --inputs host"):
        graph_executors(engine(fake, total), pool(), shape(inputs="pinned"))


def test_several_outputs_are_copied_to_the_host_with_one_copy(fake: FakeTorch) -> None:
    def forward(images: torch.Tensor, numbers: torch.Tensor) -> Tensors:
        return images.sum(1), numbers.sum(1)

    (executor,) = graph_executors(engine(fake, forward), pool(), shape())
    ((_, _, output_bytes),) = executor.slots[0].graphs.values()
    assert output_bytes == 2 * 4 + 2 * 8


def test_the_memory_of_the_graphs_lives_as_long_as_the_executor(fake: FakeTorch) -> None:
    (executor,) = graph_executors(engine(fake, total), pool(), shape(most_requests=2))
    ((slot,),) = executor.owner.workers
    handles = [handle for handle, _, _ in executor.slots[0].graphs.values()]
    assert [graph.handle for graph in slot.graphs.values()] == handles
    held = {tensor.data_ptr() for tensor in slot.tensors}
    assert {executor.slots[0].device_input, executor.slots[0].device_output} <= held


def test_a_model_that_draws_random_numbers_is_refused(fake: FakeTorch) -> None:
    def forward(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return total(images, numbers) + torch.rand(1)

    with pytest.raises(NotCapturable, match="random numbers"):
        graph_executors(engine(fake, forward), pool(), shape())


def test_a_graph_whose_replay_gives_other_outputs_is_refused(fake: FakeTorch) -> None:
    calls = count()

    def forward(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return total(images, numbers) * (1 if next(calls) < 4 else 2)  # in the replay

    requests = pool()[1:]
    with pytest.raises(NotCapturable, match="other outputs"):
        graph_executors(engine(fake, forward), requests, shape())


@pytest.mark.parametrize("ends_recording", [False, True], ids=["torch 2.11", "torch 2.12"])
def test_a_failed_capture_reports_its_first_error_in_one_line_and_changes_nothing(
    fake: FakeTorch, ends_recording: bool
) -> None:
    fake.ends_recording = ends_recording

    def forward(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        if fake.capturing:
            raise RuntimeError("operation not permitted when stream is capturing\nmore\nlines")
        return total(images, numbers)

    with pytest.raises(NotCapturable) as refused:
        graph_executors(engine(fake, forward), pool(), shape())
    assert str(refused.value) == "operation not permitted when stream is capturing"
    assert fake.current_stream is None
    assert fake.recording == []
    assert fake.released == ([] if ends_recording else fake.memory[:1])
    assert not fake.generator_is_capturing
    assert fake.events[-1] == "clear workspaces"
    assert gc.isenabled()


def test_an_engine_is_refused_if_the_capture_misses_its_work(fake: FakeTorch) -> None:
    elsewhere = engine(fake, total)
    fake.forget = True  # as with a runtime that uses other streams
    with pytest.raises(NotCapturable, match="other outputs"):
        graph_executors(elsewhere, pool(), shape())


def test_each_graph_has_a_separate_object_with_state_that_lives_as_long(fake: FakeTorch) -> None:
    made: list[Forward] = []

    def context() -> Forward:
        made.append(recorded(fake, total))
        return made[-1]

    stateful = replace(engine(fake, total), for_graph=context)
    captured = capture(stateful, pool(), shape(workers=2, most_requests=3))
    kept = [forward for slots in captured.workers for slot in slots for forward in slot.forwards]
    assert kept == made
    assert len(made) == 2 * 3  # two slots; batches of 3, 2 and 1
    assert len(set(map(id, made))) == len(made)


def test_a_runtime_with_a_session_for_each_thread_is_refused(fake: FakeTorch) -> None:
    ends = replace(engine(fake, total), not_capturable="a session for each thread")
    with pytest.raises(NotCapturable, match="session for each thread"):
        graph_executors(ends, pool(), shape())


def test_outputs_that_differ_by_rounding_agree() -> None:
    expected = torch.linspace(-5, 5, 100)
    assert cuda_graphs._agree(expected * 1.001, expected)
    assert not cuda_graphs._agree(expected.roll(7), expected)
    assert not cuda_graphs._agree(torch.full((100,), np.nan), expected)


def test_a_failed_capture_keeps_nothing_alive(fake: FakeTorch) -> None:
    """Memory that only the garbage collector can free would be missing in the rest of the cell."""
    seen: list[weakref.ref[torch.Tensor]] = []

    def forward(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        seen.append(weakref.ref(images))
        if fake.capturing:
            raise RuntimeError("operation not permitted when stream is capturing")
        return total(images, numbers)

    engine_, requests = engine(fake, forward), pool()
    gc.disable()
    try:
        refused = False
        try:
            capture(engine_, requests, shape())
        except NotCapturable:
            refused = True
        assert refused
        assert [tensor() for tensor in seen] == [None] * len(seen)
    finally:
        gc.enable()


def test_ctrl_c_in_a_capture_is_passed_on_and_leaves_nothing(fake: FakeTorch) -> None:
    def forward(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        if fake.capturing:
            raise KeyboardInterrupt
        return total(images, numbers)

    with pytest.raises(KeyboardInterrupt):
        graph_executors(engine(fake, forward), pool(), shape())
    assert fake.recording == []
    assert not fake.generator_is_capturing
