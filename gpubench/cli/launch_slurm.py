"""`gpubench launch slurm`: launch a sweep on a Slurm cluster."""

from __future__ import annotations

import click

from gpubench.cli.by_instance import by_instance
from gpubench.cli.launch_options import AskedLaunch, launch_options
from gpubench.cli.sections import Command, Option

_SECTION = "Slurm"


@click.command("slurm", cls=Command)
@launch_options
@click.option(
    "--partition",
    cls=Option,
    section=_SECTION,
    multiple=True,
    metavar="[TYPE=]NAME",
    help="Partition of all types of instance, or of one. Repeatable.",
)
@click.option(
    "--constraint",
    cls=Option,
    section=_SECTION,
    multiple=True,
    metavar="[TYPE=]FEATURES",
    help="Features of the nodes of all types, or of one. Repeatable.",
)
@click.option(
    "--gres",
    cls=Option,
    section=_SECTION,
    multiple=True,
    metavar="[TYPE=]LIST",
    help="Generic resources. Repeatable. [default: gpu:N if the type has N GPUs]",
)
@click.option(
    "--account", cls=Option, section=_SECTION, metavar="NAME", help="Account that is charged."
)
@click.option("--qos", cls=Option, section=_SECTION, metavar="NAME", help="Quality of service.")
@click.option(
    "--program",
    cls=Option,
    section=_SECTION,
    default="gpubench",
    show_default=True,
    metavar="PATH",
    help="gpubench on the nodes.",
)
@click.option(
    "--logs",
    cls=Option,
    section=_SECTION,
    metavar="DIR",
    help="Existing directory for the logs, which all nodes share. [default: the current one]",
)
def command(
    asked: AskedLaunch,
    partition: tuple[str, ...],
    constraint: tuple[str, ...],
    gres: tuple[str, ...],
    account: str | None,
    qos: str | None,
    program: str,
    logs: str | None,
) -> int:
    """Measure a sweep on a Slurm cluster, with a job array for each type of instance.

    Without --submit it prints the estimate and a script for bash that calls sbatch, and starts
    nothing. --output may be a directory that all nodes share.

    \b
    Example:
      gpubench launch slurm sweep.yaml --output /shared/run \\
          --instance g5.xlarge,g6.xlarge --partition g5.xlarge=a10g \\
          --partition g6.xlarge=l4
    """
    from gpubench.cli.launch_with import launch_with
    from gpubench.launch.services.slurm import Slurm

    service = Slurm(
        partitions=by_instance(partition, "--partition"),
        constraints=by_instance(constraint, "--constraint"),
        gres=by_instance(gres, "--gres"),
        account=account,
        qos=qos,
        program=program,
        logs=logs,
    )
    return launch_with(service, asked)
