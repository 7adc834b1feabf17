"""Tasks of SkyPilot, and what `sky` gets. tests/skypilot/check.py compares them with SkyPilot's own
schema.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from launches import C7, G5, HOSTILE_URL, fake_program, launch

from gpubench.errors import InputError
from gpubench.launch.services.service import Launch, MachineFleet
from gpubench.launch.services.skypilot import SkyPilot

SERVICE = SkyPilot("registry.example/gpubench:1.0")
WITH_SECRET = replace(SERVICE, secrets=("AWS_SECRET_ACCESS_KEY",))


def rendered(service: SkyPilot, sweep: Launch) -> list[dict[str, Any]]:
    service.check(sweep)
    return list(yaml.safe_load_all(service.render(sweep)))


def test_a_task_for_each_type_of_instance() -> None:
    spot = replace(G5, spot=True, region="us-east-1")
    first, second = rendered(SERVICE, launch(spot, C7))
    assert first["resources"] == {
        "infra": "aws/us-east-1",
        "instance_type": "g5.xlarge",
        "use_spot": True,
        "disk_size": 100,
    }
    assert second["resources"]["infra"] == "aws"
    assert second["resources"]["use_spot"] is False
    assert first["num_nodes"] == 1


def test_the_worker_runs_in_a_container_with_its_number() -> None:
    (task,) = rendered(WITH_SECRET, launch(G5, url=HOSTILE_URL))
    command = shlex.split(task["run"])
    assert command[:3] == ["exec", "docker", "run"]
    assert "--gpus=all" in command
    assert "--env=JOB_COMPLETION_INDEX" in command
    assert "--env=AWS_SECRET_ACCESS_KEY" in command
    program, *arguments = launch(G5, url=HOSTILE_URL).worker_arguments(G5)
    image = command.index(SERVICE.image)
    assert command[image - 1] == f"--entrypoint={program}"
    assert command[image + 1 :] == arguments
    assert task["secrets"] == {"AWS_SECRET_ACCESS_KEY": None}
    (without_gpu,) = rendered(SERVICE, launch(C7))
    assert "--gpus=all" not in shlex.split(without_gpu["run"])


def test_comments_say_how_each_document_is_started() -> None:
    text = WITH_SECRET.render(launch(G5, C7))
    assert "each number from 0 to 2 for N" in text
    assert "with 0 for N" in text
    assert "sky jobs launch --env JOB_COMPLETION_INDEX=N --secret AWS_SECRET_ACCESS_KEY" in text


@pytest.mark.parametrize(
    ("change", "sweep", "message"),
    [
        ({"image": "a b"}, launch(), "--image 'a b'"),
        ({"secrets": ("A=b",)}, launch(), "--secret 'A=b' is not the name of a variable"),
        ({"disk_gib": 1}, launch(), "--disk-size 1"),
        ({}, launch(url="results"), "cannot reach this directory"),
        ({}, launch(MachineFleet(None, 1, 1)), "name them with --instance"),
        ({}, launch(replace(G5, provider=None)), "the cloud of g5.xlarge is not known"),
        ({}, launch(replace(G5, region="x/y")), "no such region"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    change: dict[str, Any], sweep: Launch, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        replace(SERVICE, **change).check(sweep)
    assert "\n" not in str(caught.value)


def test_a_managed_job_for_each_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sky = fake_program(monkeypatch, tmp_path, "sky")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-show")
    submitted = WITH_SECRET.submit(launch(), G5)
    names = [f"gpubench-study-g5-xlarge-{index}" for index in range(3)]
    assert submitted.id == ",".join(names)
    for index, call in enumerate(sky.calls()):
        arguments = list(call["arguments"])
        assert arguments[:3] == ["jobs", "launch", "--yes"]
        assert names[index] in arguments
        assert f"JOB_COMPLETION_INDEX={index}" in arguments
        assert yaml.safe_load(call["files"][0]) == WITH_SECRET.task(launch(), G5)
        assert "do-not-show" not in str(call)

    SkyPilot.cancel(submitted)
    cancelled = [call["arguments"] for call in sky.calls()[3:]]
    assert cancelled == [["jobs", "cancel", "--yes", "--name", name] for name in names]


def test_a_secret_that_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sky = fake_program(monkeypatch, tmp_path, "sky")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(
        InputError, match="--secret AWS_SECRET_ACCESS_KEY: this variable is not set"
    ):
        WITH_SECRET.submit(launch(), G5)
    assert sky.calls() == []


def test_no_machine_runs_on_after_another_could_not_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sky = fake_program(monkeypatch, tmp_path, "sky")
    start = SkyPilot._start

    def only_one(self: SkyPilot, name: str, index: int, path: str) -> None:
        if index == 1:
            raise InputError("SkyPilot: no capacity")
        start(self, name, index, path)

    monkeypatch.setattr(SkyPilot, "_start", only_one)
    with pytest.raises(InputError, match="no capacity; the managed jobs that were started"):
        SERVICE.submit(launch(), G5)
    launched, cancelled = sky.calls()
    assert launched["arguments"][:2] == ["jobs", "launch"]
    assert cancelled["arguments"][-1] == "gpubench-study-g5-xlarge-0"


def test_errors_of_sky_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="the program sky is not on this machine; install it"):
        SERVICE.submit(launch(), G5)
    stderr = "Traceback\n\x1b[31mNo enabled clouds. Run: sky check\x1b[0m\n"
    fake_program(monkeypatch, tmp_path, "sky", stderr=stderr, status=1)
    with pytest.raises(InputError, match=r"^SkyPilot: No enabled clouds\. Run: sky check$"):
        SERVICE.submit(launch(), G5)
