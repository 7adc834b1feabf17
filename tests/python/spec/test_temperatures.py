"""Temperatures as people write them, and the setting --cool-to."""

from __future__ import annotations

from typing import Any

import pytest

from gpubench.errors import InputError
from gpubench.spec.spec import Spec
from gpubench.spec.temperatures import parse_celsius


@pytest.mark.parametrize("text", ["60C", "60 c", "60 °C", "60", 60, "60.0C"])
def test_degrees_celsius_need_no_unit(text: str | int) -> None:
    assert parse_celsius(text) == 60.0
    assert Spec(model="synthetic", cool_to=text).cool_to == 60.0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("140F", "'140F' is not a temperature; write it like 60C"),
        ("warm", "is not a temperature"),
        (True, "is not a temperature"),
        ("0C", "0C is not allowed; give 10C to 110C"),
        ("273", "give 10C to 110C"),
        (float("nan"), "give 10C to 110C"),
        (10**400, "give 10C to 110C"),
    ],
)
def test_other_values_are_refused_and_the_line_names_the_fix(text: Any, problem: str) -> None:
    with pytest.raises(InputError, match=f"--cool-to: .*{problem}|--cool-to: {problem}"):
        Spec(model="synthetic", cool_to=text)
