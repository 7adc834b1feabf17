"""SkyPilot: managed jobs on virtual machines of a cloud, started by `sky jobs launch`.

Each machine of a fleet is a managed job of its own, since SkyPilot would start the machines of one
job again together when one of them is taken back. The worker runs as a container on the virtual
machine, so that SkyPilot's own programs stay outside. The pages "SkyPilot YAML", "Managed Jobs" and
"Using Docker Containers" of SkyPilot's documentation say what each field means.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import dataclass
from typing import Any, ClassVar

from gpubench.errors import InputError
from gpubench.launch.manifest import Service, Submission
from gpubench.launch.services.image import check_image
from gpubench.launch.services.program import ProgramFailed, last_line, run_program
from gpubench.launch.services.service import (
    INDEX_VARIABLE,
    Launch,
    MachineFleet,
    cancel_started,
    refuse_local,
)

_INSTALLATION = "install it (pip install skypilot), or leave out --submit"
_LIMIT_S = 1800.0  # the first job also starts the machine that controls the others
_ENVIRONMENT = {"NO_COLOR": "1", "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLOUD = re.compile(r"[a-z0-9]+")
_REGION = re.compile(r"[a-z0-9-]+")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class SkyPilot:
    """The options of `gpubench launch skypilot`."""

    image: str
    secrets: tuple[str, ...] = ()  # names of variables of this environment, for the workers
    disk_gib: int = 100  # the image with torch alone has several GiB

    name: ClassVar[Service] = "skypilot"

    def check(self, launch: Launch) -> None:
        check_image(self.image)
        for name in self.secrets:
            if not _VARIABLE.fullmatch(name):
                raise InputError(
                    f"--secret {name!r} is not the name of a variable; give the name alone, and "
                    "put the value into the environment"
                )
        if not 10 <= self.disk_gib <= 65_536:
            raise InputError(f"--disk-size {self.disk_gib} must be from 10 to 65536 (GiB)")
        refuse_local(launch, "machines of a cloud")
        for fleet in launch.fleets:
            _infrastructure(fleet)

    def render(self, launch: Launch) -> str:
        return "---\n".join(
            f"{self._instructions(fleet)}{self._document(launch, fleet)}" for fleet in launch.fleets
        )

    def _instructions(self, fleet: MachineFleet) -> str:
        """Comments: SkyPilot starts the documents of one file one after the other."""
        secrets = "".join(f" --secret {name}" for name in self.secrets)
        numbers = "0" if fleet.machines == 1 else f"each number from 0 to {fleet.machines - 1}"
        return (
            f"# Save this document as a file. Then, with {numbers} for N:\n"
            f"#   sky jobs launch --env {INDEX_VARIABLE}=N{secrets} FILE\n"
        )

    def _document(self, launch: Launch, fleet: MachineFleet) -> str:
        import yaml

        return yaml.safe_dump(self.task(launch, fleet), sort_keys=False, allow_unicode=False)

    def task(self, launch: Launch, fleet: MachineFleet) -> dict[str, Any]:
        """The task of one machine of a fleet. Its number is given when it is started."""
        task: dict[str, Any] = {
            "name": _name(launch, fleet),
            "resources": {
                "infra": _infrastructure(fleet),
                "instance_type": fleet.instance,
                "use_spot": fleet.spot,
                "disk_size": self.disk_gib,
            },
            "num_nodes": 1,
            "envs": {INDEX_VARIABLE: "0"},
            "run": f"exec {shlex.join(self._container(launch, fleet))}\n",
        }
        if self.secrets:
            task["secrets"] = dict.fromkeys(self.secrets)
        return task

    def _container(self, launch: Launch, fleet: MachineFleet) -> list[str]:
        program, *arguments = launch.worker_arguments(fleet)
        # With the network of the machine, a container can ask for the credentials of the machine's
        # own role. AWS refuses that to containers in a network of their own.
        command = ["docker", "run", "--rm", "--network=host", "--shm-size=2g"]
        command += ["--gpus=all"] if fleet.gpus else []
        command += [f"--env={name}" for name in (INDEX_VARIABLE, *self.secrets)]
        return [*command, f"--entrypoint={program}", self.image, *arguments]

    def submit(self, launch: Launch, fleet: MachineFleet) -> Submission:
        missing = [name for name in self.secrets if name not in os.environ]
        if missing:
            raise InputError(f"--secret {missing[0]}: this variable is not set; set it first")
        started: list[str] = []
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(self._document(launch, fleet))
            file.flush()
            for index in range(fleet.machines):
                name = f"{_name(launch, fleet)}-{index}"
                try:
                    self._start(name, index, file.name)
                except InputError as error:
                    ended = cancel_started(_cancel, started, "managed jobs")
                    raise InputError(f"{error}{ended}") from None
                started.append(name)
        return Submission(service="skypilot", instance=fleet.instance, id=",".join(started))

    def _start(self, name: str, index: int, path: str) -> None:
        command = ["sky", "jobs", "launch", "--yes", "--detach-run", "--name", name]
        command += ["--env", f"{INDEX_VARIABLE}={index}"]
        for secret in self.secrets:
            command += ["--secret", secret]
        _sky([*command, path])

    @staticmethod
    def cancel(submission: Submission) -> None:
        """End the managed jobs, and with them their machines."""
        for name in submission.id.split(","):
            _cancel(name)


def _cancel(name: str) -> None:
    # It also ends with 0 if the job has ended already, or was never there.
    _sky(["sky", "jobs", "cancel", "--yes", "--name", name])


def _sky(command: list[str]) -> None:
    try:
        run_program(command, _INSTALLATION, environment=_ENVIRONMENT, limit_s=_LIMIT_S)
    except ProgramFailed as failed:
        raise InputError(f"SkyPilot: {_ANSI.sub('', last_line(failed))}") from None


def _name(launch: Launch, fleet: MachineFleet) -> str:
    """Letters, digits and single hyphens, which every cloud accepts."""
    return re.sub(r"[^a-z0-9]+", "-", launch.job_name(fleet).lower()).strip("-")


def _infrastructure(fleet: MachineFleet) -> str:
    """'aws' or 'aws/us-east-1'. Raises InputError if the cloud of a fleet is not known."""
    if fleet.instance is None:
        raise InputError("SkyPilot starts machines of a cloud; name them with --instance")
    if fleet.provider is None or not _CLOUD.fullmatch(fleet.provider):
        raise InputError(
            f"the cloud of {fleet.instance} is not known; see `gpubench prices list`, or add a row "
            "with its provider to a file of prices (--prices)"
        )
    if fleet.region is None:
        return fleet.provider
    if not _REGION.fullmatch(fleet.region):
        raise InputError(f"{fleet.instance}@{fleet.region}: SkyPilot has no such region")
    return f"{fleet.provider}/{fleet.region}"
