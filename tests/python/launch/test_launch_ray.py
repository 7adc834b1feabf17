"""Jobs of Ray, and what its client gets. No cluster runs here: its dashboard needs packages of its
own. docs/ray.md says what was tried with one.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from launches import C7, G5, HOSTILE_URL, launch

from gpubench.errors import InputError
from gpubench.launch.services.known import service_class
from gpubench.launch.services.ray import Ray
from gpubench.launch.services.service import MachineFleet, cancel_started

job_submission = pytest.importorskip("ray.job_submission")

SERVICE = Ray("http://head:8265")


class Cluster:
    """Stands in for JobSubmissionClient. It refuses jobs whose names it was told."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.stopped: list[tuple[str, str]] = []
        self.refused: str | None = None
        self.address = ""

    def __call__(self, address: str) -> Cluster:
        self.address = address
        return self

    def submit_job(self, **job: Any) -> str:
        if job["submission_id"] == self.refused:
            raise RuntimeError("Request failed with status code 500: no space left.\nTraceback")
        self.jobs.append(job)
        return str(job["submission_id"])

    def stop_job(self, job_id: str) -> bool:
        if job_id not in [job["submission_id"] for job in self.jobs]:
            raise RuntimeError(f"Request failed with status code 404: Job {job_id} does not exist.")
        self.stopped.append((self.address, job_id))
        return True


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    monkeypatch.setattr(job_submission, "JobSubmissionClient", found)
    return found


def test_a_job_for_each_machine_runs_alone_on_a_node_of_its_type() -> None:
    sweep = launch(G5, C7, url=HOSTILE_URL)
    SERVICE.check(sweep)
    jobs = json.loads(SERVICE.render(sweep))
    assert [job["submission_id"] for job in jobs] == [
        *(f"gpubench-study-g5.xlarge-{index}" for index in range(3)),
        "gpubench-study-c7i.2xlarge-0",
    ]
    first, last = jobs[0], jobs[-1]
    assert first["entrypoint_resources"] == {"g5.xlarge": 1}
    assert (first["entrypoint_num_cpus"], first["entrypoint_num_gpus"]) == (4, 1)
    assert (last["entrypoint_num_cpus"], last["entrypoint_num_gpus"]) == (8, 0)
    assert [job["runtime_env"]["env_vars"]["JOB_COMPLETION_INDEX"] for job in jobs] == list("0120")
    # A shell runs it.
    program = ["exec", "env", "--unset=OMP_NUM_THREADS"]
    assert shlex.split(first["entrypoint"]) == [*program, *sweep.worker_arguments(G5)]


def test_what_is_submitted_is_what_is_shown_and_can_be_cancelled(cluster: Cluster) -> None:
    sweep = launch(G5)
    submission = SERVICE.submit(sweep, G5)
    assert json.loads(SERVICE.render(sweep)) == cluster.jobs
    assert submission.id.startswith("http://head:8265/gpubench-study-g5.xlarge-0,")
    cluster.jobs.pop()  # Ray has forgotten it
    service_class("ray").cancel(submission)
    assert cluster.stopped == [
        ("http://head:8265", f"gpubench-study-g5.xlarge-{index}") for index in range(2)
    ]


def test_jobs_that_were_started_are_stopped_if_a_later_one_is_refused(cluster: Cluster) -> None:
    cluster.refused = "gpubench-study-g5.xlarge-1"
    message = "no space left.*; the jobs of Ray that were started before were ended"
    with pytest.raises(InputError, match=message) as error:
        SERVICE.submit(launch(G5), G5)
    assert "\n" not in str(error.value)
    assert [name for _, name in cluster.stopped] == ["gpubench-study-g5.xlarge-0"]


def test_what_cannot_be_cancelled_is_named_and_all_else_is_cancelled() -> None:
    cancelled = []

    def cancel(name: str) -> None:
        if name == "b":
            raise InputError("out of reach")
        cancelled.append(name)

    told = cancel_started(cancel, ["a", "b", "c"], "jobs")
    assert told == "; these jobs run and must be ended by hand: b"
    assert cancelled == ["a", "c"]
    assert cancel_started(cancel, [], "jobs") == ""


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: Ray("ray://head:10001").check(launch(G5)),
        lambda: Ray("http://me:secret@head:8265").check(launch(G5)),
        lambda: SERVICE.check(launch(MachineFleet(None, 1, 1))),
        lambda: Ray("http://127.0.0.1:1").submit(launch(G5), G5),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(attempt: Callable[[], None]) -> None:
    with pytest.raises(InputError, match=r"--address|--instance") as error:
        attempt()
    assert "\n" not in str(error.value)
