"""The last lines of a command that measures: what it found, where that is, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Sequence

from gpubench.report.format import count, milliseconds, usd, with_interval
from gpubench.report.notes import price_name, verdict
from gpubench.report.search import objective_text
from gpubench.results.result import Cost, Result
from gpubench.results.search_result import SearchResult
from gpubench.spec.workload import competition

_MOST_WORKLOADS = 3  # of which the lines name the best cells


def cell_lines(results: Sequence[Result], output: str | None) -> list[str]:
    """The lines after cells, whose repeats are combined. `output` is their run directory."""
    by_workload: dict[Hashable, list[Result]] = {}
    for result in results:
        by_workload.setdefault(competition(result.spec), []).append(result)
    lines = []
    if len(results) > 1:
        lines.append(_counts(results))
        lines += [line for group in by_workload.values() for line in _best(group)][:_MOST_WORKLOADS]
    serves = not all(result.spec.trains for result in results)
    return [*lines, *next_steps(output, _example_objective(results) if serves else None)]


def search_lines(found: SearchResult, output: str | None) -> list[str]:
    """The lines after a search, whose repeats are combined."""
    return [*_answer(found), *next_steps(output, _objective(found))]


def sweep_lines(searches: Sequence[SearchResult], output: str) -> list[str]:
    """The lines after a sweep with an objective, whose tables name the best settings."""
    return next_steps(output, _objective(searches[0])) if searches else []


def next_steps(output: str | None, objective: str | None) -> list[str]:
    """Where the results are, and the commands that show more of them. Empty without `output`.

    `objective` is None if nothing serves requests, so that there is nothing to plan.
    """
    if output is None:
        return []
    where = shlex.quote(output)
    plan = f"what to deploy: gpubench plan {where} --objective {objective}"
    return [
        f"the results are in {output}",
        *([] if objective is None else [plan]),
        f"a page of all: gpubench report {where} --output page.html",
    ]


def _counts(results: Sequence[Result]) -> str:
    kinds = [verdict(result) for result in results]
    text = f"{count(len(results), 'cell')}: " + ", ".join(
        f"{kinds.count(kind)} {kind}" for kind in ("valid", "suspect", "failed")
    )
    return text if "valid" in kinds else f"{text}; the notes of the table say why and what to do"


def _best(group: Sequence[Result]) -> list[str]:
    """The fastest and the cheapest of the valid cells of a workload.

    Only closed loops are compared: the throughput of an open loop is that of its schedule.
    """
    measured = [
        result
        for result in group
        if result.throughput_per_second is not None
        and result.spec.clients is not None
        and verdict(result) == "valid"
    ]
    if len(measured) < 2:
        return []
    fastest = max(measured, key=lambda result: result.throughput_per_second or 0.0)
    lines = [f"fastest valid closed loop: {fastest.spec.describe()}: {_figures(fastest)}"]
    priced = [
        (cost.usd_per_million, result, cost)
        for result in measured
        for cost in result.costs
        if cost.usd_per_million is not None
    ]
    if not priced:
        return lines
    _, cheapest, cost = min(priced, key=lambda each: each[0])
    if cheapest is fastest:
        return [f"{lines[0].replace('fastest', 'fastest and cheapest', 1)}, {_price(cost)}"]
    return [
        *lines,
        f"cheapest valid closed loop: {cheapest.spec.describe()}: {_figures(cheapest)}, "
        f"{_price(cost)}",
    ]


def _figures(result: Result) -> str:
    throughput = with_interval(result.throughput_per_second, result.throughput_interval)
    return f"{throughput}/s, P95 {milliseconds(result.latency_ms.p95)} ms"


def _price(cost: Cost) -> str:
    """'$1.55 a million on g5.xlarge', '$1.55 a million at $0.5/h'."""
    place = f"on {price_name(cost)}" if cost.instance is not None else price_name(cost)
    return f"${usd(cost.usd_per_million)} a million {place}"


def _answer(found: SearchResult) -> list[str]:
    if found.error is not None or found.max_rate_per_second is None:
        return []  # the table says why
    rate = with_interval(found.max_rate_per_second, found.interval)
    prices = [_price(cost) for cost in found.costs if cost.usd_per_million is not None]
    text = f"{objective_text(found)} holds up to {rate} requests/s"
    if prices:
        text += f": {', '.join(prices)}"
    return [text if found.verdict.status == "valid" else f"{text}. Its verdict is suspect"]


def _example_objective(results: Sequence[Result]) -> str | None:
    """A round one that half of the inferences meet, as on the page. None if all cells train."""
    from gpubench.report.page.advice import limit_of_half

    inferences = [result for result in results if not result.spec.trains]
    if not inferences:
        return None
    return f"p95:{limit_of_half(result.latency_ms.p95 for result in inferences):g}ms"


def _objective(found: SearchResult) -> str:
    objective = found.objective
    return f"{objective.percentile}:{objective.latency_ms:g}ms"
