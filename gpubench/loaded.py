"""Results as a Python program and a notebook use them: `gpubench.load`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from gpubench.displayed import Displayed
from gpubench.errors import InputError, nearest
from gpubench.planning.compare import Comparison, compare
from gpubench.planning.decision import DeploymentPlan, plan
from gpubench.planning.documents import (
    AnyDocument,
    Documents,
    Place,
    Source,
    filtered,
    gather,
    listed,
    samples_of,
)
from gpubench.pricing.cost import check_prices, reprice, reprice_search
from gpubench.pricing.start_cost import reprice_starts
from gpubench.results.cold_result import ColdResult
from gpubench.results.result import Result
from gpubench.results.search_result import SearchResult
from gpubench.spec.objective import Objective, parse_objective
from gpubench.spec.parse import names
from gpubench.statistics.comparison import WITHIN

if TYPE_CHECKING:
    import altair
    import pandas
    import pyarrow

    from gpubench.report.charts.chart import ChartSet
    from gpubench.results.samples import Samples


class Results(Displayed, Sequence[Result]):
    """Everything in run directories, as a sequence of the measured cells, oldest first.

    Each repeat of a cell is an element. Tables and charts combine the repeats.
    """

    def __init__(self, documents: Documents, problems: Sequence[str] = ()) -> None:
        self.documents = documents
        self.problems = tuple(problems)  # files that could not be read, one line each
        self._charts: dict[Objective | None, ChartSet] = {}  # all charts are made together

    @property
    def searches(self) -> tuple[SearchResult, ...]:
        return tuple(found for _, found in self.documents.searches)

    @property
    def cold(self) -> tuple[ColdResult, ...]:
        return tuple(found for _, found in self.documents.cold)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the cells' files, without a suffix."""
        return tuple(place.name for place, _ in self.documents.cells)

    def __len__(self) -> int:
        return len(self.documents.cells)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Result | Results:
        """One cell; or some of them as `Results`, without searches and cold starts."""
        if isinstance(index, slice):
            chosen = replace(self.documents, cells=self.documents.cells[index])
            return Results(replace(chosen, searches=(), cold=()), self.problems)
        return self.documents.cells[index][1]

    def __repr__(self) -> str:
        counts = {"cells": len(self), "searches": len(self.searches), "cold": len(self.cold)}
        shown = [f"{name}: {number}" for name, number in counts.items() if number]
        return f"<gpubench.Results, {', '.join(shown) or 'empty'}>"

    def samples(self, index: int) -> Samples | None:
        """The time stamps of one cell. None if the cell has none, or is in no directory.

        Raises InputError if the file is damaged.
        """
        return samples_of(*self.documents.cells[index])

    def to_arrow(self, *, each_repeat: bool = False) -> pyarrow.Table:
        """The columns of `gpubench report --format csv`: docs/columns.md describes them.

        There is one row for each cell and price, or, with `each_repeat`, for each repeat and price.
        """
        from gpubench.report.arrow import table

        return table(self._rows(each_repeat))

    def to_pandas(self, *, each_repeat: bool = False) -> pandas.DataFrame:
        """The same as `to_arrow`. Absent figures are NaN, or pd.NA in columns of whole numbers.

        Raises InputError if pandas is not installed.
        """
        from gpubench.system.packages import missing

        if problem := missing("notebook", "pandas"):
            raise InputError(problem)
        from gpubench.report.arrow import frame

        return frame(self.to_arrow(each_repeat=each_repeat))

    def chart(
        self, name: str = "trade-off", *, objective: str | Objective | None = None
    ) -> altair.TopLevelMixin:
        """One of the charts of the page, for a notebook. `.save("x.svg")` writes it.

        `objective` ("p95:100ms") is drawn as a line. Raises InputError, which lists the charts that
        these results have, for another name.
        """
        import altair

        from gpubench.report.charts.files import document
        from gpubench.report.report import Report

        limit = None if objective is None else parse_objective(objective)
        if limit not in self._charts:
            self._charts[limit] = Report(self.documents, objective=limit).charts
        made = self._charts[limit]
        by_name = {chart.name: chart for chart in made.charts}
        if not by_name:
            raise InputError(f"these results have no chart. {' '.join(made.remarks)}")
        if name not in by_name:
            raise InputError(f"these results have no chart '{name}'; {nearest(name, by_name)}")
        # Altair made the chart and has validated it.
        return altair.VConcatChart.from_dict(document(made, by_name[name]), validate=False)

    def plan(
        self,
        objective: str | Objective,
        instance: str | Sequence[str] = (),
        usd_per_hour: float | None = None,
        allow: str | Sequence[str] = (),
        only: str | Sequence[str] = (),
    ) -> DeploymentPlan:
        """Which of these settings is cheapest within an objective: see `gpubench.plan`."""
        return plan(self, objective, instance, usd_per_hour, allow, only)

    def compare(
        self,
        other: Source | Sequence[Source],
        force: bool = False,
        *,
        within: str | float = WITHIN,
        spread: str | float | None = None,
    ) -> Comparison:
        """Whether `other` is faster or cheaper than these: see `gpubench.compare`."""
        return compare(self, other, force, within=within, spread=spread)

    def report(
        self,
        output: str | Path,
        *,
        title: str | None = None,
        objective: str | Objective | None = None,
        each_repeat: bool = False,
    ) -> None:
        """Write a file whose format its suffix says: see `gpubench.report`."""
        from gpubench.report.report import Report, write

        limit = None if objective is None else parse_objective(objective)
        report = Report(self.documents, title=title, objective=limit, each_repeat=each_repeat)
        write(output, report)

    def _rows(self, each_repeat: bool) -> list[tuple[str, Result]]:
        from gpubench.report.repeats import one_for_each_cell

        cells = [(place.name, result) for place, result in self.documents.cells]
        return cells if each_repeat else one_for_each_cell(cells)


def load(
    sources: Source | Sequence[Source],
    *,
    instance: str | Sequence[str] = (),
    usd_per_hour: float | None = None,
    only: str | Sequence[str] = (),
) -> Results:
    """Read what was measured.

    `sources` are run directories or JSON files (paths or URLs), or results of `run`, `sweep` and
    `search`. `instance` and `usd_per_hour` price them again. `only` ("batch=8") leaves out results
    with other settings. Files that cannot be read are warnings, and in `problems`.

    Raises InputError if nothing can be read, or nothing is left.
    """
    prices = names(instance), usd_per_hour
    check_prices(prices[0])
    documents, problems = gather(listed(sources))
    if not (documents.cells or documents.searches or documents.cold):
        raise InputError("there is no result to load; measure with gpubench sweep --output DIR")
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    documents = filtered(documents, names(only))

    documents = replace(
        documents,
        cells=_each(documents.cells, lambda result: reprice(result, *prices)),
        searches=_each(documents.searches, lambda found: reprice_search(found, *prices)),
        cold=_each(documents.cold, lambda found: reprice_starts(found, *prices)),
    )
    return Results(documents, problems)


def _each(
    documents: Sequence[tuple[Place, AnyDocument]], change: Callable[[AnyDocument], AnyDocument]
) -> tuple[tuple[Place, AnyDocument], ...]:
    return tuple((place, change(document)) for place, document in documents)


def report(
    sources: Source | Sequence[Source],
    output: str | Path,
    *,
    title: str | None = None,
    objective: str | Objective | None = None,
    each_repeat: bool = False,
) -> None:
    """Write what was measured into a file for people or programs.

    `sources` are those of `load`. The suffix of `output` says the format: .html, .md, .csv, .json,
    .parquet, .txt, or .svg and .png for the charts alone. `title` is that of the page, and
    `objective` ("p95:100ms") that of its answer and of the charts. The repeats of a cell are
    combined, unless `each_repeat` is true.

    Raises InputError if nothing can be read, or if the suffix says no format, and GpubenchError if
    the file cannot be written.
    """
    load(sources).report(output, title=title, objective=objective, each_repeat=each_repeat)
