"""How often the intervals of latencies and of closed loops contain the true value.

Prints three tables of docs/measurement.md. The table on open loops is from interval_coverage.py.

    python tests/benchmarks/latency_interval_coverage.py 2000
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from simulated_intervals import (
    LATENCIES,
    REQUESTS,
    THROUGHPUTS,
    Coverage,
    percentile_coverage,
    throughput_coverage,
)

from gpubench.statistics.percentiles import PERCENTS, percentile_key, percentile_name


def tables(runs: int) -> Iterator[str]:
    """Markdown: share of the given intervals with the true value (share of runs that give one)."""

    def cell(coverage: Coverage) -> str:
        if coverage.given < 0.01:
            return "-"
        return f"{coverage.covered:.1%} ({coverage.given:.0%})"

    found = {
        (name, requests): percentile_coverage(name, requests, runs)
        for name in LATENCIES
        for requests in REQUESTS
    }
    names = [percentile_name(percent) for percent in PERCENTS]
    for end, what in (("", ""), ("_at_most", " is at most")):
        yield f"| latencies | requests | {' | '.join(name + what for name in names)} |"
        yield "|---" * (len(names) + 2) + "|"
        for (name, requests), coverages in found.items():
            cells = [cell(coverages[f"{percentile_key(percent)}{end}"]) for percent in PERCENTS]
            yield f"| {name} | {requests} | {' | '.join(cells)} |"
        yield ""
    heads = " | ".join(str(requests) for requests in REQUESTS)
    yield f"| throughput | {heads} |\n|---|---|---|---|---|"
    for name in THROUGHPUTS:
        cells = [cell(throughput_coverage(name, requests, runs)) for requests in REQUESTS]
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in tables(int(sys.argv[1])):
        print(line)
