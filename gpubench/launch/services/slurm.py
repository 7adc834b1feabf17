"""Slurm: a job array for each type of instance, given to the cluster by sbatch.

The batch script replaces itself by the worker (`exec`). So the worker gets the signals that Slurm
sends to the batch step: SIGTERM from scancel, at a preemption, and before the time limit. The pages
"sbatch", "Job Array Support" and "Preemption" of Slurm's documentation say what each option means.
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass, field
from typing import ClassVar

from gpubench.errors import InputError
from gpubench.launch.manifest import Service, Submission
from gpubench.launch.services.by_instance import ByInstance, check_instances, value_for
from gpubench.launch.services.program import ProgramFailed, last_line, run_program
from gpubench.launch.services.service import Launch, MachineFleet

_INSTALLATION = "run this where Slurm's commands are, or leave out --submit"
_END = "GPUBENCH_SCRIPT"  # the line that ends a script in what is printed

_WARNING_S = 120  # SIGTERM comes this long before the time limit
_MARGIN_S = 600  # so that the worker ends by its own limit first

# The values of options. Slurm splits the lines of a script like a shell, so no spaces and quotes.
_NAME = re.compile(r"[\w.@+-]+(?:,[\w.@+-]+)*", re.ASCII)
_FEATURES = re.compile(r"[\w.@+:*&|()\[\],-]+", re.ASCII)
_RESOURCES = re.compile(r"[\w.:,+-]+", re.ASCII)
_LOGS = re.compile(r"/[\w.@+,:/-]*", re.ASCII)

# What scancel says of a job that is not there any more.
_GONE = ("Invalid job id specified", "already completing or completed")
_REMEDIES = {
    "Invalid partition": "`sinfo` lists the partitions; give one with --partition",
    "Invalid feature": "`sinfo --format=%f` lists the features of nodes; see --constraint",
    "(gres)": "`sinfo --format=%G` lists the resources of nodes; see --gres",
    "Invalid job array": "`scontrol show config` shows MaxArraySize; use fewer machines with "
    "--machines",
    "Invalid account": "give your account with --account",
    "Invalid qos": "give a quality of service that you may use with --qos",
    "node configuration is not available": "no node has what is asked; see --constraint and --gres",
    "Unable to contact": "the controller cannot be reached: check `sinfo`",
}


@dataclass(frozen=True)
class Slurm:
    """The options of `gpubench launch slurm`. Some may differ between types of instance."""

    partitions: ByInstance = field(default_factory=dict)
    constraints: ByInstance = field(default_factory=dict)
    gres: ByInstance = field(default_factory=dict)  # default: the GPUs of the instance
    account: str | None = None
    qos: str | None = None
    program: str = "gpubench"  # on the nodes
    logs: str | None = None  # an existing folder on the nodes; None: where sbatch was called

    name: ClassVar[Service] = "slurm"

    def check(self, launch: Launch) -> None:
        for values, flag, allowed in (
            (self.partitions, "--partition", _NAME),
            (self.constraints, "--constraint", _FEATURES),
            (self.gres, "--gres", _RESOURCES),
        ):
            check_instances(values, flag, launch)
            for fleet in launch.fleets:
                _check(value_for(values, fleet), flag, allowed)
        _check(self.account, "--account", _NAME)
        _check(self.qos, "--qos", _NAME)
        _check(self.logs, "--logs", _LOGS)
        if not self.program.strip() or self.program.startswith("-"):
            raise InputError(f"--program {self.program!r} is not the path of a program")
        for argument in (self.program, launch.url):
            if not argument.isprintable():
                raise InputError(f"{argument!r} contains a control character; remove it")
        self._check_places(launch)

    def _check_places(self, launch: Launch) -> None:
        """Slurm does not know types of instances, so its options must tell them apart."""
        places: dict[tuple[str | None, ...], str | None] = {}
        for fleet in launch.fleets:
            place = self._place(fleet)
            if place in places:
                raise InputError(
                    f"Slurm cannot tell {places[place]} and {fleet.instance} apart; say where each "
                    f"of them is, with --partition {fleet.instance}=NAME or "
                    f"--constraint {fleet.instance}=FEATURE"
                )
            places[place] = fleet.instance

    def _place(self, fleet: MachineFleet) -> tuple[str | None, ...]:
        return tuple(
            value_for(each, fleet) for each in (self.partitions, self.constraints, self.gres)
        )

    def render(self, launch: Launch) -> str:
        """A script for bash, which gives one batch script after the other to sbatch."""
        scripts = [
            f"sbatch <<'{_END}'\n{self.script(launch, fleet)}{_END}\n" for fleet in launch.fleets
        ]
        return "#!/bin/bash\n" + "".join(scripts)

    def script(self, launch: Launch, fleet: MachineFleet) -> str:
        """The batch script of a fleet."""
        _, *arguments = launch.worker_arguments(fleet)
        options = "".join(f"#SBATCH --{option}\n" for option in self._options(launch, fleet))
        return f"#!/bin/bash\n{options}exec {shlex.join([self.program, *arguments])}\n"

    def _options(self, launch: Launch, fleet: MachineFleet) -> list[str]:
        partition, constraint, gres = self._place(fleet)
        if gres is None and fleet.gpus:
            gres = f"gpu:{fleet.gpus}"
        name = re.sub(r"[^\w.-]", "-", launch.job_name(fleet), flags=re.ASCII)
        named = {
            "job-name": name,
            "array": f"0-{fleet.machines - 1}",
            "nodes": "1",
            "ntasks": "1",
            "mem": "0",  # all of the node
            "signal": f"B:TERM@{_WARNING_S}",
            "open-mode": "append",  # a job that is started again keeps its log
            "output": f"{(self.logs + '/') if self.logs else ''}{name}-%A_%a.log",
            "partition": partition,
            "constraint": constraint,
            "gres": gres,
            "account": self.account,
            "qos": self.qos,
        }
        if fleet.time_limit_s is not None:
            named["time"] = str(math.ceil((fleet.time_limit_s + _MARGIN_S) / 60))  # minutes
        options = [f"{option}={value}" for option, value in named.items() if value is not None]
        # After a lost node or a preemption the worker begins again, with what is missing.
        return [*options, "exclusive", "requeue"]

    def submit(self, launch: Launch, fleet: MachineFleet) -> Submission:
        try:
            answer = run_program(
                ["sbatch", "--parsable"], _INSTALLATION, self.script(launch, fleet)
            )
        except ProgramFailed as failed:
            raise InputError(_problem("sbatch", failed)) from None
        return Submission(service="slurm", instance=fleet.instance, id=_job_id(answer))

    @staticmethod
    def cancel(submission: Submission) -> None:
        """End the jobs of an array. Their workers get SIGTERM, and store the cells in work."""
        number, _, cluster = submission.id.partition(";")
        where = [f"--clusters={cluster}"] if cluster else []
        try:
            run_program(["scancel", *where, number], _INSTALLATION)
        except ProgramFailed as failed:
            if not any(text in str(failed) for text in _GONE):
                raise InputError(_problem("scancel", failed)) from None


def _check(value: str | None, flag: str, allowed: re.Pattern[str]) -> None:
    if value is not None and not allowed.fullmatch(value):
        raise InputError(
            f"{flag} {value!r} cannot stand in a batch script; use letters, digits and the signs "
            "of Slurm only"
        )


def _job_id(answer: str) -> str:
    """'123' or '123;cluster', which is the last line that sbatch --parsable writes."""
    last = answer.splitlines()[-1].strip() if answer else ""
    if not re.fullmatch(r"[0-9]+(;[\w.-]+)?", last, re.ASCII):
        raise InputError(
            f"sbatch did not write the number of a job, but '{last[:100]}'; see `squeue --me`"
        )
    return last


def _problem(program: str, failed: ProgramFailed) -> str:
    reason = last_line(failed).removeprefix(f"{program}: ").removeprefix("error: ")
    for sign, remedy in _REMEDIES.items():
        if sign in str(failed):
            return f"{program}: {reason}; {remedy}"
    return f"{program}: {reason}"
