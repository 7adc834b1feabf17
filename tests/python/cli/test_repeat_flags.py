"""The commands with --repeats, --output and --require."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import factories
import pytest

from gpubench.cli import program as cli
from gpubench.cli.cell_progress import CellProgress
from gpubench.cli.require import status
from gpubench.spec.repetition import Repetition

GPUBENCH = Path(sysconfig.get_path("scripts")) / "gpubench"
FAST = ["--model", "synthetic", "--service-time", "10us", "--warmup", "0", "--requests", "30"]


def gpubench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(GPUBENCH), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


def test_run_shows_all_repeats_as_one_result() -> None:
    done = gpubench("run", *FAST, "--repeats", "3", "--json", "-")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["repeats"]["count"] == 3
    assert result["repeats"]["throughput_per_second"]["interval"] is not None
    assert result["requests"]["completed"] >= 90
    assert "1 cell x 3 repeats: how long that takes is known after the first one" in done.stderr
    assert "[3/3, about" in done.stderr


def test_run_keeps_its_result_in_a_directory_and_measures_it_once(tmp_path: Path) -> None:
    arguments = ["run", *FAST, "--output", str(tmp_path / "run"), "--quiet"]
    first = gpubench(*arguments)
    assert (first.returncode, first.stderr) == (0, "")
    again = gpubench(*arguments)
    assert again.stdout == first.stdout
    assert "nothing was measured" in again.stderr
    more = gpubench(*arguments, "--repeats", "2", "--require", "valid")
    assert more.returncode == 3  # 30 requests are too few
    assert len(list((tmp_path / "run").glob("*.json"))) == 2
    assert more.stderr.startswith("gpubench: --require valid: synthetic")
    assert "is suspect: too-few-samples" in more.stderr
    assert "synthetic" in more.stdout


def test_sweep_shows_a_row_a_cell(tmp_path: Path) -> None:
    done = gpubench(
        "sweep", *FAST, "--workers", "1,2", "--repeats", "2", "--output", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("synthetic") == 2
    assert "4 repeats to measure" in done.stderr
    assert "4 repeats in" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--repeats", "0"], "--repeats 0 is not allowed"),
        (["--repeats", "2", "--until", "2%"], "give --repeats 3 or more"),
        (["--until", "200%"], "--until '200%'"),
        (["--repeats", "2", "--samples", "x.parquet"], "remove --samples"),
        (["--fresh", "--samples", "x.parquet"], "remove --samples"),
        (["--output", "run", "--samples", "x.parquet"], "remove --samples"),
        (["--output", ""], "--output: it is empty"),
        (["--max-time", "1m"], "add --repeats or --until"),
        (["--require", "fast"], "--require"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", *FAST, *arguments]) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1


def test_require_names_what_is_not_valid(capsys: pytest.CaptureFixture[str]) -> None:
    good = factories.result(workers=1)
    suspect = factories.result(workers=2, reasons=(factories.DRIFT, factories.TOO_FEW))
    assert status([good, suspect], None) == 0
    assert status([good], "valid") == 0
    assert capsys.readouterr().err == ""
    assert status([good, suspect], "valid") == 3
    assert "workers 2 is suspect: drift, too-few-samples" in capsys.readouterr().err
    assert status([good, suspect, factories.failed()], "valid") == 1


def test_progress_says_how_long_and_what_was_not_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = factories.result().spec
    progress = CellProgress(quiet=False, repetition=Repetition(20, until=0.02))
    progress.planned(80, 0, {})
    progress.rounds_planned(4, 20, 960.0)
    progress.cell_begins(2, spec, 900.0)
    progress.rounds_ended(7, 20, [])
    progress.rounds_ended(20, 20, [(spec, 0.0314), (spec, None)])
    assert capsys.readouterr().err.splitlines() == [
        "at most 80 repeats to measure",
        "4 cells x at most 20 repeats: at most 16 min 0 s of warm-up and measured runs, and "
        "loading and building",
        f"[2 of at most 80, at most 15 min 0 s left] {spec.describe()}",
        "every throughput is known within 2%, after 7 rounds",
        f"--until 2%: after 20 rounds the throughput is known within 3.1%: {spec.describe()}",
        f"--until 2%: after 20 rounds the throughput is not known: {spec.describe()}",
    ]
    progress = CellProgress(quiet=False, repetition=Repetition(5, max_time_s=60.0))
    progress.rounds_planned(4, 5, 240.0)
    progress.rounds_ended(3, 5, [])
    assert capsys.readouterr().err.splitlines() == [
        "4 cells x 5 repeats: about 4 min 0 s of warm-up and measured runs, and loading and "
        "building",
        "--max-time: ended after 3 of 5 rounds",
    ]
