"""Scripts for sbatch: as bash and Slurm read them. test_slurm_cluster.py runs them on a cluster."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launches import C7, G5, HOSTILE_URL, fake_program, launch

from gpubench.errors import InputError
from gpubench.launch.manifest import Submission
from gpubench.launch.services.service import Launch, MachineFleet
from gpubench.launch.services.slurm import Slurm

SERVICE = Slurm()


def options(script: str) -> dict[str, str | None]:
    """What sbatch reads: the lines before the first command, split as a shell splits them."""
    found: dict[str, str | None] = {}
    for line in script.splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("#SBATCH "):
            (option,) = shlex.split(line.removeprefix("#SBATCH "))
            name, equals, value = option.removeprefix("--").partition("=")
            assert name not in found
            found[name] = value if equals else None
    return found


def arguments(script: str, folder: Path) -> list[str]:
    """What the worker gets when bash runs the script."""
    show = folder / "show program"
    show.write_text('#!/bin/sh\nfor each; do printf "%s\\0" "$each"; done\n')
    show.chmod(0o755)
    script = script.replace("exec gpubench", f"exec {shlex.quote(str(show))}")
    done = subprocess.run(
        ["bash", "-s"], input=script, capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout.split("\0")[:-1]


def test_an_array_with_a_number_for_each_machine() -> None:
    found = options(SERVICE.script(launch(G5), G5))
    assert found["array"] == "0-2"
    assert found["job-name"] == "gpubench-study-g5.xlarge"
    assert found["gres"] == "gpu:1"
    assert {"exclusive", "requeue"} <= found.keys()
    assert found["signal"] == "B:TERM@120"
    assert "time" not in found


def test_the_worker_ends_by_its_own_limit_before_slurm_warns_it() -> None:
    for limit_s in (60, 3600, 3601):
        fleet = replace(G5, time_limit_s=limit_s)
        minutes = options(SERVICE.script(launch(fleet), fleet))["time"]
        # Slurm may send the signal up to a minute earlier than asked.
        assert int(minutes or 0) * 60 - 120 - 60 > limit_s


def test_bash_hands_the_arguments_over_unchanged(tmp_path: Path) -> None:
    sweep = launch(G5, url=HOSTILE_URL)
    SERVICE.check(sweep)
    program, *expected = sweep.worker_arguments(G5)
    assert program == "gpubench"
    assert arguments(SERVICE.script(sweep, G5), tmp_path) == expected
    assert [each.name for each in tmp_path.iterdir()] == ["show program"]


def test_values_may_differ_between_types_of_instance() -> None:
    service = Slurm(
        partitions={None: "general", "g5.xlarge": "gpu"},
        constraints={"g5.xlarge": "a10g&ssd"},
        gres={"c7i.2xlarge": "none:1"},
        account="lab",
        qos="low",
        logs="/shared/logs",
    )
    sweep = launch(G5, C7)
    service.check(sweep)
    first, second = (options(service.script(sweep, fleet)) for fleet in sweep.fleets)
    assert (first["partition"], first["constraint"], first["gres"]) == ("gpu", "a10g&ssd", "gpu:1")
    assert (second["partition"], second["gres"]) == ("general", "none:1")
    assert "constraint" not in second
    assert (first["account"], first["qos"]) == ("lab", "low")
    assert first["output"] == "/shared/logs/gpubench-study-g5.xlarge-%A_%a.log"


def test_what_is_printed_gives_each_script_to_sbatch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = Slurm(partitions={"g5.xlarge": "gpu", "c7i.2xlarge": "cpu"})
    sweep = launch(G5, C7, url=HOSTILE_URL)
    text = service.render(sweep)
    bash = "/bin/bash"
    sbatch = fake_program(monkeypatch, tmp_path, "sbatch")
    subprocess.run([bash], input=text, text=True, check=True, cwd=tmp_path)
    assert [call["stdin"] for call in sbatch.calls()] == [
        service.script(sweep, fleet) for fleet in sweep.fleets
    ]


@pytest.mark.parametrize(
    ("change", "sweep", "message"),
    [
        (
            {"partitions": {None: "a b"}},
            launch(),
            "--partition 'a b' cannot stand in a batch script",
        ),
        ({"partitions": {None: "a\n#SBATCH --uid=0"}}, launch(), "--partition"),
        ({"constraints": {"g5.xlarge": "x'y"}}, launch(), "--constraint"),
        ({"gres": {None: "gpu:1 --wrap=id"}}, launch(), "--gres"),
        ({"account": "a#b"}, launch(), "--account"),
        ({"qos": ""}, launch(), "--qos"),
        ({"logs": "logs"}, launch(), "--logs"),
        ({"program": "-x"}, launch(), "--program"),
        ({}, launch(url="/shared/a\nb"), "control character"),
        (
            {"partitions": {"g6.xlarge": "gpu"}},
            launch(),
            "'g6.xlarge=gpu': this type .* did you mean",
        ),
        ({}, launch(G5, C7), "cannot tell g5.xlarge and c7i.2xlarge apart"),
        ({"partitions": {None: "all"}}, launch(G5, C7), "--partition c7i.2xlarge=NAME"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    change: dict[str, Any], sweep: Launch, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        replace(SERVICE, **change).check(sweep)
    assert "\n" not in str(caught.value)


def test_any_machine_needs_no_options() -> None:
    anywhere = MachineFleet(None, machines=1, jobs=1)
    sweep = launch(anywhere, url="/shared/run")
    SERVICE.check(sweep)
    found = options(SERVICE.script(sweep, anywhere))
    assert not {"partition", "constraint", "gres"} & found.keys()


@pytest.mark.parametrize(("answer", "scancel"), [("17", ["17"]), ("17;a", ["--clusters=a", "17"])])
def test_an_array_is_submitted_and_cancelled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, scancel: list[str]
) -> None:
    sbatch = fake_program(monkeypatch, tmp_path, "sbatch", stdout=f"{answer}\n")
    submitted = SERVICE.submit(launch(), G5)
    assert submitted.id == answer
    (call,) = sbatch.calls()
    assert call["arguments"] == ["--parsable"]
    assert call["stdin"] == SERVICE.script(launch(), G5)
    cancelled = fake_program(monkeypatch, tmp_path, "scancel")
    Slurm.cancel(submitted)
    assert [each["arguments"] for each in cancelled.calls()] == [scancel]


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (
            "sbatch: error: invalid partition specified: x\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
            "sbatch: Batch job .*Invalid partition name specified; `sinfo` lists the partitions",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid feature specification\n",
            "--constraint",
        ),
        ("sbatch: error: Invalid generic resource (gres) specification\n", "--gres"),
        (
            "sbatch: error: Batch job submission failed: Invalid job array specification\n",
            "MaxArraySize; use fewer machines with --machines",
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
            "(connect failure)\n",
            "the controller cannot be reached",
        ),
    ],
)
def test_errors_of_sbatch_name_the_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stderr: str, message: str
) -> None:
    fake_program(monkeypatch, tmp_path, "sbatch", stderr=stderr, status=1)
    with pytest.raises(InputError, match=message) as caught:
        SERVICE.submit(launch(), G5)
    assert "\n" not in str(caught.value)


def test_without_a_number_or_without_sbatch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="the program sbatch is not on this machine; run this"):
        SERVICE.submit(launch(), G5)
    fake_program(monkeypatch, tmp_path, "sbatch", stdout="welcome\n")
    with pytest.raises(InputError, match="did not write the number of a job, but 'welcome'"):
        SERVICE.submit(launch(), G5)


def test_a_job_that_is_gone_is_cancelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    submission = Submission(service="slurm", instance=None, id="99")
    gone = "scancel: error: Kill job error on job id 99: Invalid job id specified\n"
    fake_program(monkeypatch, tmp_path, "scancel", stderr=gone, status=1)
    Slurm.cancel(submission)
    away = "scancel: error: Kill job error on job id 99: Unable to contact slurm controller\n"
    fake_program(monkeypatch, tmp_path, "scancel", stderr=away, status=8)
    with pytest.raises(InputError, match=r"scancel: Kill job error .* cannot be reached"):
        Slurm.cancel(submission)
