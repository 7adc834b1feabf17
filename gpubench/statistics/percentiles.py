"""Percentiles by nearest rank: every percentile is a latency that was measured."""

from __future__ import annotations

from fractions import Fraction

# A percent is an integer or a fraction such as 999/10. A binary floating-point number is not
# exact: 0.95 * 20 may be larger than 19.
Percent = int | Fraction

# The percentiles of every result.
PERCENTS: tuple[Percent, ...] = (50, 90, 95, 99, Fraction("99.9"))


def rank(percent: Percent, count: int) -> int:
    """Rank of a percentile among `count` sorted values, counted from 1: ceil(percent/100 * count).

    It is computed exactly.
    """
    return -(-percent * count // 100)


def least_count(percent: Percent) -> int:
    """The smallest number of values that have this percentile: 2, 20, 1,000 for P50, P95, P99.9.

    With fewer values, not even one is expected above it, and the nearest rank is the maximum.
    """
    return -(-100 // (100 - percent))


def percentile_name(percent: Percent) -> str:
    """Its name for people: 'P99.9'."""
    return f"P{float(percent):.10g}"


def percentile_key(percent: Percent) -> str:
    """Its key in a result: 'p99_9'."""
    return percentile_name(percent).lower().replace(".", "_")
