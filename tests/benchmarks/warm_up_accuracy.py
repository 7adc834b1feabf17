"""How well --warmup auto finds the end of a warm-up, on simulated service times.

Prints the two tables of docs/measurement.md. With 200 runs it takes ten minutes.

    python tests/benchmarks/warm_up_accuracy.py 200
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from simulated_warm_ups import STEADY, Planted, errors, false_alarms


def steady_systems(runs: int) -> Iterator[str]:
    yield "| steady system | batches in 2 s: 40 | 200 | 2,000 |"
    yield "|---|---|---|---|"
    for noise in STEADY:
        shares = [f"{false_alarms(noise, least, runs):.1%}" for least in (40, 200, 2_000)]
        yield f"| {noise} | {' | '.join(shares)} |"


def planted_changes(runs: int) -> Iterator[str]:
    yield "| noise | planted | slower by | median error | 9 of 10 errors below | within 10% |"
    yield "|---|---|---|---|---|---|"
    for noise in list(STEADY)[1:]:
        for shape in ("step", "decay"):
            for slower in (0.1, 0.3, 1.0, 5.0):
                found = np.abs(errors(noise, Planted(shape, slower, 300), runs))
                yield (
                    f"| {noise} | {shape} | {slower:.0%} | {np.median(found):.1%} "
                    f"| {np.percentile(found, 90):.1%} | {np.mean(found <= 0.1):.0%} |"
                )


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"Share of {runs} steady systems in which a warm-up was found:\n")
    for line in steady_systems(runs):
        print(line, flush=True)
    print(f"\nErrors of a planted length of 300 batches, {runs} runs:\n")
    for line in planted_changes(runs):
        print(line, flush=True)


if __name__ == "__main__":
    main()
