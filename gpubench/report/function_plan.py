"""A load on serverless functions, beside instances: a sentence, a table and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gpubench.planning.serverless import FunctionPlan
from gpubench.report.format import ABSENT, milliseconds, number, ratio, two_digits, usd
from gpubench.report.functions import HOW_TO_PRICE, function_name
from gpubench.report.plan_sentences import objective_text, place_text, setting_text
from gpubench.report.table import Column

if TYPE_CHECKING:
    from gpubench.report.documents import FunctionPlanDocument
    from gpubench.spec.objective import Objective

REMARKS = (
    "concurrency: processes that work at the same time at the peak, on average. cold: least share "
    "of the calls that start a process, by --keep-alive. late: calls over the limit.",
    "Latencies of functions are round trips from the machine that called them, so the network is "
    "in them. Those of instances have no network in them. Costs are computed from the handler's "
    "own clock and the prices that were stated.",
)
_NEGLIGIBLE = 1e-6  # of the calls
_MEETS = {True: "met", False: "missed", None: "unknown"}


def function_sentences(
    plans: Sequence[FunctionPlan], cheapest_usd: float | None, objective: Objective
) -> list[str]:
    """What the load costs on the cheapest function, and from which load instances cost less.

    `cheapest_usd` is a month of the cheapest instances; None: there are none.
    """
    if not plans:
        return []
    plan = plans[0]
    where = f"As a function at {plan.function.url}"
    if plan.usd_per_month is None or plan.usd_per_million is None:
        return [f"{where}: {HOW_TO_PRICE}" if plan.function.cost is None else _no_warm_call(where)]
    at_least = "at least " if plan.is_lower_bound else ""
    said = [
        f"{where}, with {setting_text(plan.result.spec)} and {number(plan.function.memory_gb, 3)} "
        f"GB: {at_least}${usd(plan.usd_per_month)} a month, {at_least}"
        f"${usd(plan.usd_per_million)} a million{_compared(plan.usd_per_month, cheapest_usd)}. "
        f"{_latency(plan, objective)}"
    ]
    if plan.break_even is not None:
        fleet = plan.break_even.fleet
        where = place_text(fleet.candidate.result, fleet.candidate.cost)
        said.append(
            "The lowest constant load at which instances cost less than warm calls is "
            f"{number(plan.break_even.rate_per_second, 3)} inferences/s, {where}."
        )
    elif cheapest_usd is not None:
        said.append(
            "At the rates that were measured, these instances cost less than warm calls at no "
            "constant load."
        )
    return said


def _no_warm_call(where: str) -> str:
    return f"{where}: no warm call was measured; add --warm-calls 20 to gpubench cold --url."


def _compared(usd_a_month: float, instances: float | None) -> str:
    if not instances or not usd_a_month:
        return ""
    return f", {ratio(usd_a_month / instances)} times what the instances cost"


def _latency(plan: FunctionPlan, objective: Objective) -> str:
    wanted = objective_text(objective)
    if plan.cold_share is None:
        cold = "How many calls are cold is not known: add --keep-alive 10m"
    elif plan.cold_share < _NEGLIGIBLE:
        cold = "Fewer than one call in a million is cold if one process is always kept"
    else:
        cold = f"At least {two_digits(plan.cold_share)} of the calls are cold"
    if plan.late_share is None:
        return f"{cold}. Too few warm calls were measured to check {wanted}."
    verb = "meets" if plan.meets(objective) else "does not meet"
    late = _share(plan.late_share)
    which = "warm calls" if plan.cold_share is None else "calls"
    return f"{cold}. The function {verb} {wanted}: {late} of its {which} are late."


def _share(value: float | None) -> str:
    return ABSENT if value is None else "0%" if value < _NEGLIGIBLE else two_digits(value)


Filled = tuple[Column, list[str]]


def beside_instances(columns: Sequence[Filled], plans: Sequence[FunctionPlan]) -> list[Filled]:
    """The columns of a table of instances with a row for each function at its end."""

    def bounded(plan: FunctionPlan, value: float | None) -> str:
        return ("≥ " if plan.is_lower_bound and value is not None else "") + usd(value)

    own: dict[str, Callable[[FunctionPlan], str]] = {
        "price": lambda plan: f"function {function_name(plan.function)}",
        "setting": lambda plan: setting_text(plan.result.spec),
        "$/month": lambda plan: bounded(plan, plan.usd_per_month),
        "$/million": lambda plan: bounded(plan, plan.usd_per_million),
    }
    return [
        (column, [*texts, *map(own.get(column.title, lambda plan: ABSENT), plans)])
        for column, texts in columns
    ]


def function_columns(plans: Sequence[FunctionPlan], objective: Objective) -> list[Filled]:
    """The columns of a table about functions, with a text for each of them."""

    rates = [plan.break_even.rate_per_second if plan.break_even else None for plan in plans]
    return [
        (Column("function", "left", is_key=True), [function_name(plan.function) for plan in plans]),
        (Column("memory GB"), [number(plan.function.memory_gb, 3) for plan in plans]),
        (Column("concurrency"), [number(plan.concurrency, 3) for plan in plans]),
        (
            Column(f"warm P{objective.percent} ms"),
            [milliseconds(plan.latency_ms) for plan in plans],
        ),
        (Column("cold"), [_share(plan.cold_share) for plan in plans]),
        (Column("late"), [_share(plan.late_share) for plan in plans]),
        (Column("objective", "left"), [_MEETS[plan.meets(objective)] for plan in plans]),
        (Column("instances cost less from /s"), [number(rate, 3) for rate in rates]),
    ]


def function_json(plan: FunctionPlan, objective: Objective) -> FunctionPlanDocument:
    """For programs: full precision. Rates are inferences per second."""
    even = plan.break_even
    price = even.fleet.candidate.cost if even else None
    return {
        "url": plan.function.url,
        "cell": plan.result.spec.describe(),
        "memory_bytes": plan.function.memory_bytes,
        "concurrency": plan.concurrency,
        "cold_share": plan.cold_share,
        "late_share": plan.late_share,
        "meets_objective": plan.meets(objective),
        "latency_ms": plan.latency_ms,
        "usd_per_month": plan.usd_per_month,
        "usd_per_million": plan.usd_per_million,
        "is_lower_bound": plan.is_lower_bound,
        "break_even_per_second": even.rate_per_second if even else None,
        "break_even_instance": price.instance if price else None,
    }
