"""How often cells are measured, as flags and as arguments."""

from __future__ import annotations

import pytest

from gpubench.errors import InputError
from gpubench.spec.repetition import ONCE, Repetition, parse_repetition


def test_flags_become_limits() -> None:
    assert parse_repetition() == ONCE == Repetition(1, None, False, None)
    assert parse_repetition(repeats=5, fresh=True) == Repetition(5, fresh=True)
    assert parse_repetition(until="2%") == Repetition(20, until=0.02)
    assert parse_repetition(8, 0.01, max_time="30m") == Repetition(8, 0.01, max_time_s=1800)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"repeats": 0}, "--repeats 0 is not allowed; give 1 to 1000"),
        ({"repeats": 1001}, "give 1 to 1000"),
        ({"until": "0%"}, "--until '0%' is not a share"),
        ({"until": "200%"}, "--until '200%' is not a share"),
        ({"until": "2"}, "write it like 2% or 0.02"),
        ({"repeats": 2, "until": "2%"}, "--repeats 2 gives none; give --repeats 3 or more"),
        ({"repeats": 5, "max_time": "30"}, "--max-time: '30' has no unit"),
        ({"repeats": 5, "max_time": "0s"}, "--max-time: 0 leaves no time"),
        ({"max_time": "30m"}, "add --repeats or --until"),
    ],
)
def test_what_cannot_work_is_refused_with_the_fix(given: dict[str, object], hint: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_repetition(**given)  # type: ignore[arg-type]
    assert hint in str(refusal.value)
    assert "\n" not in str(refusal.value)
