"""Tests of gpubench launch and gpubench worker as processes, with a store and AWS Batch of moto."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from batch_infrastructure import infrastructure
from moto_server import MotoServer, aws, bucket, moto_server

from gpubench.cells.grid import read_grids
from gpubench.cli.program import main
from gpubench.files.folder import open_folder
from gpubench.launch.files import LaunchFiles
from gpubench.launch.prepare import LaunchWishes, prepare
from gpubench.launch.services.service import INDEX_VARIABLES

__all__ = ["aws", "bucket", "infrastructure", "moto_server"]

SWEEP = """\
model: synthetic
service_time: 10us
warmup: 0
requests: 20
batch: [1, 2, 3]
instance: [c7i.xlarge, g5.xlarge]
only_on: cpu
"""
FLAGS = ("--queue", "c7i.xlarge=cpus", "--job-definition", "worker", "--name", "study")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return path


def worker(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """`gpubench worker`, as a container of a service runs it."""
    environment = {name: value for name, value in os.environ.items() if name not in INDEX_VARIABLES}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "gpubench", "worker", *arguments],
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_nothing_is_written_or_started_without_a_flag(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "memory://not-written"
    assert main(["launch", "aws-batch", str(file), "--output", url, *FLAGS]) == 0
    captured = capsys.readouterr()
    (request,) = json.loads(captured.out)  # nothing else is on stdout
    assert request["containerOverrides"]["command"][:2] == ["worker", url]
    assert "c7i.xlarge: 3 measurements, 3 engines, 1 machine" in captured.err
    assert "Assumed:" in captured.err
    assert "nothing was started or written; add --submit" in captured.err
    assert not open_folder(url).exists()


def test_an_estimate_above_the_limit_stops_the_launch(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "memory://too-expensive"
    command = ["launch", "aws-batch", str(file), "--output", url, *FLAGS, "--submit"]
    assert main([*command, "--max-usd", "0.001"]) == 2
    assert "this launch costs about $" in (error := capsys.readouterr().err)
    assert "--max-usd is $0.00100" in error
    assert not open_folder(url).exists()


def test_a_launch_is_submitted_measured_by_real_workers_counted_and_collected(
    infrastructure: MotoServer,
    bucket: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"{bucket}/run"
    submit = ["launch", "aws-batch", str(file), "--output", url, *FLAGS, "--machines", "2"]
    assert main([*submit, "--submit"]) == 0
    captured = capsys.readouterr()
    service, job = captured.out.split()
    (described,) = boto3.client("batch").describe_jobs(jobs=[job])["jobs"]
    assert (service, described["jobName"]) == ("aws-batch", "gpubench-study-c7i-xlarge")
    size = described["arrayProperties"]["size"]
    command = described["container"]["command"]

    # Moto says that all jobs have succeeded. The documents say that nothing is measured.
    assert main(["launch", "status", url, "--json", "-"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["complete"], status["instances"][0]["missing"]) == (False, 3)
    assert [each["id"] for each in status["submissions"]] == [job]

    started = [worker(*command[1:], AWS_BATCH_JOB_ARRAY_INDEX=str(index)) for index in range(size)]
    ended = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * size, ended

    assert main(["launch", "status", url, "--json", "-"]) == 0
    status = json.loads(capsys.readouterr().out)
    (c7i,) = status["instances"]
    assert (status["complete"], c7i["measured"], c7i["workers"]) == (True, 3, 2)
    assert sorted(each["measured"] for each in status["workers"]) == [1, 2]
    assert status["usd"] == pytest.approx(c7i["seconds"] / 3600 * 0.1785)
    assert status["usd"] > 0
    assert main(["launch", "status", url]) == 0
    assert "Complete." in capsys.readouterr().out

    target = tmp_path / "collected"
    assert main(["launch", "collect", url, "--output", str(target)]) == 0
    assert "3 documents copied" in capsys.readouterr().err
    assert len(list(target.glob("*.parquet"))) == 3
    assert main(["launch", "collect", url, "--output", str(target)]) == 0
    assert "0 documents copied" in (error := capsys.readouterr().err)
    assert "3 documents were there before" in error
    assert main(["report", str(target), "--format", "csv"]) == 0
    assert capsys.readouterr().out.count("c7i.xlarge") >= 3

    assert main([*submit[:-4], "--submit"]) == 0
    assert "nothing is left to measure" in capsys.readouterr().err
    assert main(["launch", "cancel", url]) == 0
    assert f"aws-batch {job} is asked to end" in capsys.readouterr().err


def test_samples_that_are_not_those_of_a_document_are_not_collected(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "run", tmp_path / "copy"
    flags = ["--model", "synthetic", "--service-time", "10us", "--requests", "20", "--warmup", "0"]
    assert main(["sweep", *flags, "--batch", "1,2", "--output", str(source)]) == 0
    damaged, _ = sorted(source.glob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["launch", "collect", str(source), "--output", str(target)]) == 1
    error = capsys.readouterr().err
    assert f"{damaged.name} is not the file that was written" in error
    assert "1 document copied" in error
    assert not (target / damaged.name).exists()


def test_a_result_that_failed_is_collected_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "run", tmp_path / "copy"
    flags = ["--model", "synthetic", "--service-time", "10us", "--requests", "20", "--warmup", "0"]
    assert main(["sweep", *flags, "--batch", "1,2", "--output", str(source)]) == 0
    collect = ["launch", "collect", str(source), "--output", str(target)]
    assert main(collect) == 0
    first, second = sorted(target.glob("*.json"))
    # The copy was made before the cell was measured again.
    document = json.loads(first.read_text())
    document["error"] = {"stage": "measure", "message": "interrupted after 3 requests"}
    first.write_text(json.dumps(document))
    second.with_suffix(".parquet").write_bytes(b"cut off")
    capsys.readouterr()
    assert main(collect) == 0
    assert "2 documents copied" in capsys.readouterr().err
    for copy in target.glob("[!.]*"):
        assert copy.read_bytes() == (source / copy.name).read_bytes()


def test_sigterm_ends_a_worker_and_its_record_says_so(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(SWEEP.replace("requests: 20", "duration: 100s").replace("[1, 2, 3]", "1"))
    url = str(tmp_path / "run")
    launch = prepare(read_grids(file), url, LaunchWishes(name="study")).launch
    assert launch is not None
    files = LaunchFiles(url)
    files.write_manifest(launch.manifest)
    process = worker(url, "--instance", "c7i.xlarge", "--machines", "1")
    assert process.stderr is not None
    for line in process.stderr:  # until the cell has begun
        if line.startswith("[1/1]"):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    (record,) = files.workers("study").values()
    assert (record.ended, record.index, record.instance) == ("interrupted", 0, "c7i.xlarge")
    assert main(["launch", "status", url, "--json", "-"]) == 0
    status = json.loads(capsys.readouterr().out)
    (c7i,) = status["instances"]
    assert (status["complete"], c7i["failed"], c7i["missing"]) == (False, 0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["worker", "none"], "none has no launch; write one with gpubench launch"),
        (["worker", "none", "--index", "1"], "add --machines N"),
        (["worker", "none", "--machines", "2"], "the number of this machine is not known"),
        (["worker", "none", "--max-time", "0s"], "--max-time 0s leaves no time"),
        (["worker", ""], "empty"),
        (["launch", "status", "none"], "has no launch"),
        (["launch", "cancel", "none"], "has no launch"),
        (["launch", "collect", "none", "--output", "x"], "is not a directory"),
        (["launch", "collect", "zip://x", "--output", "x"], "cannot use zip://"),
        (["launch", "nowhere"], "unknown command 'nowhere'"),
        (["launch", "aws-batch", "none.yaml", "--output", "s3://b/r"], "none.yaml cannot be read"),
        (["launch", "aws-batch", "--output", "s3://b/r", "--max-usd", "-1"], "--max-usd -1"),
        (["launch", "aws-batch", "--output", " "], "--output: it is empty"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in INDEX_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_bad_number_of_a_machine_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "two")
    assert main(["worker", "none", "--machines", "2"]) == 2
    assert "SLURM_ARRAY_TASK_ID is 'two', not a number from 0" in capsys.readouterr().err


def test_a_launch_that_gpubench_did_not_submit_cannot_be_cancelled_by_it(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "memory://by-hand"
    assert main(["launch", "aws-batch", str(file), "--output", url, *FLAGS, "--write"]) == 0
    assert "The manifest of launch study is in" in capsys.readouterr().err
    assert main(["launch", "cancel", url]) == 2
    assert "was not submitted by gpubench" in capsys.readouterr().err
    other = ["launch", "aws-batch", str(file), "--output", url, *FLAGS, "--batch", "8", "--write"]
    assert main(other) == 2
    assert "choose another --name" in capsys.readouterr().err
