"""The tables of a plan: the candidates, the Pareto front of cost and latency, the knees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpubench.planning.candidates import Bound, Candidate, Obstacle
from gpubench.planning.curves import Knee
from gpubench.planning.decision import Decision, DeploymentPlan
from gpubench.planning.measured import EvidenceKind
from gpubench.report.format import ABSENT, milliseconds, number, usd, with_interval
from gpubench.report.notes import cost_notes, price_name, prices
from gpubench.report.plan_sentences import objective_text, workload_text
from gpubench.report.results import cost_figure, electricity_columns, electricity_remarks
from gpubench.report.settings import (
    measured_instance,
    measured_on,
    settings_columns,
    shared_settings,
)
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.results.result import Cost, Result, Verdict

# Columns of the load and of the way of measuring, which are no part of a setting.
_NOT_OF_THE_SETTING = frozenset({"clients", "rate /s", "warm-up", "window", "seed", "load seed"})
_BOUND: dict[Bound, str] = {"estimate": "", "at-least": "≥ ", "at-most": "≤ ", "none": "~ "}
_COST_BOUND: dict[Bound, str] = {"estimate": "", "at-least": "≤ ", "at-most": "≥ ", "none": "~ "}
_OBSTACLE_NOTES: dict[Obstacle, str] = {
    "closed-loop": "closed loop: its clients wait for each other, so its rate is an upper bound",
    "outputs-differ": "wrong answers: the outputs differ from the fp32 reference",
    "accuracy-drop": "accuracy: it drops by more than --max-drop, or may do so",
}

LEGEND = "inferences /s: of one whole instance, within the objective; ± is the 95% interval."
_BOUND_LEGEND: dict[Bound, str] = {
    "at-least": "≥: a lower bound of the rate, so the cost is an upper bound.",
    "at-most": "≤: an upper bound of the rate, so the cost is a lower bound.",
    "none": "~: no bound, because the clients of the closed loop do not keep all workers busy.",
}
FRONT = (
    "Each row is a measured rate. No other measured rate of this model is both cheaper and faster."
)
UNMET = (
    "missed: above the limit at every rate that was measured. unknown: too few requests for this "
    "percentile. pruned: a sweep did not search it to the end."
)
KNEES = (
    "The knee is the first value with 95% of the highest throughput of the curve. More than that "
    "hardly gives more."
)


def plan_tables(plan: DeploymentPlan, every: bool = False) -> list[Table]:
    """For each workload the cheapest setting of each price (or all), the front and the knees."""
    tables: list[Table] = []
    for decision in plan.decisions:
        if decision.candidates:
            tables.append(_candidates(decision, plan, every))
        if decision.unmet and (every or not decision.candidates):
            tables.append(_without_candidate(decision, plan))
        if len(decision.front) > 1:
            tables.append(_front(decision, plan))
        if decision.knees:
            tables.append(_knees(decision, plan))
    return tables


def models_side_by_side(plan: DeploymentPlan) -> list[Result]:
    """For `size_tables`, if the plan is about several models: their settings at their rates.

    A setting whose answer comes from a search has the latency of the probe nearest to its rate.
    """
    by_point: dict[int, list[Candidate]] = {}
    for each in (each for decision in plan.decisions for each in decision.candidates):
        by_point.setdefault(id(each.point), []).append(each)
    if len({candidates[0].spec.model for candidates in by_point.values()}) < 2:
        return []
    return [
        candidates[0].result.model_copy(
            update={
                "throughput_per_second": candidates[0].point.rate_per_second,
                "throughput_interval": candidates[0].point.interval,
                "costs": [each.cost for each in candidates if each.cost],
                "verdict": candidates[0].point.verdict,
            }
        )
        for candidates in by_point.values()
    ]


def cheapest_of_each(decision: Decision, allowed: frozenset[Obstacle]) -> list[Candidate]:
    """The cheapest candidate of each price; one that may win, if there is any."""
    best: dict[str, Candidate] = {}
    ordered = sorted(decision.candidates, key=lambda each: not allowed.issuperset(each.obstacles))
    for each in ordered:
        best.setdefault(_price(each.cost, each.result), each)
    return [each for each in decision.candidates if each in best.values()]


def _candidates(decision: Decision, plan: DeploymentPlan, every: bool) -> Table:
    shown = list(decision.candidates) if every else cheapest_of_each(decision, plan.allowed)
    results = [each.result for each in shown]
    percentile = f"P{plan.objective.percent} ms"
    columns = [
        *_setting_columns(results),
        *_machine_column(results),
        (Column("price", "left"), [DraftCell(_price(c.cost, c.result)) for c in shown]),
        (Column("inferences /s"), [rate_cell(each) for each in shown]),
        (Column(percentile), [DraftCell(milliseconds(each.latency_ms)) for each in shown]),
        (Column("$/million"), [cost_cell(each) for each in shown]),
        *_electricity_columns(results),
        (Column("evidence", "left"), [_evidence_cell(each) for each in shown]),
    ]
    return _table(
        "all candidates" if every else "cheapest at each price",
        decision,
        plan,
        columns,
        results,
        [each.cost for each in shown],
        _candidate_remarks(decision, shown, every),
        states_settings=True,
    )


def _candidate_remarks(decision: Decision, shown: Sequence[Candidate], every: bool) -> list[str]:
    bounds = {each.bound for each in shown}
    legend = [LEGEND, *(text for bound, text in _BOUND_LEGEND.items() if bound in bounds)]
    left_out = 0 if every else len(decision.candidates) - len(shown) + len(decision.unmet)
    more = f"Not shown: {left_out} more, which --all shows."
    return [
        " ".join(legend),
        *electricity_remarks([each.result for each in shown]),
        *([more] if left_out else []),
    ]


def _front(decision: Decision, plan: DeploymentPlan) -> Table:
    points = decision.front
    results = [each.point.result for each in points]
    percentile = f"P{plan.objective.percent} ms"
    columns = [
        *_setting_columns(results),
        *_machine_column(results),
        (Column("price", "left"), [DraftCell(_price(p.cost, p.point.result)) for p in points]),
        (Column("inferences /s"), [DraftCell(number(p.rate_per_second, 3)) for p in points]),
        (Column(percentile), [DraftCell(milliseconds(p.latency_ms)) for p in points]),
        (
            Column("$/million"),
            [DraftCell(usd(p.usd_per_million), cost_notes(p.cost)) for p in points],
        ),
        (
            Column("evidence", "left"),
            [_evidence(p.point.evidence, p.obstacles, p.point.verdict) for p in points],
        ),
    ]
    return _table(
        f"Pareto front of cost and P{plan.objective.percent}",
        decision,
        plan,
        columns,
        results,
        [each.cost for each in points],
        [FRONT],
    )


def _without_candidate(decision: Decision, plan: DeploymentPlan) -> Table:
    rows = decision.unmet
    results = [each.result for each in rows]
    columns = [
        *_setting_columns(results),
        *_machine_column(results),
        (
            Column(f"lowest P{plan.objective.percent} ms"),
            [DraftCell(milliseconds(each.latency_ms)) for each in rows],
        ),
        (
            Column("at inferences /s"),
            [DraftCell(number(each.at_rate_per_second, 3)) for each in rows],
        ),
        (
            Column("objective", "left"),
            [DraftCell(each.reason, (each.note,) if each.note else ()) for each in rows],
        ),
    ]
    return _table("not within the objective", decision, plan, columns, results, [], [UNMET])


def _knees(decision: Decision, plan: DeploymentPlan) -> Table:
    curves = decision.knees
    results = [each.at for each in curves]
    columns = [
        *_setting_columns(results),
        *_machine_column(results),
        (Column("over", "left"), [DraftCell(each.axis) for each in curves]),
        (Column("knee"), [_knee_cell(each) for each in curves]),
        (Column("inferences /s"), [DraftCell(number(k.throughput_per_second, 3)) for k in curves]),
        (
            Column(f"P{plan.objective.percent} ms"),
            [DraftCell(milliseconds(_percentile(each, plan))) for each in curves],
        ),
        (
            Column("highest /s"),
            [DraftCell(number(k.highest_throughput_per_second, 3)) for k in curves],
        ),
        (Column("at"), [DraftCell(f"{each.highest_x:g}") for each in curves]),
    ]
    return _table("knees", decision, plan, columns, results, [], [KNEES])


_Filled = tuple[Column, list[DraftCell]]


def _table(
    title: str,
    decision: Decision,
    plan: DeploymentPlan,
    columns: Sequence[_Filled],
    results: Sequence[Result],
    costs: Iterable[Cost | None],
    remarks: Iterable[str],
    states_settings: bool = False,  # those that have no column
) -> Table:
    facts = [
        (title, f"{workload_text(decision.workload)}, {objective_text(plan.objective)}"),
    ]
    machines = list(dict.fromkeys(map(measured_on, results)))
    if len(machines) == 1:
        facts.append(("machine", machines[0]))
    if states_settings:
        facts.append(("all settings", shared_settings(results)))
    priced = [each for each in costs if each is not None]
    if priced:
        facts.append(("prices", prices(priced)))
    rows = zip(*(cells for _, cells in columns), strict=True)
    return make_table([column for column, _ in columns], list(rows), facts, remarks)


def _setting_columns(results: Sequence[Result]) -> list[_Filled]:
    return [
        (filled.column, [filled.cell(result) for result in results])
        for filled in settings_columns(results)
        if filled.column.title not in _NOT_OF_THE_SETTING
    ]


def _machine_column(results: Sequence[Result]) -> list[_Filled]:
    names = [measured_on(each) for each in results]
    if len(set(names)) < 2:
        return []
    return [(Column("measured on", "left", drop_order=1), [DraftCell(name) for name in names])]


def _electricity_columns(results: Sequence[Result]) -> list[_Filled]:
    """What was asked for about electricity and is known of at least one of these results."""
    return [
        (filled.column, [filled.cell(result) for result in results])
        for filled in electricity_columns(results)
    ]


def _price(cost: Cost | None, result: Result) -> str:
    instance = measured_instance(result)
    if cost is not None and cost.instance is None and instance:
        return f"{instance} {price_name(cost)}"
    return ABSENT if cost is None else price_name(cost)


def rate_cell(candidate: Candidate) -> DraftCell:
    figure = with_interval(candidate.rate_per_second, candidate.interval)
    if candidate.interval is None or candidate.bound != "estimate":
        figure = number(candidate.rate_per_second, 3)
    search = candidate.point.search
    notes = (search.note,) if search is not None and search.note else ()
    return DraftCell(_BOUND[candidate.bound] + figure, notes)


def cost_cell(candidate: Candidate) -> DraftCell:
    cost = candidate.cost
    if cost is None:
        return DraftCell(ABSENT)
    exact = candidate.bound == "estimate"
    figure = cost_figure(cost) if exact else usd(cost.usd_per_million)
    return DraftCell(_COST_BOUND[candidate.bound] + figure, cost_notes(cost))


def _evidence_cell(candidate: Candidate) -> DraftCell:
    return _evidence(candidate.evidence, candidate.obstacles, candidate.point.verdict)


def _evidence(evidence: EvidenceKind, obstacles: Sequence[Obstacle], verdict: Verdict) -> DraftCell:
    notes = [_OBSTACLE_NOTES[each] for each in obstacles if each in _OBSTACLE_NOTES]
    if "suspect" in obstacles:
        codes = ", ".join(reason.code for reason in verdict.reasons)
        notes.append(f"suspect: {codes or 'no verdict'}; gpubench report DIR has the remedies")
    return DraftCell(evidence.replace("-", " "), tuple(notes))


def _knee_cell(each: Knee) -> DraftCell:
    notes = ("the largest value that was measured: the curve may still rise",)
    return DraftCell(f"{each.x:g}", notes if each.is_last else ())


def _percentile(each: Knee, plan: DeploymentPlan) -> float | None:
    value: float | None = getattr(each.at.latency_ms, f"p{plan.objective.percent}")
    return value
