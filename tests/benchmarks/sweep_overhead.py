"""Where the time of a sweep goes: the seconds of each stage of each cell, and its overhead.

The overhead of a cell is its whole time, with writing its result, without its warm-up and its
measured run ("run"). "rest" is the overhead without build and check, in which runtimes compile.
"ratio" is the overhead divided by the run. The first cell of each model also imports libraries, so
the medians are those of the other cells.

    python tests/benchmarks/sweep_overhead.py [--device cuda:0] [--model bert-base,resnet50]
        [--batch 1,2] [--precision fp32,bf16] [--runtime torchscript,eager] [--clients 1,2]
        [--requests 3 | --duration 1.5s] [--warmup 0s]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median

from common import print_table

import gpubench
from gpubench.measure.progress import Progress
from gpubench.results.result import CellSeconds, Result

STAGES = {  # with a short title
    "load": "load",
    "flops": "flops",
    "reference": "ref",
    "build": "build",
    "check": "check",
    "inputs": "input",
    "capture": "graph",
    "start": "start",
    "analyse": "stats",
    "other": "other",
}
# Building an engine compiles it, and its first inferences do so as well.
COMPILING = ("build", "check")


class Recorder(Progress):
    """Stores each result, and the time of its cell with writing it."""

    def __init__(self) -> None:
        self.cells: list[tuple[Result, float]] = []

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        self.cells.append((result, elapsed_s))
        print(f"{len(self.cells)}: {result.spec.describe()}, {elapsed_s:.2f} s", flush=True)


def seconds_of(result: Result) -> CellSeconds:
    assert result.seconds is not None
    return result.seconds


def measured_s(seconds: CellSeconds) -> float:
    return (seconds.warmup or 0.0) + (seconds.measure or 0.0)


def row(name: str, result: Result, elapsed_s: float) -> list[str]:
    seconds = seconds_of(result)
    stages = [getattr(seconds, stage) for stage in STAGES]
    overhead_s = elapsed_s - measured_s(seconds)
    compiling_s = sum(getattr(seconds, stage) or 0.0 for stage in COMPILING)
    shown = [*stages, elapsed_s - seconds.total, measured_s(seconds), overhead_s]
    return [
        name + (" failed" if result.error else ""),
        *("–" if value is None else f"{value:.2f}" for value in shown),
        f"{overhead_s - compiling_s:.2f}",
        f"{overhead_s / measured_s(seconds):.2f}" if measured_s(seconds) else "–",
    ]


def first_of_models(cells: list[tuple[Result, float]]) -> set[int]:
    """The places of the first cell of each model."""
    models = [result.spec.model for result, _ in cells]
    return {models.index(model) for model in models}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="bert-base,resnet50")
    parser.add_argument("--batch", default="1,2")
    parser.add_argument("--precision", default="fp32,bf16")
    parser.add_argument("--runtime", default="torchscript,eager")
    parser.add_argument("--clients", default="1")
    parser.add_argument("--requests", type=int, default=None)
    parser.add_argument("--duration", default=None)
    parser.add_argument("--warmup", default="0s")
    parser.add_argument("--json", type=Path, default=None, help="write all figures to this file")
    arguments = parser.parse_args()
    grid: dict[str, object] = {
        "model": arguments.model.split(","),
        "batch": [int(each) for each in arguments.batch.split(",")],
        "precision": arguments.precision.split(","),
        "runtime": arguments.runtime.split(","),
        "clients": [int(each) for each in arguments.clients.split(",")],
        "device": arguments.device,
        "warmup": arguments.warmup,
        "allow_emulated": True,
        "unavailable": "skip",
    }
    if arguments.duration is not None:
        grid["duration"] = arguments.duration
    if arguments.requests is not None or arguments.duration is None:
        grid["requests"] = arguments.requests or 3
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        gpubench.sweep([grid], Path(folder) / "run", recorder)
    cells = recorder.cells
    rows = [row(str(n), result, elapsed_s) for n, (result, elapsed_s) in enumerate(cells, 1)]
    columns = ("cell", *STAGES.values(), "write", "run", "over", "rest", "ratio")
    print_table("Seconds of each cell", columns, rows)
    firsts = first_of_models(cells)
    later = [cell for n, cell in enumerate(cells) if n not in firsts] or cells
    overheads = [elapsed_s - measured_s(seconds_of(result)) for result, elapsed_s in later]
    compiling = [
        sum(getattr(seconds_of(result), stage) or 0.0 for stage in COMPILING) for result, _ in later
    ]
    rest = [overhead - part for overhead, part in zip(overheads, compiling, strict=True)]
    print(
        f"{len(later)} cells that are not the first of their model, median seconds: "
        f"overhead {median(overheads):.2f}, of it build and check {median(compiling):.2f}, "
        f"the rest {median(rest):.2f} (largest {max(rest):.2f})"
    )
    if arguments.json is not None:
        document = [
            {"cell": result.spec.describe(), "elapsed": elapsed_s} | seconds_of(result).model_dump()
            for result, elapsed_s in cells
        ]
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
