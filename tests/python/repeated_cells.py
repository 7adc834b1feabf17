"""Repeats of a cell as rounds leave them, for tests of comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factories import failed, result

from gpubench.results.result import Repeat, Result

# Relative to the mean of a figure. Their standard deviation is 1%.
JITTER = (0.0, 0.012, -0.008, 0.009, -0.013, 0.004, -0.011, 0.007)


def repeats(
    throughputs: Sequence[float | None],
    series: str = "series",
    rounds: Sequence[int] | None = None,
    fresh: bool = True,
    **settings: Any,
) -> list[Result]:
    """One repeat in each round. P95 is a second divided by the throughput. None: it failed."""
    made = []
    for number, throughput in enumerate(throughputs, start=1):
        one = (
            failed(**settings)
            if throughput is None
            else result(throughput, 1000 / throughput, **settings)
        )
        repeat = Repeat(
            number=number,
            of=len(throughputs),
            round=rounds[number - 1] if rounds else number,
            series=series,
            process=f"{series}-{number}-{settings}" if fresh else series,
        )
        made.append(one.model_copy(update={"repeat": repeat}))
    return made


def around(throughput: float, count: int = 5, shift: int = 0, percent: float = 1.0) -> list[float]:
    """Throughputs that differ by about `percent`. Another `shift` gives other ones."""
    chosen = (JITTER[(each + shift) % len(JITTER)] for each in range(count))
    return [throughput * (1 + percent * each) for each in chosen]
