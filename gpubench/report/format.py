"""Numbers as text for people. No other file formats numbers.

A number has as many digits as its interval justifies, or four if it has no interval. Files for
programs (CSV, JSON) have full precision instead.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubench.results.result import Interval

ABSENT = "–"  # absent is never 0


def number(value: float | None, digits: int = 4) -> str:
    """At least `digits` significant digits, with thousands separators: 0.1234, 1,234,567."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if not _is_plain(value):
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{_decimals(value, digits)}f}"


def integer(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def milliseconds(value: float | None) -> str:
    """A latency with three significant digits."""
    return number(value, digits=3)


def gibibytes(size: int | None) -> str:
    """Bytes in GiB, with three significant digits."""
    return number(None if size is None else size / 2**30, digits=3)


def usd(value: float | None) -> str:
    """Dollars and cents. Amounts below a dollar have three significant digits."""
    if value is None or not _is_plain(value):
        return number(value, digits=3)
    return f"{value:,.{max(2, _decimals(value, 3))}f}"


def ratio(value: float | None) -> str:
    """A quotient of two figures, computed before they were rounded."""
    return number(value, digits=3)


def ratio_range(low: float, high: float) -> str:
    """'1.58 to 1.66'. It has more digits, at most five, if the two ends would look the same."""
    for digits in (3, 4, 5):
        ends = number(low, digits), number(high, digits)
        if ends[0] != ends[1]:
            break
    return " to ".join(ends)


def percent(share: float) -> str:
    """A share: '34%'. Shares below half a percent, but not 0, are '<1%'."""
    if 0 < share < 0.005:
        return "<1%"
    # A document from elsewhere may hold a share of any size.
    return f"{share:.0%}" if abs(share) < 10 else f"{number(share * 100, digits=3)}%"


def share(value: float) -> str:
    """A share as it was given: 0.02 is '2%', 0.005 is '0.5%'."""
    return f"{100 * value:.4g}%"


def two_digits(value: float) -> str:
    """A share in percent, with two digits: '94%', '2.1%', '0.58%'."""
    return f"{number(100 * value, digits=2)}%"


def change(quotient: float) -> str:
    """A ratio as a signed difference in percent, with two digits: 1.054 is '+5.4%'."""
    difference = round(100 * (quotient - 1), 2)
    return f"{'-' if difference < 0 else '+'}{number(abs(difference), digits=2)}%"


def with_interval(value: float | None, interval: Interval | None) -> str:
    """'18.4 ±0.3': the wider half of the interval, and no digits that are less than its error.

    At least one digit of the figure, so that a small one does not look like 0, and at most five. An
    interval that is narrower than the last digit is shown as ±1 of it.
    """
    if value is None:
        return ABSENT
    if interval is None:
        return number(value)
    half = max(interval[1] - value, value - interval[0], 0.0)
    if not _is_plain(value) or not _is_plain(half):
        return f"{number(value)} ±{number(half, 2)}"
    digits = 2 if f"{half:e}".startswith("1") else 1  # 0.14 shown as 0.1 would be wrong by a third
    decimals = min(_decimals(half, digits), _decimals(value, 5)) if half else _decimals(value, 5)
    if value:  # a figure that is smaller than its error is not 0
        decimals = max(decimals, _decimals(value, 1))
    return f"{value:,.{decimals}f} ±{max(half, 10**-decimals):,.{decimals}f}"


def half_width(value: float | None, interval: Interval | None) -> str:
    """The wider half of an interval as a share of its figure: '±1.2%'."""
    if not value or interval is None:
        return ABSENT
    half = max(interval[1] - value, value - interval[0], 0.0)
    return f"±{number(100 * half / value, 2)}%"


def seconds(value: float) -> str:
    """A duration as people write it: 250us, 1.5ms, 2s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return "0s" if value == 0 else f"{value / 1e-9:g}ns" if value > 0 else f"{value:g}s"


def elapsed(value: float) -> str:
    """A duration as people say it: '28 s', '3 min 5 s'."""
    if not abs(value) < 1e9:
        return f"{value:.3g} s" if math.isfinite(value) else ABSENT
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def count(amount: int, noun: str) -> str:
    """'1 core', '2 cores'."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def _is_plain(value: float) -> bool:
    """Whether it is written without an exponent. Every measured figure is."""
    return value == 0 or 1e-9 <= abs(value) < 1e15


def _decimals(value: float, digits: int) -> int:
    """The number of decimals with which `value` has `digits` significant digits, or 0."""
    if value == 0:
        return 0
    # Rounded first, because 9.996 with three digits is 10.0 and not 10.00.
    magnitude = math.floor(math.log10(float(f"{abs(value):.{digits - 1}e}")))
    return max(0, digits - 1 - magnitude)
