"""What the measuring process tells the child process, as one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

Labels = list[str]


@dataclass
class Update:
    """Changes of metrics, each with the metric's name and its labels in their order."""

    # Added to a counter: [value]. To a histogram: the counts of its buckets, then the sum.
    add: list[tuple[str, Labels, list[float]]] = field(default_factory=list)
    # The value of a gauge. None: it is absent from now on.
    set: list[tuple[str, Labels, float | None]] = field(default_factory=list)

    def to_line(self) -> bytes:
        return json.dumps(asdict(self), allow_nan=False).encode() + b"\n"


def parse_update(line: bytes) -> Update:
    """Raises ValueError for a line that was not written to its end."""
    parts = json.loads(line)
    return Update(parts["add"], parts["set"])
