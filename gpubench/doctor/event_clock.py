"""Whether the events of a GPU measure durations correctly, with a kernel of known duration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpubench.doctor.finding import Finding, from_error, ok, warning
from gpubench.system import gpus
from gpubench.system.gpus import EventCheckRow

# From the duration of a small kernel to that of a large batch.
LENGTHS_NS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
_REPEATS = 20

# Events resolve about half a microsecond. An error above this, plus the resolution of the GPU's
# timer, is too large.
MOST_ERROR_NS = 2_000


@dataclass(frozen=True)
class ClockCheck:
    """The events of one GPU compared with its timer."""

    device: str
    rows: Sequence[EventCheckRow]
    finding: Finding


def check_event_clock(number: int) -> ClockCheck:
    """Launch the spin kernel on GPU `number` for 10 us to 100 ms."""
    device = f"cuda:{number}"
    check = f"{device} event clock"
    try:
        rows = gpus.check_event_clock(number, LENGTHS_NS, _REPEATS)
    except RuntimeError as error:  # CudaUnavailable among them
        return ClockCheck(device, (), from_error(check, error))
    return ClockCheck(device, rows, judge(check, rows))


def judge(check: str, rows: Sequence[EventCheckRow]) -> Finding:
    """The finding from the rows of all durations."""
    worst = max(rows, key=lambda row: abs(row.error_ns) - row.tick_ns)
    found = (
        f"events differ from the GPU's timer by at most {abs(worst.error_ns) / 1e3:.1f} us; the "
        f"timer resolves {worst.tick_ns / 1e3:.1f} us"
    )
    if abs(worst.error_ns) <= MOST_ERROR_NS + worst.tick_ns:
        return ok(check, found)
    return warning(
        check,
        found,
        "the stages on this GPU are unreliable: end other programs on it and try again; if it "
        "stays, report a bug with this table",
    )
