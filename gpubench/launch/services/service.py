"""What a service that starts workers gets, and what it must be able to do.

A service is a frozen dataclass in a file of its own (`kubernetes.py`, `aws_batch.py`, ...). Its
fields are the options of its command: `gpubench/cli/launch_NAME.py` declares them as flags, makes
the service and gives it to `gpubench.cli.launch_with.launch_with`. `known.py` has one line for each
service.

    Launch                 one launched sweep: its manifest, its directory, its fleets
      MachineFleet         the machines of one type of instance
        worker_arguments   what each of these machines runs: `gpubench worker URL ...`

All machines of a fleet run the same arguments. If a fleet has several machines, the service gives
each of them a number from 0 on in one of INDEX_VARIABLES, which `gpubench worker` reads. Machine i
of n measures the jobs i, i + n, i + 2n, ... of its type of instance.

The exit status of a worker, for what a service does next:

    0     every job was measured
    1     a cell failed, or the directory could not be written: starting it again does not help
    2     bad input: starting it again does not help
    130   its time was over (--max-time): starting it again does not help
    143   it got SIGTERM: start it again, and it goes on with what is missing
    137   it was killed: as 143
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from gpubench.errors import InputError
from gpubench.launch.manifest import Manifest, Service, Submission

# Where a worker finds its number. Kubernetes, Slurm and AWS Batch set one of them. For a service
# that sets none, gpubench sets the first.
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
INDEX_VARIABLES = (INDEX_VARIABLE, "SLURM_ARRAY_TASK_ID", "AWS_BATCH_JOB_ARRAY_INDEX")


@dataclass(frozen=True)
class MachineFleet:
    """The machines of one type of instance. Hardware is that of one machine; None: not known."""

    instance: str | None  # "g5.xlarge"; None: any machine
    machines: int  # how many are started; at least 1
    jobs: int  # of the manifest, for this type of instance; at least as many as machines
    gpus: int = 0
    vcpus: int | None = None
    memory_gib: float | None = None
    provider: str | None = None  # "aws", "azure", "gcp"
    region: str | None = None  # if the sweep names one, as in g5.xlarge@us-east-1
    spot: bool = False  # on machines that the provider may take back
    time_limit_s: int | None = None  # for each machine, from the start of its worker


@dataclass(frozen=True)
class Launch:
    """A sweep that is to be launched."""

    manifest: Manifest
    url: str  # of the run directory, which every machine must reach; local paths are absolute
    fleets: tuple[MachineFleet, ...]  # at least one
    allow_code: bool = False  # the workers may run the code that the sweep names

    def worker_arguments(self, fleet: MachineFleet) -> list[str]:
        """The command line of the machines of a fleet, without a shell: ["gpubench", ...]."""
        arguments = ["gpubench", "worker", self.url, "--launch", self.manifest.name]
        if fleet.instance is not None:
            arguments += ["--instance", fleet.instance]
        arguments += ["--machines", str(fleet.machines)]
        if fleet.time_limit_s is not None:
            arguments += ["--max-time", f"{fleet.time_limit_s}s"]
        if self.allow_code:
            arguments += ["--allow-code"]
        return arguments

    def job_name(self, fleet: MachineFleet) -> str:
        """A readable name of a fleet: "gpubench-NAME-g5.xlarge". Services may have to change it.

        The name of a launch has at most 40 characters: a-z, 0-9, and - in between.
        """
        return "-".join(filter(None, ("gpubench", self.manifest.name, fleet.instance)))


def refuse_local(launch: Launch, machines: str) -> None:
    """Raises InputError if the run directory is a path, and not in an object store."""
    if "://" not in launch.url or launch.url.startswith("file:"):
        raise InputError(
            f"--output {launch.url}: {machines} cannot reach this directory; give a URL, such as "
            "s3://bucket/dir"
        )


def cancel_started(cancel: Callable[[str], None], names: Sequence[str], what: str) -> str:
    """Cancel the jobs that were started before a failure. Returns what the error says about it.

    `cancel` raises InputError for a job that it cannot cancel.
    """
    left = []
    for name in names:
        try:
            cancel(name)
        except InputError:
            left.append(name)
    if left:
        return f"; these {what} run and must be ended by hand: {', '.join(left)}"
    return f"; the {what} that were started before were ended" if names else ""


class LaunchService(Protocol):
    """Starts the machines of a launch. Its methods raise InputError, one line with the fix."""

    name: ClassVar[Service]

    def check(self, launch: Launch) -> None:
        """Raise InputError for what can be known without the service.

        It is called first: an option that is missing, a type of instance that the service does
        not have, too many machines.
        """

    def render(self, launch: Launch) -> str:
        """What a person can give to the service by hand: YAML, a script, JSON; ends in a newline.

        It asks nobody, so it works without the service.
        """

    def submit(self, launch: Launch, fleet: MachineFleet) -> Submission:
        """Start the machines of one fleet. The manifest is in the directory by then.

        It is called for one fleet after another. If one fails, the earlier ones are stored, and
        the error names the fix.
        """

    @staticmethod
    def cancel(submission: Submission) -> None:
        """End the machines of one submission, also if it has ended already or is gone."""
