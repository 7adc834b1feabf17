"""Are the durations that a GPU's events give true? A kernel that waits a known time says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpubench.doctor.finding import Finding, from_error, ok, warning
from gpubench.system import gpus
from gpubench.system.gpus import EventCheck

# From what a small kernel takes to what a large batch takes.
LENGTHS_NS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
_REPEATS = 20

# Events resolve about half a microsecond; beyond this, plus the step of the GPU's timer, they are
# wrong.
MOST_ERROR_NS = 2_000


@dataclass(frozen=True)
class ClockCheck:
    """One GPU's event clock held against its timer."""

    device: str
    rows: Sequence[EventCheck]
    finding: Finding


def check_event_clock(number: int) -> ClockCheck:
    """Launch the spin kernel on GPU `number`, 10 us to 100 ms long."""
    device = f"cuda:{number}"
    check = f"{device} event clock"
    try:
        rows = gpus.check_event_clock(number, LENGTHS_NS, _REPEATS)
    except RuntimeError as error:  # CudaUnavailable among them
        return ClockCheck(device, (), from_error(check, error))
    return ClockCheck(device, rows, judge(check, rows))


def judge(check: str, rows: Sequence[EventCheck]) -> Finding:
    """Whether every length came out right."""
    worst = max(rows, key=lambda row: abs(row.error_ns) - row.tick_ns)
    found = (
        f"events are at most {abs(worst.error_ns) / 1e3:.1f} us from the GPU's timer, which moves "
        f"in steps of {worst.tick_ns / 1e3:.1f} us"
    )
    if abs(worst.error_ns) <= MOST_ERROR_NS + worst.tick_ns:
        return ok(check, found)
    return warning(
        check,
        found,
        "stages on this GPU are not to be relied on: end other programs on it and try again; if "
        "it stays, report it with this table",
    )
