"""The tables of cold starts, and run directories that hold them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from factories import cold_result, cold_start, result
from golden import assert_golden

from gpubench.cli import program as cli
from gpubench.errors import InputError
from gpubench.report import markdown, terminal
from gpubench.report.cold import cold_tables
from gpubench.report.page.page import page
from gpubench.results.cold_result import ColdResult, ContainerImage
from gpubench.results.result import Failure
from gpubench.results.run_directory import open_run

IMAGE = ContainerImage(bytes=8e9, bytes_per_second=2e8, seconds=40.0)


def results() -> list[ColdResult]:
    broken = cold_start(3, error=Failure(stage="build", message="no compiler"))
    undropped = cold_start(4, "not dropped: 46% of the files stayed in it")
    return [
        cold_result(instance="c7i.xlarge", image=IMAGE),
        cold_result(
            [cold_start(1), cold_start(2, "cold", slower_s=2.0), broken, undropped],
            runtime="compile",
            instance="c7i.xlarge",
        ),
    ]


def test_tables() -> None:
    assert_golden("cold.txt", terminal.text(cold_tables(results())))
    assert_golden("cold.md", markdown.text(cold_tables(results())))


def test_a_result_whose_first_start_failed_has_a_row() -> None:
    failed = cold_result([])
    failed.error = Failure(stage="weights", message="no such\nfile")
    text = terminal.text(cold_tables([failed]))
    assert "failed in weights: no such file" in text


def test_machines_have_tables_of_their_own() -> None:
    other = cold_result(machine={"cpu": "another", "cores": 4})
    assert len(cold_tables([cold_result(), other])) == 2


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = open_run(tmp_path / "run")
    directory.check_writable()
    directory.write("0123456789abcdef", result())
    directory.write_cold("cold-0123456789abcdef", cold_result())
    return tmp_path / "run"


def test_a_report_shows_cold_starts_after_the_cells(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(run), "--instance", "c7i.xlarge"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("inferences /s") < shown.index("$/start")
    assert cli.main(["report", str(run), "--format", "markdown"]) == 0
    assert "ready P95 s" in capsys.readouterr().out


def test_a_page_has_them_too() -> None:
    assert "ready P95 s" in page("run", cold_tables(results()))


def test_json_has_them_by_kind_and_csv_says_that_it_leaves_them_out(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(run), "--format", "json"]) == 0
    cell, cold = json.loads(capsys.readouterr().out)
    assert "kind" not in cell
    assert ColdResult.model_validate(cold) == cold_result()
    assert cli.main(["report", str(run), "--format", "csv"]) == 0
    captured = capsys.readouterr()
    assert "CSV leaves out 1 document of cold starts; JSON has them" in captured.err
    assert len(captured.out.splitlines()) == 2


def test_a_directory_with_cold_starts_alone_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = open_run(tmp_path)
    directory.write_cold("cold-0123456789abcdef", cold_result())
    assert directory.read_all(cold=True).cells == []
    with pytest.raises(InputError, match="holds only searches or cold starts"):
        directory.read_all()
    assert cli.main(["report", str(tmp_path), "--format", "markdown"]) == 0
    assert "ready P50 s" in capsys.readouterr().out


def test_a_damaged_document_is_a_problem_and_hides_nothing_else(run: Path) -> None:
    (run / "cold-1111111111111111.json").write_text('{"schema": 1, "kind": "warm"}')
    contents = open_run(run).read_all(cold=True)
    assert len(contents.cold) == 1
    (problem,) = contents.problems
    assert "cold-1111111111111111.json is not a gpubench result: kind" in problem
