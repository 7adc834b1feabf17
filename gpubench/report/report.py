"""A report of what was measured, in every format: `gpubench report` and `gpubench.report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.errors import GpubenchError, InputError
from gpubench.files.folder import write_file
from gpubench.planning.candidates import AS_STORED, GivenPrices
from gpubench.planning.documents import Documents, Place, samples_of
from gpubench.planning.search_repeats import combined_searches
from gpubench.pricing.cost import reprice, reprice_search
from gpubench.pricing.energy import with_electricity
from gpubench.pricing.owned import Electricity, Owned
from gpubench.pricing.start_cost import reprice_starts
from gpubench.report import arrow, csv, json, markdown, terminal
from gpubench.report.displayed import document_tables
from gpubench.report.format import count
from gpubench.report.formats import FORMAT_OF_SUFFIX
from gpubench.report.latency import DEFAULT_PERCENTS, with_percentiles
from gpubench.report.repeats import one_for_each_cell
from gpubench.report.table import Table
from gpubench.results.cold_result import ColdResult
from gpubench.results.result import Result
from gpubench.results.search_result import SearchResult
from gpubench.spec.objective import Objective
from gpubench.statistics.percentiles import Percent
from gpubench.statistics.scaling import with_scaling

if TYPE_CHECKING:
    from gpubench.report.charts.chart import ChartSet

_MOST_ON_PAGE = 6  # charts


@dataclass(frozen=True)
class Report:
    """What a report shows. Everything is computed when it is first asked for, and once.

    With `prices` the documents are priced again. `objective` is that of the page and of the charts.
    CSV, JSON and Parquet have the cells; JSON has cold starts, too.
    """

    documents: Documents
    prices: GivenPrices = AS_STORED
    electricity: Electricity | None = None
    title: str | None = None
    objective: Objective | None = None
    each_repeat: bool = False
    percents: Sequence[Percent] = DEFAULT_PERCENTS

    @property
    def name(self) -> str:
        return ", ".join(self.documents.directories) or "Results"

    @cached_property
    def _cells_and_problems(self) -> tuple[list[tuple[Place, Result]], list[str]]:
        priced = [
            (place, with_electricity(reprice(result, *self._prices), self.electricity))
            for place, result in self.documents.cells
        ]
        scaled = with_scaling([result for _, result in priced])
        places = [place for place, _ in priced]
        return with_percentiles(list(zip(places, scaled, strict=True)), self.percents)

    @property
    def _prices(self) -> tuple[tuple[str, ...], float | None, Owned | None]:
        return self.prices.instances, self.prices.usd_per_hour, self.prices.owned

    @property
    def results(self) -> list[Result]:
        """Every cell, or every repeat of it, with the prices of the report."""
        return [result for _, result in self._cells_and_problems[0]]

    @cached_property
    def searches(self) -> list[SearchResult]:
        """The searches, with the repeats of each combined."""
        named = ((place.name, found) for place, found in self.documents.searches)
        return [reprice_search(each, *self._prices) for each in combined_searches(named)]

    @cached_property
    def cold(self) -> list[ColdResult]:
        return [reprice_starts(found, *self._prices) for _, found in self.documents.cold]

    @cached_property
    def rows(self) -> list[tuple[str, Result]]:
        """The rows of CSV and Parquet, with the names of their documents."""
        cells = [(place.name, result) for place, result in self._cells_and_problems[0]]
        return cells if self.each_repeat else one_for_each_cell(cells)

    @cached_property
    def tables(self) -> list[Table]:
        return document_tables(
            self.results,
            self.searches,
            self.cold,
            each_repeat=self.each_repeat,
            percents=self.percents,
        )

    @cached_property
    def charts(self) -> ChartSet:
        """The charts of the cells, and those of the models side by side."""
        # Altair is imported only for charts: tables do without it.
        from gpubench.report.charts.chart import together
        from gpubench.report.charts.result_charts import result_charts
        from gpubench.report.charts.size_charts import size_charts

        places = {id(result): place for place, result in self._cells_and_problems[0]}
        of_cells = result_charts(
            self.results,
            samples=lambda result: samples_of(places[id(result)], result),
            objective_ms=self.objective.latency_s * 1e3 if self.objective else None,
        )
        return together([of_cells, size_charts(self.results)])

    def problems(self, form: str) -> list[str]:
        """What a reader of this format should know, one line each."""
        said = list(self._cells_and_problems[1])
        has_energy = any(result.electricity for result in self.results)
        if self.electricity and self.prices.owned is None and not has_energy:
            said.append(
                "no result has energy, which only some GPUs and CPUs report; there are no figures "
                "for it"
            )
        unmeasured = [each for each in self.searches if not each.probes]
        if unmeasured:
            failures = {each.error.message for each in unmeasured if each.error is not None}
            reason = f": {'; '.join(sorted(failures))}" if failures else ""
            searches = f"{len(unmeasured)} of the searches"
            said.append(f"{searches} ended before the first measurement{reason}")
        if self.searches and form in {"csv", "parquet"}:
            said.append(
                f"{self.name} also holds searches; {form} has only cells, other formats have both"
            )
        if self.cold and form in {"csv", "parquet"}:
            form_name = {"csv": "CSV", "parquet": "Parquet"}[form]
            left_out = count(len(self.cold), "document")
            said.append(f"{form_name} leaves out {left_out} of cold starts; JSON has them")
        return said

    def written(self, form: str) -> str | bytes:
        """The report in one of the formats of `FORMAT_OF_SUFFIX`.

        Raises InputError if the format can hold nothing of what was measured.
        """
        match form:
            case "html":
                return self.page()
            case "markdown":
                return markdown.text(self.tables)
            case "csv" | "parquet":
                if not self.rows:
                    raise InputError(
                        f"{self.name} has no cells, and {form} holds only these; write another "
                        "format, such as html"
                    )
                return csv.text(self.rows) if form == "csv" else arrow.parquet(self.rows)
            case "json":
                return json.text([*(result for _, result in self.rows), *self.searches, *self.cold])
            case "svg" | "png":
                if not self.charts.charts:
                    raise InputError(
                        f"{self.name} has nothing to draw. {' '.join(self.charts.remarks)}"
                    )
                from gpubench.report.charts import files

                return files.svg(self.charts) if form == "svg" else files.png(self.charts)
            case _:
                return terminal.text(self.tables)

    def page(self) -> str:
        """The HTML page."""
        from gpubench.report.page.run_page import run_page

        return run_page(
            self.title or self.name,
            self.documents,
            [*self.results, *self.searches],
            self.tables,
            objective=self.objective,
            prices=self.prices,
            charts=of_page(self.charts),
        )


def of_page(charts: ChartSet) -> ChartSet:
    """At most six charts. That of the models side by side takes the place of the stages."""
    if len(charts.charts) <= _MOST_ON_PAGE:
        return charts
    shown = tuple(chart for chart in charts.charts if chart.name != "stages")
    used = {name for chart in shown for name in chart.data}
    tables = {name: rows for name, rows in charts.tables.items() if name in used}
    said = "No chart of the stages, because a page has at most six: --plots FOLDER draws it."
    return replace(charts, charts=shown, tables=tables, remarks=(*charts.remarks, said))


def write(output: str | Path, report: Report) -> None:
    """Write a report into a file, in the format that the suffix of its name says.

    Raises InputError for a name that says no format, and as `Report.written` does; GpubenchError if
    the file cannot be written.
    """
    path = Path(output)
    form = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if form is None:
        *most, last = FORMAT_OF_SUFFIX
        raise InputError(
            f"{path}: the name does not say a format; let it end in {', '.join(most)} or {last}"
        )
    text = report.written(form)
    try:
        write_file(path, text if isinstance(text, bytes) else text.encode())
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {error.strerror}") from error
