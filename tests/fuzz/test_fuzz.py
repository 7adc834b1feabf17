"""A minute of what `run.py` does for an hour, the same cases each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cases
import fuzz
import pytest
from hypothesis import HealthCheck, Phase, given, settings

# About ten seconds each on one core.
EXAMPLES = {
    "command lines": 700,
    "sweep files": 900,
    "documents": 250,
    "sample files": 1500,
    "traces": 2000,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fuzz.Place]:
    with pytest.MonkeyPatch.context() as patch:
        made = fuzz.Place(tmp_path_factory.mktemp("fuzz"), patch)
        yield made
        for (kind, status), number in sorted(made.counts.items()):
            print(f"{kind}: status {status}: {number}")


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_what_once_got_through(place: fuzz.Place, kind: str) -> None:
    for case in cases.CORPUS[kind]:
        fuzz.try_case(place, kind, case)


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_no_input_ends_in_a_traceback_or_a_hang(place: fuzz.Place, kind: str) -> None:
    @settings(
        max_examples=EXAMPLES[kind],
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(fuzz.KINDS[kind][0])
    def tried(case: Any) -> None:
        fuzz.try_case(place, kind, case)

    tried()
