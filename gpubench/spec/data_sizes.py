"""Sizes of files as people write them: 8GB, 512MiB; and rates: 200MB/s."""

from __future__ import annotations

import math
import re

from gpubench.errors import InputError

_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"([0-9]*\.?[0-9]+)\s*([kmgt]?)(i?)b", re.ASCII | re.IGNORECASE)


def parse_bytes(text: str, flag: str) -> float:
    """The bytes of '8GB' (powers of 1000) or '8GiB' (powers of 1024).

    Raises InputError, which names `flag`, for anything else, and for 0.
    """
    size = _bytes(text)
    if size is None:
        raise InputError(f"{flag} '{text}' is not a size; write it like 8GB or 512MiB")
    return size


def parse_bytes_per_second(text: str, flag: str) -> float:
    """The rate of '200MB/s'. Raises InputError, which names `flag`, for anything else."""
    size, _, second = text.strip().partition("/")
    rate = _bytes(size) if second.strip().lower() == "s" else None
    if rate is None:
        raise InputError(f"{flag} '{text}' is not a rate; write it like 200MB/s")
    return rate


def _bytes(text: str) -> float | None:
    """None if it is not a size above 0."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    size = float(match[1]) * (1024 if match[3] else 1000) ** _PREFIXES[match[2].lower()]
    return size if 0 < size < math.inf else None
