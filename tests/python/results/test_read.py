"""Tests of reading one document as if it were a run directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import cold_result, failed, quick_start, result, samples
from planning_results import search

import gpubench
from gpubench.cli import program as cli
from gpubench.errors import InputError
from gpubench.results.cold_result import ColdResult
from gpubench.results.read import open_results, read_contents
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run
from gpubench.results.search_result import SearchResult


@pytest.mark.parametrize("name", ["result.json", "search-x.json", "cold-x.JSON"])
def test_every_kind_of_document_is_found_by_what_is_in_it(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    for document, kind in ((result(), "cells"), (search(9.0), "searches"), (cold_result(), "cold")):
        file.write_text(document.to_json())
        contents = open_results(file).read_all(searches=True, cold=True)
        found = {each: len(getattr(contents, each)) for each in ("cells", "searches", "cold")}
        assert found == {"cells": 0, "searches": 0, "cold": 0} | {kind: 1}
        assert contents.problems == []


def test_a_file_of_a_run_directory_brings_its_samples(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.write("0" * 16, result(), samples(10))
    run.write("1" * 16, result(batch=2), samples(20))
    one = open_results(tmp_path / f"{'1' * 16}.json")
    ((key, found),) = one.read_all().cells
    assert found.spec.batch == 2
    read = one.read_samples(key)
    assert read is not None
    assert len(read) == 20


@pytest.mark.parametrize("kind", ["search", "cold", "cell", "failed"])
def test_reports_of_one_document(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    documents: dict[str, Result | SearchResult | ColdResult] = {
        "search": search(9.0),
        "cold": cold_result(),
        "cell": quick_start()[0],
        "failed": failed(),
    }
    file = tmp_path / "result.json"
    file.write_text(documents[kind].to_json())
    for form in ("terminal", "html", "markdown"):
        assert cli.main(["report", str(file), "--format", form]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        assert "model" in captured.out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "this is not JSON"),
        ("[1", "this is not JSON"),
        ("[]", "is an empty list"),
        ("7", "is not a gpubench result"),
        ('{"schema": 7}', "schema 7, and this gpubench reads 1"),
        ('{"schema": 1}', "spec: Field required"),
        ('{"schema": 1, "probes": {}}', "is not the result of a search"),
        ('{"schema": 1, "kind": "cold"}', "is not a gpubench result"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(
    tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    file.write_text(text)
    for command in (["report"], ["plan", "--objective", "p95:1s"], ["compare", str(file)]):
        assert cli.main([*command, str(file)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert expected in captured.err
        assert str(file) in captured.err


def test_the_json_of_a_report_has_everything_and_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = tmp_path / "run", tmp_path / "all.json"
    run.mkdir()
    (run / "search-0123456789abcdef.json").write_text(search(9.0).to_json())
    (run / "0123456789abcdef.json").write_text(failed().to_json())
    assert cli.main(["report", str(run), "--output", str(file)]) == 0
    assert capsys.readouterr().err == ""
    contents = read_contents(file)
    assert [len(contents.cells), len(contents.searches)] == [1, 1]
    gpubench.report(gpubench.load(run), tmp_path / "same.json")
    assert (tmp_path / "same.json").read_text() == file.read_text()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        open_results(tmp_path / "none.json")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"this is not JSON.*; give a run directory or a"):
        open_results(tmp_path / "notes.txt")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not JSON"):
        open_results(tmp_path / "bytes.json")


def test_compare_says_that_a_search_is_none_of_its_sides(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    file.write_text(search(9.0).to_json())
    with pytest.raises(InputError, match="is the result of a search; give results of gpubench run"):
        open_results(file).read_all()
