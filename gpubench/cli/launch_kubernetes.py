"""`gpubench launch kubernetes`: launch a sweep on a Kubernetes cluster."""

from __future__ import annotations

import click

from gpubench.cli.launch_options import AskedLaunch, launch_options
from gpubench.cli.sections import Command, Option

_SECTION = "Kubernetes"


@click.command("kubernetes", cls=Command)
@launch_options
@click.option(
    "--image",
    cls=Option,
    section=_SECTION,
    required=True,
    metavar="NAME",
    help="Container image with gpubench, which the nodes can fetch.",
)
@click.option(
    "--namespace",
    cls=Option,
    section=_SECTION,
    metavar="NAME",
    help="[default: that of kubectl's context]",
)
@click.option(
    "--context",
    cls=Option,
    section=_SECTION,
    metavar="NAME",
    help="Context of kubectl's configuration. [default: its current one]",
)
@click.option(
    "--secret",
    cls=Option,
    section=_SECTION,
    metavar="NAME",
    help="Secret of the namespace, whose keys become variables of the environment.",
)
@click.option(
    "--service-account",
    cls=Option,
    section=_SECTION,
    metavar="NAME",
    help="Service account of the pods, for example one that may write to the bucket.",
)
@click.option(
    "--toleration",
    cls=Option,
    section=_SECTION,
    multiple=True,
    metavar="KEY[=VALUE][:EFFECT]",
    help="Taint that the nodes may have. Those of GPUs and spot nodes are known. Repeatable.",
)
@click.option(
    "--volume",
    cls=Option,
    section=_SECTION,
    multiple=True,
    metavar="CLAIM:PATH",
    help="Mount a persistent volume claim with models, read-only. Repeatable.",
)
@click.option(
    "--instance-label",
    cls=Option,
    section=_SECTION,
    metavar="KEY",
    default="node.kubernetes.io/instance-type",
    show_default=True,
    help="Label of the nodes that says their type.",
)
def command(
    asked: AskedLaunch,
    image: str,
    namespace: str | None,
    context: str | None,
    secret: str | None,
    service_account: str | None,
    toleration: tuple[str, ...],
    volume: tuple[str, ...],
    instance_label: str,
) -> int:
    """Measure a sweep on a Kubernetes cluster, with an Indexed Job for each type of instance.

    Without --submit it prints the estimate and the Jobs as YAML, and starts nothing. The rights
    that are needed are in docs/kubernetes.md.

    \b
    Example:
      gpubench launch kubernetes sweep.yaml --output s3://bucket/run \\
          --instance g5.xlarge,g6.xlarge --image registry/gpubench:0.1
    """
    from gpubench.cli.launch_with import launch_with
    from gpubench.launch.services.kubernetes import Kubernetes

    service = Kubernetes(
        image=image,
        namespace=namespace,
        context=context,
        secret=secret,
        service_account=service_account,
        tolerations=toleration,
        volumes=volume,
        instance_label=instance_label,
    )
    return launch_with(service, asked)
