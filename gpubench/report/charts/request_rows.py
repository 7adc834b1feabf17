"""The requests of each cell, summed up so that a page with many cells stays small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpubench.errors import InputError
from gpubench.report.charts.cells import CombinedCell, Panel, rounded
from gpubench.report.charts.chart import Json, Row
from gpubench.results.result import Result
from gpubench.results.samples import Samples
from gpubench.statistics.windows import counted_samples

MOST_SHARES = 100  # points of the distribution of one cell
MOST_TIMES = 200  # points over time of one cell
_FEWEST = 10
_ALL = 6000  # points of each kind for all cells together
_TAIL = 0.1  # from this share on, the points of the distribution are evenly spaced in its logarithm
_NS_PER_S, _NS_PER_MS = 1e9, 1e6

ReadSamples = Callable[[Result], Samples | None]


def request_rows(panels: Sequence[Panel], read: ReadSamples) -> tuple[list[Row], list[str]]:
    """The rows of the table "requests", and one line for each problem with samples.

    There is one row for each cell whose samples are there. Of repeats it is that with the median
    throughput. `read` returns the samples of a result, or None; it may raise InputError.
    """
    cells = [cell for panel in panels for cell in panel.cells]
    part = _ALL // max(1, len(cells))
    rows: list[Row] = []
    problems = []
    for cell in cells:
        result = typical(cell)
        try:
            samples = None if result.window.counted is None else read(result)
        except InputError as error:
            problems.append(f"No requests of row {cell.key}: {error}")
            continue
        if samples is not None:
            shares = min(MOST_SHARES, max(2 * _FEWEST, part))
            times = min(MOST_TIMES, max(_FEWEST, part))
            rows += _row(cell.key, result, samples, shares, times)
    return rows, problems


def typical(cell: CombinedCell) -> Result:
    """The repeat with the median throughput."""
    measured = [each for each in cell.repeats if each.error is None] or list(cell.repeats)
    ordered = sorted(measured, key=lambda each: each.throughput_per_second or 0.0)
    return ordered[len(ordered) // 2]


def _row(key: str, result: Result, samples: Samples, shares: int, times: int) -> Iterator[Row]:
    window = result.window.counted
    counted, unfinished = counted_samples(samples, window)
    latency_ms = samples.latency_ns[counted] / _NS_PER_MS
    if window is None or not len(latency_ms) or window.to_ns <= window.from_ns:
        return
    offsets_ns = getattr(samples, window.stamp)[counted] - window.from_ns
    yield {
        "key": key,
        "unfinished": unfinished,
        **distribution(latency_ms, unfinished, shares),
        **over_time(offsets_ns, latency_ms, window.to_ns - window.from_ns, times),
    }


def distribution(latency_ms: NDArray[np.float64], unfinished: int, points: int) -> dict[str, Json]:
    """`share` of the requests that take at least `ms`, falling to 1/n.

    A request that never finished takes longer than all others.
    """
    ordered = np.sort(latency_ms)
    total = len(ordered) + unfinished
    half = points // 2
    levels = np.concatenate(
        [np.linspace(1, _TAIL, half), np.geomspace(_TAIL, 1 / total, points - half)]
    )
    indices = np.unique(np.clip(np.rint((1 - levels) * total), 0, len(ordered) - 1).astype(int))
    return {
        "ms": _list(ordered[indices]),
        "share": _list((total - indices) / total),
    }


def over_time(
    offsets_ns: NDArray[np.int64], latency_ms: NDArray[np.float64], length_ns: int, points: int
) -> dict[str, Json]:
    """For equal parts of the window: their middle, requests per second, median and highest latency.

    `offsets_ns` are the times of the requests from its beginning. A part without a request has a
    rate of 0 and no latency.
    """
    parts = max(1, min(points, len(offsets_ns)))
    length = length_ns / _NS_PER_S
    number = np.clip(offsets_ns * parts // length_ns, 0, parts - 1)
    order = np.lexsort((latency_ms, number))
    counts = np.bincount(number, minlength=parts)
    ends = np.cumsum(counts)
    ordered = latency_ms[order]
    filled = counts > 0
    middle = np.where(filled, ends - counts + (counts - 1) // 2, 0)
    last = np.where(filled, ends - 1, 0)
    return {
        "s": _list((np.arange(parts) + 0.5) * length / parts),
        "rate": _list(counts * parts / length),
        "median": [v if f else None for v, f in zip(_list(ordered[middle]), filled, strict=True)],
        "highest": [v if f else None for v, f in zip(_list(ordered[last]), filled, strict=True)],
    }


def _list(values: NDArray[Any]) -> list[float | None]:
    return [rounded(float(value)) for value in values]
