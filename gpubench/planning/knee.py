"""The knee of a curve: where more of something hardly gives more throughput."""

from __future__ import annotations

from collections.abc import Sequence

# The throughput at the knee of a curve, as a share of its highest throughput.
KNEE = 0.95

_LEAST_POINTS = 3


def knee(points: Sequence[tuple[float, float]]) -> int | None:
    """The index of the leftmost point (x, throughput) that nearly has the highest throughput.

    Larger batches, or more clients, hardly increase the throughput from there on. None if there
    are fewer than three points: the curve may still rise.
    """
    if len(points) < _LEAST_POINTS:
        return None
    enough = KNEE * max(y for _, y in points)
    return min(
        (index for index, (_, y) in enumerate(points) if y >= enough),
        key=lambda index: points[index][0],
    )
