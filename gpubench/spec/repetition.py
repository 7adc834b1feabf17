"""How often the cells of a command are measured, as a person asked for it."""

from __future__ import annotations

from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.spec.durations import parse_duration
from gpubench.spec.share import parse_share

# With two repeats the interval between them would be 12.7 standard errors wide, and its coverage
# would depend entirely on the assumed distribution.
LEAST_REPEATS = 3
# --until ends no earlier. A small sample often has too small a spread, and repeats that end as soon
# as the spread is small select such samples: from 3 repeats on, the 95% interval would hold the
# truth in 90% of all cases, from 5 on in 92% (docs/comparing.md).
LEAST_REPEATS_UNTIL = 5
DEFAULT_MOST_REPEATS = 20  # with --until
# A repeat is a document, and several are read at once.
MOST_REPEATS = 1000

# Of `gpubench ab`. A round has two repeats of each side.
DEFAULT_ROUNDS = 10
LEAST_ROUNDS = LEAST_REPEATS  # fewer paired rounds have no interval
MOST_ROUNDS = MOST_REPEATS // 2


@dataclass(frozen=True)
class Repetition:
    """Every cell is measured `repeats` times, or until its throughput is known well enough."""

    repeats: int = 1  # with `until`: at most
    until: float | None = None  # half-width of the interval between repeats; None: no such limit
    fresh: bool = False  # each repeat in a new process
    max_time_s: float | None = None  # no round begins that would probably end later


ONCE = Repetition()


def parse_repetition(
    repeats: int | None = None,
    until: str | float | None = None,
    fresh: bool = False,
    max_time: str | float | None = None,
) -> Repetition:
    """What --repeats, --until, --fresh and --max-time say. None: the flag is not given.

    Raises InputError for values that are not allowed or do not fit together.
    """
    share = None if until is None else parse_share(until, "--until")
    if repeats is None:
        repeats = 1 if share is None else DEFAULT_MOST_REPEATS
    if not 1 <= repeats <= MOST_REPEATS:
        raise InputError(f"--repeats {repeats} is not allowed; give 1 to {MOST_REPEATS}")
    if share is not None and repeats < LEAST_REPEATS:
        raise InputError(
            f"--until needs an interval between repeats, and --repeats {repeats} gives none; give "
            f"--repeats {LEAST_REPEATS} or more, or leave --repeats out"
        )
    if max_time is not None and repeats == 1:
        raise InputError("--max-time limits the number of repeats; add --repeats or --until")
    return Repetition(repeats, share, fresh, _max_time_s(max_time))


def _max_time_s(max_time: str | float | None) -> float | None:
    if max_time is None:
        return None
    try:
        seconds = parse_duration(max_time)
    except ValueError as error:
        raise InputError(f"--max-time: {error}") from None
    if seconds == 0:
        raise InputError("--max-time: 0 leaves no time to measure; write it like 30m")
    return seconds


def check_rounds(rounds: int) -> None:
    """Raises InputError, which names --rounds, if this number of rounds cannot give an answer."""
    if not LEAST_ROUNDS <= rounds <= MOST_ROUNDS:
        raise InputError(
            f"--rounds {rounds} is not allowed: an answer needs {LEAST_ROUNDS} rounds; give "
            f"{LEAST_ROUNDS} to {MOST_ROUNDS}"
        )
