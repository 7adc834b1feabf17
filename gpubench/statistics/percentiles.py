"""Percentiles by nearest rank: every one of them is a latency that was measured."""

from __future__ import annotations


def rank(percent: int, count: int) -> int:
    """Place of a percentile among `count` sorted values, counted from 1: ceil(percent/100 * count).

    In whole numbers: in floating point 0.95 * 20 may come out above 19.
    """
    return -(-percent * count // 100)


def least_count(percent: int) -> int:
    """Values from which on a percentile stands: 2, 10, 20, 100 for P50, P90, P95, P99.

    With fewer, not even one value is expected above it, and nearest rank would name the maximum.
    """
    return -(-100 // (100 - percent))
