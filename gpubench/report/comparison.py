"""The comparison of two run directories, as tables.

All ratios are B over A, of the figures before rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from gpubench.planning.compare import Comparison, Figure, Pair
from gpubench.planning.matching import Difference, Value
from gpubench.planning.metrics import P95, THROUGHPUT, USD, Metric, chosen_cost
from gpubench.report import training
from gpubench.report.comparison_sentences import answer, how_compared, more_rounds, within_text
from gpubench.report.format import (
    milliseconds,
    number,
    ratio,
    ratio_range,
    seconds,
    share,
    usd,
    with_interval,
)
from gpubench.report.notes import (
    answer_notes,
    cost_notes,
    failure_note,
    price_name,
    prices,
    reason_codes,
    verdict,
)
from gpubench.report.settings import (
    FilledColumn,
    measured_on,
    settings_columns,
    settings_order,
    shared_settings,
    software,
)
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.results.result import Cost, Interval, Result
from gpubench.spec.repetition import LEAST_REPEATS

LEGEND = (
    "B/A are true ratios, of the figures before rounding. More is better of {} /s, less of "
    "P95 ms and $/million."
)
FEW_PROCESSES = (
    "The repeats of a cell share a process. What a process decides once, such as the place of its "
    "memory, is the same in all of them, and may look like a difference: measure with --fresh (ab: "
    "without --same-process)."
)
HOW_TO_PRICE = (
    "{}: add --instance-a NAME and --instance-b NAME (ab: --instance NAME), or see --help."
)

_WIDE = 1.5  # the upper end of an interval by its ratio, from which on both ends are shown


@dataclass(frozen=True)
class _Quantity:
    """A figure that is compared, and how its text is made without an interval."""

    metric: Metric
    title: str
    text: Callable[[float | None, Interval | None], str]
    cost: Callable[[Result], Cost | None] = lambda _: None

    def of(self, pair: Pair) -> Figure:
        return pair.figures[self.metric.name]


_QUANTITIES = (
    _Quantity(THROUGHPUT, "inferences /s", lambda value, _: number(value)),
    _Quantity(P95, "P95 ms", lambda value, _: milliseconds(value)),
    _Quantity(USD, "$/million", lambda value, _: usd(value), chosen_cost),
)


def _shown(pairs: Sequence[Pair]) -> tuple[_Quantity, ...]:
    """The quantities that some side has. Costs are absent if no side has a price."""
    has_cost = any(chosen_cost(result) for result in _results(pairs))
    rate, *others = _QUANTITIES if has_cost else _QUANTITIES[:-1]
    return replace(rate, title=f"{training.counted(_results(pairs))} /s"), *others


def _results(pairs: Sequence[Pair]) -> list[Result]:
    return [result for pair in pairs for result in (pair.a, pair.b)]


def _answered(pairs: Sequence[Pair]) -> list[bool]:
    """Which quantities have a column for answers: all with a ratio, if there is an answer."""
    shown = _shown(pairs)
    if not any(quantity.of(pair).tested for quantity in shown for pair in pairs):
        return [False] * len(shown)
    return [any(q.of(pair).b_over_a is not None for pair in pairs) for q in shown]


def wide_table(comparison: Comparison, a_name: str, b_name: str) -> Table:
    """One row for each pair: A, B, their ratio and the answer side by side for each figure."""
    pairs = ordered_pairs(comparison)
    keys = _key_columns(pairs)
    answered = _answered(pairs)
    columns = [filled.column for filled in keys]
    for quantity, has_answer in zip(_shown(pairs), answered, strict=True):
        columns += [Column(f"A {quantity.title}"), Column(f"B {quantity.title}"), Column("B/A")]
        columns += [Column("answer", "left")] * has_answer
    columns.append(Column("verdict", "left"))
    rows = [
        [
            *_key_cells(pair, keys, comparison),
            *(
                cell
                for quantity, has_answer in zip(_shown(pairs), answered, strict=True)
                for cell in _cells(pair, quantity, quantity.text, comparison.within, has_answer)
            ),
            _verdict_cell(pair),
        ]
        for pair in pairs
    ]
    return _table(comparison, columns, rows, a_name, b_name)


def tall_table(comparison: Comparison, a_name: str, b_name: str) -> Table:
    """A row for A, B, their ratio and the answer, for narrow terminals; figures with intervals."""
    pairs = ordered_pairs(comparison)
    keys = _key_columns(pairs)
    has_answer = any(_answered(pairs))
    columns = [filled.column for filled in keys]
    columns += [Column("side", "left", is_key=True), *(Column(q.title) for q in _shown(pairs))]
    rows: list[list[DraftCell]] = []
    for pair in pairs:
        named = _key_cells(pair, keys, comparison)
        sides = [
            DraftCell("A", _doubts("A", pair.a)),
            DraftCell("B", _doubts("B", pair.b)),
            DraftCell("B/A"),
            *[DraftCell("answer")] * has_answer,
        ]
        figures = zip(
            *(_cells(pair, q, with_interval, comparison.within, has_answer) for q in _shown(pairs)),
            strict=True,
        )
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
        ("compared", how_compared(comparison)),
        *_software(left, right),
    ]
    if comparison.shared_differences:
        facts.append(("differ in", " · ".join(map(_described, comparison.shared_differences))))
    facts.append(("all cells", shared_settings(left + right)))
    facts += _price_facts(left, right)
    remarks = [LEGEND.format(training.counted(left + right))]
    if any(_answered(pairs)):
        remarks.append(
            f"Answers are tests at 5%. '{within_text(comparison.within)}': no difference larger "
            f"than {share(comparison.within)}. Intervals are 95%, each for one comparison alone."
        )
        if any(_shares_processes(side) for side in left + right):
            remarks.append(FEW_PROCESSES)
    if not all(chosen_cost(pair.a) and chosen_cost(pair.b) for pair in pairs):
        has_costs = USD in (quantity.metric for quantity in _shown(pairs))
        remarks.append(HOW_TO_PRICE.format("No price on one side" if has_costs else "No price"))
    for side, results in (("A", comparison.only_a), ("B", comparison.only_b)):
        remarks += [f"Only in {side}: {result.spec.describe()}" for result in results]
    return make_table(columns, rows, facts, remarks)


def _price_facts(left: Sequence[Result], right: Sequence[Result]) -> list[tuple[str, str]]:
    """The prices; for each side if the two have different prices of the same instance."""
    a, b = ([cost for result in side if (cost := chosen_cost(result))] for side in (left, right))
    is_shared = {cost.instance for cost in a} & {cost.instance for cost in b}
    if is_shared and set(map(price_name, a)) != set(map(price_name, b)):
        return [("prices of A", prices(a)), ("prices of B", prices(b))]
    return [("prices", prices(a + b))] if a + b else []


def _shares_processes(result: Result) -> bool:
    return result.repeats is not None and result.repeats.processes < LEAST_REPEATS


def _machines(results: Sequence[Result]) -> str:
    return " and ".join(dict.fromkeys(map(measured_on, results)))


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
    a, b = (setting_text(difference.setting, value) for value in (difference.a, difference.b))
    return f"{name} (A {a}, B {b})"


def setting_text(setting: str, value: Value) -> str:
    """The value of a setting, for people."""
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
    if pair.rounds.note:
        own += (pair.rounds.note,)
    first, *others = (filled.cell(pair.a) for filled in keys)
    return [DraftCell(first.text, first.notes + own), *others]


def _cells(
    pair: Pair,
    quantity: _Quantity,
    text: Callable[[float | None, Interval | None], str],
    within: float,
    has_answer: bool,
) -> list[DraftCell]:
    """A, B, B/A, and the answer. A figure of wrong outputs is marked, and so is its ratio."""
    figure = quantity.of(pair)
    a_wrong, b_wrong = _of_side("A", answer_notes(pair.a)), _of_side("B", answer_notes(pair.b))
    a_cost, b_cost = quantity.cost(pair.a), quantity.cost(pair.b)
    cells = [
        DraftCell(text(figure.a, figure.a_interval), _cost_notes("A", a_cost) + a_wrong),
        DraftCell(text(figure.b, figure.b_interval), _cost_notes("B", b_cost) + b_wrong),
        DraftCell(_ratio(figure), a_wrong + b_wrong),
    ]
    return [*cells, DraftCell(answer(figure, within), _reasons(figure))] if has_answer else cells


def _ratio(figure: Figure) -> str:
    """The ratio ± the wider half of its interval, or with both ends if one half is much wider.

    '5 ±22' would seem to contain 1 if the interval is 1.03 to 27.5.
    """
    interval = figure.b_over_a_interval
    if figure.b_over_a is None or interval is None:
        return ratio(figure.b_over_a)
    if interval[1] > _WIDE * figure.b_over_a:
        return f"{ratio(figure.b_over_a)} ({ratio_range(*interval)})"
    return with_interval(figure.b_over_a, interval)


def _reasons(figure: Figure) -> tuple[str, ...]:
    """Why there is no answer, or what would give one."""
    if figure.answer == "undecided":
        return (f"undecided: {more_rounds(figure)}",)
    return (figure.no_verdict,) if figure.no_verdict else ()


def _of_side(side: str, notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{side}, {note}" for note in notes)


def _cost_notes(side: str, cost: Cost | None) -> tuple[str, ...]:
    return _of_side(side, cost_notes(cost)) if cost else ()


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
