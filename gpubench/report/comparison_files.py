"""A comparison for programs: full precision, as CSV and JSON."""

from __future__ import annotations

import json

from gpubench.planning.compare import Comparison, Figure, Pair, chosen_cost
from gpubench.report import escape
from gpubench.report.comparison import ordered_pairs
from gpubench.report.csv import CsvField, result_fields, to_csv
from gpubench.results.result import Interval, Result

Json = str | float | bool | None | Interval | dict[str, "Json"]


def csv_text(comparison: Comparison) -> str:
    """One row for each side of a pair, with the columns of `gpubench report --format csv`.

    Both rows of a pair have its number, its ratios, and whether the outputs of each side agree with
    the fp32 reference. For a cell without a partner these fields are empty.
    """
    rows = []
    for number, pair in enumerate(ordered_pairs(comparison), start=1):
        rows += [_csv_row("A", pair.a, number, pair), _csv_row("B", pair.b, number, pair)]
    rows += [_csv_row("A", result) for result in comparison.only_a]
    rows += [_csv_row("B", result) for result in comparison.only_b]
    return to_csv(rows)


def json_text(comparison: Comparison, a_name: str, b_name: str) -> str:
    """One document. Absent values are null."""
    document = {
        "a": a_name,
        "b": b_name,
        "pairs": [_json_pair(pair) for pair in ordered_pairs(comparison)],
        "only_a": [result.spec.describe() for result in comparison.only_a],
        "only_b": [result.spec.describe() for result in comparison.only_b],
    }
    return escape.json_text(
        json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )


def _figures(pair: Pair) -> dict[str, Figure]:
    return {
        "throughput_per_second": pair.throughput_per_second,
        "p95_ms": pair.p95_ms,
        "usd_per_million": pair.usd_per_million,
    }


def _csv_row(
    side: str, result: Result, number: int | None = None, pair: Pair | None = None
) -> dict[str, CsvField]:
    row: dict[str, CsvField] = {"pair": number, "side": side}
    for name in ("throughput_per_second", "p95_ms", "usd_per_million"):
        figure = _figures(pair)[name] if pair else None
        row[f"{name}_b_over_a"] = figure.b_over_a if figure else None
        row[f"{name}_is_significant"] = figure.is_significant if figure else None
    row["a_answers_agree"] = pair.a.answers_agree if pair else None
    row["b_answers_agree"] = pair.b.answers_agree if pair else None
    return row | result_fields(result, chosen_cost(result))


def _json_pair(pair: Pair) -> dict[str, Json]:
    a_cost, b_cost = chosen_cost(pair.a), chosen_cost(pair.b)
    return {
        "cell": pair.a.spec.describe(),
        "differences": {d.setting: {"a": d.a, "b": d.b} for d in pair.differences},
        "a_instance": a_cost.instance if a_cost else None,
        "b_instance": b_cost.instance if b_cost else None,
        "a_answers_agree": pair.a.answers_agree,
        "b_answers_agree": pair.b.answers_agree,
        **{name: _json_figure(figure) for name, figure in _figures(pair).items()},
    }


def _json_figure(figure: Figure) -> dict[str, Json]:
    return {
        "a": figure.a,
        "b": figure.b,
        "a_interval": figure.a_interval,
        "b_interval": figure.b_interval,
        "b_over_a": figure.b_over_a,
        "is_significant": figure.is_significant,
    }
