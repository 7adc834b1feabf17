"""How often the interval between repeats holds the truth, if --until decides how many there are.

Prints the table of docs/comparing.md.

    python tests/benchmarks/until_coverage.py 20000
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

from gpubench.spec.repetition import DEFAULT_MOST_REPEATS, LEAST_REPEATS, LEAST_REPEATS_UNTIL
from gpubench.statistics.repeats import between_repeats, half_width

UNTIL = 0.02


def repeats(spread: float, least: int, generator: random.Random) -> list[float]:
    """The logarithms of the figures of a cell whose true figure is 1."""
    logs: list[float] = []
    while len(logs) < DEFAULT_MOST_REPEATS:
        logs.append(generator.gauss(0.0, spread))
        if len(logs) >= least and _is_known(logs):
            break
    return logs


def _is_known(logs: list[float]) -> bool:
    width = half_width(logs)
    return width is not None and width <= UNTIL


def _holds_the_truth(logs: list[float]) -> bool:
    interval, _ = between_repeats(logs)
    return interval is not None and interval[0] <= 1.0 <= interval[1]


def table(cells: int) -> Iterator[str]:
    """Markdown: a row for each spread."""
    shown = (LEAST_REPEATS, LEAST_REPEATS_UNTIL)
    titles = [f"end from {least} rounds on" for least in shown]
    yield f"| spread between repeats | {' | '.join(titles)} | rounds, on average | reached |"
    yield "|---|---|---|---|---|"
    for spread in (0.005, 0.01, 0.02, 0.03, 0.05):
        generator = random.Random(spread)
        every = [[repeats(spread, least, generator) for _ in range(cells)] for least in shown]
        covered = [sum(map(_holds_the_truth, each)) / cells for each in every]
        rounds = sum(map(len, every[-1])) / cells
        reached = sum(map(_is_known, every[-1])) / cells
        yield (
            f"| {spread:.1%} | {covered[0]:.1%} | {covered[1]:.1%} | {rounds:.1f} | {reached:.0%} |"
        )


if __name__ == "__main__":
    for line in table(int(sys.argv[1])):
        print(line, flush=True)
