"""What a comparison and its gates found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gpubench.planning.compare import MEASURE_REPEATS, Comparison, Figure, Pair
from gpubench.planning.gates import GateResult
from gpubench.planning.metrics import COLUMNS, Metric
from gpubench.report.format import (
    ABSENT,
    change,
    count,
    milliseconds,
    ratio,
    ratio_range,
    share,
    usd,
)
from gpubench.statistics.comparison import MOST_ROUNDS, SPREAD

_MOST_NAMES = 3  # of cells in one sentence


def within_text(within: float) -> str:
    return f"within {share(within)}"


def answer(figure: Figure, within: float) -> str:
    """The answer in one or two words, for a cell of a table."""
    if figure.answer is None:
        return ABSENT
    return within_text(within) if figure.answer == "equivalent" else figure.answer


def more_rounds(figure: Figure) -> str:
    """What would decide, for a figure that is undecided."""
    estimate, tested = figure.estimate, figure.tested
    if estimate is None or tested is None or estimate.method == "single":
        return MEASURE_REPEATS
    if tested.more_rounds is not None:
        if estimate.method == "paired":
            return f"{count(tested.more_rounds, 'more round')} would probably decide"
        return f"{count(tested.more_rounds, 'more repeat')} of each side would probably decide"
    if estimate.method == "series":
        return "more repeats do not decide; measure both sides in one sweep, or with gpubench ab"
    return f"more than {MOST_ROUNDS:,} more rounds would be needed"


def how_compared(comparison: Comparison) -> str:
    """The methods, the number of rounds, and for what the answers are corrected."""
    rounds: dict[str, list[int]] = {}
    unanswered: list[str] = []
    for pair in comparison.pairs:
        estimates = [e for m in COLUMNS if (e := pair.figures[m.name].estimate)]
        if estimates:
            rounds.setdefault(estimates[0].method, []).append(estimates[0].rounds)
        else:
            unanswered += [why for m in COLUMNS if (why := pair.figures[m.name].no_verdict)][:1]
    spread = share(SPREAD if comparison.spread is None else comparison.spread)
    texts = {
        "paired": "in {} paired rounds",
        "series": f"{{}} repeats of each side, from two series, with a spread of {spread} between "
        "the two",
        "single": f"single runs, with the stated spread of {spread} between runs",
    }
    parts = [texts[method].format(_range(numbers)) for method, numbers in rounds.items()]
    if not parts:
        return " · ".join(dict.fromkeys(unanswered)) or "no pair has a figure on both sides"
    if unanswered:
        parts.append(f"no verdict for {count(len(unanswered), 'cell')}")
    if comparison.corrected_for > 1:
        parts.append(f"corrected for {comparison.corrected_for} comparisons of each figure (Holm)")
    return " · ".join(parts)


def sentence(pair: Pair, within: float, a_name: str, b_name: str) -> str:
    """One sentence for one pair: throughput and, if there are prices, the costs.

    'compile is 1.62 times as fast as torchscript (95%: 1.58 to 1.66), $1.07 against $1.73 a
    million'
    """
    figure, cost = pair.throughput_per_second, pair.usd_per_million
    times = f"{b_name} is {ratio(figure.b_over_a)} times as fast as {a_name}"
    has_costs = cost.a is not None and cost.b is not None
    costs = f", ${usd(cost.b)} against ${usd(cost.a)} a million" if has_costs else ""
    return _answered(figure, within, times, costs, (a_name, b_name))


def latency_sentence(pair: Pair, within: float, a_name: str, b_name: str) -> str:
    """One sentence about the P95 latency.

    'the P95 latency of compile is 0.62 times that of torchscript (95%: 0.60 to 0.64), 12.1 ms
    against 19.5 ms'
    """
    figure = pair.p95_ms
    times = f"the P95 latency of {b_name} is {ratio(figure.b_over_a)} times that of {a_name}"
    values = f", {milliseconds(figure.b)} ms against {milliseconds(figure.a)} ms"
    return _answered(figure, within, times, values, (a_name, b_name))


def _answered(
    figure: Figure, within: float, times: str, values: str, names: tuple[str, str]
) -> str:
    """The answer. `times` says what the ratio is, and `values` says more about the two sides."""
    if figure.b_over_a is None:
        sides = [name for name, value in zip(names, (figure.a, figure.b), strict=True) if not value]
        have = "has" if len(sides) == 1 else "have"
        return f"no verdict: {' and '.join(sides)} {have} no {figure.metric.noun}"
    if figure.b_over_a_interval is None:
        why = (figure.no_verdict or "").replace(": no verdict;", ";")  # it is not said twice
        return f"no verdict: {times}{values}, from {why}"
    text = f"{times} (95%: {ratio_range(*figure.b_over_a_interval)}){values}"
    if figure.answer == "undecided":
        return f"undecided: {text}; {more_rounds(figure)}"
    if figure.answer == "equivalent":
        return f"no difference larger than {share(within)}: {text}"
    return text


def headline(comparison: Comparison, a_name: str, b_name: str) -> str:
    """The first sentence of a summary: the answer of one pair, or the numbers of answers."""
    if len(comparison.pairs) == 1:
        return f"{sentence(comparison.pairs[0], comparison.within, a_name, b_name)}."
    texts = (_counts(comparison, metric) for metric in COLUMNS)
    found = [text for text in texts if text]
    if not found:
        return f"No verdict: {a_name} and {b_name} have single runs; {MEASURE_REPEATS}."
    return f"{b_name} compared with {a_name}: {'; '.join(found)}."


def _counts(comparison: Comparison, metric: Metric) -> str | None:
    figures = [pair.figures[metric.name] for pair in comparison.pairs]
    answers = Counter(answer(f, comparison.within) for f in figures if f.answer)
    if not answers:
        return None
    numbers = ", ".join(f"{word} in {amount}" for word, amount in answers.most_common())
    return f"{metric.noun}: {numbers} of {count(len(figures), 'cell')}"


def gate_sentences(results: Sequence[GateResult]) -> list[str]:
    """A sentence for each figure that failed its gate, or else one about all of them."""
    failed = [f"gate failed: {_failure(each)}" for each in results if each.outcome == "failed"]
    return failed or [_no_failure(results)]


def gate_headline(results: Sequence[GateResult]) -> str:
    """One sentence about all gates."""
    failed = sum(each.outcome == "failed" for each in results)
    if failed:
        total = count(len(results), "figure")
        return f"gates failed: {failed} of {total} {_is_certain(failed)} beyond the limit"
    return _no_failure(results)


def _no_failure(results: Sequence[GateResult]) -> str:
    passed = sum(each.outcome == "passed" for each in results)
    if passed == len(results):
        return f"no gate failed: {_certain(passed)} within the limit"
    parts = [f"no gate failed, but not everything is certain: {_certain(passed)} within the limit"]
    for outcome, text in (("uncertain", "not certain"), ("untested", "not tested")):
        names = [_name(each) for each in results if each.outcome == outcome]
        if names:
            more = len(names) - _MOST_NAMES
            shown = ", ".join(names[:_MOST_NAMES]) + (f", and {more} more" if more > 0 else "")
            parts.append(f"{text}: {shown}")
    return "; ".join(parts)


def gate_change(result: GateResult) -> str:
    """'+12% (95%: +8.1% or more)': the ratio B/A, and the bound that the gate tests."""
    estimate = result.figure.estimate
    if estimate is None:
        return ABSENT
    at_least, at_most = estimate.bounds()
    is_upper = (result.outcome == "failed") == result.gate.metric.more_is_better
    bound = f"{change(at_most)} or less" if is_upper else f"{change(at_least)} or more"
    return f"{change(estimate.ratio)} (95%: {bound})"


def _failure(result: GateResult) -> str:
    """'p95 of resnet50 ... is 12% higher in B than in A (95%: at least 8.1%); the limit is +5%'."""
    assert result.figure.estimate is not None
    is_lower = result.gate.metric.more_is_better
    at_least, at_most = result.figure.estimate.bounds()
    measured, bound = (
        change(each)[1:]
        for each in (result.figure.estimate.ratio, at_most if is_lower else at_least)
    )
    _, _, limit = result.gate.text.rpartition(" ")
    return (
        f"{result.gate.metric.name} of {result.pair.b.spec.describe()} is {measured} "
        f"{'lower' if is_lower else 'higher'} in B than in A (95%: at least {bound}); "
        f"the limit is {limit}"
    )


def _is_certain(amount: int) -> str:
    return f"{'is' if amount == 1 else 'are'} certain to be"


def _certain(amount: int) -> str:
    return f"{count(amount, 'figure')} {_is_certain(amount)}"


def _name(result: GateResult) -> str:
    cell = f"{result.gate.metric.name} of {result.pair.b.spec.describe()}"
    if result.outcome == "untested":
        return f"{cell}: {result.why_untested}"
    return f"{cell}: {gate_change(result)}"


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"
