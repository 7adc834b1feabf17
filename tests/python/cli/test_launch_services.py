"""`gpubench launch kubernetes`, `slurm` and `skypilot` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from launches import fake_program

from gpubench.cli import program as cli
from gpubench.launch.files import LaunchFiles

SWEEP = ["--model", "synthetic", "--service-time", "1ms", "--requests", "20", "--batch", "1,2"]
KUBERNETES = ["launch", "kubernetes", *SWEEP, "--instance", "c7i.2xlarge", "--image", "a/b:1"]
SLURM = ["launch", "slurm", *SWEEP, "--instance", "c7i.2xlarge,c8i.4xlarge"]
SKYPILOT = ["launch", "skypilot", *SWEEP, "--instance", "c7i.2xlarge", "--image", "a/b:1"]


def test_only_what_the_service_needs_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (KUBERNETES, SKYPILOT):
        assert cli.main([*command, "--output", "memory://printed", "--machines", "2"]) == 0
        captured = capsys.readouterr()
        (document,) = yaml.safe_load_all(captured.out)
        assert "c7i-2xlarge" in str(document)
        assert "nothing was started" in captured.err
    assert LaunchFiles("memory://printed").launches() == []


def test_types_of_instance_get_partitions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    places = ["--partition", "c7i.2xlarge=new", "--partition", "old"]
    assert cli.main([*SLURM, "--output", str(tmp_path), *places]) == 0
    printed = capsys.readouterr().out
    assert printed.count("#SBATCH --partition=new\n") == 1
    assert printed.count("#SBATCH --partition=old\n") == 1


def test_a_launch_is_submitted_once_and_cancelled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = "memory://submitted"
    kubectl = fake_program(monkeypatch, tmp_path, "kubectl", stdout="bench/the-job")
    command = [*KUBERNETES, "--output", output, "--name", "study", "--context", "east", "--submit"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == "kubernetes east/bench/the-job\n"
    (submission,) = LaunchFiles(output).manifest("study").submissions
    assert submission.id == "east/bench/the-job"

    assert cli.main(command) == 2
    assert "choose another --name" in capsys.readouterr().err
    assert len(kubectl.calls()) == 1

    assert cli.main(["launch", "cancel", output]) == 0
    assert kubectl.calls()[1]["arguments"][:3] == ["--context=east", "delete", "job/the-job"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*SLURM, "--output", "run"], "Slurm cannot tell c7i.2xlarge and c8i.4xlarge apart"),
        ([*SLURM, "--output", "run", "--partition", "c7i.2xlarge="], "write a name, or TYPE=NAME"),
        ([*KUBERNETES, "--output", "run"], "the pods cannot reach this directory"),
        ([*KUBERNETES, "--output", "memory://x", "--secret", "A B"], "--secret 'A B'"),
        ([*SKYPILOT, "--output", "memory://x", "--secret", "A=B"], "--secret 'A=B'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    command: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "--submit"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []
