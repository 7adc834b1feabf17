"""What a tracker gets of a run directory: a run for each cell, and one with the page."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubench.errors import InputError
from gpubench.report import escape
from gpubench.report.csv import result_fields
from gpubench.report.format import count
from gpubench.report.notes import price_name, reason_codes, verdict
from gpubench.report.repeats import one_for_each_cell
from gpubench.report.report import Report
from gpubench.report.settings import labels, machine_name
from gpubench.system.packages import missing

if TYPE_CHECKING:
    from gpubench.loaded import Results
    from gpubench.results.result import Cost, Result

_LONGEST_NAME = 120  # characters; trackers allow at least 128
# Columns of CSV that are numbers and no figures.
_SETTINGS = frozenset(
    {
        *("batch_samples", "sequence_length_tokens", "clients", "rate_requests_per_second"),
        *("workers", "threads_per_worker", "depth", "seed", "load_seed"),
        *("repeat_number", "cores"),
    }
)


@dataclass(frozen=True)
class TrackedRun:
    """A run of a tracker. All texts are harmless on a terminal; a tracker may allow less."""

    id: str  # the same whenever this cell is exported: letters, digits and -
    name: str
    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float]
    artifact: tuple[str, str]  # the name of a file, and what it contains

    @property
    def digest(self) -> str:
        """It differs if anything of the run differs."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


@dataclass(frozen=True)
class Tracked:
    directory: str
    cells: list[TrackedRun]
    page: TrackedRun


@dataclass(frozen=True)
class Exported:
    """How many runs the tracker has got."""

    created: int
    updated: int
    unchanged: int | None  # None: the tracker does not tell


def tracked(results: Results) -> Tracked:
    """The runs of what was loaded. The repeats of a cell are one run.

    Raises InputError if there is no cell.
    """
    documents = results.documents
    if not documents.cells:
        raise InputError("there is no cell to export; searches and cold starts are not exported")
    cells = one_for_each_cell((place.name, result) for place, result in documents.cells)
    words = labels([result for _, result in cells])
    runs = [_of_cell(*cell, name) for cell, name in zip(cells, words, strict=True)]
    name = escape.terminal(", ".join(documents.directories) or "results")
    page = TrackedRun(
        id=f"page-{_safe_id(' '.join(map(_absolute, documents.directories)))}",
        name=f"{name[-_LONGEST_NAME:]}: the page",
        tags={"directory": name},
        parameters={},
        metrics={},
        artifact=("report.html", Report(documents).page()),
    )
    return Tracked(name, runs, page)


def check_package(package: str) -> None:
    """Raises InputError, which says what to install, if a tracker's package is missing."""
    if problem := missing("trackers", package):
        raise InputError(problem)


def cleaned(name: str, allowed: str, taken: dict[str, float]) -> str:
    """A name in which every character outside `allowed`, a class of a regular expression, is _.

    It differs from the names in `taken`.
    """
    clean = re.sub(f"[^{allowed}]", "_", name)[:_LONGEST_NAME].strip(". ") or "_"
    while clean in taken:
        clean += "_"
    return clean


def with_clean_names(metrics: dict[str, float], allowed: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in metrics.items():
        found[cleaned(name, allowed, found)] = value
    return found


def summary(exported: Exported, tracker: str) -> str:
    """'3 runs in MLflow are new, 1 was updated, 2 are as before'."""
    if exported.unchanged is None:
        return f"{count(exported.created, 'run')} written to {tracker}"
    return (
        f"{tracker}: {count(exported.created, 'new run')}, {exported.updated:,} updated, "
        f"{exported.unchanged:,} as before"
    )


def _of_cell(key: str, result: Result, name: str) -> TrackedRun:
    settings = result.spec.model_dump(mode="json", exclude_none=True, exclude={"instance"})
    environment = result.environment
    texts = {
        "cell": key,
        "verdict": verdict(result),
        "reasons": reason_codes(result),
        "error": f"{result.error.stage}: {result.error.message}" if result.error else "",
        "machine": machine_name(environment),
        "measured": environment.time,
        "gpubench": environment.gpubench,
        "outputs_agree": {True: "yes", False: "no", None: ""}[result.answers_agree],
    }
    fields = result_fields(result, None).items()
    metrics = {
        name: float(value)
        for name, value in fields
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        if name not in _SETTINGS
    }
    for cost in result.costs:
        if cost.usd_per_million is not None:
            metrics[f"usd_per_million_inferences/{_price(cost)}"] = cost.usd_per_million
    return TrackedRun(
        id=_safe_id(key),
        name=escape.terminal(name)[:_LONGEST_NAME],
        tags={name: escape.terminal(text) for name, text in texts.items() if text},
        parameters={name: escape.terminal(str(value)) for name, value in settings.items()},
        metrics=metrics,
        artifact=("result.json", escape.json_text(result.to_json()) + "\n"),
    )


def _price(cost: Cost) -> str:
    is_by_hand = cost.instance is None and not cost.owned
    return f"{cost.usd_per_hour:g} USD per hour" if is_by_hand else price_name(cost)


def _absolute(url: str) -> str:
    return url if "://" in url else os.path.abspath(url)


def _safe_id(key: str) -> str:
    """The key itself, if it can be an id everywhere. Otherwise a hash of it."""
    if re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z-]{0,50}", key, re.ASCII):
        return key
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:16]
