"""Cells as runs of MLflow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gpubench.errors import InputError, reason_of
from gpubench.trackers.tracked import Exported, TrackedRun, check_package, tracked, with_clean_names

if TYPE_CHECKING:
    from gpubench.loaded import Results

_METRIC_NAMES = r"A-Za-z0-9_.\- /"
_ID, _DIGEST = "gpubench.id", "gpubench.digest"


def export(
    results: Results, experiment: str = "gpubench", tracking_uri: str | None = None
) -> Exported:
    """A run for each cell, nested in a run that has the page as an artefact.

    A run is found again by its tag `gpubench.id`, the key of the cell, and updated if its content
    differs. So exporting twice does not make runs twice. Without `tracking_uri`, MLflow's own
    settings decide where they go. Raises InputError if MLflow is missing, or if it refuses them.
    """
    check_package("mlflow")
    written = tracked(results)
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri or mlflow.get_tracking_uri())
        store = _Store(client, _experiment(client, experiment))
        parent = store.write(written.page)
        for cell in written.cells:
            store.write(cell, parent)
    except MlflowException as error:
        raise InputError(
            f"MLflow refuses the runs: {reason_of(error)}; give the server of MLflow with "
            "--tracking-uri, such as http://localhost:5000"
        ) from None
    return Exported(store.created, store.updated, store.unchanged)


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage != "active":
        raise InputError(
            f"--experiment {name} was deleted in MLflow; restore it, or choose another name"
        )
    identity: str = client.create_experiment(name) if found is None else found.experiment_id
    return identity


class _Store:
    """Runs of one experiment."""

    def __init__(self, client: Any, experiment: str) -> None:
        self._client, self._experiment = client, experiment
        self.created = self.updated = self.unchanged = 0

    def write(self, wanted: TrackedRun, parent: str | None = None) -> str:
        """Create or update a run. Returns MLflow's id of it."""
        run = self._find(wanted)
        if run is None:
            run = self._client.create_run(
                self._experiment, run_name=wanted.name, tags={_ID: wanted.id}
            )
            self.created += 1
        elif run.data.tags.get(_DIGEST) == wanted.digest:
            self.unchanged += 1
            return str(run.info.run_id)
        else:
            self.updated += 1
        self._fill(run, wanted, parent)
        return str(run.info.run_id)

    def _find(self, wanted: TrackedRun) -> Any:
        query = f"tags.`{_ID}` = '{wanted.id}'"
        found = self._client.search_runs([self._experiment], query, max_results=1)
        return found[0] if found else None

    def _fill(self, run: Any, wanted: TrackedRun, parent: str | None) -> None:
        from mlflow.entities import Metric, Param, RunTag

        identity, now = run.info.run_id, round(time.time() * 1000)
        metrics = with_clean_names(wanted.metrics, _METRIC_NAMES)
        tags = {f"gpubench.{name}": value for name, value in wanted.tags.items()}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        # MLflow never changes a parameter. Those that are there are of the same cell.
        new = {n: v for n, v in wanted.parameters.items() if n not in run.data.params}
        self._client.log_batch(
            identity,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in new.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        name, text = wanted.artifact
        self._client.log_text(identity, text, name)
        failed = wanted.tags.get("verdict") == "failed"
        self._client.set_terminated(identity, "FAILED" if failed else "FINISHED")
        # The last step: an export that was interrupted is completed by the next one.
        self._client.set_tag(identity, _DIGEST, wanted.digest)
