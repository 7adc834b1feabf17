"""`gpubench launch aws-batch`: launch a sweep on AWS Batch."""

from __future__ import annotations

import click

from gpubench.cli.by_instance import by_instance
from gpubench.cli.launch_options import AskedLaunch, launch_options
from gpubench.cli.sections import Command, Option

_SECTION = "AWS Batch"


@click.command("aws-batch", cls=Command)
@launch_options
@click.option(
    "--queue",
    cls=Option,
    section=_SECTION,
    multiple=True,
    metavar="[TYPE=]QUEUE",
    help="Job queue, by name or ARN. Each type of instance needs a queue of its own. Repeatable.",
)
@click.option(
    "--job-definition",
    cls=Option,
    section=_SECTION,
    multiple=True,
    metavar="[TYPE=]NAME",
    help="Job definition, by name or ARN. Its image has the entry point gpubench. Repeatable.",
)
@click.option(
    "--region", cls=Option, section=_SECTION, help="AWS region. [default: the configured one]"
)
@click.option(
    "--attempts",
    cls=Option,
    section=_SECTION,
    type=click.IntRange(1, 10),
    default=10,
    show_default=True,
    metavar="N",
    help="Starts of each machine, if the provider takes it back.",
)
def command(
    asked: AskedLaunch,
    queue: tuple[str, ...],
    job_definition: tuple[str, ...],
    region: str | None,
    attempts: int,
) -> int:
    """Measure a sweep on AWS Batch, with a job for each type of instance.

    Without --submit it prints the estimate and the parameters of SubmitJob, and starts nothing. The
    queues and the job definition are yours; examples/aws_batch makes them.

    \b
    Example:
      gpubench launch aws-batch sweep.yaml --output s3://bucket/run \\
          --instance g5.xlarge,g6.xlarge --queue g5.xlarge=bench-g5 \\
          --queue g6.xlarge=bench-g6 --job-definition gpubench --max-usd 20
    """
    from gpubench.cli.launch_with import launch_with
    from gpubench.launch.services.aws_batch import AwsBatch

    service = AwsBatch(
        queues=by_instance(queue, "--queue"),
        job_definitions=by_instance(job_definition, "--job-definition"),
        region=region,
        attempts=attempts,
    )
    return launch_with(service, asked)
