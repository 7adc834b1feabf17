"""Percentiles by nearest rank: every percentile is a latency that was measured."""

from __future__ import annotations


def rank(percent: int, count: int) -> int:
    """Rank of a percentile among `count` sorted values, counted from 1: ceil(percent/100 * count).

    It is computed with integers, because in floating point 0.95 * 20 may be larger than 19.
    """
    return -(-percent * count // 100)


def least_count(percent: int) -> int:
    """The smallest number of values that have this percentile: 2, 10, 20, 100 for P50 to P99.

    With fewer values, not even one is expected above it, and the nearest rank is the maximum.
    """
    return -(-100 // (100 - percent))
