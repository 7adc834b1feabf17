"""Shares as people write them."""

from __future__ import annotations

import pytest

from gpubench.errors import InputError
from gpubench.spec.share import parse_share


@pytest.mark.parametrize("text", ["2%", "2 %", " 2.0% ", "0.02", ".02", 0.02])
def test_two_percent(text: str | float) -> None:
    assert parse_share(text, "--within") == pytest.approx(0.02)


@pytest.mark.parametrize("text", ["2", "0", "0%", "100%", "-2%", "", "%", "two", "nan", "1e-2%"])
def test_what_is_no_share_names_the_flag_and_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"--within .* write it like 2% or 0\.02"):
        parse_share(text, "--within")
