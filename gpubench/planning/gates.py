"""Gates: limits for how much worse B may be than A. `--fail-if 'p95 > +5%'`.

A gate fails if it is certain that the ratio B/A is beyond its limit: a one-sided test at 5%,
corrected by Holm's method for the number of all gates and pairs. So the probability that any gate
fails without cause is at most 5%.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gpubench.errors import InputError, nearest
from gpubench.planning.compare import Comparison, Figure, Pair
from gpubench.planning.metrics import METRICS, Metric
from gpubench.spec.share import parse_share
from gpubench.statistics.comparison import LEVEL, Estimate, holm

_GATE = re.compile(r"\s*([a-z0-9_.]+)\s*([<>])\s*(\S.*)", re.ASCII)
_EXAMPLE = "write it like 'p95 > +5%' or 'throughput < -5%'"

GateOutcome = Literal["failed", "passed", "uncertain", "untested"]


@dataclass(frozen=True)
class Gate:
    """A limit for the ratio B/A of one figure."""

    metric: Metric
    limit: float  # "+5%" is 0.05; the sign is that of a change for the worse

    @property
    def text(self) -> str:
        sign = "<" if self.metric.more_is_better else ">"
        return f"{self.metric.name} {sign} {100 * self.limit:+g}%"

    def p_failed(self, estimate: Estimate) -> float:
        """The p-value of the hypothesis that B is within the limit."""
        ratio = 1 + self.limit
        return estimate.p_below(ratio) if self.metric.more_is_better else estimate.p_above(ratio)

    def p_passed(self, estimate: Estimate) -> float:
        """The p-value of the hypothesis that B is beyond the limit."""
        ratio = 1 + self.limit
        return estimate.p_above(ratio) if self.metric.more_is_better else estimate.p_below(ratio)


@dataclass(frozen=True)
class GateResult:
    """One gate, tested with one pair."""

    gate: Gate
    pair: Pair
    figure: Figure
    outcome: GateOutcome
    p_value: float | None  # that B is within the limit, corrected; None: untested

    @property
    def why_untested(self) -> str:
        if self.figure.no_verdict:
            return self.figure.no_verdict
        absent = [
            f"failed in {side}" if result.error else f"absent in {side}"
            for side, result, value in (
                ("A", self.pair.a, self.figure.a),
                ("B", self.pair.b, self.figure.b),
            )
            if not value
        ]
        return " and ".join(absent)


def parse_gate(text: str) -> Gate:
    """The gate that 'p95 > +5%' is.

    Raises InputError, which names --fail-if, for an unknown figure, a limit that is not a signed
    percentage, and a gate that could fail although B is not worse.
    """
    matched = _GATE.fullmatch(text.lower())
    if matched is None:
        raise InputError(f"--fail-if '{text}' is not FIGURE > LIMIT or FIGURE < LIMIT; {_EXAMPLE}")
    name, comparison, limit = matched.groups()
    if name not in METRICS:
        raise InputError(f"--fail-if '{text}': unknown figure '{name}'; {nearest(name, METRICS)}")
    metric = METRICS[name]
    if (comparison == "<") != metric.more_is_better:
        better, right = ("more", "< -") if metric.more_is_better else ("less", "> +")
        raise InputError(
            f"--fail-if '{text}' could fail although B is not worse: {better} of {name} is better; "
            f"write {name} {right}LIMIT, or exchange A and B"
        )
    sign = "-" if metric.more_is_better else "+"
    if limit[0] != sign:
        raise InputError(f"--fail-if '{text}': the limit begins with {sign}; {_EXAMPLE}")
    share = parse_share(limit[1:], f"--fail-if '{text}':")
    return Gate(metric, -share if metric.more_is_better else share)


def apply_gates(gates: Sequence[Gate], comparisons: Sequence[Comparison]) -> list[GateResult]:
    """Every gate with every pair.

    Raises InputError if a gate cannot be tested with any pair: its figure is absent, or there are
    too few repeats for any certainty.
    """
    drafts = [
        (gate, pair, pair.figure(gate.metric, comparison.spread))
        for gate in gates
        for comparison in comparisons
        for pair in comparison.pairs
    ]
    p_values = [gate.p_failed(f.estimate) for gate, _, f in drafts if f.estimate]
    corrected = iter(holm(p_values))
    results = [
        _result(gate, pair, figure, next(corrected) if figure.estimate else None)
        for gate, pair, figure in drafts
    ]
    for gate in gates:
        _refuse_untested([each for each in results if each.gate is gate])
    return results


def _result(gate: Gate, pair: Pair, figure: Figure, p_value: float | None) -> GateResult:
    outcome: GateOutcome = "uncertain"
    if figure.estimate is None or p_value is None:
        outcome = "untested"
    elif p_value <= LEVEL:
        outcome = "failed"
    elif gate.p_passed(figure.estimate) <= LEVEL:
        outcome = "passed"
    return GateResult(gate, pair, figure, outcome, p_value)


def _refuse_untested(results: Sequence[GateResult]) -> None:
    if any(each.outcome != "untested" for each in results):
        return
    gate = results[0].gate
    reasons = [each.figure.no_verdict for each in results if each.figure.no_verdict]
    if reasons:
        raise InputError(
            f"--fail-if '{gate.text}' cannot be tested with {reasons[0]}, or state a --spread"
        )
    raise InputError(
        f"--fail-if '{gate.text}': no pair of cells has this figure on both sides; "
        f"{gate.metric.how_to_have_it}"
    )
