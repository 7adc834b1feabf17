"""Lists of cores, and the setting --cpus."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubench.errors import InputError
from gpubench.spec.cpus import cpus_text, missing_cores, parse_cpus
from gpubench.spec.spec import Spec


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("0-1", (0, 1)),
        ("0,2", (0, 2)),
        ("0+2", (0, 2)),
        (" 3 , 0-1 ", (0, 1, 3)),
        ("7-7", (7,)),
        (5, (5,)),
    ],
)
def test_a_list_names_cores_and_ranges(text: str | int, cores: tuple[int, ...]) -> None:
    assert parse_cpus(text) == cores


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is not a list of cores; write it like 0-1 or 0,2"),
        ("0,,1", "is not a list of cores"),
        ("0-", "is not a list of cores"),
        ("-1", "is not a list of cores"),
        ("0x1", "is not a list of cores"),
        ("²", "is not a list of cores"),
        (True, "is not a list of cores"),
        ("3-1", "'3-1' runs backwards; write it like 1-3"),
        ("0-2,1", "it names core 1 twice; name each core once"),
        ("0-99999", "core 99999 is more than a machine has"),
    ],
)
def test_other_texts_are_refused_and_the_line_names_the_fix(text: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("'", ".")):
        parse_cpus(text)
    with pytest.raises(InputError, match="--cpus: "):
        Spec(model="synthetic", cpus=text)


@given(st.sets(st.integers(0, 300), min_size=1))
def test_the_text_of_a_set_of_cores_names_just_these(cores: set[int]) -> None:
    assert set(parse_cpus(cpus_text(cores))) == cores


def test_the_text_is_the_shortest() -> None:
    assert cpus_text({8, 0, 1, 2, 3, 10}) == "0-3,8,10"


def test_one_set_of_cores_has_one_key_and_no_cores_have_that_of_older_cells() -> None:
    key = Spec(model="resnet50").key("here")
    keys = {Spec(model="resnet50", cpus=text).key("here") for text in ("0,1", "0-1", "1+0")}
    assert len(keys) == 1
    assert key not in keys
    assert Spec(model="resnet50", cpus=None).key("here") == key


def test_the_missing_cores_are_named() -> None:
    assert missing_cores((0, 1, 4), {0, 2}) == "1,4"
    assert missing_cores((0,), {0, 2}) is None
