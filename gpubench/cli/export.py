"""`gpubench export`: a run directory as runs of an experiment tracker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from gpubench.cli.command_group import CommandGroup
from gpubench.cli.completion import FolderParam
from gpubench.cli.options import instance_option, prices_option, split_names, usd_per_hour_option
from gpubench.cli.output import say, warn
from gpubench.errors import InputError

if TYPE_CHECKING:
    from gpubench.loaded import Results

_LONGEST_NAME = 128

_directory = click.argument("directory", metavar="DIR", type=FolderParam())


@click.group("export", cls=CommandGroup)
def command() -> None:
    """Write what was measured to MLflow or Weights & Biases, with a run for each cell.

    A run has the settings as parameters, the figures as metrics, the verdict as a tag, and the
    result document as an artefact. One more run has the HTML page. Exporting again updates the same
    runs.
    """


@command.command("mlflow")
@_directory
@click.option(
    "--experiment",
    metavar="NAME",
    default="gpubench",
    show_default=True,
    help="The experiment that gets the runs.",
)
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="Where MLflow keeps its runs.  [default: MLFLOW_TRACKING_URI, or a local store]",
)
@instance_option
@usd_per_hour_option
@prices_option
def to_mlflow(
    directory: str,
    experiment: str,
    tracking_uri: str | None,
    **prices: Any,
) -> None:
    """Write the cells of DIR to MLflow.

    \b
    Example:
      gpubench export mlflow results --tracking-uri http://localhost:5000
    """
    from gpubench.trackers import mlflow
    from gpubench.trackers.tracked import check_package, summary

    check_package("mlflow")
    _check_name("--experiment", experiment)
    # MLflow's own 7 tries take four minutes before it says that there is no server.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    exported = mlflow.export(_read(directory, **prices), experiment, tracking_uri)
    say([summary(exported, "MLflow")])


@command.command("wandb")
@_directory
@click.option(
    "--project",
    metavar="NAME",
    default="gpubench",
    show_default=True,
    help="The project that gets the runs.",
)
@instance_option
@usd_per_hour_option
@prices_option
def to_wandb(directory: str, project: str, **prices: Any) -> None:
    """Write the cells of DIR to Weights & Biases; with WANDB_MODE=offline, to the folder wandb.

    \b
    Example:
      gpubench export wandb results --project resnet50
    """
    from gpubench.trackers import wandb
    from gpubench.trackers.tracked import check_package, summary

    check_package("wandb")
    _check_name("--project", project, forbidden="/\\#?%:")
    exported = wandb.export(_read(directory, **prices), project)
    say([summary(exported, "Weights & Biases")])
    if os.environ.get("WANDB_MODE") == "offline":
        runs = os.path.join(os.environ.get("WANDB_DIR", ""), "wandb", "offline-run-*")
        say([f"they stay on this machine until you send them: wandb sync {runs}"])


def _check_name(flag: str, name: str, forbidden: str = "") -> None:
    is_text = name.strip() and name.isprintable() and len(name) <= _LONGEST_NAME
    if not is_text or set(name) & set(forbidden):
        without = f" without any of {forbidden}" if forbidden else ""
        raise InputError(
            f"{flag} '{name}' cannot be a name; give 1 to {_LONGEST_NAME} characters{without}"
        )


def _read(directory: str, instance: tuple[str, ...], usd_per_hour: float | None) -> Results:
    import warnings

    from gpubench.loaded import load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `problems` has them too
        results = load(directory, instance=split_names(instance), usd_per_hour=usd_per_hour)
    warn(results.problems)
    return results
