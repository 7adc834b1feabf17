"""`gpubench launch skypilot`: launch a sweep on virtual machines that SkyPilot starts."""

from __future__ import annotations

import click

from gpubench.cli.launch_options import AskedLaunch, launch_options
from gpubench.cli.sections import Command, Option

_SECTION = "SkyPilot"


@click.command("skypilot", cls=Command)
@launch_options
@click.option(
    "--image",
    cls=Option,
    section=_SECTION,
    required=True,
    metavar="NAME",
    help="Container image with gpubench, which the machines can fetch.",
)
@click.option(
    "--secret",
    cls=Option,
    section=_SECTION,
    multiple=True,
    metavar="NAME",
    help="Variable of this environment that the workers need, for example for the store. "
    "Repeatable.",
)
@click.option(
    "--disk-size",
    cls=Option,
    section=_SECTION,
    type=int,
    default=100,
    show_default=True,
    metavar="GIB",
    help="Disk of each machine.",
)
def command(asked: AskedLaunch, image: str, secret: tuple[str, ...], disk_size: int) -> int:
    """Measure a sweep on machines of a cloud, with a managed job of SkyPilot for each machine.

    Without --submit it prints the estimate and SkyPilot's YAML, and starts nothing. The cloud is
    that of the type of instance in the list of prices.

    \b
    Example:
      gpubench launch skypilot sweep.yaml --output s3://bucket/run --spot \\
          --instance g5.xlarge,g2-standard-8 --image registry/gpubench:0.1
    """
    from gpubench.cli.launch_with import launch_with
    from gpubench.launch.services.skypilot import SkyPilot

    return launch_with(SkyPilot(image=image, secrets=secret, disk_gib=disk_size), asked)
