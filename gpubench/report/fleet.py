"""What a load needs: sentences, tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gpubench.planning.fleet import Autoscaling, Fleet, LoadAnswer
from gpubench.planning.traffic import Load
from gpubench.pricing.names import TERMS
from gpubench.report.csv import CsvField, to_csv
from gpubench.report.format import (
    ABSENT,
    count,
    integer,
    milliseconds,
    number,
    percent,
    seconds,
    two_digits,
    usd,
)
from gpubench.report.function_plan import (
    REMARKS,
    beside_instances,
    function_columns,
    function_json,
    function_sentences,
)
from gpubench.report.notes import price_name
from gpubench.report.plan_sentences import objective_text, place_text, setting_text, workload_text
from gpubench.report.table import Column, DraftCell, Table, make_table

if TYPE_CHECKING:
    from gpubench.planning.autoscaling import PeriodRow, Simulated
    from gpubench.report.documents import FleetDocument, LoadDocument, SimulatedDocument
    from gpubench.spec.objective import Objective

FLEETS = (
    "/s each: inferences per second of one instance, the lower end of its interval. Utilisation: "
    "at the peak of the load. A month has 730 hours. $/million has the idle time in it."
)
_Filled = tuple[Column, list[str]]


def load_sentence(answer: LoadAnswer, objective: Objective) -> str:
    """The answer: how many of which instance, and what they cost in a month."""
    cheapest_usd = answer.fleets[0].usd_per_month if answer.fleets else None
    functions = function_sentences(answer.functions, cheapest_usd, objective)
    if not answer.fleets:
        subject = workload_text(answer.decision.workload)
        none = f"No fleet of {subject} is planned, because no setting can be recommended."
        return " ".join([none, *functions])
    sentences = [_fleet_sentence(answer)]
    if answer.fleets[0].candidate is not answer.decision.winner and answer.decision.winner:
        sentences.append(
            "Another setting has the lowest cost of a million, but instances are whole."
        )
    if answer.autoscaling is not None:
        sentences += _autoscaling_sentences(answer, answer.autoscaling, objective)
    return " ".join(sentences + functions)


def _fleet_sentence(answer: LoadAnswer) -> str:
    fleet, load = answer.fleets[0], answer.load
    size = fleet.size
    what = f"{number(load.peak_per_second, 4)} inferences/s"
    if not load.is_constant:
        what = f"a peak of {what} (mean {number(load.mean_per_second, 4)})"
    use = f"utilisation {percent(size.utilisation)}"
    if size.spare:
        use += f", {percent(size.utilisation_after_loss)} after the loss of {size.spare}"
    where = place_text(fleet.candidate.result, fleet.candidate.cost)
    text = (
        f"For {what}: {count(size.instances, 'instance')}, {where}, each with "
        f"{setting_text(fleet.candidate.spec)} ({use})"
    )
    if fleet.usd_per_month is None:
        return f"{text}; no price is known: add --instance NAME, or --usd-per-hour X."
    return (
        f"{text}: ${usd(fleet.usd_per_month)} a month, ${usd(fleet.usd_per_million)} a million "
        "with idle time."
    )


def _autoscaling_sentences(
    answer: LoadAnswer, simulated: Autoscaling, objective: Objective
) -> list[str]:
    scaled, constant = simulated.scaled, simulated.constant
    policy, size = scaled.policy, answer.fleets[0].size
    spare = f" ({size.spare} of them spare)" if size.spare else ""
    text = (
        f"Autoscaled from {policy.least} to {policy.most}: {number(_mean(scaled), 3)} instances on "
        f"average{_month(answer, scaled)}, {_quality(scaled, objective)}; "
        f"with {constant.policy.most} all the time{spare}{_month(answer, constant)}, "
        f"{_quality(constant, objective)}."
    )
    sentences = [text]
    if scaled.late_share > objective.late_share:
        missed = f"The autoscaled fleet does not meet {objective_text(objective)}"
        if policy.most < size.needed:
            missed += f": its MAX is {policy.most}, and the peak needs {size.needed} instances"
        sentences.append(f"{missed}.")
    if simulated.from_zero is not None and simulated.serverless_usd_per_hour is not None:
        usd_a_month = _serverless_usd(simulated.from_zero, simulated.serverless_usd_per_hour)
        sentences.append(
            f"Serverless at ${usd(simulated.serverless_usd_per_hour)} an active hour: "
            f"${usd(usd_a_month)} a month, {_quality(simulated.from_zero, objective)}."
        )
    return sentences


def _quality(simulated: Simulated, objective: Objective) -> str:
    """'P95 34.0 ms, 0.21% late'."""
    if simulated.percentile_ms is None:
        return "no request came"
    return (
        f"P{objective.percent} {milliseconds(simulated.percentile_ms)} ms, "
        f"{two_digits(simulated.late_share)} late"
    )


def _mean(simulated: Simulated) -> float:
    return simulated.instance_hours * 3600 / simulated.span_s


def _usd(answer: LoadAnswer, simulated: Simulated) -> float | None:
    """A month of this fleet at the price of its candidate."""
    cost = answer.fleets[0].candidate.cost
    return None if cost is None else simulated.hours_a_month * cost.usd_per_hour


def _month(answer: LoadAnswer, simulated: Simulated) -> str:
    usd_a_month = _usd(answer, simulated)
    return "" if usd_a_month is None else f", ${usd(usd_a_month)} a month"


def _serverless_usd(simulated: Simulated, usd_per_hour: float) -> float:
    return simulated.active_hours * simulated.months_factor * usd_per_hour


def load_tables(answer: LoadAnswer, objective: Objective) -> list[Table]:
    """The fleets; with an autoscaler also its comparison and its hours; the functions."""
    tables = [_fleets(answer)] if answer.fleets else []
    if answer.autoscaling is not None:
        tables.append(_comparison(answer, answer.autoscaling, objective))
        tables.append(_hours(answer, answer.autoscaling, objective))
    if answer.functions:
        columns = function_columns(answer.functions, objective)
        tables.append(_table("functions for the load", answer, columns, REMARKS))
    return tables


def _table(
    title: str,
    answer: LoadAnswer,
    columns: Sequence[_Filled],
    remarks: Sequence[str],
) -> Table:
    facts = [
        (title, workload_text(answer.decision.workload)),
        ("load", answer.load.origin),
    ]
    rows = zip(*([DraftCell(text) for text in texts] for _, texts in columns), strict=True)
    return make_table([column for column, _ in columns], rows, facts, remarks)


def _fleets(answer: LoadAnswer) -> Table:
    shown = answer.fleets
    terms = [term for term in TERMS if any(term in fleet.usd_per_hour for fleet in shown)]
    columns: list[_Filled] = [
        (Column("price", "left", is_key=True), [_price(fleet) for fleet in shown]),
        (Column("setting", "left"), [setting_text(fleet.candidate.spec) for fleet in shown]),
        (Column("/s each"), [number(fleet.size.rate_per_instance, 3) for fleet in shown]),
        (Column("instances"), [integer(fleet.size.instances) for fleet in shown]),
        (Column("utilisation"), [percent(fleet.size.utilisation) for fleet in shown]),
    ]
    if answer.spare:
        title = f"after the loss of {answer.spare}"
        after = [percent(fleet.size.utilisation_after_loss) for fleet in shown]
        columns.append((Column(title), after))
    columns.append((Column("$/month"), [usd(fleet.usd_per_month) for fleet in shown]))
    if len(terms) > 1:
        for term in terms:
            hours = [fleet.usd_per_hour.get(term) for fleet in shown]
            months = [
                ABSENT if hour is None else usd(fleet.size.usd_per_month(hour))
                for fleet, hour in zip(shown, hours, strict=True)
            ]
            columns.append((Column(term, drop_order=1 + terms.index(term)), months))
    columns.append((Column("$/million"), [usd(fleet.usd_per_million) for fleet in shown]))
    columns = beside_instances(columns, answer.functions)
    return _table("instances for the load", answer, columns, [FLEETS])


def _price(fleet: Fleet) -> str:
    cost = fleet.candidate.cost
    return ABSENT if cost is None else price_name(cost)


def _comparison(answer: LoadAnswer, simulated: Autoscaling, objective: Objective) -> Table:
    shown = [("constant", simulated.constant), ("autoscaled", simulated.scaled)]
    months = [_usd(answer, each) for _, each in shown]
    if simulated.from_zero is not None and simulated.serverless_usd_per_hour is not None:
        shown.append(("serverless", simulated.from_zero))
        months.append(_serverless_usd(simulated.from_zero, simulated.serverless_usd_per_hour))
    fleets = [each for _, each in shown]
    millions = [
        None if month is None else month / each.months_factor / each.inferences * 1e6
        for month, each in zip(months, fleets, strict=True)
        if each.inferences
    ]
    columns: list[_Filled] = [
        (Column("fleet", "left", is_key=True), [name for name, _ in shown]),
        (Column("instances"), [number(_mean(each), 3) for each in fleets]),
        (Column("most"), [integer(each.most_instances) for each in fleets]),
        (Column("launches"), [integer(each.launches) for each in fleets]),
        (
            Column(f"P{objective.percent} ms"),
            [milliseconds(each.percentile_ms) for each in fleets],
        ),
        (Column("late"), [two_digits(each.late_share) for each in fleets]),
        (Column("$/month"), [usd(month) for month in months]),
    ]
    if len(millions) == len(shown):
        columns.append((Column("$/million"), [usd(each) for each in millions]))
    policy = simulated.scaled.policy
    remarks = [
        f"Simulated request by request: {simulated.service_note}; balancing {simulated.balancing}.",
        f"Autoscaler: from {policy.least} to {policy.most} instances, target utilisation "
        f"{percent(policy.target_utilisation)}, evaluated every {seconds(policy.period_s)}; a "
        f"start takes {seconds(policy.start_s)} ({simulated.start_note}); it scales down after "
        f"{seconds(policy.scale_down_delay_s)}.",
        "instances: on average over the load, billed from the launch to the stop. A month consists "
        f"of {number(simulated.scaled.months_factor, 3)} such loads.",
    ]
    if simulated.from_zero is not None:
        remarks.append(
            "serverless: the autoscaler with a minimum of 0. Only the time in which an instance "
            "starts or has requests is paid."
        )
    return _table("with and without an autoscaler", answer, columns, remarks)


def _hours(answer: LoadAnswer, simulated: Autoscaling, objective: Objective) -> Table:
    rows = simulated.scaled.rows
    each_s = answer.fleets[0].size.rate_per_instance
    columns: list[_Filled] = [
        (Column("from", "left", is_key=True), [clock(answer.load, row.begin_s) for row in rows]),
        (Column("inferences /s"), [number(_rate(row), 3) for row in rows]),
        (Column("instances"), [number(row.mean_instances, 3) for row in rows]),
        (Column("most"), [integer(row.most_instances) for row in rows]),
        (
            Column("utilisation"),
            [
                percent(_rate(row) / row.mean_instances / each_s) if row.mean_instances else ABSENT
                for row in rows
            ],
        ),
        (Column(f"P{objective.percent} ms"), [milliseconds(row.percentile_ms) for row in rows]),
        (Column("late"), [integer(row.late) for row in rows]),
    ]
    remark = (
        "instances: on average, with those that start. utilisation: inferences /s, as a share of "
        "what these instances serve within the objective."
    )
    return _table("the autoscaled fleet over time", answer, columns, [remark])


def _rate(row: PeriodRow) -> float:
    return row.inferences / (row.end_s - row.begin_s)


def clock(load: Load, after_s: float) -> str:
    """A time of the load: of the clock if its file has such times, else since its start."""
    begin = load.begins_at
    if begin is not None and ("-" in begin or "T" in begin):
        moment = datetime.fromisoformat(begin) + timedelta(seconds=after_s)
        return f"{moment:%Y-%m-%d %H:%M}"
    if begin is not None:
        parts = [float(part) for part in begin.split(":")]
        after_s += sum(part * 60.0 ** (2 - index) for index, part in enumerate(parts))
    minutes = int(after_s // 60)
    return f"{'' if begin else '+'}{minutes // 60}:{minutes % 60:02}"


def load_json(answer: LoadAnswer, objective: Objective) -> LoadDocument:
    """For programs: full precision. Rates are inferences per second."""
    load = answer.load
    document: LoadDocument = {
        "model": answer.decision.workload.model,
        "origin": load.origin,
        "span_s": load.span_s,
        "peak_per_second": load.peak_per_second,
        "mean_per_second": load.mean_per_second,
        "spare": answer.spare,
        "fleets": [_fleet_json(fleet) for fleet in answer.fleets],
        "autoscaling": None,
        "functions": [function_json(each, objective) for each in answer.functions],
    }
    simulated = answer.autoscaling
    if simulated is None:
        return document
    policy = simulated.scaled.policy
    from_zero, price = simulated.from_zero, simulated.serverless_usd_per_hour
    document["autoscaling"] = {
        "least": policy.least,
        "most": policy.most,
        "target_utilisation": policy.target_utilisation,
        "start_s": policy.start_s,
        "scale_down_delay_s": policy.scale_down_delay_s,
        "evaluation_period_s": policy.period_s,
        "balancing": simulated.balancing,
        "service_times": simulated.service_note,
        "constant": _simulated_json(simulated.constant, _usd(answer, simulated.constant)),
        "scaled": _simulated_json(simulated.scaled, _usd(answer, simulated.scaled)),
        "serverless": None
        if from_zero is None or price is None
        else _simulated_json(from_zero, _serverless_usd(from_zero, price)),
    }
    return document


def load_csv(answers: Sequence[LoadAnswer]) -> str:
    """One row for each fleet, the cheapest of each workload first, in full precision."""
    rows: list[dict[str, CsvField]] = []
    for answer in answers:
        for place, fleet in enumerate(answer.fleets, start=1):
            size, cost = fleet.size, fleet.candidate.cost
            rows.append(
                {
                    "model": answer.decision.workload.model,
                    "rank": place,
                    "cell": fleet.candidate.spec.describe(),
                    "instance": cost.instance if cost else None,
                    "region": cost.region if cost else None,
                    "term": cost.term if cost else None,
                    "usd_per_hour": cost.usd_per_hour if cost else None,
                    "peak_per_second": size.peak_per_second,
                    "mean_per_second": size.mean_per_second,
                    "rate_per_instance": size.rate_per_instance,
                    "instances": size.instances,
                    "spare": size.spare,
                    "utilisation": size.utilisation,
                    "utilisation_after_loss": size.utilisation_after_loss,
                    "usd_per_month": fleet.usd_per_month,
                    "usd_per_million": fleet.usd_per_million,
                }
            )
    return to_csv(rows)


def _fleet_json(fleet: Fleet) -> FleetDocument:
    size, cost = fleet.size, fleet.candidate.cost
    return {
        "cell": fleet.candidate.spec.describe(),
        "instance": None if cost is None else cost.instance,
        "region": None if cost is None else cost.region,
        "term": None if cost is None else cost.term,
        "instances": size.instances,
        "rate_per_instance": size.rate_per_instance,
        "utilisation": size.utilisation,
        "utilisation_after_loss": size.utilisation_after_loss,
        "usd_per_month": fleet.usd_per_month,
        "usd_per_million": fleet.usd_per_million,
        "usd_per_month_by_term": {
            term: size.usd_per_month(hour) for term, hour in fleet.usd_per_hour.items()
        },
    }


def _simulated_json(simulated: Simulated, usd_per_month: float | None) -> SimulatedDocument:
    return {
        "inferences": simulated.inferences,
        "late": simulated.late,
        "percentile_ms": simulated.percentile_ms,
        "instance_hours": simulated.instance_hours,
        "active_hours": simulated.active_hours,
        "launches": simulated.launches,
        "usd_per_month": usd_per_month,
        "periods": [
            {
                "begin_s": row.begin_s,
                "end_s": row.end_s,
                "inferences": row.inferences,
                "late": row.late,
                "percentile_ms": row.percentile_ms,
                "mean_instances": row.mean_instances,
                "most_instances": row.most_instances,
            }
            for row in simulated.rows
        ],
    }
