"""The comparison of two sides, A and B: pairs of cells, the ratios of their figures, and answers.

A pair has an answer for each figure: faster or slower (cheaper or dearer), equivalent, undecided,
or none. docs/comparing.md says how it is found. The intervals inside single runs alone never give
an answer. Pure functions.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpubench.displayed import Displayed
from gpubench.planning.documents import Source, gather, listed
from gpubench.planning.matching import CellRepeats, Difference, Match, match
from gpubench.planning.metrics import COLUMNS, P95, THROUGHPUT, USD, Metric, chosen_cost
from gpubench.results.result import Interval, Result
from gpubench.spec.repetition import LEAST_REPEATS
from gpubench.spec.share import parse_share
from gpubench.statistics.comparison import (
    WITHIN,
    Answer,
    Estimate,
    Observation,
    answers,
    paired,
    unpaired,
)

MEASURE_REPEATS = f"measure with --repeats {LEAST_REPEATS} or more, or gpubench ab"


@dataclass(frozen=True)
class Figure:
    """One figure of both sides. None if a side has none."""

    a: float | None
    b: float | None
    a_interval: Interval | None = None
    b_interval: Interval | None = None
    metric: Metric = THROUGHPUT
    estimate: Estimate | None = None  # of B/A; None: there is no verdict
    tested: Answer | None = None
    no_verdict: str | None = None  # why there is none, although both sides have the figure

    @property
    def b_over_a(self) -> float | None:
        """The ratio of the figures before rounding; that of the paired rounds, if there are any."""
        if self.estimate is not None:
            return self.estimate.ratio
        if not self.a or self.b is None:
            return None
        quotient = self.b / self.a
        return quotient if math.isfinite(quotient) else None

    @property
    def b_over_a_interval(self) -> Interval | None:
        """95%, of this comparison alone."""
        return self.estimate.interval() if self.estimate else None

    @property
    def answer(self) -> str | None:
        """'faster', 'slower', 'cheaper', 'dearer', 'equivalent', 'undecided', or None."""
        if self.tested is None:
            return None
        if self.tested.kind in {"equivalent", "undecided"}:
            return self.tested.kind
        return self.metric.word(self.tested.kind == "higher")

    @property
    def is_significant(self) -> bool | None:
        """Whether a difference is found. None if there is no verdict."""
        return None if self.tested is None else self.tested.kind in {"higher", "lower"}


@dataclass(frozen=True)
class Rounds:
    """The rounds in which the cells of a pair were measured."""

    paired: tuple[tuple[list[Result], list[Result]], ...] = ()  # the repeats of A and of B
    unpaired: int = 0  # of series that measured both cells
    causes: tuple[str, ...] = ()  # why rounds are unpaired

    @property
    def note(self) -> str | None:
        if not self.unpaired:
            return None
        total = len(self.paired) + self.unpaired
        causes = " and ".join(self.causes)
        return f"{self.unpaired} of {total} rounds could not be paired: {causes}"


@dataclass(frozen=True)
class Pair(Displayed):
    """The same cell in A and in B. `a` and `b` stand for all repeats of it."""

    a: Result
    b: Result
    differences: tuple[Difference, ...]
    a_repeats: tuple[Result, ...]
    b_repeats: tuple[Result, ...]
    figures: Mapping[str, Figure] = field(default_factory=dict)  # by the name of the metric

    @property
    def throughput_per_second(self) -> Figure:
        return self.figures[THROUGHPUT.name]

    @property
    def p95_ms(self) -> Figure:
        return self.figures[P95.name]

    @property
    def usd_per_million(self) -> Figure:
        return self.figures[USD.name]

    @property
    def rounds(self) -> Rounds:
        """Repeats of both sides belong together if series and round are the same."""
        a, b = _by_round(self.a_repeats), _by_round(self.b_repeats)
        common = {series for series, _ in a} & {series for series, _ in b}
        pairs, causes, unpaired_count = [], [], 0
        for key in sorted(key for key in a.keys() | b.keys() if key[0] in common):
            of_a, of_b = ([r for r in side.get(key, []) if r.error is None] for side in (a, b))
            if of_a and of_b:
                pairs.append((of_a, of_b))
                continue
            unpaired_count += 1
            for name, side, measured in (("A", a, of_a), ("B", b, of_b)):
                if not measured:
                    causes.append(f"{'failed' if key in side else 'not measured'} in {name}")
        return Rounds(tuple(pairs), unpaired_count, tuple(dict.fromkeys(causes)))

    def figure(self, metric: Metric, spread: float | None = None) -> Figure:
        """One figure of both sides, and the estimate of its ratio. It has no answer yet."""
        (a, a_interval), (b, b_interval) = metric.of(self.a), metric.of(self.b)
        estimate, problem = None, None
        if a and b:
            estimate, problem = _estimate(self, metric, spread)
        return Figure(a, b, a_interval, b_interval, metric, estimate, no_verdict=problem)


@dataclass(frozen=True)
class Comparison(Displayed):
    pairs: tuple[Pair, ...]
    only_a: tuple[Result, ...]
    only_b: tuple[Result, ...]
    within: float = WITHIN  # a ratio closer to 1 than this is "equivalent"
    spread: float | None = None  # between runs, relative; None: none was stated
    # For how many comparisons of a figure its p-values are corrected. Those of other comparisons
    # that were made with this one count too.
    corrected_for: int = 0

    @property
    def shared_differences(self) -> tuple[Difference, ...]:
        """The differences that all pairs have in common."""
        if not self.pairs:
            return ()
        first, *others = (pair.differences for pair in self.pairs)
        return tuple(d for d in first if all(d in differences for differences in others))


def compare(
    a: Source | Sequence[Source],
    b: Source | Sequence[Source],
    force: bool = False,
    *,
    within: str | float = WITHIN,
    spread: str | float | None = None,
) -> Comparison:
    """Match the cells of two sides, and answer for each pair which side is better.

    A side is a run directory or a JSON file (a path or URL), what `gpubench.load` returned, or
    results. Repeats of a cell are combined, and paired by round if one series measured both sides.
    `within` is the largest ratio that does not matter, as a share ("2%" or 0.02). `spread` is the
    standard deviation between runs of the same cell, for repeats that are not paired: see
    docs/comparing.md.

    Raises InputError if cells match ambiguously or not at all. Without `force`, also if the sides
    of a pair did not measure the same work, for example with inputs in different places.
    """
    (comparison,) = compare_each(_cells(a), [_cells(b)], force, within=within, spread=spread)
    return comparison


def _cells(side: Source | Sequence[Source]) -> list[Result]:
    documents, problems = gather(listed(side))
    for problem in problems:
        warnings.warn(problem, stacklevel=3)
    return [result for _, result in documents.cells]


def compare_each(
    a: Sequence[Result],
    others: Sequence[Sequence[Result]],
    force: bool = False,
    *,
    within: str | float = WITHIN,
    spread: str | float | None = None,
) -> list[Comparison]:
    """`compare` A with each of several sides.

    The answers are corrected for the number of all pairs together. Raises as `compare` does.
    """
    within = parse_share(within, "within")
    spread = None if spread is None else parse_share(spread, "spread")
    matches = [match(a, b, force) for b in others]
    pairs = [[_pair(each) for each in matched.pairs] for matched in matches]
    every = [pair for each in pairs for pair in each]
    columns = {metric.name: _column(every, metric, within, spread) for metric in COLUMNS}
    tests = max(sum(f.tested is not None for f in figures) for figures in columns.values())
    rows = iter(zip(*columns.values(), strict=True))
    return [
        Comparison(
            tuple(
                replace(pair, figures=dict(zip(columns, next(rows), strict=True))) for pair in each
            ),
            matched.only_a,
            matched.only_b,
            within,
            spread,
            tests,
        )
        for matched, each in zip(matches, pairs, strict=True)
    ]


def _pair(matched: Match) -> Pair:
    a, b = matched.a, matched.b
    return Pair(
        a.result, b.result, matched.differences, _at_the_same_price(a), _at_the_same_price(b)
    )


def _at_the_same_price(cell: CellRepeats) -> tuple[Result, ...]:
    """The repeats, with the one price that is compared."""
    chosen = chosen_cost(cell.result)
    return tuple(
        repeat.model_copy(
            update={"costs": [c for c in repeat.costs if chosen and c.has_price_of(chosen)]}
        )
        for repeat in cell.repeats
    )


def _by_round(repeats: Sequence[Result]) -> dict[tuple[str, int], list[Result]]:
    rounds: dict[tuple[str, int], list[Result]] = {}
    for result in repeats:
        if result.repeat is not None:
            rounds.setdefault((result.repeat.series, result.repeat.round), []).append(result)
    return rounds


def _estimate(
    pair: Pair, metric: Metric, spread: float | None
) -> tuple[Estimate | None, str | None]:
    """The estimate of B/A, or else why there is none."""

    def figures(results: Sequence[Result]) -> list[float]:
        return [value for each in results if (value := metric.of(each)[0]) and value > 0]

    rounds = [(figures(of_a), figures(of_b)) for of_a, of_b in pair.rounds.paired]
    if estimate := paired([(of_a, of_b) for of_a, of_b in rounds if of_a and of_b]):
        return estimate, None
    a, b = _observations(pair.a_repeats, metric), _observations(pair.b_repeats, metric)
    if estimate := unpaired(a, b, spread):
        return estimate, None
    fewest = min(len(a), len(b))
    measured = min(
        sum(each.error is None for each in repeats) for repeats in (pair.a_repeats, pair.b_repeats)
    )
    if spread is None and measured >= LEAST_REPEATS:  # for example P99.9 of few requests
        what = f"only {fewest} of {measured} repeats with this figure"
        return None, f"{what}: no verdict; {metric.how_to_have_it}"
    what = "single runs" if fewest == 1 else f"{fewest} repeats"
    if spread is None:
        return None, f"{what}: no verdict; {MEASURE_REPEATS}"
    return None, f"{what}, and a side has no interval: no verdict; {MEASURE_REPEATS}"


def _observations(repeats: Sequence[Result], metric: Metric) -> list[Observation]:
    measured = (metric.of(each) for each in repeats if each.error is None)
    return [Observation(figure, interval) for figure, interval in measured if figure and figure > 0]


def _column(
    pairs: Sequence[Pair], metric: Metric, within: float, spread: float | None
) -> list[Figure]:
    """The same figure of all pairs, with the answers."""
    figures = [pair.figure(metric, spread) for pair in pairs]
    tested = iter(answers([f.estimate for f in figures if f.estimate], within))
    return [replace(f, tested=next(tested)) if f.estimate else f for f in figures]
