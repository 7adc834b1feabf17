"""The JSON documents of `plan` and `compare`, as types. docs/schemas is made from them.

The documents of results, searches and cold starts are the models in gpubench/results.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import TypeAdapter

# Before Python 3.12, pydantic cannot read the TypedDict of `typing`. It depends on this package.
from typing_extensions import TypedDict

from gpubench.planning.candidates import Bound, Obstacle
from gpubench.planning.gates import GateOutcome
from gpubench.planning.matching import Value
from gpubench.planning.measured import EvidenceKind
from gpubench.report import escape
from gpubench.results.result import Cost, ElectricityUse, Interval
from gpubench.statistics.comparison import Method


class ObjectiveDocument(TypedDict):
    """The objective: this percentile of the latency must be at most these milliseconds."""

    percentile: str
    latency_ms: float


class CandidateDocument(TypedDict):
    """A setting that meets the objective, at one price. Rates are inferences per second."""

    setting: str
    settings: dict[str, Value]
    measured_on: str | None  # the instance, if the machine said it
    documents: list[str]  # the files from which it comes
    evidence: EvidenceKind
    bound: Bound  # what the rate is of the highest rate
    is_certain: bool  # whether it meets the objective with 95% confidence
    rate_per_second: float  # of the whole instance
    rate_interval: Interval | None  # 95%
    latency_ms: float | None  # the percentile of the objective
    obstacles: list[Obstacle]
    reasons: list[str]  # codes of the verdict
    cost: Cost | None
    electricity: ElectricityUse | None


class UnmetDocument(TypedDict):
    """A setting that is no candidate."""

    cell: str
    reason: Literal["missed", "unknown", "failed", "pruned"]
    latency_ms: float | None  # lowest value of the percentile that was measured
    at_rate_per_second: float | None
    note: str | None


class FrontPointDocument(TypedDict):
    """A setting to which no other is preferable in cost and latency."""

    setting: str
    evidence: EvidenceKind
    rate_per_second: float
    usd_per_million: float
    latency_ms: float
    obstacles: list[Obstacle]
    cost: Cost | None


class KneeDocument(TypedDict):
    """Where a curve of throughput against one setting becomes flat."""

    cell: str
    axis: str  # the setting
    x: float  # its value at the knee
    throughput_per_second: float
    latency_ms: float | None
    highest_x: float
    highest_throughput_per_second: float
    points: int
    is_last: bool  # no larger value was measured, so the curve may still rise


class DecisionDocument(TypedDict):
    """The answer for one workload."""

    workload: dict[str, Value]
    sentence: str
    winner: int | None  # place in `candidates`, from 0, as the next two
    next_best: int | None
    best_with_obstacles: int | None
    candidates: list[CandidateDocument]  # the cheapest first
    unmet: list[UnmetDocument]
    front: list[FrontPointDocument]
    knees: list[KneeDocument]


class FleetDocument(TypedDict):
    """The instances that a load needs."""

    cell: str
    instance: str | None
    region: str | None
    term: str | None
    instances: int
    rate_per_instance: float
    utilisation: float  # share
    utilisation_after_loss: float | None  # when as many as `spare` have failed
    usd_per_month: float | None
    usd_per_million: float | None
    usd_per_month_by_term: dict[str, float]


class PeriodDocument(TypedDict):
    """A part of a simulated load."""

    begin_s: float
    end_s: float
    inferences: int
    late: int
    percentile_ms: float | None
    mean_instances: float
    most_instances: int


class SimulatedDocument(TypedDict):
    """A simulated load on instances."""

    inferences: int
    late: int
    percentile_ms: float | None
    instance_hours: float
    active_hours: float
    launches: int
    usd_per_month: float | None
    periods: list[PeriodDocument]


class AutoscalingDocument(TypedDict):
    """The same load on a constant number of instances, and on ones that start and stop."""

    least: int
    most: int
    target_utilisation: float
    start_s: float
    scale_down_delay_s: float
    evaluation_period_s: float
    balancing: str
    service_times: str
    constant: SimulatedDocument
    scaled: SimulatedDocument
    serverless: SimulatedDocument | None


class FunctionPlanDocument(TypedDict):
    """The same load on a serverless function that was measured."""

    url: str
    cell: str
    memory_bytes: int | None
    concurrency: float | None  # at the peak
    cold_share: float | None  # of the calls, at least; null: the keep-alive time was not told
    late_share: float | None  # of the calls
    meets_objective: bool | None
    latency_ms: float | None  # percentile of the objective of warm calls, from outside
    usd_per_month: float | None
    usd_per_million: float | None
    is_lower_bound: bool  # cold starts cost more than is in these figures
    break_even_per_second: float | None  # the constant load from which instances cost less
    break_even_instance: str | None


class LoadDocument(TypedDict):
    """What a load needs, for one workload."""

    model: str
    origin: str
    span_s: float | None
    peak_per_second: float
    mean_per_second: float
    spare: int
    fleets: list[FleetDocument]  # the cheapest first
    autoscaling: AutoscalingDocument | None
    functions: list[FunctionPlanDocument]  # the cheapest first


class PlanDocument(TypedDict):
    """What `gpubench plan --json` writes. Absent values are null."""

    schema: int
    objective: ObjectiveDocument
    allowed: list[Obstacle]
    directories: list[str]
    decisions: list[DecisionDocument]
    loads: list[LoadDocument]  # one for each decision if a load was given


class AnswerDocument(TypedDict):
    """The answer about one figure. Everything is null if there is no verdict."""

    is_significant: bool | None
    answer: str | None
    method: Method | None
    rounds: int | None
    more_rounds: int | None  # that would probably decide it
    p_difference: float | None
    p_difference_corrected: float | None  # for the number of comparisons (Holm)
    p_equivalence: float | None


class FigureDocument(AnswerDocument):
    """One figure of both sides, and the answer."""

    a: float | None
    b: float | None
    a_interval: Interval | None  # 95%, inside the runs
    b_interval: Interval | None
    b_over_a: float | None
    b_over_a_interval: Interval | None  # 95%, of this comparison alone
    no_verdict: str | None  # why there is none


class SettingDocument(TypedDict):
    """A setting that differs in a pair."""

    a: Value
    b: Value


class PairDocument(TypedDict):
    """The same cell in A and in B."""

    cell: str
    differences: dict[str, SettingDocument]
    a_instance: str | None
    b_instance: str | None
    a_price: str | None
    b_price: str | None
    a_answers_agree: bool | None
    b_answers_agree: bool | None
    unpaired_rounds: int
    throughput_per_second: FigureDocument
    p95_ms: FigureDocument
    usd_per_million: FigureDocument


class GateDocument(TypedDict):
    """One gate of --fail-if, tested with one pair."""

    gate: str
    cell: str
    outcome: GateOutcome
    b_over_a: float | None
    b_over_a_bounds: Interval | None
    p_value: float | None
    reason: str | None  # why it was not tested


class SidesDocument(TypedDict):
    """Two sides, and all pairs of their cells."""

    a: str
    b: str
    within: float  # a ratio closer to 1 than this is "equivalent"
    spread: float | None
    corrected_for: int
    pairs: list[PairDocument]
    only_a: list[str]
    only_b: list[str]


class CompareDocument(SidesDocument):
    """What `gpubench compare A B` and `gpubench ab` write as JSON. Absent values are null."""

    gates: list[GateDocument]


class CompareByDocument(TypedDict):
    """What `gpubench compare DIR --by SETTING` writes as JSON."""

    by: str
    comparisons: list[SidesDocument]
    gates: list[GateDocument]


def plan_json(document: PlanDocument) -> str:
    return _text(TypeAdapter(PlanDocument).dump_python(document, mode="json"))


def compare_json(document: CompareDocument | CompareByDocument) -> str:
    return _text(document)


def _text(document: object) -> str:
    """Strict JSON, indented by two spaces, without invisible characters."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    return escape.json_text(text + "\n")
