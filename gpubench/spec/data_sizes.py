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
    match = _SIZE.fullmatch(text.strip())
    size = 0.0
    if match is not None:
        size = float(match[1]) * (1024 if match[3] else 1000) ** _PREFIXES[match[2].lower()]
    if not 0 < size < math.inf:
        raise InputError(f"{flag} '{text}' is not a size; write it like 8GB or 512MiB")
    return size


def parse_bytes_per_second(text: str, flag: str) -> float:
    """The rate of '200MB/s'. Raises InputError, which names `flag`, for anything else."""
    size, slash, second = text.strip().partition("/")
    if not slash or second.strip().lower() != "s":
        raise InputError(f"{flag} '{text}' is not a rate; write it like 200MB/s")
    return parse_bytes(size, flag)
