"""The table of serverless functions: one row for each function that was called from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gpubench.report.format import ABSENT, count, milliseconds, number, usd
from gpubench.report.settings import machine_name, software
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.results.cold_result import ColdFigure, ColdFigures, ColdResult, StartSeconds
from gpubench.results.function_calls import (
    CallFigure,
    CallFigures,
    FunctionCost,
    ServerlessFunction,
)

LEGEND = (
    "cold: first calls of a process. Stages and ready: P50 of the starts of these processes, as "
    "the function says. round trip: from sending a call to the end of its answer, without the "
    "connection. handler: inside the function. outside: the rest, which is the network and the "
    "platform; of cold calls without the start of the process, if it was started for the call."
)
HOW_TO_PRICE = (
    "No price: add --usd-per-gb-second X and --usd-per-million-requests X, from the price list of "
    "the service for your region (and --memory SIZE if the function does not say its memory)."
)
ESTIMATE = (
    "Costs are computed from the handler's own clock and the prices that were stated. The bill of "
    "the service may differ."
)
SINGLE = "a single call: this is its figure, which no other call confirms"


@dataclass(frozen=True)
class _Row:
    result: ColdResult
    function: ServerlessFunction

    @property
    def cost(self) -> FunctionCost | None:
        return self.function.cost


_FilledColumn = tuple[Column, Callable[[_Row], DraftCell]]

# A setting is a column only if the functions differ in it.
_SETTINGS: dict[str, Callable[[_Row], str]] = {
    "runtime": lambda row: row.result.spec.runtime,
    "precision": lambda row: row.result.spec.precision,
    "batch": lambda row: str(row.result.spec.batch),
    "requests a call": lambda row: str(row.function.inferences),
    "memory GB": lambda row: number(row.function.memory_gb, 3),
}
_LONGEST_NAME = 16


def function_name(function: ServerlessFunction) -> str:
    """A short name for tables: the host up to its first dot, or an address with its port."""
    host = function.url.partition("://")[2].partition("/")[0]
    name = host if host.replace(".", "").replace(":", "").isdigit() else host.partition(".")[0]
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def function_tables(results: Iterable[ColdResult]) -> list[Table]:
    """One table for each combination of machine and software that the functions tell."""
    groups: dict[str, list[_Row]] = {}
    for result in results:
        if result.function is not None:
            machine = result.environment.model_dump_json(exclude={"time"})
            groups.setdefault(machine, []).append(_Row(result, result.function))
    return [_table(rows) for rows in groups.values()]


def _table(rows: Sequence[_Row]) -> Table:
    stages = [
        name
        for name in StartSeconds.model_fields
        if any(getattr(s.seconds, name) is not None for row in rows for s in row.result.starts)
    ]
    differing = [name for name, value in _SETTINGS.items() if len(set(map(value, rows))) > 1]
    columns: list[_FilledColumn] = [
        (_left("function"), lambda row: DraftCell(function_name(row.function))),
        (_left("model"), lambda row: DraftCell(row.result.spec.model)),
        *((Column(name), _setting(name)) for name in differing),
        (Column("cold"), _count_cell),
        *((Column(f"{name.replace('_', ' ')} s", drop_order=1), _stage(name)) for name in stages),
        (Column("ready P50 s"), _of_starts(lambda figures: figures.ready)),
        (Column("cold round trip P50 ms"), _figure(_cold, lambda f: f.round_trip)),
        (Column("cold outside P50 ms", drop_order=2), _figure(_cold, lambda f: f.outside)),
        (Column("warm"), lambda row: DraftCell(str(found.count if (found := _warm(row)) else 0))),
        (Column("warm P50 ms"), _figure(_warm, lambda f: f.round_trip)),
        (Column("warm P95 ms"), _figure(_warm, lambda f: f.round_trip, "p95")),
        (Column("handler P50 ms", drop_order=2), _figure(_warm, lambda f: f.handler)),
        (Column("outside P50 ms", drop_order=2), _figure(_warm, lambda f: f.outside)),
    ]
    has_cost = any(row.cost for row in rows)
    if has_cost:
        columns += [
            (Column("$/million warm"), _cost(lambda cost: cost.usd_per_million)),
            (Column("$/start"), _cost(lambda cost: cost.usd_per_start)),
        ]
    shared = [
        f"{name} {value(rows[0])}" for name, value in _SETTINGS.items() if name not in differing
    ]
    facts = [
        ("functions", " · ".join(dict.fromkeys(row.function.url for row in rows))),
        ("all calls", " · ".join(shared)),
        ("machine", _machines(rows)),
        ("software", software(rows[0].result.environment)),
    ]
    prices = dict.fromkeys(_price_text(row.cost) for row in rows if row.cost)
    if prices:
        facts.append(("prices", " · ".join(prices)))
    remarks = [LEGEND, *filter(None, map(_errors, rows)), ESTIMATE if has_cost else HOW_TO_PRICE]
    return make_table(
        [column for column, _ in columns],
        [[cell(row) for _, cell in columns] for row in rows],
        facts,
        remarks,
    )


def _machines(rows: Sequence[_Row]) -> str:
    """That of the first answer, and the other processors that answered."""
    where = rows[0].result.environment
    cpus = dict.fromkeys(cpu for row in rows for cpu in row.function.cpus if cpu != where.cpu)
    return "; other calls on ".join(filter(None, (machine_name(where), ", ".join(cpus))))


def _setting(name: str) -> Callable[[_Row], DraftCell]:
    return lambda row: DraftCell(_SETTINGS[name](row))


def _left(title: str) -> Column:
    return Column(title, "left", is_key=True)


def _cold(row: _Row) -> CallFigures | None:
    return row.function.cold


def _warm(row: _Row) -> CallFigures | None:
    return row.function.warm


def _figure(
    figures: Callable[[_Row], CallFigures | None],
    choose: Callable[[CallFigures], CallFigure | None],
    percentile: str = "p50",
) -> Callable[[_Row], DraftCell]:
    """A percentile. A single call has none; its figure is shown instead, with a note."""

    def cell(row: _Row) -> DraftCell:
        found = figures(row)
        figure = choose(found) if found is not None else None
        if figure is None:
            return DraftCell(ABSENT)
        value = getattr(figure, percentile)
        if value is None and percentile == "p50":
            return DraftCell(milliseconds(figure.min), (SINGLE,))
        return DraftCell(milliseconds(value))

    return cell


def _of_starts(
    choose: Callable[[ColdFigures], ColdFigure | None],
) -> Callable[[_Row], DraftCell]:
    """The P50 of the starts of the processes, in seconds."""

    def cell(row: _Row) -> DraftCell:
        figure = choose(row.result.figures[0]) if row.result.figures else None
        if figure is None:
            return DraftCell(ABSENT)
        if figure.p50 is None:
            return DraftCell(number(figure.min, 3), (SINGLE,))
        return DraftCell(number(figure.p50, 3))

    return cell


def _stage(name: str) -> Callable[[_Row], DraftCell]:
    return _of_starts(lambda figures: figures.seconds.get(name))


def _count_cell(row: _Row) -> DraftCell:
    cold = row.function.cold
    if cold is None:
        return DraftCell("0", ("every call was warm: wait until the service ends its processes",))
    calls = [call for call in row.function.calls if call.cold]
    early = sum(call.started_for_it is False for call in calls)
    note = f"{count(early, 'process')} began before the call was sent"
    return DraftCell(str(cold.count), (note,) if early else ())


def _cost(choose: Callable[[FunctionCost], float | None]) -> Callable[[_Row], DraftCell]:
    return lambda row: DraftCell(usd(choose(row.cost)) if row.cost else ABSENT)


def _price_text(cost: FunctionCost) -> str:
    price = cost.price
    return (
        f"${usd(price.usd_per_gb_second)} a GB-second, ${usd(price.usd_per_million_requests)} a "
        f"million calls, billed in steps of {price.billing_step_ms:g} ms (as stated)"
    )


def _errors(row: _Row) -> str | None:
    failed = [call.error for call in row.function.calls if call.error]
    if not failed:
        return None
    return f"{count(len(failed), 'call')} of {row.function.url} failed: {failed[0].message}"
