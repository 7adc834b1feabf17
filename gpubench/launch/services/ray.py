"""Ray: a job of a running cluster for each machine, given to its dashboard (port 8265).

A job reserves one unit of the custom resource that has the name of the type of instance, and all
CPUs and GPUs of this type. So it runs alone on a node of its type. Ray starts no job again: after
a lost node, a new launch measures what is missing. `gpubench sweep --on ray` is the other way to
use a cluster: there one command gives single engines to the nodes.

Sources: "Ray Jobs Python SDK" in Ray's API reference, and "Resources" in its user guide.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from gpubench.errors import InputError, reason_of
from gpubench.launch.manifest import Service, Submission
from gpubench.launch.services.service import (
    INDEX_VARIABLE,
    Launch,
    MachineFleet,
    cancel_started,
)
from gpubench.system import packages

_STOP_S = 60  # from SIGTERM on; the worker stores the cell in work
_ADDRESS = re.compile(r"https?://[\w.:\[\]-]+", re.ASCII)


@dataclass(frozen=True)
class Ray:
    """The options of `gpubench launch ray`."""

    address: str  # of the dashboard: "http://HOST:8265"

    name: ClassVar[Service] = "ray"

    def check(self, launch: Launch) -> None:
        if not _ADDRESS.fullmatch(self.address):
            raise InputError(
                f"--address {self.address!r}: give the dashboard of the cluster, like "
                "http://HOST:8265"
            )
        if any(fleet.instance is None for fleet in launch.fleets):
            raise InputError(
                "Ray starts jobs on nodes of a type; name the types with --instance, and start the "
                "nodes with the resource of this name"
            )

    def render(self, launch: Launch) -> str:
        """A list with the parameters of JobSubmissionClient.submit_job for each machine."""
        jobs = [
            self.job(launch, fleet, index)
            for fleet in launch.fleets
            for index in range(fleet.machines)
        ]
        return json.dumps(jobs, indent=2) + "\n"

    def job(self, launch: Launch, fleet: MachineFleet, index: int) -> dict[str, Any]:
        """The parameters of `submit_job`. Ray gives the command line to a shell."""
        # Ray sets the variable in its processes. It would change the figures.
        command = ["env", "--unset=OMP_NUM_THREADS", *launch.worker_arguments(fleet)]
        variables = {INDEX_VARIABLE: str(index), "RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_S)}
        return {
            "entrypoint": f"exec {shlex.join(command)}",
            "submission_id": f"{launch.job_name(fleet)}-{index}",
            "runtime_env": {"env_vars": variables},
            "entrypoint_num_cpus": fleet.vcpus or 1,
            "entrypoint_num_gpus": fleet.gpus,
            "entrypoint_resources": {fleet.instance: 1},
        }

    def submit(self, launch: Launch, fleet: MachineFleet) -> Submission:
        started: list[str] = []
        for index in range(fleet.machines):
            job = self.job(launch, fleet, index)
            try:
                started.append(_ask(self.address, "submit_job", **job))
            except InputError as error:
                ended = cancel_started(partial(_stop, self.address), started, "jobs of Ray")
                raise InputError(f"{error}{ended}") from None
        identity = f"{self.address}/{','.join(started)}"
        return Submission(service="ray", instance=fleet.instance, id=identity)

    @staticmethod
    def cancel(submission: Submission) -> None:
        """Stop the jobs. Their workers get SIGTERM, and store the cells in work."""
        address, _, names = submission.id.rpartition("/")
        if not _ADDRESS.fullmatch(address):
            raise InputError(f"{submission.id} names no Ray cluster")
        for name in names.split(","):
            _stop(address, name)


def _stop(address: str, name: str) -> None:
    try:
        _ask(address, "stop_job", job_id=name)
    except InputError as error:
        if "does not exist" not in str(error):
            raise


def _ask(address: str, method: str, **arguments: Any) -> Any:
    """What a method of JobSubmissionClient returns. Raises InputError with the reason of Ray."""
    if reason := packages.missing("ray", "ray"):
        raise InputError(f"Ray: {reason}")
    from ray.job_submission import JobSubmissionClient

    try:
        return getattr(JobSubmissionClient(address), method)(**arguments)
    except Exception as error:  # RuntimeError for an answer of the server, ConnectionError, ...
        raise InputError(
            f"Ray: {reason_of(error)}; check --address, and that ray[default] is installed"
        ) from None
