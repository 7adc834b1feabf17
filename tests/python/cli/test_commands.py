"""Measuring through the installed program, as a user does it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from gpubench.cli import program as cli
from gpubench.system.machine import this_machine

GPUBENCH = Path(sysconfig.get_path("scripts")) / "gpubench"
FAST = ["--model", "synthetic", "--service-time", "20us", "--warmup", "0", "--requests", "200"]


def gpubench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(GPUBENCH), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=1200, stdin=subprocess.DEVNULL
    )


def test_run_shows_a_table() -> None:
    done = gpubench("run", *FAST, "--usd-per-hour", "1")
    assert done.returncode == 0, done.stderr
    assert "synthetic" in done.stdout
    assert "P95" in done.stdout
    assert "$/million" in done.stdout
    assert "measure" in done.stderr


def test_json_alone_is_on_stdout() -> None:
    done = gpubench("run", *FAST, "--json", "-", "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["schema"] == 1
    assert result["requests"]["completed"] >= 200
    assert result["harness"]["executor"] == "delay"


def test_result_and_samples_go_to_files(tmp_path: Path) -> None:
    result, samples = tmp_path / "result.json", tmp_path / "samples.parquet"
    done = gpubench("run", *FAST, "--json", result, "--samples", samples)
    assert done.returncode == 0, done.stderr
    assert json.loads(result.read_text())["error"] is None

    import pyarrow.parquet

    assert pyarrow.parquet.read_metadata(samples).num_rows >= 200


@pytest.mark.parametrize("model", ["resnet50", "distilbert"])
def test_run_measures_real_models(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    seq_len = ["--seq-len", "8"] if model == "distilbert" else []
    done = gpubench(
        "run", "--model", model, *seq_len, "--requests", "5", "--warmup", "0", "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["requests"]["completed"] == 5
    assert result["latency_ms"]["p95"] is None  # from 20 requests on
    assert result["engine"]["weights"] == "random (seed 0)"
    assert result["costs"] == [] or this_machine().instance


def test_sweep_report_and_resume(tmp_path: Path) -> None:
    arguments = ["sweep", *FAST, "--workers", "1,2", "--output", str(tmp_path / "run")]
    done = gpubench(*arguments)
    assert done.returncode == 0, done.stderr
    assert "2 cells to measure" in done.stderr
    assert re.search(
        r"\n2 cells in \d+ s, \d+ s of it warm-up and measured runs; most of the rest: .+, \d+ s\n",
        done.stderr,
    )
    assert done.stderr.splitlines()[-1].startswith("a page of all: gpubench report ")
    assert done.stdout.count("synthetic") == 2
    again = gpubench(*arguments)
    assert "0 cells to measure, 2 measured before" in again.stderr
    assert "measured runs" not in again.stderr
    assert again.stdout == done.stdout
    report = gpubench("report", tmp_path / "run", "--format", "csv")
    assert len(report.stdout.splitlines()) == 3
    compared = gpubench("compare", tmp_path / "run", tmp_path / "run")
    assert compared.returncode == 0, compared.stderr


def test_sweep_takes_a_file_and_flags(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "model: synthetic\nservice_time: 20us\nwarmup: 0\nrequests: 150\nworkers: [1, 2]\n"
    )
    done = gpubench(
        "sweep", tmp_path / "sweep.yaml", "--workers", "1", "--output", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    assert "1 cell to measure" in done.stderr


def test_a_sweep_with_a_failing_cell_ends_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    failing = ["--model", "resnet50", "--weights", str(tmp_path / "empty")]
    done = gpubench("sweep", *failing, "--requests", "2", "--output", tmp_path / "run")
    assert done.returncode == 1
    assert "could not be loaded" in done.stderr
    assert "Traceback" not in done.stderr


def test_prices_are_listed_and_shown() -> None:
    listed = gpubench("prices", "list", "--accelerator", "T4")
    assert listed.returncode == 0, listed.stderr
    assert "g4dn.xlarge" in listed.stdout
    assert "g5.xlarge" not in listed.stdout
    both = gpubench("prices", "list", "--provider", "aws,gcp", "--accelerator", "T4,A10G")
    assert "g4dn.xlarge" in both.stdout
    assert "g5.xlarge" in both.stdout
    shown = gpubench("prices", "show", "g5.4xlarge")
    assert "1.624" in shown.stdout
    assert "2026-07-20" in shown.stdout


def test_paths_lead_to_the_headers_and_the_cmake_package() -> None:
    include = Path(gpubench("paths", "--include").stdout.strip())
    assert (include / "gpubench" / "gpubench.hpp").is_file()
    cmake = Path(gpubench("paths", "--cmake").stdout.strip())
    assert (cmake / "gpubench-config.cmake").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], "--model: is missing"),
        (["run", "--model", "resnet5"], "did you mean resnet50"),
        (["run", "--modle", "resnet50"], "did you mean --model"),
        (["rnu"], "did you mean run"),
        (["run", "--model", "resnet50", "--batch", "0"], "--batch"),
        (["run", "--model", "resnet50", "--batch", "-1"], "--batch"),
        (["run", "--model", "resnet50", "--precision", "tf32", "--device", "cpu"], "tf32"),
        (["run", "--model", "resnet50", "--instance", "g5.4xlrge"], "g5.4xlarge"),
        (["run", *FAST, "--json", "/no/such/folder/result.json"], "--json"),
        (["run", *FAST, "--samples", "/no/such/folder/s.parquet"], "--samples"),
        (["run", "--model", "resnet50", "--weights", "/no/such/file"], "no such file"),
        (["sweep", "/no/such/file.yaml", "--output", "out"], "/no/such/file.yaml"),
        (["sweep", *FAST], "--output"),
        (["sweep", *FAST, "--batch", "1,two", "--output", "out"], "two"),
        (["sweep", *FAST, "--output", "/proc/run"], "/proc/run"),
        (["report", "/no/such/run"], "/no/such/run"),
        (["sweep", *FAST, "--output", ""], "--output: it is empty"),
        (["run", *FAST, "--json", "x.csv"], "--json x.csv: the file will be JSON"),
        (["run", *FAST, "--samples", "x.json"], "--samples x.json: the file will be Parquet"),
        (["search", *FAST[:4], "--objective", "p99:1s", "--json", "x.parquet"], "will be JSON"),
        (["doctor", "--json", "x.pdf"], "--json x.pdf: the file will be JSON"),
        (["doctor", "--json", "x.pdf2"], "give it a name that ends in .json"),
        (["report", "out", "--output", "x.jsn"], "does not write .jsn; it writes .md, .html,"),
        (["prices", "list", "--output", "x.png"], "this command does not write .png"),
        (["run", *FAST, "--samples", "-"], "--samples -: a Parquet file is not for reading"),
        (["run", "--model", "resnet50", "--precision", "FP32"], "did you mean fp32"),
        (["run", "--model", "ResNet50"], "did you mean resnet50"),
        (["prices", "show", "G5.4XLARGE"], "did you mean g5.4xlarge"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = gpubench(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


# The installed command, but for an executor that presses Ctrl-C in its 100th batch, and then goes
# on or hangs.
INTERRUPTED = """
import signal
import sys
import threading
from gpubench import core
from gpubench.measure import cell
from gpubench.cli.entry import console

hangs = sys.argv.pop(1) == "hangs"
calls = []

def run(ids):
    calls.append(ids)
    if len(calls) == 100:
        signal.raise_signal(signal.SIGINT)
        if hangs:
            threading.Event().wait()

cell.synthetic_executors = lambda spec: [core.PythonExecutor(run)]
console()
"""


@pytest.mark.parametrize("then", ["goes on", "hangs"])
def test_ctrl_c_keeps_what_was_measured(then: str, tmp_path: Path) -> None:
    arguments = ["sweep", *FAST[:-2], "--duration", "1h", "--output", tmp_path / "run"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, then, *map(str, arguments)],
        cwd=tmp_path,  # from the source tree Python would import the package without its core
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 130, done.stderr
    assert "The same command goes on from there" in done.stderr
    assert "Traceback" not in done.stderr
    (path,) = (tmp_path / "run").glob("*.json")
    result = json.loads(path.read_text())
    assert result["error"] is not None
    assert result["throughput_per_second"] is not None
    assert path.with_suffix(".parquet").exists()


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $GPUBENCH is the installed command."""
    return subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "GPUBENCH": str(GPUBENCH), "FAST": " ".join(FAST), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("command", ["--version", "prices list", "run $FAST --quiet --json -"])
def test_a_full_disk_under_standard_output_is_one_line(command: str) -> None:
    done = shell(f"$GPUBENCH {command} >/dev/full")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "No space left on device; make room" in line


@pytest.mark.parametrize("file", ["--samples", "--json"])
def test_a_full_disk_under_a_file_does_not_take_the_result_along(file: str) -> None:
    done = gpubench("run", *FAST, "--quiet", file, "/dev/full")
    assert done.returncode == 1
    assert "suspect" in done.stdout or "valid" in done.stdout
    (line,) = done.stderr.splitlines()
    assert "/dev/full cannot be written: No space left on device" in line


def test_a_reader_that_has_enough_ends_a_command_in_silence() -> None:
    done = shell("$GPUBENCH prices show g5.xlarge | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", ["run $FAST --json -", "run $FAST 2>&1", "doctor 2>&1"])
def test_a_pipe_that_ends_early_is_no_traceback(command: str) -> None:
    done = shell(f"$GPUBENCH {command} | head -c 1; exit ${{PIPESTATUS[0]}}")
    assert done.returncode in {0, 1}  # 0 where all fitted into the pipe
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_closed_streams_take_nothing_and_disturb_nothing() -> None:
    done = shell("$GPUBENCH run $FAST --json - 2>&-")
    assert json.loads(done.stdout)["requests"]["completed"] >= 200
    done = shell("$GPUBENCH run $FAST --quiet >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_utf_8_shows_what_it_can() -> None:
    done = shell("$GPUBENCH prices list", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "g5.xlarge" in done.stdout


def test_an_error_is_broken_between_words_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["run", "--model", "resnet51"]
    assert cli.main(argv) == cli.BAD_INPUT
    plain = capsys.readouterr().err
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(argv) == cli.BAD_INPUT
    narrow = capsys.readouterr().err
    assert plain.count("\n") == 1
    assert max(map(len, narrow.splitlines())) <= 30
    assert narrow.split() == plain.split()
