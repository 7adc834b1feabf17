"""ResNet50 and BERT-base in fp16 on a GPU, as ratios to bare C++ loops over the same graphs.

Each model is captured once per batch in flight. The harness and a bare loop that makes the same
driver calls (bare_replay.cpp) replay these graphs in turn; so does a loop of launches alone.

    python tests/benchmarks/gpu_models.py [--rounds 3] [--json figures.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import print_table
from gpu_replay import BareReplay, Figures, batches_per_second, harness

from gpubench import _plan, core
from gpubench._prepare import prepare
from gpubench.engines.base import Engine
from gpubench.machine import this_machine
from gpubench.models.base import Tensors
from gpubench.spec import Spec

SECONDS = 1.0  # of each loop in each round
IN_FLIGHT = 2


class Captured:
    """One forward pass as a graph, with the arenas that the core copies to and from."""

    def __init__(self, engine: Engine, request: Tensors, payloads: core.cuda.Payloads) -> None:
        size = payloads.arena_bytes(1)
        self.arena = torch.empty(size, dtype=torch.uint8, device=engine.device)
        inputs = []
        for tensor, offset in zip(request, payloads.offsets(1), strict=True):
            view = self.arena[offset : offset + tensor.nbytes].view(tensor.dtype)
            inputs.append(view.view(tensor.shape).copy_(tensor))
        stream = torch.cuda.Stream(engine.device)
        stream.wait_stream(torch.cuda.current_stream(engine.device))
        self.graph = torch.cuda.CUDAGraph()
        with engine.thread_modes():
            with torch.cuda.stream(stream):
                for _ in range(3):
                    engine.forward(*inputs)
            stream.synchronize()
            torch._C._cuda_clearCublasWorkspaces()
            with torch.cuda.graph(self.graph, stream=stream):
                outputs = engine.forward(*inputs)
                tensors = outputs if isinstance(outputs, tuple) else (outputs,)
                self.outputs = torch.cat([tensor.reshape(-1) for tensor in tensors])
            torch._C._cuda_clearCublasWorkspaces()
        self.handle = int(self.graph.raw_cuda_graph_exec())
        self.sizes = (size, self.outputs.nbytes)
        self.for_core = core.cuda.Slot(
            {1: (self.handle, *self.sizes)},
            host_input=core.cuda.PinnedBuffer(0, size),
            device_input=self.arena.data_ptr(),
            device_output=self.outputs.data_ptr(),
            host_output=core.cuda.PinnedBuffer(0, self.outputs.nbytes),
        )


def compare(bare: BareReplay, model: str, batch: int, rounds: int, figures: Figures) -> list[str]:
    """One row: this model and batch size."""
    asked = Spec(model=model, precision="fp16", batch=batch, device="cuda:0", inputs="host")
    prepared = prepare(_plan.resolve(asked, this_machine()), lambda stage: None)
    columns = zip(*prepared.pool, strict=True)
    payloads = core.cuda.Payloads(
        [
            np.stack([tensor.contiguous().view(-1).view(torch.uint8).numpy() for tensor in column])
            for column in columns
        ]
    )
    slots = [Captured(prepared.engine, prepared.pool[n], payloads) for n in range(IN_FLIGHT)]
    graphs, sizes = [slot.handle for slot in slots], slots[0].sizes
    batches = max(20, round(bare.replay(graphs, IN_FLIGHT, sizes, 20) * SECONDS))
    ours, calls, launches = [], [], []
    for _ in range(rounds):
        executor = core.cuda.GraphExecutor(
            0, [slot.for_core for slot in slots], payloads, owner=slots
        )
        outcome = harness(executor, in_flight=IN_FLIGHT, max_batch=1, batches=batches)
        ours.append(batches_per_second(outcome))
        calls.append(bare.replay(graphs, IN_FLIGHT, sizes, batches))
        launches.append(bare.launches(graphs, IN_FLIGHT, batches))
    over_calls = median(o / c for o, c in zip(ours, calls, strict=True))
    over_launches = median(o / g for o, g in zip(ours, launches, strict=True))
    name = f"{model}, batch {batch}"
    figures[f"inferences per second: {name}"] = median(ours) * batch
    figures[f"throughput over bare calls: {name}"] = over_calls
    figures[f"throughput over bare launches: {name}"] = over_launches
    speed = f"{median(ours) * batch:,.0f}"
    return [name, speed, f"{over_calls:.4f}", "0.99", f"{over_launches:.4f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    device = core.cuda.devices()[0]
    print(f"{device.name}, driver for CUDA {core.cuda.driver_version()}, torch {torch.__version__}")
    bare, figures = BareReplay(), Figures()
    cases = [(model, batch) for model in ("resnet50", "bert-base") for batch in (1, 32)]
    rows = [compare(bare, model, batch, arguments.rounds, figures) for model, batch in cases]
    columns = ["fp16", "inferences/s", "over bare calls", "target", "over bare launches"]
    print_table("Replay of models", columns, rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"gpu": device.name, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
