"""Shares of a figure as people write them: 2%, 0.5%, 0.02."""

from __future__ import annotations

import math
import re

from gpubench.errors import InputError

_SHARE = re.compile(r"([0-9]*\.?[0-9]+)\s*(%?)", re.ASCII)


def parse_share(text: str | float, flag: str) -> float:
    """The share that '2%', '0.02' or the number 0.02 is: 0.02.

    Raises InputError, which names `flag`, unless it is more than 0 and less than 1. So '2' is not
    taken for 2%.
    """
    match = _SHARE.fullmatch(str(text).strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else math.nan
    if not 0 < share < 1:
        raise InputError(
            f"{flag} '{text}' is not a share between 0 and 1; write it like 2% or 0.02"
        )
    return share
