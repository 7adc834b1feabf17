"""How long a GPU waits between two batches of one sample, with 1, 2 and 4 workers.

The device events of every batch show the gaps in which no batch is computed, and their share of the
window. If another worker computes meanwhile, there is no gap.

    python tests/benchmarks/gpu_gaps.py [--models bert-base,resnet50] [--json figures.json]

With --models synthetic it also runs on a simulated GPU, where its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
from common import all_parts, print_table
from numpy.typing import NDArray

import gpubench
from gpubench.errors import GpubenchError

WORKERS = (1, 2, 4)


def gaps_ns(began_ns: NDArray[np.int64], ended_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths of the gaps in which nothing is computed, between the first batch and the last."""
    order = np.argsort(began_ns)
    busy_until = np.maximum.accumulate(ended_ns[order])[:-1]
    return np.maximum(began_ns[order][1:] - busy_until, 0)


def measure(model: str, workers: int) -> tuple[float, NDArray[np.int64], float]:
    """(share of the time without a batch, gaps in ns, inferences per second)."""
    settings = {"precision": "fp16"} if model != "synthetic" else {"service_time": "100us"}
    result = gpubench.run(
        gpubench.Spec(
            model=model,
            device="cuda:0",
            workers=workers,
            clients=2 * workers,
            requests=2000,
            warmup=0.5,
            **settings,
        )
    )
    if result.error is not None:
        raise GpubenchError(result.error.message)
    samples = result.samples
    assert samples is not None
    if samples.device_ns is None:
        raise GpubenchError(f"no device events: {result.harness.not_captured}")
    _, began, ended, _ = samples.device_ns[samples.batch_starts].T
    gaps = gaps_ns(began, ended)
    assert result.throughput_per_second is not None
    return gaps.sum() / (ended.max() - began.min()), gaps, result.throughput_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="bert-base,resnet50")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[list[str]] = []
    figures: dict[str, dict[str, float]] = {}

    def add(model: str, workers: int) -> None:
        idle, gaps, rate = measure(model, workers)
        median, high = (float(np.quantile(gaps, q)) / 1e3 for q in (0.5, 0.99))
        figures[f"{model}, {workers} workers"] = {
            "idle_share": idle,
            "gap_p50_us": median,
            "gap_p99_us": high,
            "throughput_per_second": rate,
        }
        numbers = (f"{idle:.1%}", f"{median:.1f}", f"{high:.1f}", f"{rate:,.0f}")
        rows.append([model, str(workers), *numbers])

    def save() -> None:
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=2) + "\n")

    parts = {
        f"{model}, {workers} workers": partial(add, model, workers)
        for model in arguments.models.split(",")
        for workers in WORKERS
    }
    status = all_parts(parts, save)
    columns = ("model", "workers", "device idle", "gap P50 us", "P99 us", "inferences /s")
    print_table("Gaps between batches of one sample, fp16, inputs on the host", columns, rows)
    sys.exit(status)


if __name__ == "__main__":
    main()
