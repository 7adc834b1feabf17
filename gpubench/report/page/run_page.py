"""The page of run directories: what to deploy, charts of all cells, and the tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpubench.errors import InputError
from gpubench.planning.candidates import AS_STORED, GivenPrices
from gpubench.planning.documents import Documents
from gpubench.report.charts.chart import ChartSet
from gpubench.report.format import count
from gpubench.report.notes import price_name
from gpubench.report.page.advice import AdviceSteps, advice_steps
from gpubench.report.page.page import NO_CHARTS, page
from gpubench.report.results import by_table
from gpubench.report.settings import machine_name
from gpubench.report.table import Table
from gpubench.results.result import Cost, Result
from gpubench.results.search_result import SearchResult
from gpubench.spec.objective import Objective
from gpubench.statistics.repeats import grouped

_MOST_NAMES = 3  # of machines or prices below the title


def run_page(
    title: str,
    documents: Documents,
    results: Sequence[Result | SearchResult],
    tables: Sequence[Table],
    *,
    objective: Objective | None = None,
    prices: GivenPrices = AS_STORED,
    charts: ChartSet = NO_CHARTS,
) -> str:
    """The page. `results` are the documents with the prices that the tables show.

    The answer comes from `documents`, which have their stored prices; `prices` replace them there.
    If the results do not allow an answer, for example because their inputs are in different places,
    the page says why.
    """
    found: AdviceSteps | None = None
    remarks: list[str] = []
    if documents.cells or documents.searches:
        try:
            found = advice_steps(documents, objective, prices)
        except InputError as error:
            remarks.append(f"What to deploy is not known: {error}")
    return page(
        title,
        tables,
        facts=page_facts(results),
        answers=found,
        charts=charts,
        cell_tables=_cell_tables(results, tables),
        remarks=remarks,
    )


def _cell_tables(results: Iterable[Result | SearchResult], tables: Sequence[Table]) -> int:
    """How many tables, from the first one, have a row for each cell. 0 if rows are repeats."""
    cells = [each for each in results if isinstance(each, Result)]
    expected = len(by_table(cells))
    rows = sum(len(table.rows) for table in tables[:expected])
    return expected if rows == len(grouped(cells)) else 0


def page_facts(results: Sequence[Result | SearchResult]) -> list[str]:
    """The days, the machines and the prices of the results, each in a few words."""
    environments = [each.environment for each in results if each.environment]
    costs = [cost for each in results for cost in each.costs]
    days = sorted({each.time[:10] for each in environments})
    dates = sorted({cost.price_as_of for cost in costs if cost.price_as_of})
    facts = [_from_to(days)] if days else []
    facts += _few(map(machine_name, environments), "machine")
    facts += [
        text + (f" as of {_from_to(dates)}" if dates else "")
        for text in _few(map(_price, costs), "price")
    ]
    return facts


def _price(cost: Cost) -> str:
    name = price_name(cost)
    return f"{name} ${cost.usd_per_hour:.4g}/h" if cost.instance or cost.owned else name


def _from_to(days: Sequence[str]) -> str:
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _few(texts: Iterable[str], noun: str) -> list[str]:
    """One text about all of them, or none if there are none."""
    names = list(dict.fromkeys(texts))
    if not names:
        return []
    return [", ".join(names) if len(names) <= _MOST_NAMES else count(len(names), noun)]
