"""Lists of cores as people and the kernel write them: 0-1, 0,2, 0-3,8."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import groupby

# The kernel numbers at most 8192 cores (CONFIG_NR_CPUS on x86-64).
_MOST_CORES = 8192
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_EXAMPLES = "write it like 0-1 or 0,2"


def parse_cpus(text: str | int) -> tuple[int, ...]:
    """The numbers of the cores of '0-1' or '0,2', in rising order.

    `+` may stand for the comma, because a comma begins the next value of an axis in a sweep. A
    number, from YAML or Python, is one core. Raises ValueError for anything else.
    """
    cores: set[int] = set()
    for part in str(text).replace("+", ",").split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None or isinstance(text, bool):
            raise ValueError(f"'{text}' is not a list of cores; {_EXAMPLES}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"'{part.strip()}' runs backwards; write it like {last}-{first}")
        if last >= _MOST_CORES:
            raise ValueError(f"core {last} is more than a machine has; {_EXAMPLES}")
        numbers = set(range(first, last + 1))
        if repeated := cores & numbers:
            raise ValueError(f"it names core {min(repeated)} twice; name each core once")
        cores |= numbers
    return tuple(sorted(cores))


def cpus_text(cores: Iterable[int]) -> str:
    """The shortest list, as the kernel writes it: '0-1,4'. One set of cores has one text."""
    ranges = []
    # In a run of neighbours, the number minus the position is the same for each.
    for _, members in groupby(enumerate(sorted(cores)), lambda each: each[1] - each[0]):
        run = [number for _, number in members]
        ranges.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ",".join(ranges)


def missing_cores(wanted: Iterable[int], usable: Collection[int]) -> str | None:
    """'3' or '2-3' if `usable` lacks them. None if it has all."""
    return cpus_text(set(wanted) - set(usable)) or None
