"""The comparison of two run directories, as tables.

All ratios are B over A, of the figures before rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gpubench.planning.compare import (
    Comparison,
    Difference,
    Figure,
    Pair,
    Value,
    chosen_cost,
)
from gpubench.report.format import milliseconds, number, ratio, seconds, usd, with_interval
from gpubench.report.notes import (
    answer_notes,
    cost_notes,
    failure_note,
    prices,
    reason_codes,
    verdict,
)
from gpubench.report.settings import (
    FilledColumn,
    machine_name,
    settings_columns,
    settings_order,
    shared_settings,
    software,
)
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.results.result import Cost, Interval, Result

NOT_SIGNIFICANT = "not significant: the 95% interval of the difference holds zero"
UNKNOWN_SIGNIFICANCE = "a side has no interval, so this may be chance"
LEGEND = (
    "B/A are true ratios, of the figures before rounding. More is better of inferences /s, less of "
    "P95 ms and $/million."
)
HOW_TO_PRICE = "No price on one side: add --instance-a NAME and --instance-b NAME, or see --help."


@dataclass(frozen=True)
class _Quantity:
    """A figure that is compared, and how its text is made without an interval."""

    title: str
    of: Callable[[Pair], Figure]
    text: Callable[[float | None, Interval | None], str]
    cost: Callable[[Result], Cost | None] = lambda _: None


_QUANTITIES = (
    _Quantity(
        "inferences /s", lambda pair: pair.throughput_per_second, lambda value, _: number(value)
    ),
    _Quantity("P95 ms", lambda pair: pair.p95_ms, lambda value, _: milliseconds(value)),
    _Quantity(
        "$/million", lambda pair: pair.usd_per_million, lambda value, _: usd(value), chosen_cost
    ),
)


def wide_table(comparison: Comparison, a_name: str, b_name: str) -> Table:
    """One row for each pair: A, B and their ratio side by side for each figure."""
    pairs = ordered_pairs(comparison)
    keys = _key_columns(pairs)
    columns = [filled.column for filled in keys]
    for quantity in _QUANTITIES:
        columns += [Column(f"A {quantity.title}"), Column(f"B {quantity.title}"), Column("B/A")]
    columns.append(Column("verdict", "left"))
    rows = [
        [
            *_key_cells(pair, keys, comparison),
            *(cell for quantity in _QUANTITIES for cell in _three(pair, quantity, quantity.text)),
            _verdict_cell(pair),
        ]
        for pair in pairs
    ]
    return _table(comparison, columns, rows, a_name, b_name)


def tall_table(comparison: Comparison, a_name: str, b_name: str) -> Table:
    """Three rows for each pair, for narrow terminals: A, B and their ratio, with intervals."""
    pairs = ordered_pairs(comparison)
    keys = _key_columns(pairs)
    columns = [filled.column for filled in keys]
    columns += [Column("side", "left", is_key=True), *(Column(q.title) for q in _QUANTITIES)]
    rows: list[list[DraftCell]] = []
    for pair in pairs:
        named = _key_cells(pair, keys, comparison)
        sides = (
            DraftCell("A", _doubts("A", pair.a)),
            DraftCell("B", _doubts("B", pair.b)),
            DraftCell("B/A"),
        )
        figures = zip(*(_three(pair, q, with_interval) for q in _QUANTITIES), strict=True)
        for side, cells in zip(sides, figures, strict=True):
            rows.append([*named, side, *cells])
            named = [DraftCell("")] * len(keys)
    return _table(comparison, columns, rows, a_name, b_name)


def ordered_pairs(comparison: Comparison) -> list[Pair]:
    """Pairs in the order of the rows of a table."""
    return sorted(comparison.pairs, key=lambda pair: settings_order(pair.a))


def _table(
    comparison: Comparison,
    columns: Sequence[Column],
    rows: Iterable[Sequence[DraftCell]],
    a_name: str,
    b_name: str,
) -> Table:
    pairs = comparison.pairs
    left, right = [pair.a for pair in pairs], [pair.b for pair in pairs]
    facts = [
        ("A", f"{a_name}: {_machines(left)}"),
        ("B", f"{b_name}: {_machines(right)}"),
        *_software(left, right),
    ]
    if comparison.shared_differences:
        facts.append(("differ in", " · ".join(map(_described, comparison.shared_differences))))
    facts.append(("all cells", shared_settings(left + right)))
    if costs := [cost for result in left + right if (cost := chosen_cost(result))]:
        facts.append(("prices", prices(costs)))
    remarks = [LEGEND]
    if not all(chosen_cost(pair.a) and chosen_cost(pair.b) for pair in pairs):
        remarks.append(HOW_TO_PRICE)
    for side, results in (("A", comparison.only_a), ("B", comparison.only_b)):
        remarks += [f"Only in {side}: {result.spec.describe()}" for result in results]
    return make_table(columns, rows, facts, remarks)


def _machines(results: Sequence[Result]) -> str:
    return " and ".join(dict.fromkeys(machine_name(result.environment) for result in results))


def _software(left: Sequence[Result], right: Sequence[Result]) -> list[tuple[str, str]]:
    """The installed software. It is listed once if it is the same on both sides."""
    a, b = (
        " and ".join(dict.fromkeys(software(result.environment) for result in side))
        for side in (left, right)
    )
    return [("software", a)] if a == b else [("software A", a), ("software B", b)]


_DURATIONS = frozenset({"service_time", "warmup", "duration"})


def _described(difference: Difference) -> str:
    name = difference.setting.replace("_", " ")
    a, b = (_value(difference.setting, value) for value in (difference.a, difference.b))
    return f"{name} (A {a}, B {b})"


def _value(setting: str, value: Value) -> str:
    if setting in _DURATIONS and isinstance(value, float):
        return seconds(value)
    return "none" if value is None else str(value)


def _key_columns(pairs: Sequence[Pair]) -> list[FilledColumn]:
    return settings_columns([pair.a for pair in pairs])


def _key_cells(pair: Pair, keys: Sequence[FilledColumn], comparison: Comparison) -> list[DraftCell]:
    """The settings of A. If B differs only in this pair, the model has a note that says so."""
    shared = comparison.shared_differences
    own = tuple(
        f"differs in {_described(difference)}"
        for difference in pair.differences
        if difference not in shared
    )
    first, *others = (filled.cell(pair.a) for filled in keys)
    return [DraftCell(first.text, first.notes + own), *others]


def _three(
    pair: Pair, quantity: _Quantity, text: Callable[[float | None, Interval | None], str]
) -> tuple[DraftCell, DraftCell, DraftCell]:
    """A, B and B/A. A figure that comes from wrong outputs is marked, and so is its ratio."""
    figure = quantity.of(pair)
    a_wrong, b_wrong = _of_side("A", answer_notes(pair.a)), _of_side("B", answer_notes(pair.b))
    a_cost, b_cost = quantity.cost(pair.a), quantity.cost(pair.b)
    return (
        DraftCell(text(figure.a, figure.a_interval), _cost_notes("A", a_cost) + a_wrong),
        DraftCell(text(figure.b, figure.b_interval), _cost_notes("B", b_cost) + b_wrong),
        DraftCell(ratio(figure.b_over_a), _significance(figure) + a_wrong + b_wrong),
    )


def _of_side(side: str, notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{side}, {note}" for note in notes)


def _cost_notes(side: str, cost: Cost | None) -> tuple[str, ...]:
    return _of_side(side, cost_notes(cost)) if cost else ()


def _significance(figure: Figure) -> tuple[str, ...]:
    if figure.b_over_a is None or figure.is_significant:
        return ()
    return (UNKNOWN_SIGNIFICANCE if figure.is_significant is None else NOT_SIGNIFICANT,)


def _verdict_cell(pair: Pair) -> DraftCell:
    """The worse of the two verdicts, with its reasons."""
    verdicts = (verdict(pair.a), verdict(pair.b))
    worst = next(v for v in ("failed", "suspect", "valid") if v in verdicts)
    return DraftCell(worst, _doubts("A", pair.a) + _doubts("B", pair.b))


def _doubts(side: str, result: Result) -> tuple[str, ...]:
    """Why one side is suspect or failed. Empty if its verdict is valid."""
    if verdict(result) == "suspect":
        return (f"{side} is suspect: {reason_codes(result)}",)
    return tuple(f"{side} {note}" for note in failure_note(result))
