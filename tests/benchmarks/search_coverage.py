"""How well a search finds the highest rate, on simulated queues whose true answer is known.

Prints the table of docs/search.md.

    python tests/benchmarks/search_coverage.py 200
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from simulated_searches import SYSTEMS, System, outcome


def table(runs: int) -> Iterator[str]:
    """Markdown: a row for each system and length of a probe."""
    yield (
        "| system, objective in service times | truth | requests a probe | rates found | error "
        "| interval holds the truth (given) | half its width | probes |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for number, system in enumerate(SYSTEMS):
        for requests in (1_000, 4_000, 16_000):
            found = outcome(number, requests, runs)
            rates, truth = np.array(found.rates), found.truth
            given = len(found.intervals) / runs
            error = math.sqrt(float(np.mean((rates / truth - 1) ** 2)))
            halves = [(high - low) / 2 / truth for low, high in found.intervals]
            covered = f"{found.covered:.1%} ({given:.0%})" if given >= 0.1 else f"- ({given:.0%})"
            half = f"{np.median(halves):.1%}" if given >= 0.1 else "-"
            yield (
                f"| {system.name} | {truth:.1f} | {requests:,} | {rates.min():.0f} to "
                f"{rates.max():.0f} | {error:.1%} | {covered} | {half} | {found.probes:.1f} |"
            )


def bisection(system: System, requests: int, run: int) -> float:
    """The answer of a bisection that trusts every probe, and ends when 1% is left."""
    low, high = 0.0, system.capacity
    probes = 0
    while high - low > 0.01 * high:
        rate = (low + high) / 2
        found = system.tally_at(rate, requests, 1_000 * run + probes)
        low, high = (rate, high) if found.late_share <= system.allowed else (low, rate)
        probes += 1
    return (low + high) / 2


def bisected(runs: int) -> Iterator[str]:
    system = SYSTEMS[0]
    for requests in (1_000, 4_000, 16_000):
        rates = np.array([bisection(system, requests, run) for run in range(runs)])
        error = math.sqrt(float(np.mean((rates / system.truth - 1) ** 2)))
        yield (
            f"bisection, {system.name}, {requests:,} requests a probe: {rates.min():.0f} to "
            f"{rates.max():.0f}, error {error:.1%}"
        )


if __name__ == "__main__":
    for line in itertools.chain(table(int(sys.argv[1])), bisected(int(sys.argv[1]))):
        print(line, flush=True)
