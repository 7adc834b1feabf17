"""Texts of a result document are shown only as text, in every output."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from factories import G5, failed, result
from hypothesis import given, settings
from hypothesis import strategies as st
from page_tree import page_tree

from gpubench.cli.program import main
from gpubench.report import escape
from gpubench.results.result import Cost, Reason, Result
from gpubench.results.run_directory import open_run

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x9b31m",
    "a\u202edrowssap\u2066b\u2069",
    "zero\u200bwidth\ufeff",
    "![x](http://evil.example/p.png)",
    "[text](javascript:alert)",
    "<img src=x onerror=alert(1)>",
    "http://evil.example www.evil.example",
    "a|b\n| --- |",
    "`code` **bold** ~~gone~~ &#x202e;",
    '=HYPERLINK("http://evil.example")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r\n=1+1",
    "null \x00 byte \x0b \x1f \ufffe",
    "line\u2028end\u2029",
    "tag \U000e0041\U000e0042",
    "x" * 100_000,
)


def hostile_result(text: str, number: int = 1) -> Result:
    """A document with this text in every field for text."""
    made = result(machine=G5, reasons=(Reason(code=text, figure=text, limit=text, remedy=text),))
    cost = Cost(
        instance=text,
        measured_here=False,
        usd_per_hour=1.0,
        usd_per_million=float(number),
        price_as_of=text,
        price_source=text,
        hardware_note=text,
    )
    environment = made.environment.model_copy(
        update={"cpu": text, "gpus": [text], "instance": text, "torch": text, "driver": text}
    )
    spec = made.spec.model_copy(update={"weights": text, "workers": number, "batch": number})
    return made.model_copy(update={"spec": spec, "environment": environment, "costs": [cost]})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    run = open_run(place)
    for number, text in enumerate(HOSTILE, 1):
        run.write(f"{number:016x}", hostile_result(text, number))
        run.write(f"{number + 100:016x}", hostile_result(text, number + 100))
        run.write(f"{number + 200:016x}", failed(text, stage=text, workers=number))
    (place / "=1+1\x1b[31m.json").write_text("{")
    return place


def unseen(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {"\n"}


@pytest.mark.parametrize("form", ["terminal", "markdown", "csv", "json"])
def test_no_report_contains_an_invisible_character(
    directory: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(directory), "--format", form]) == 0
    shown = capsys.readouterr()
    assert unseen(shown.out) == set()
    assert unseen(shown.err) == set()
    assert "x" * 2001 not in shown.out or form == "json"
    match form:
        case "csv":
            for row in csv.reader(StringIO(shown.out)):
                for field in row:
                    assert field[:1] not in "=+@\t\r" or not field
                    assert not field.startswith("-") or float(field) < 0
        case "json":
            texts = {each["spec"]["weights"] for each in json.loads(shown.out)}
            assert set(HOSTILE) <= texts  # the same content
        case "markdown":
            for line in shown.out.splitlines():
                bare = re.sub(r"\\[\\`*_|<>\[\]!&~/.]", "", line)
                assert not re.search(r"[\[\]<>`!&~]|://|www\.", bare), line
                assert bare.count("|") in {0, line.count(" | ") + 2}


@pytest.mark.parametrize("form", ["terminal", "markdown", "html", "csv", "json"])
def test_nor_does_a_comparison(
    directory: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(directory), str(directory), "--format", form]) in {0, 2}
    shown = capsys.readouterr()
    assert unseen(without_script(shown.out) + shown.err) == set()


def without_script(page: str) -> str:
    """A page without its programs, which contain no text from results."""
    start = page.find("<script>")
    return page if start < 0 else page[:start] + page[page.rindex("</script>") :]


def test_a_page_and_its_plots_are_well_formed(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(directory), "--format", "html", "--plots", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    page_tree(page)
    shown = without_script(page)
    assert unseen(shown) == set()
    assert not re.search(r"<(img|a href=\"(?!#))", shown)
    plots = [plot.read_text() for plot in tmp_path.glob("*.svg")]
    assert plots
    for document in plots:
        ElementTree.fromstring(document)
        assert unseen(document) == set()


@settings(deadline=None)
@given(st.text())
def test_any_text_becomes_visible_text(text: str) -> None:
    shown = escape.terminal(text)
    assert unseen(shown) == set()
    assert "\n" not in shown
    for character in text:
        if character.isalnum() and unicodedata.category(character) != "Cn":
            assert character in shown
    if text.isascii() and text.isprintable():
        assert shown == text
    field = escape.csv_field(text)
    assert isinstance(field, str)
    assert field in {shown, f"'{shown}"}
    assert field[:1] not in set("=+-@")
    ElementTree.fromstring(f"<p title='{escape.html(text)}'>{escape.html(text)}</p>")
    assert json.loads(escape.json_text(json.dumps([text], ensure_ascii=False))) == [text]


def test_numbers_stay_numbers_in_a_spreadsheet() -> None:
    for value in (-1.5, 3, None, 0.0, -7):
        assert escape.csv_field(value) == value
    assert escape.csv_field(True) == "true"
    assert escape.csv_field("-1.5") == "'-1.5"


def test_of_a_long_text_both_ends_are_shown() -> None:
    shown = escape.terminal("begin" + "x" * 90_000 + "end")
    assert shown.startswith("begin")
    assert shown.endswith("end")
    assert "characters left out" in shown
    assert len(shown) <= escape.LONGEST
