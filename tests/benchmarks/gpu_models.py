"""ResNet50 and BERT-base in fp16 on a GPU, as ratios to bare C++ loops over the same graphs.

Each model is captured once for each batch in flight. The harness, a bare loop with the same driver
calls (bare_replay.cpp), and a loop that only launches replay these graphs in turn.

    python tests/benchmarks/gpu_models.py [--rounds 3] [--json figures.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import all_parts, print_table
from gpu_replay import BareReplay, Figures, batches_per_second, harness

from gpubench import core
from gpubench.cells.resolve import resolve
from gpubench.measure.cuda_graphs import Captured, Shape, capture
from gpubench.measure.engine import prepare
from gpubench.spec.settings import Inputs
from gpubench.spec.spec import Spec
from gpubench.system.machine import this_machine

SECONDS = 1.0  # of each loop in each round
IN_FLIGHT = 2
PLACES: tuple[Inputs, ...] = ("host", "pinned")


def compare(
    bare: BareReplay,
    rounds: int,
    figures: Figures,
    rows: list[list[str]],
    model: str,
    batch: int,
) -> None:
    """Add two rows for this model and batch size: inputs in ordinary and in pinned memory."""
    asked = Spec(model=model, precision="fp16", batch=batch, device="cuda:0", inputs="host")
    prepared = prepare(resolve(asked, this_machine()), lambda stage: None)
    place = prepared.engines["cuda:0"]
    for inputs in PLACES:
        shape = Shape(workers=1, depth=IN_FLIGHT, most_requests=1, inputs=inputs)
        captured = capture(place.engine, place.pool, shape)
        name = f"{model}, batch {batch}" + (", pinned inputs" if inputs == "pinned" else "")
        rows.append(_row(bare, rounds, figures, captured, name, batch))


def _row(
    bare: BareReplay, rounds: int, figures: Figures, captured: Captured, name: str, batch: int
) -> list[str]:
    (slots,) = captured.workers
    graphs = [int(slot.graphs[1].raw_cuda_graph_exec()) for slot in slots]
    assert captured.payloads is not None
    assert slots[0].host_output is not None
    sizes = (captured.payloads.arena_bytes(1), slots[0].host_output.bytes)
    batches = max(20, round(bare.replay(graphs, IN_FLIGHT, sizes, 20) * SECONDS))
    ours, calls, launches, fill_ms = [], [], [], []
    for _ in range(rounds):
        (executor,) = captured.executors()
        outcome = harness(executor, in_flight=IN_FLIGHT, max_batch=1, batches=batches)
        ours.append(batches_per_second(outcome))
        (timeline,) = outcome.timelines
        fill_ms.append(float(np.median(timeline.submitted_ns - timeline.departed_ns)) / 1e6)
        calls.append(bare.replay(graphs, IN_FLIGHT, sizes, batches))
        launches.append(bare.launches(graphs, IN_FLIGHT, batches))
    over_calls = median(o / c for o, c in zip(ours, calls, strict=True))
    over_launches = median(o / g for o, g in zip(ours, launches, strict=True))
    added_us = median(1e6 / o - 1e6 / c for o, c in zip(ours, calls, strict=True))
    figures[f"us added per request: {name}"] = added_us
    figures[f"fill ms: {name}"] = median(fill_ms)
    figures[f"inferences per second: {name}"] = median(ours) * batch
    figures[f"throughput over bare calls: {name}"] = over_calls
    figures[f"throughput over bare launches: {name}"] = over_launches
    speed = f"{median(ours) * batch:,.0f}"
    return [
        name,
        speed,
        f"{median(fill_ms):.3f}",
        f"{over_calls:.4f}",
        "0.99",
        f"{added_us:+.2f}",
        f"{over_launches:.4f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    device = core.cuda.devices()[0]
    print(f"{device.name}, driver for CUDA {core.cuda.driver_version()}, torch {torch.__version__}")
    bare, figures = BareReplay(), Figures()
    rows: list[list[str]] = []

    def save() -> None:
        if arguments.json:
            found = {"gpu": device.name, "figures": figures}
            arguments.json.write_text(json.dumps(found, indent=1))

    parts = {
        f"{model}, batch {batch}": partial(
            compare, bare, arguments.rounds, figures, rows, model, batch
        )
        for model in ("resnet50", "bert-base")
        for batch in (1, 32)
    }
    status = all_parts(parts, save)
    columns = ["fp16", "inferences/s", "fill ms", "over bare calls", "target"]
    columns += ["us added a request", "over bare launches"]
    print_table("Replay of models", columns, rows)
    sys.exit(status)


if __name__ == "__main__":
    main()
