"""Durations as people write them: 250us, 1.5ms, 2s."""

from __future__ import annotations

import math
import re

# Far beyond what anybody measures, and within what the core's integers and memory can hold.
_LONGEST_S = 30 * 24 * 3600.0
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)", re.ASCII)


def parse_duration(text: str | float) -> float:
    """Seconds from '250us', '1.5ms', '2s', '1m'. Numbers (YAML, Python) are seconds already.

    Raises ValueError for a string without a unit, so that '5' is never guessed at.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = float(min(text, 2 * _LONGEST_S))  # a whole number may be too large for a float
    else:
        match = _DURATION.fullmatch(str(text).strip().lower())
        if match is None or match[2] not in {*_UNITS, ""}:
            raise ValueError(f"'{text}' is not a duration; write it like 250us, 1.5ms or 2s")
        if match[2] == "" and float(match[1]) != 0:
            raise ValueError(f"'{text}' has no unit; write it like {text}s or {text}ms")
        seconds = float(match[1]) * _UNITS.get(match[2], 1.0)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{text} is not a duration; it must be zero or more")
    if seconds > _LONGEST_S:
        raise ValueError(f"{text} is too long; give 30 days (720h) at most")
    return seconds
