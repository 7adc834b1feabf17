"""A comparison for programs: full precision, as CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from gpubench.planning.compare import Comparison, Figure, Pair
from gpubench.planning.gates import GateResult
from gpubench.planning.metrics import COLUMNS, chosen_cost
from gpubench.report.comparison import ordered_pairs
from gpubench.report.csv import CsvField, interval_fields, result_fields, to_csv
from gpubench.report.documents import (
    AnswerDocument,
    FigureDocument,
    GateDocument,
    PairDocument,
    SidesDocument,
    compare_json,
)
from gpubench.report.notes import price_name
from gpubench.results.result import Result


def csv_text(comparisons: Sequence[Comparison]) -> str:
    """One row for each side of a pair, with the columns of `gpubench report --format csv`.

    Both rows of a pair have its number, its ratios and answers, and whether the outputs of each
    side agree with the fp32 reference. For a cell without a partner these fields are empty.
    """
    pairs = [pair for each in comparisons for pair in ordered_pairs(each)]
    rows = []
    for number, pair in enumerate(pairs, start=1):
        rows += [_csv_row("A", pair.a, number, pair), _csv_row("B", pair.b, number, pair)]
    for each in comparisons:
        rows += [_csv_row("A", result) for result in each.only_a]
        rows += [_csv_row("B", result) for result in each.only_b]
    return to_csv(rows)


def json_text(
    comparisons: Sequence[tuple[Comparison, str, str]],
    gates: Sequence[GateResult] = (),
    by: str | None = None,
) -> str:
    """One document. Each comparison has the names of its two sides. Absent values are null.

    With `by`, the setting whose values are compared, it holds a list of comparisons. Without it
    there is only one comparison.
    """
    documents = [_document(*each) for each in comparisons]
    if by is None:
        return compare_json({**documents[0], "gates": _gates(gates)})
    return compare_json({"by": by, "comparisons": documents, "gates": _gates(gates)})


def _document(comparison: Comparison, a_name: str, b_name: str) -> SidesDocument:
    return {
        "a": a_name,
        "b": b_name,
        "within": comparison.within,
        "spread": comparison.spread,
        "corrected_for": comparison.corrected_for,
        "pairs": [_json_pair(pair) for pair in ordered_pairs(comparison)],
        "only_a": [result.spec.describe() for result in comparison.only_a],
        "only_b": [result.spec.describe() for result in comparison.only_b],
    }


def _gates(results: Sequence[GateResult]) -> list[GateDocument]:
    return [
        {
            "gate": each.gate.text,
            "cell": each.pair.b.spec.describe(),
            "outcome": each.outcome,
            "b_over_a": each.figure.b_over_a,
            "b_over_a_bounds": each.figure.estimate.bounds() if each.figure.estimate else None,
            "p_value": each.p_value,
            "reason": each.why_untested if each.outcome == "untested" else None,
        }
        for each in results
    ]


def _answer(figure: Figure | None) -> AnswerDocument:
    """What CSV and JSON have in common. Everything is None if there is no verdict."""
    estimate, tested = (figure.estimate, figure.tested) if figure else (None, None)
    return {
        "is_significant": figure.is_significant if figure else None,
        "answer": figure.answer if figure else None,
        "method": estimate.method if estimate else None,
        "rounds": estimate.rounds if estimate else None,
        "more_rounds": tested.more_rounds if tested else None,
        "p_difference": tested.p_difference if tested else None,
        "p_difference_corrected": tested.p_difference_corrected if tested else None,
        "p_equivalence": tested.p_equivalence if tested else None,
    }


def _csv_row(
    side: str, result: Result, number: int | None = None, pair: Pair | None = None
) -> dict[str, CsvField]:
    row: dict[str, CsvField] = {"pair": number, "side": side}
    for metric in COLUMNS:
        figure = pair.figures[metric.name] if pair else None
        row[f"{metric.key}_b_over_a"] = figure.b_over_a if figure else None
        interval = figure.b_over_a_interval if figure else None
        row |= interval_fields(f"{metric.key}_b_over_a", interval)
        answer = cast(dict[str, CsvField], _answer(figure))
        row |= {f"{metric.key}_{name}": value for name, value in answer.items()}
    row["a_answers_agree"] = pair.a.answers_agree if pair else None
    row["b_answers_agree"] = pair.b.answers_agree if pair else None
    return row | result_fields(result, chosen_cost(result))


def _json_pair(pair: Pair) -> PairDocument:
    a_cost, b_cost = chosen_cost(pair.a), chosen_cost(pair.b)
    return {
        "cell": pair.a.spec.describe(),
        "differences": {d.setting: {"a": d.a, "b": d.b} for d in pair.differences},
        "a_instance": a_cost.instance if a_cost else None,
        "b_instance": b_cost.instance if b_cost else None,
        "a_price": price_name(a_cost) if a_cost else None,
        "b_price": price_name(b_cost) if b_cost else None,
        "a_answers_agree": pair.a.answers_agree,
        "b_answers_agree": pair.b.answers_agree,
        "unpaired_rounds": pair.rounds.unpaired,
        "throughput_per_second": _json_figure(pair.throughput_per_second),
        "p95_ms": _json_figure(pair.p95_ms),
        "usd_per_million": _json_figure(pair.usd_per_million),
    }


def _json_figure(figure: Figure) -> FigureDocument:
    return {
        "a": figure.a,
        "b": figure.b,
        "a_interval": figure.a_interval,
        "b_interval": figure.b_interval,
        "b_over_a": figure.b_over_a,
        "b_over_a_interval": figure.b_over_a_interval,
        **_answer(figure),
        "no_verdict": figure.no_verdict,
    }
