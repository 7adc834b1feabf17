"""Graphs that torch captured, replayed by the core: concurrently they give the very same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from gpubench import core

if TYPE_CHECKING:
    import torch

WORKERS, DEPTH = 2, 2
BATCHES = 2000


class CapturedSlot:
    """A forward pass over inputs of its own, and the outputs of a replay that ran alone."""

    def __init__(self, module: torch.nn.Module, seed: int) -> None:
        import torch

        generator = torch.Generator("cuda").manual_seed(seed)
        self.inputs = torch.randn(32, 1024, device="cuda", dtype=torch.half, generator=generator)
        self.graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad():
            with torch.cuda.stream(stream):
                for _ in range(3):
                    module(self.inputs)
            torch._C._cuda_clearCublasWorkspaces()
            with torch.cuda.graph(self.graph, stream=stream):
                self.outputs = module(self.inputs)
            torch._C._cuda_clearCublasWorkspaces()
        self.outputs.zero_()
        self.graph.replay()
        torch.cuda.synchronize()
        self.alone = self.outputs.cpu().view(torch.uint8).numpy().reshape(-1).copy()
        self.outputs.zero_()
        torch.cuda.synchronize()
        self.answer = core.cuda.PinnedBuffer(0, self.outputs.nbytes)

    def for_core(self) -> core.cuda.Slot:
        graph = (self.graph.raw_cuda_graph_exec(), 0, self.outputs.nbytes)
        return core.cuda.Slot(
            {1: graph}, device_output=self.outputs.data_ptr(), host_output=self.answer
        )

    def replayed(self) -> NDArray[np.uint8]:
        return self.answer.array


@pytest.mark.gpu(torch=True)
def test_concurrent_replays_give_the_bits_of_one_that_runs_alone() -> None:
    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Linear(1024, 1024), torch.nn.GELU(), torch.nn.LayerNorm(1024)] * 4
    module = torch.nn.Sequential(*layers).cuda().half().eval()
    workers = [
        [CapturedSlot(module, WORKERS * place + worker) for place in range(DEPTH)]
        for worker in range(WORKERS)
    ]
    executors = [
        core.cuda.GraphExecutor(0, [slot.for_core() for slot in slots], owner=slots)
        for slots in workers
    ]
    runner = core.Runner(executors)
    outcome = runner.run(core.ClosedLoop(2 * WORKERS * DEPTH), stop_after_completions=BATCHES)
    runner.close()
    assert outcome.error is None
    slots = [slot for slots in workers for slot in slots]
    answers = {slot.alone.tobytes() for slot in slots}
    assert len(answers) == len(slots), "the slots have different inputs"
    for slot in slots:
        assert slot.alone.any()
        assert (slot.replayed() == slot.alone).all()
