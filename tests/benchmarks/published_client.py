"""The client of the published study compared with gpubench, on the same engine.

That client had a thread for each request in flight. It started the clock after the queue, called
the model, and stopped the clock without waiting for the device. Its batches contained the same
sample several times, and it had no warm-up. Here the engine is warm in all cases. "Waits" is the
same client with a synchronisation before the clock stops. On a CPU there is nothing to wait for.

    python tests/benchmarks/published_client.py [--model resnet50] [--device cuda:0] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import all_parts, print_table

from gpubench.cells.resolve import resolve
from gpubench.measure.cuda_graphs import NotCapturable
from gpubench.measure.engine import Prepared, prepare
from gpubench.measure.executors import torch_executors
from gpubench.measure.run import measured_run
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.statistics import analyse
from gpubench.system.machine import this_machine

Figures = dict[str, float]


def their_way(
    prepared: Prepared, cell: Cell, requests: int, wait: Callable[[], None]
) -> tuple[float, float, float]:
    """(inferences per second, P50 ms, P95 ms) as a pool of threads measures them."""
    place = prepared.engines[cell.device]
    one = tuple(part[:1].expand_as(part).contiguous() for part in place.pool[0])

    def request(_: int) -> float:
        with place.engine.thread_modes():
            began = time.perf_counter()
            place.engine.forward(*one)
            wait()
            return time.perf_counter() - began

    def share_of_cores() -> None:
        torch.set_num_threads(cell.threads)

    with ThreadPoolExecutor(cell.spec.clients, initializer=share_of_cores) as pool:
        list(pool.map(request, range(50)))
        began = time.perf_counter()
        latencies = list(pool.map(request, range(requests)))
        seconds = time.perf_counter() - began
    p50, p95 = (float(np.quantile(latencies, q)) * 1e3 for q in (0.5, 0.95))
    return requests * cell.batch / seconds, p50, p95


def our_way(prepared: Prepared, cell: Cell) -> tuple[float, float, float]:
    try:
        executors = None if cell.on_cpu else prepared.graph_executors(cell)
    except NotCapturable:
        executors = None
    run = measured_run(cell, executors or torch_executors(prepared.workers(cell)))
    analysis = analyse(run.samples, run.loop, inferences_per_request=cell.batch)
    latency = analysis.latency
    assert analysis.throughput_per_second is not None
    assert latency.p50 is not None
    assert latency.p95 is not None
    return analysis.throughput_per_second, latency.p50, latency.p95


def compare(cell: Cell, requests: int, rounds: int) -> dict[str, Figures]:
    """Medians over the rounds, for each method of measuring."""
    prepared = prepare(cell, lambda stage: None)
    on_gpu = not cell.on_cpu
    synchronise = torch.cuda.synchronize if on_gpu else lambda: None
    ways: dict[str, Callable[[], tuple[float, float, float]]] = {
        "gpubench": lambda: our_way(prepared, cell),
        "published client": lambda: their_way(prepared, cell, requests, lambda: None),
        "the same, waits": lambda: their_way(prepared, cell, requests, synchronise),
    }
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, measure in ways.items():
            seen[name].append(measure())
            if on_gpu:
                torch.cuda.synchronize()
    names = ("throughput_per_second", "p50_ms", "p95_ms")
    return {
        way: {
            name: median(column)
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        }
        for way, rows in seen.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", default="1,32")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine = this_machine()
    figures: dict[str, dict[str, Figures]] = {}
    rows: list[list[str]] = []

    def add(batch: int) -> None:
        asked = Spec(
            model=arguments.model,
            batch=batch,
            device=arguments.device,
            inputs="device",
            clients=arguments.clients,
            workers=arguments.clients,
            requests=arguments.requests,
            warmup=0.3,
        )
        cell = resolve(asked, machine)
        figures[f"batch {batch}"] = found = compare(cell, arguments.requests, arguments.rounds)
        ours = found["gpubench"]
        for way, theirs in found.items():
            ratios = [theirs[name] / ours[name] for name in ours]
            shown = [
                f"{value:,.4g} ({ratio:.2f})"
                for value, ratio in zip(theirs.values(), ratios, strict=True)
            ]
            rows.append([f"batch {batch}", way, *shown])

    def save() -> None:
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=2) + "\n")

    batches = map(int, arguments.batch.split(","))
    status = all_parts({f"batch {batch}": partial(add, batch) for batch in batches}, save)
    title = (
        f"{arguments.model} on {arguments.device}, {arguments.clients} in flight (over gpubench)"
    )
    print_table(title, ("batch", "measured by", "inferences /s", "P50 ms", "P95 ms"), rows)
    sys.exit(status)


if __name__ == "__main__":
    main()
