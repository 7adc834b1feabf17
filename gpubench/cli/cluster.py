"""The flags that let the nodes of a cluster measure a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from gpubench.cli.options import Decorated
from gpubench.cli.sections import Option
from gpubench.errors import InputError

_SECTION = "Cluster"
_FLAGS = ("on", "share_nodes")


@dataclass(frozen=True)
class ChosenCluster:
    address: str  # as gpubench.launch.ray.cluster.parse_on returns it
    share_nodes: bool


def cluster_options(command: Decorated) -> Decorated:
    """Give a command the flags of `ChosenCluster`."""
    command = click.option(
        "--share-nodes",
        cls=Option,
        section=_SECTION,
        is_flag=True,
        help="Reserve only one CPU and the GPUs of each node. Other work of the cluster may then "
        "run there at the same time and change the figures. Without it, nodes are reserved whole.",
    )(command)
    return click.option(
        "--on",
        cls=Option,
        section=_SECTION,
        metavar="ray[:HOST:PORT]",
        help="Measure on the nodes of a Ray cluster: ray is the one of this machine or of "
        "RAY_ADDRESS, ray:HOST:PORT another one, and ray:local starts one here. Each instance that "
        "the sweep names is measured on nodes of its type.",
    )(command)


def chosen_cluster(
    flags: Mapping[str, Any], searches: bool, dry_run: bool
) -> tuple[ChosenCluster | None, dict[str, Any]]:
    """What these flags say (None: measure on this machine), and the other flags.

    Raises InputError for what cannot be done on a cluster.
    """
    others = {name: value for name, value in flags.items() if name not in _FLAGS}
    on, share_nodes = (flags[name] for name in _FLAGS)
    if on is None:
        if share_nodes:
            raise InputError("--share-nodes: it belongs to --on; give --on ray, or remove it")
        return None, others
    if searches:
        raise InputError(
            "--on: with --objective all settings are searched on one machine; remove one of them"
        )
    if dry_run:
        raise InputError(
            "--dry-run: it shows what this machine would measure; remove it, or remove --on"
        )
    from gpubench.launch.ray.cluster import parse_on

    return ChosenCluster(parse_on(on), share_nodes), others
