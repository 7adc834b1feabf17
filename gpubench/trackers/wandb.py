"""Cells as runs of Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubench.errors import InputError, reason_of
from gpubench.trackers.tracked import Exported, TrackedRun, check_package, tracked, with_clean_names

if TYPE_CHECKING:
    from gpubench.loaded import Results

# A dot in a name would make a tree of it.
_METRIC_NAMES = "A-Za-z0-9_/"
_LONGEST_TAG = 64
_LONGEST_GROUP = 100


def export(results: Results, project: str = "gpubench") -> Exported:
    """A run for each cell, and one that has the page as an artefact, in one group.

    The id of a run is the key of its cell. So exporting twice updates the same run. With
    WANDB_MODE=offline the runs stay in the folder `wandb` until `wandb sync` sends them. Raises
    InputError if the package is missing, or if it refuses the runs.
    """
    check_package("wandb")
    written = tracked(results)
    import wandb

    try:
        for run in (written.page, *written.cells):
            _write(run, project, written.directory[-_LONGEST_GROUP:])
    except wandb.Error as error:
        raise InputError(
            f"Weights & Biases refuses the runs: {reason_of(error).rstrip('.')}; set "
            "WANDB_MODE=offline to keep them on this machine"
        ) from None
    return Exported(1 + len(written.cells), 0, None)


def _write(wanted: TrackedRun, project: str, group: str) -> None:
    import wandb

    # Only what was measured: nothing about the machine and the folder that export it.
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        project=project,
        id=wanted.id,
        resume="allow",
        name=wanted.name,
        group=group,
        job_type="page" if wanted.id.startswith("page-") else "cell",
        tags=[wanted.tags["verdict"][:_LONGEST_TAG]] if "verdict" in wanted.tags else [],
        settings=settings,
    )
    config = wanted.parameters | {f"gpubench.{name}": value for name, value in wanted.tags.items()}
    run_config: Any = run.config
    run_config.update(config, allow_val_change=True)
    for metric, value in with_clean_names(wanted.metrics, _METRIC_NAMES).items():
        run.summary[metric] = value
    name, text = wanted.artifact
    artifact = wandb.Artifact(f"{wanted.id}-{name}", type="gpubench")
    with artifact.new_file(name, encoding="utf-8") as file:
        file.write(text)
    run.log_artifact(artifact)
    run.finish()
