"""Tests of graphs of real models: replays at the same time give exactly the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

from gpubench import core
from gpubench.spec.settings import MemoryFormat, Precision
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    import torch

    from gpubench.measure.cuda_graphs import Captured, CapturedSlot
    from gpubench.measure.reference import Reference
    from gpubench.models.base import Tensors

WORKERS, DEPTH = 2, 2
REQUESTS = 8  # distinct requests
RUNS, BATCHES = 20, 100


@dataclass
class Ready:
    captured: Captured
    pool: list[Tensors]
    reference: Reference
    elsewhere: list[torch.Tensor]  # tensors in the memory that the captures left free


def ready(
    model: str,
    runtime: str,
    precision: Precision,
    most_requests: int = 1,
    memory_format: MemoryFormat = "contiguous",
    inputs: Literal["host", "pinned"] = "host",
) -> Ready:
    """The model's graphs for single samples of its reference. All other memory is set to NaN."""
    import torch

    from gpubench.cells.resolve import resolve
    from gpubench.engines.base import build
    from gpubench.engines.precision import set_fp32_arithmetic
    from gpubench.measure.cuda_graphs import Shape, capture
    from gpubench.measure.reference import make_reference
    from gpubench.models.base import load
    from gpubench.system.machine import this_machine

    asked = Spec(
        model=model,
        runtime=runtime,
        precision=precision,
        memory_format=memory_format,
        device="cuda:0",
    )
    spec = resolve(asked, this_machine())
    set_fp32_arithmetic(precision)
    loaded = load(spec)
    reference = make_reference(loaded, spec.seed, batch=1)
    engine = build(loaded, spec)
    pool = [engine.cast(request) for request in reference.requests[:REQUESTS]]
    captured = capture(engine, pool, Shape(WORKERS, DEPTH, most_requests, inputs=inputs))
    torch.cuda.empty_cache()
    sizes = [2**power for power in range(8, 28, 2) for _ in range(8)]
    elsewhere = [torch.full((size,), torch.nan, device="cuda:0") for size in sizes]
    return Ready(captured, pool, reference, elsewhere)


def alone(slot: CapturedSlot, requests: Sequence[Tensors]) -> torch.Tensor:
    """The outputs of the slot's graph for these requests, while nothing else runs."""
    import torch

    tensors = (
        len(requests[0]) + 1
    )  # tensors of one batch size: its inputs and its outputs; the arena comes before them
    begin = 1 + tensors * list(slot.graphs).index(len(requests))
    *places, outputs = slot.tensors[begin : begin + tensors]
    with torch.inference_mode():
        for place, parts in zip(places, zip(*requests, strict=True), strict=True):
            place.copy_(torch.cat(parts))
        torch.cuda.synchronize()
        slot.graphs[len(requests)].replay()
        torch.cuda.synchronize()
        return outputs.cpu()


def close(answers: torch.Tensor, of: Ready, precision: Precision) -> bool:
    """Whether `answers`, one row per sample, are close to the first rows of the reference."""
    import torch

    from gpubench.measure.output_comparison import compare
    from gpubench.statistics.verdicts import outputs_differ

    assert of.reference.outputs is not None
    expected = [
        (torch.cat([output.flatten() for output in outputs]),)
        for outputs in of.reference.outputs[: len(answers)]
    ]
    return outputs_differ(compare([(row,) for row in answers], expected), precision) is None


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize(
    ("model", "runtime", "precision", "memory_format", "inputs"),
    [
        ("resnet50", "torchscript", "fp16", "contiguous", "host"),
        ("resnet50", "torchscript", "fp16", "contiguous", "pinned"),
        ("resnet50", "torchscript", "fp16", "channels_last", "host"),
        ("resnet50", "eager", "fp32", "contiguous", "host"),
        ("bert-base", "torchscript", "fp16", "contiguous", "host"),
        ("bert-base", "torchscript", "fp16", "contiguous", "pinned"),
        ("bert-base", "eager", "amp", "contiguous", "host"),
    ],
)
def test_concurrent_replays_give_the_bits_of_one_that_runs_alone(
    model: str,
    runtime: str,
    precision: Precision,
    memory_format: MemoryFormat,
    inputs: Literal["host", "pinned"],
) -> None:
    import torch

    of = ready(model, runtime, precision, memory_format=memory_format, inputs=inputs)
    slots = [slot for slots in of.captured.workers for slot in slots]
    expected = []
    for slot in slots:
        rows = [alone(slot, [request]) for request in of.pool]
        assert close(torch.stack(rows), of, precision)
        expected.append([row.view(torch.uint8).numpy().tobytes() for row in rows])
        assert len(set(expected[-1])) == REQUESTS, "the requests have different answers"

    runner = core.Runner(of.captured.executors())
    answered: set[int] = set()
    try:
        for _ in range(RUNS):
            load = core.ClosedLoop(2 * WORKERS * DEPTH)
            outcome = runner.run(load, stop_after_completions=BATCHES, capacity=10_000)
            assert outcome.error is None
            torch.cuda.synchronize()
            for slot, answers in zip(slots, expected, strict=True):
                assert slot.host_output is not None
                given = slot.host_output.array.tobytes()
                assert given in answers
                answered.add(answers.index(given))
    finally:
        runner.close()
    assert len(answered) > 1


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize(
    ("model", "memory_format"),
    [("resnet50", "contiguous"), ("resnet50", "channels_last"), ("bert-base", "contiguous")],
)
def test_graphs_of_every_size_of_batch_answer_right(
    model: str, memory_format: MemoryFormat
) -> None:
    import torch

    from gpubench.measure.cuda_graphs import _agree

    of = ready(model, "torchscript", "fp16", most_requests=REQUESTS, memory_format=memory_format)
    slot = of.captured.workers[0][0]
    assert sorted(slot.graphs) == [1, 2, 4, 8]
    assert of.reference.outputs is not None
    widths = [output.numel() for output in of.reference.outputs[0]]
    for size in [1, 8, 2, 4, 1]:  # not in order, since the sizes share memory
        joined = alone(slot, of.pool[:size])
        parts = joined.split([size * width for width in widths])
        rows = torch.cat([part.view(size, -1) for part in parts], 1)
        for row, request in zip(rows, of.pool, strict=False):
            assert _agree(row, alone(slot, [request]))
        assert size == 1 or close(rows, of, "fp16")


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("inputs", ["host", "pinned"])
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_requests_that_the_queue_joined_get_the_bits_of_their_own_inputs(
    model: str, inputs: Literal["host", "pinned"]
) -> None:
    """Batches of 3 requests in graphs of 4: the padding must not change the others."""
    of = ready(model, "torchscript", "fp16", 4, inputs=inputs)
    (slot, *_) = of.captured.workers[0]
    (executor, *_) = of.captured.executors()
    runner = core.Runner([executor])
    try:
        outcome = runner.run(
            core.ClosedLoop(3), max_batch=3, max_delay_ns=10**9, stop_after_completions=3,
            capacity=100,
        )  # fmt: skip
        assert outcome.error is None
        assert slot.host_output is not None
        given = slot.host_output.array.tobytes()
    finally:
        runner.close()
    (timeline,) = outcome.timelines
    assert timeline.size.tolist() == [3]
    requests = [of.pool[int(number) % REQUESTS] for number in timeline.id]
    expected = alone(slot, [*requests, requests[0]])
    assert given == expected.numpy().tobytes()
