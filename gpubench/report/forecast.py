"""The table of `sweep --dry-run`: one row for each cell, and what all of them would take."""

from __future__ import annotations

from gpubench.report.format import ABSENT, count, elapsed, usd
from gpubench.report.notes import price_name, prices
from gpubench.report.settings import (
    machine_name,
    settings_columns,
    shared_settings,
    software,
)
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.results.forecast import CellForecast, Forecast
from gpubench.results.result import Cost

_BASES = {
    "earlier": "earlier measurements in this directory",
    "settings-and-earlier": "the warm-up and the window, and what loading and building took in "
    "this directory",
    "settings": "the warm-up and the window alone, without loading and building",
}


def forecast_tables(forecast: Forecast) -> list[Table]:
    """One table. Its last remarks say the time and the money of all cells together."""
    results = [each.cell for each in forecast.cells]
    costs = {price_name(cost): cost for result in results for cost in result.costs}
    settings = settings_columns(results)
    if forecast.noun == "search":  # it chooses the rates
        settings = [each for each in settings if each.column.title != "rate /s"]
    columns = [
        *(each.column for each in settings),
        Column("to measure"),
        Column("measured"),
        Column("time"),
        *(Column(f"$ {name}") for name in costs),
    ]
    rows = [
        [
            *(each.cell(forecasted.cell) for each in settings),
            DraftCell(str(forecasted.missing)),
            DraftCell(str(forecasted.stored)),
            DraftCell(_time(forecasted)),
            *(DraftCell(_money(forecasted, name)) for name in costs),
        ]
        for forecasted in forecast.cells
    ]
    facts = [
        ("machine", machine_name(results[0].environment)),
        ("software", software(results[0].environment)),
        ("all cells", shared_settings(results)),
    ]
    if costs:
        facts.append(("prices", prices(list(costs.values()))))
    return [make_table(columns, rows, facts, _remarks(forecast, costs))]


def _remarks(forecast: Forecast, costs: dict[str, Cost]) -> list[str]:
    cells = forecast.cells
    missing = sum(each.missing for each in cells)
    left_out = [
        f"left out {count(cells, 'cell')}: {reason}" for reason, cells in forecast.skipped.items()
    ]
    repeated = any(each.missing + each.stored > 1 for each in cells)
    noun = "setting" if forecast.noun == "search" else "repeat" if repeated else "cell"
    amount = f"{count(missing, noun)} to {'search' if forecast.noun == 'search' else 'measure'}"
    most = "at most " if forecast.at_most else ""
    if not missing:
        return [*left_out, "Nothing is left to measure: the directory has all of it."]
    known = [each for each in cells if each.missing and each.seconds is not None]
    if not known:
        return [
            *left_out,
            f"{most.capitalize()}{amount}. How long that takes is not known before the first one: "
            "it depends on how fast the model is. With --duration it is known.",
            "Nothing was measured.",
        ]
    unknown = sum(each.missing for each in cells) - sum(each.missing for each in known)
    seconds = sum(each.seconds or 0.0 for each in known)
    about = f"{most}about "
    text = f"{amount}: {about}{elapsed(seconds)}"
    money = [f"${usd(seconds / 3600 * each.usd_per_hour)} {_at(each)}" for each in costs.values()]
    if money:
        text += f", which costs {about}{', '.join(money)}"
    if unknown:
        text += f", and an unknown time for {unknown:,} of them"
    bases = dict.fromkeys(_BASES[each.basis] for each in known if each.basis)
    return [*left_out, f"{text}.", f"time: from {'; or '.join(bases)}.", "Nothing was measured."]


def _at(cost: Cost) -> str:
    return f"on {price_name(cost)}" if cost.instance is not None else price_name(cost)


def _time(forecasted: CellForecast) -> str:
    return ABSENT if forecasted.seconds is None else elapsed(forecasted.seconds)


def _money(forecasted: CellForecast, name: str) -> str:
    for cost in forecasted.cell.costs:
        if price_name(cost) == name and forecasted.seconds is not None:
            return usd(forecasted.seconds / 3600 * cost.usd_per_hour)
    return ABSENT
