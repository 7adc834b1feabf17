"""`gpubench launch ray`: launch a sweep on a Ray cluster."""

from __future__ import annotations

import click

from gpubench.cli.launch_options import AskedLaunch, launch_options
from gpubench.cli.sections import Command, Option


@click.command("ray", cls=Command)
@launch_options
@click.option(
    "--address",
    cls=Option,
    section="Ray",
    metavar="URL",
    envvar="RAY_API_SERVER_ADDRESS",
    default="http://127.0.0.1:8265",
    show_default=True,
    help="Dashboard of the cluster.",
)
def command(asked: AskedLaunch, address: str) -> int:
    """Measure a sweep on a running Ray cluster, with a job for each machine.

    Without --submit it prints the estimate and the parameters of the jobs, and starts nothing. Each
    node has a resource with the name of its type. gpubench sweep --on ray needs no dashboard and no
    object store; docs/ray.md compares both.

    \b
    Example:
      gpubench launch ray sweep.yaml --output s3://bucket/run \\
          --instance g5.xlarge,g6.xlarge --address http://head:8265
    """
    from gpubench.cli.launch_with import launch_with
    from gpubench.launch.services.ray import Ray

    return launch_with(Ray(address.rstrip("/")), asked)
