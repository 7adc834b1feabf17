"""Temperatures as people write them: 60C."""

from __future__ import annotations

import math
import re

# Below the first no room is, and above the second a chip turns itself off.
_LOWEST_C, _HIGHEST_C = 10.0, 110.0
_TEMPERATURE = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)\s*(?:°\s*)?c?", re.ASCII | re.IGNORECASE)


def parse_celsius(text: str | float) -> float:
    """The degrees Celsius of '60C', '60 °C' or '60'. A number (from YAML or Python) is in them too.

    Raises ValueError for anything else, and for temperatures that no sensor of a working machine
    shows.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        degrees = float(min(text, 1e6))  # a whole number may be too large for a float
    else:
        match = _TEMPERATURE.fullmatch(str(text).strip())
        if match is None:
            raise ValueError(f"'{text}' is not a temperature; write it like 60C")
        degrees = float(match[1])
    if not math.isfinite(degrees) or not _LOWEST_C <= degrees <= _HIGHEST_C:
        raise ValueError(f"{text} is not allowed; give {_LOWEST_C:g}C to {_HIGHEST_C:g}C")
    return degrees
