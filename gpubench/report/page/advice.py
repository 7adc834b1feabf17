"""What `plan` answers for each latency objective, so that the page can show any of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeGuard

from gpubench.planning.candidates import AS_STORED, Candidate, GivenPrices, Obstacle
from gpubench.planning.decision import Decision, DeploymentPlan, decide
from gpubench.planning.documents import Documents
from gpubench.planning.measured import measured_settings
from gpubench.report.charts.chart import Json
from gpubench.report.format import milliseconds
from gpubench.report.plan import cost_cell, rate_cell
from gpubench.report.plan_sentences import (
    decision_sentence,
    objective_text,
    place_text,
    setting_text,
    workload_text,
)
from gpubench.spec.objective import Objective

_DEFAULT_PERCENT = 95
_MOST_STEPS = 40

AdviceStanding = Literal["recommended", "not recommended", "no answer"]


@dataclass(frozen=True)
class Advice:
    """What to rent for one workload, within one objective."""

    workload: str
    standing: AdviceStanding
    setting: str  # what the figures are of; empty: no setting is known
    place: str
    figures: tuple[tuple[str, str], ...]  # (label, text)
    sentence: str


@dataclass(frozen=True)
class AdviceStep:
    """An objective, and its answer for each workload."""

    limit_ms: float
    text: str  # 'P95 within 100ms'
    answers: tuple[Advice, ...]


@dataclass(frozen=True)
class AdviceSteps:
    steps: tuple[AdviceStep, ...]  # by rising limit; at least one
    chosen: int  # the step that is shown first
    percent: int  # of the objectives
    remark: str = ""  # why it is that one

    def data(self) -> dict[str, Json]:
        """For the script of the page. Steps refer to their answers, many of which are equal."""
        numbers: dict[Advice, int] = {}
        steps: list[Json] = [
            {
                "limit_ms": step.limit_ms,
                "text": step.text,
                "answers": [numbers.setdefault(each, len(numbers)) for each in step.answers],
            }
            for step in self.steps
        ]
        return {
            "percent": self.percent,
            "steps": steps,
            "answers": [asdict(each) for each in numbers],
        }


def advice_steps(
    documents: Documents,
    objective: Objective | None = None,
    prices: GivenPrices = AS_STORED,
    allowed: frozenset[Obstacle] = frozenset(),
) -> AdviceSteps:
    """The answers for the objectives between which they change, at most 40.

    Without `objective`, the first one shown is met by half of the settings.

    Raises InputError as `decide` does.
    """
    asked = objective
    percent = asked.percent if asked else _percent(documents)
    seen = _latencies(documents, percent)
    remark = ""
    if objective is None:
        objective = _default(documents, percent, seen)
        remark = (
            f"No objective was given. {objective_text(objective)} is "
            f"{_why(documents, percent, seen)}; --objective chooses another."
        )
    front = decide(documents, objective, prices, allowed)
    plans = (
        replace(
            decide(documents, limit, prices, allowed, with_curves=False),
            directories=documents.directories,
        )
        for limit in _limits(front, documents, objective, seen)
    )
    steps = [_step(plan) for plan in plans]
    chosen = [step.limit_ms for step in steps].index(objective.latency_s * 1e3)
    return AdviceSteps(tuple(steps), chosen, percent, remark)


def advice_of(plan: DeploymentPlan) -> AdviceSteps:
    """The answers of one plan, for its objective only."""
    return AdviceSteps((_step(plan),), 0, plan.objective.percent)


def _step(plan: DeploymentPlan) -> AdviceStep:
    return AdviceStep(
        plan.objective.latency_s * 1e3,
        objective_text(plan.objective),
        tuple(_advice(decision, plan) for decision in plan.decisions),
    )


def _advice(decision: Decision, plan: DeploymentPlan) -> Advice:
    workload = workload_text(decision.workload)
    sentence = decision_sentence(decision, plan)
    best = decision.winner or decision.best_with_obstacles
    if best is None:
        return Advice(workload, "no answer", "", "", (), sentence)
    return Advice(
        workload,
        "recommended" if decision.winner else "not recommended",
        setting_text(best.spec),
        place_text(best.result, best.cost),
        _figures(best, plan.objective),
        sentence,
    )


def _figures(best: Candidate, objective: Objective) -> tuple[tuple[str, str], ...]:
    return (
        ("inferences /s", rate_cell(best).text),
        (f"P{objective.percent} ms", milliseconds(best.latency_ms)),
        ("$/million", cost_cell(best).text),
        ("verdict", best.point.verdict.status),
    )


def _percent(documents: Documents) -> int:
    """That of the searches, which are answers for one percentile only."""
    found = [int(each.objective.percentile[1:]) for _, each in documents.searches]
    return max(found, key=found.count, default=_DEFAULT_PERCENT)


def _latencies(documents: Documents, percent: int) -> list[float]:
    """The lowest percentile of every setting in ms, in rising order."""
    settings = measured_settings(documents, Objective(percent, 1.0))
    lowest = (
        min((p.latency_ms for p in each.points if _is_plausible(p.latency_ms)), default=None)
        for each in settings
    )
    return sorted(each for each in lowest if each is not None)


def _is_plausible(latency_ms: float | None) -> TypeGuard[float]:
    """A document from elsewhere may hold any number. Others are between 1 ns and 11 days."""
    return latency_ms is not None and 1e-6 <= latency_ms <= 1e9


def _default(documents: Documents, percent: int, seen: Sequence[float]) -> Objective:
    searched = _searched(documents, percent)
    if searched:
        return Objective(percent, max(searched, key=searched.count) / 1e3)
    return Objective(percent, limit_of_half(seen) / 1e3)


def limit_of_half(latencies_ms: Iterable[float | None]) -> float:
    """A round limit in ms that half of these latencies meet. 100 if there is none."""
    seen = sorted(each for each in latencies_ms if _is_plausible(each))
    middle = seen[(len(seen) - 1) // 2] if seen else 100.0
    return min(_round_limits(middle, 10 * middle))


def _why(documents: Documents, percent: int, seen: Sequence[float]) -> str:
    if _searched(documents, percent):
        return "that of the searches"
    return "what half of the settings can meet" if seen else "an example"


def _searched(documents: Documents, percent: int) -> list[float]:
    """The limits of the searches for this percentile, in ms."""
    return [
        found.objective.latency_ms
        for _, found in documents.searches
        if found.objective.percentile == f"p{percent}" and _is_plausible(found.objective.latency_ms)
    ]


def _limits(
    plan: DeploymentPlan, documents: Documents, objective: Objective, seen: Sequence[float]
) -> list[Objective]:
    """The objectives of the slider, in rising order.

    The cheapest setting changes where a point of a Pareto front begins to meet the objective.
    Limits of 1, 2 and 5 times a power of ten are there because people ask for them.
    """
    front = [point.latency_ms for decision in plan.decisions for point in decision.front]
    changes = {_rounded_up(each) for each in [*front, *seen[:1]] if _is_plausible(each)}
    changes |= set(_searched(documents, objective.percent))
    if not changes:
        return [objective]
    highest = max([*changes, *seen])
    usual = set(_round_limits(min(changes) / 2, 2 * highest)) - changes
    asked = objective.latency_s * 1e3
    chosen = _thinned(_without(asked, changes), _MOST_STEPS - 1)
    chosen += _thinned(_without(asked, usual), _MOST_STEPS - 1 - len(chosen))
    return [
        objective if limit == asked else Objective(objective.percent, limit / 1e3)
        for limit in sorted([*chosen, asked])
    ]


def _without(value: float, values: Iterable[float]) -> list[float]:
    return sorted(each for each in values if not math.isclose(each, value))


def _thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many of these values, evenly chosen."""
    if len(values) <= most:
        return list(values)
    return [values[round(n * (len(values) - 1) / max(1, most - 1))] for n in range(most)]


def _rounded_up(value: float) -> float:
    """The next number with two digits, which a limit of `value` ms meets."""
    size = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / size - 1e-9) * size:.6g}")


def _round_limits(low: float, high: float) -> Iterable[float]:
    """1, 2 and 5 times every power of ten, from `low` to `high`."""
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    numbers = (float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5))
    return [number for number in numbers if low <= number <= high]
