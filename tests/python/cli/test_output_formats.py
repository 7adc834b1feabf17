"""Tests of the format of a file that a command writes: by --format, or by the name of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpubench.cli.options import FORMATS, check_suffix, chosen_format
from gpubench.errors import InputError
from gpubench.report.formats import FORMAT_OF_SUFFIX


@pytest.mark.parametrize("suffix", FORMAT_OF_SUFFIX)
def test_the_suffix_of_the_name_says_which_format(suffix: str) -> None:
    every = tuple(FORMAT_OF_SUFFIX.values())
    assert chosen_format(None, Path(f"x{suffix.upper()}"), every) == FORMAT_OF_SUFFIX[suffix]


@pytest.mark.parametrize("name", ["x.parquet", "x.png", "x.jsn", "x.2", "x.tar.gz"])
def test_a_suffix_of_no_format_of_the_command_is_refused_with_those_that_it_has(name: str) -> None:
    with pytest.raises(InputError, match=r"it writes \.md, \.html, \.csv, \.json and \.txt"):
        chosen_format(None, Path(name))


def test_a_command_may_write_more_formats() -> None:
    formats = (*FORMATS, "parquet")
    assert chosen_format(None, Path("x.parquet"), formats) == "parquet"
    with pytest.raises(InputError, match=r"\.json, \.parquet and \.txt"):
        chosen_format(None, Path("x.png"), formats)


def test_a_format_that_is_named_may_have_any_file_name() -> None:
    assert chosen_format("csv", Path("x.data")) == "csv"
    assert chosen_format(None, None) == "terminal"


def test_a_file_of_one_format_has_its_suffix_or_none() -> None:
    check_suffix(Path("x.JSON"), "--json", ".json", "JSON")
    check_suffix(Path("/dev/stderr"), "--json", ".json", "JSON")
    with pytest.raises(InputError, match=r"give it a name that ends in \.json"):
        check_suffix(Path("x.data"), "--json", ".json", "JSON")
