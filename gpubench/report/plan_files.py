"""A plan for programs: full precision, as CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from gpubench.planning.candidates import Candidate, Unmet
from gpubench.planning.curves import Knee
from gpubench.planning.decision import Decision, DeploymentPlan, FrontPoint
from gpubench.planning.measured import deployed_settings
from gpubench.report.csv import CsvField, interval_fields, result_fields, to_csv
from gpubench.report.documents import (
    CandidateDocument,
    DecisionDocument,
    FrontPointDocument,
    KneeDocument,
    LoadDocument,
    PlanDocument,
    UnmetDocument,
    plan_json,
)
from gpubench.report.plan_sentences import decision_sentence, setting_text
from gpubench.report.settings import measured_instance

SCHEMA = 1


def csv_text(plan: DeploymentPlan) -> str:
    """One row for each candidate, cheapest first, and the columns of its result after it."""
    rows = []
    for decision in plan.decisions:
        for number, candidate in enumerate(decision.candidates, start=1):
            rows.append(_csv_row(number, candidate, decision, plan))
    return to_csv(rows)


def json_text(plan: DeploymentPlan, loads: Sequence[LoadDocument] = ()) -> str:
    """One document. Absent values are null. Rates are inferences per second.

    `loads`: what a load needs, as `gpubench.report.fleet.load_json` writes it.
    """
    document: PlanDocument = {
        "schema": SCHEMA,
        "objective": {
            "percentile": f"p{plan.objective.percent}",
            "latency_ms": plan.objective.latency_s * 1e3,
        },
        "allowed": [*sorted(plan.allowed)],
        "directories": [*plan.directories],
        "decisions": [_decision(each, plan) for each in plan.decisions],
        "loads": [*loads],  # one for each decision if a load was given
    }
    return plan_json(document)


def _csv_row(
    number: int, candidate: Candidate, decision: Decision, plan: DeploymentPlan
) -> dict[str, CsvField]:
    row: dict[str, CsvField] = {
        "rank": number,
        "wins": candidate is decision.winner,
        "objective_percentile": f"p{plan.objective.percent}",
        "objective_ms": plan.objective.latency_s * 1e3,
        "evidence": candidate.evidence,
        "bound": candidate.bound,
        "is_certain": candidate.is_certain,
        "obstacles": " ".join(candidate.obstacles),
        "rate_per_second": candidate.rate_per_second,
        **interval_fields("rate_per_second", candidate.interval),
        "objective_latency_ms": candidate.latency_ms,
    }
    return row | result_fields(candidate.result, candidate.cost)


def _decision(decision: Decision, plan: DeploymentPlan) -> DecisionDocument:
    places = {id(each): index for index, each in enumerate(decision.candidates)}

    def place(candidate: Candidate | None) -> int | None:
        return None if candidate is None else places[id(candidate)]

    return {
        "workload": asdict(decision.workload),
        "sentence": decision_sentence(decision, plan),
        "winner": place(decision.winner),  # places in `candidates`, from 0
        "next_best": place(decision.next_best),
        "best_with_obstacles": place(decision.best_with_obstacles),
        "candidates": [_candidate(each) for each in decision.candidates],
        "unmet": [_unmet(each) for each in decision.unmet],
        "front": [_front_point(each) for each in decision.front],
        "knees": [_knee(each, plan) for each in decision.knees],
    }


def _candidate(candidate: Candidate) -> CandidateDocument:
    return {
        "setting": setting_text(candidate.spec),
        "settings": {**deployed_settings(candidate.spec)},
        "measured_on": measured_instance(candidate.result),
        "documents": [f"{each.url}/{each.name}.json" for each in candidate.documents],
        "evidence": candidate.evidence,
        "bound": candidate.bound,
        "is_certain": candidate.is_certain,
        "rate_per_second": candidate.rate_per_second,
        "rate_interval": candidate.interval,
        "latency_ms": candidate.latency_ms,
        "obstacles": [*candidate.obstacles],
        "reasons": [reason.code for reason in candidate.point.verdict.reasons],
        "cost": candidate.cost,
        "electricity": candidate.result.electricity,
    }


def _unmet(unmet: Unmet) -> UnmetDocument:
    return {
        "cell": unmet.result.spec.describe(),
        "reason": unmet.reason,
        "latency_ms": unmet.latency_ms,
        "at_rate_per_second": unmet.at_rate_per_second,
        "note": unmet.note,
    }


def _front_point(point: FrontPoint) -> FrontPointDocument:
    return {
        "setting": setting_text(point.point.result.spec),
        "evidence": point.point.evidence,
        "rate_per_second": point.rate_per_second,
        "usd_per_million": point.usd_per_million,
        "latency_ms": point.latency_ms,
        "obstacles": [*point.obstacles],
        "cost": point.cost,
    }


def _knee(each: Knee, plan: DeploymentPlan) -> KneeDocument:
    latency: float | None = getattr(each.at.latency_ms, f"p{plan.objective.percent}")
    return {
        "cell": each.at.spec.describe(),
        "axis": each.axis,
        "x": each.x,
        "throughput_per_second": each.throughput_per_second,
        "latency_ms": latency,
        "highest_x": each.highest_x,
        "highest_throughput_per_second": each.highest_throughput_per_second,
        "points": each.count,
        "is_last": each.is_last,
    }
