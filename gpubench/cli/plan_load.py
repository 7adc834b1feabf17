"""The flags of `gpubench plan` about a load, and the answer to them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpubench.cli.completion import Known
from gpubench.cli.options import Decorated
from gpubench.cli.sections import Option
from gpubench.errors import InputError

if TYPE_CHECKING:
    from gpubench.planning.autoscaling import Policy
    from gpubench.planning.candidates import Candidate
    from gpubench.planning.decision import DeploymentPlan
    from gpubench.planning.fleet import Autoscaling, Balancing, Fleet, LoadAnswer
    from gpubench.planning.service_times import StartTime
    from gpubench.planning.traffic import Load
    from gpubench.results.function_calls import MemoryTimePrice

# The flags that mean something only with --autoscale, by the name of their value.
_OF_THE_AUTOSCALER = {
    "target_utilisation": "--target-utilisation",
    "scale_up_delay": "--scale-up-delay",
    "scale_down_delay": "--scale-down-delay",
    "evaluation_period": "--evaluation-period",
    "balancing": "--balancing",
    "serverless_usd_per_hour": "--serverless-usd-per-hour",
}


# Those that mean something only with a load.
_OF_A_LOAD = ("spare", "autoscale", "usd_per_gb_second", "usd_per_million_requests", "keep_alive")


@dataclass(frozen=True)
class LoadFlags:
    """The flags as they were given. None: not given."""

    rate: float | None = None
    traffic: Path | None = None
    spare: int | None = None
    autoscale: str | None = None
    target_utilisation: str | None = None
    scale_up_delay: str | None = None
    scale_down_delay: str | None = None
    evaluation_period: str | None = None
    balancing: str | None = None
    serverless_usd_per_hour: float | None = None
    usd_per_gb_second: float | None = None
    usd_per_million_requests: float | None = None
    keep_alive: str | None = None


def _balancings() -> tuple[str, ...]:
    from gpubench.planning.fleet import BALANCINGS

    return BALANCINGS


def _option(*names: str, help_text: str, metavar: str, type: Any = str) -> Any:
    return click.option(
        *names, cls=Option, section="Load", type=type, metavar=metavar, help=help_text
    )


_OPTIONS = (
    _option(
        "--rate",
        type=float,
        metavar="R",
        help_text="Say how many instances a load of R inferences per second needs, and what a "
        "month costs.",
    ),
    _option(
        "--traffic",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help_text="The load over time: a CSV file with the columns time,rate (inferences per "
        "second), or one time stamp a line.",
    ),
    _option(
        "--spare",
        type=int,
        metavar="N",
        help_text="Instances that may fail while the rest still meets the objective. [default: 0]",
    ),
    _option(
        "--autoscale",
        metavar="MIN:MAX",
        help_text="Simulate the load request by request, with an autoscaler.",
    ),
    _option(
        "--target-utilisation",
        metavar="SHARE",
        help_text="Share of its rate that an instance is to serve. [default: 0.7]",
    ),
    _option(
        "--scale-up-delay",
        metavar="TIME",
        help_text="From the decision to launch an instance until it serves. [default: the P95 of "
        "the cold starts in DIR]",
    ),
    _option(
        "--scale-down-delay",
        metavar="TIME",
        help_text="How long fewer instances must suffice before one is removed. [default: 5m]",
    ),
    _option(
        "--evaluation-period",
        metavar="TIME",
        help_text="How often the autoscaler decides. [default: 15s]",
    ),
    _option(
        "--balancing",
        type=Known(_balancings),
        metavar="RULE",
        help_text="Which instance gets a request: least-requests, random or shared. [default: "
        "least-requests]",
    ),
    _option(
        "--serverless-usd-per-hour",
        type=float,
        metavar="X",
        help_text="Compare with instances that cost X US dollars an hour, and only while they "
        "start or have requests.",
    ),
    _option(
        "--usd-per-gb-second",
        type=float,
        metavar="X",
        help_text="Price measured serverless functions (gpubench cold --url) at X US dollars for a "
        "GB of memory and a second. [default: the price that is stored with them]",
    ),
    _option(
        "--usd-per-million-requests",
        type=float,
        metavar="X",
        help_text="With --usd-per-gb-second: the price of a million calls.",
    ),
    _option(
        "--keep-alive",
        metavar="TIME",
        help_text="How long the platform keeps an idle process of a function, for the share of "
        "cold calls.",
    ),
)


def load_options(command: Decorated) -> Decorated:
    """Adds the flags. The command gets them as one argument, `load_flags`."""

    @wraps(command)
    def with_flags(**arguments: Any) -> Any:
        given = {each.name: arguments.pop(each.name) for each in fields(LoadFlags)}
        return command(load_flags=LoadFlags(**given), **arguments)

    decorated: Any = with_flags
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    added: Decorated = decorated
    return added


@dataclass(frozen=True)
class LoadRequest:
    """The flags, checked."""

    load: Load
    spare: int
    policy: Policy | None  # None: no autoscaler
    start_s: float | None  # None: the measured one
    balancing: Balancing
    serverless_usd_per_hour: float | None
    function_price: MemoryTimePrice | None  # None: the price that is stored with each function
    keep_alive_s: float | None  # None: not told


def requested(flags: LoadFlags) -> LoadRequest | None:
    """What the flags ask for; None if they give no load. Reads the file of --traffic.

    Raises InputError for values that are not allowed, and for flags that need others.
    """
    from gpubench.planning.fleet import size
    from gpubench.planning.traffic import constant_load, read_traffic
    from gpubench.pricing.serverless import stated_price
    from gpubench.spec.spec import MOST_USD_PER_HOUR

    if flags.rate is not None and flags.traffic is not None:
        raise InputError("--rate and --traffic are both a load; remove one of the two")
    if flags.rate is None and flags.traffic is None:
        for name in _OF_A_LOAD:
            if getattr(flags, name) is not None:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} needs a load; add --rate R or --traffic FILE")
    if flags.autoscale is None:
        for name, flag in _OF_THE_AUTOSCALER.items():
            if getattr(flags, name) is not None:
                raise InputError(f"{flag} needs an autoscaler; add --autoscale MIN:MAX")
    price = flags.serverless_usd_per_hour
    if price is not None and not 0 <= price <= MOST_USD_PER_HOUR:
        raise InputError(
            f"--serverless-usd-per-hour {price} is not a price; write dollars, like 0.25"
        )
    if flags.rate is not None:
        load = constant_load(flags.rate)
    elif flags.traffic is not None:
        load = read_traffic(flags.traffic)
    else:
        return None
    spare = flags.spare or 0
    size(load, load.peak_per_second, spare)  # checks `spare`
    start_s = _seconds(flags.scale_up_delay, "--scale-up-delay")
    return LoadRequest(
        load,
        spare,
        _policy(flags),
        start_s,
        _balancing(flags),
        price,
        stated_price(flags.usd_per_gb_second, flags.usd_per_million_requests),
        _seconds(flags.keep_alive, "--keep-alive"),
    )


def _policy(flags: LoadFlags) -> Policy | None:
    if flags.autoscale is None:
        return None
    from gpubench.planning.autoscaling import Policy

    least, _, most = flags.autoscale.partition(":")
    if not (least.isascii() and least.isdigit() and most.isascii() and most.isdigit()):
        raise InputError(
            f"--autoscale '{flags.autoscale}' is not MIN:MAX; write it like 2:20 (instances)"
        )
    policy = Policy(
        least=int(least[:9]),
        most=int(most[:9]),
        target_utilisation=_utilisation(flags.target_utilisation),
        scale_down_delay_s=_default(_seconds(flags.scale_down_delay, "--scale-down-delay"), 300.0),
        period_s=_default(_seconds(flags.evaluation_period, "--evaluation-period"), 15.0),
    )
    policy.check()
    return policy


def _default(value: float | None, default: float) -> float:
    return default if value is None else value


def _utilisation(text: str | None) -> float:
    from gpubench.spec.share import parse_share

    return 0.7 if text is None else parse_share(text, "--target-utilisation")


def _balancing(flags: LoadFlags) -> Balancing:
    from gpubench.planning.fleet import BALANCINGS

    found = [each for each in BALANCINGS if each == (flags.balancing or BALANCINGS[0])]
    if not found:
        raise InputError(
            f"--balancing '{flags.balancing}' is unknown; choose from {', '.join(BALANCINGS)}"
        )
    return found[0]


def _seconds(text: str | None, flag: str) -> float | None:
    from gpubench.spec.durations import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise InputError(f"{flag}: {error}") from None


def answers(plan: DeploymentPlan, request: LoadRequest) -> list[LoadAnswer]:
    """What the load needs, for each workload of the plan. Measures nothing.

    Raises InputError if it needs a time of a start that is not known.
    """
    from gpubench.planning.fleet import LoadAnswer, fleets
    from gpubench.planning.serverless import function_plans
    from gpubench.pricing.price_files import current_catalog

    found = []
    for decision in plan.decisions:
        may_win = [each for each in decision.candidates if plan.allowed.issuperset(each.obstacles)]
        made = fleets(may_win, request.load, request.spare, current_catalog())
        if decision.winner is None:
            made = []
        autoscaling = _autoscaling(plan, request, made[0]) if made and request.policy else None
        functions = function_plans(
            plan.functions,
            decision.workload,
            request.load,
            plan.objective,
            made,
            request.function_price,
            request.keep_alive_s,
        )
        found.append(
            LoadAnswer(decision, request.load, request.spare, tuple(made), autoscaling, functions)
        )
    return found


def _autoscaling(plan: DeploymentPlan, request: LoadRequest, fleet: Fleet) -> Autoscaling:
    from dataclasses import replace

    from gpubench.planning.autoscaling import Simulated, check_most, simulate
    from gpubench.planning.fleet import Autoscaling
    from gpubench.planning.service_times import service_times

    assert request.policy is not None
    start = _start(plan, request, fleet.candidate)
    policy = replace(request.policy, start_s=start.seconds)
    rate = fleet.size.rate_per_instance
    service = service_times(fleet.candidate, plan.directories, rate * policy.target_utilisation)
    check_most(policy, request.load, service, fleet.size.needed)

    def simulated(policy: Policy) -> Simulated:
        return simulate(
            request.load,
            service,
            rate,
            policy,
            plan.objective,
            request.balancing,
        )

    number = fleet.size.instances
    scaled = simulated(policy)
    from_zero = None
    if request.serverless_usd_per_hour is not None:
        from_zero = scaled if policy.least == 0 else simulated(replace(policy, least=0))
    return Autoscaling(
        constant=simulated(replace(policy, least=number, most=number)),
        scaled=scaled,
        from_zero=from_zero,
        serverless_usd_per_hour=request.serverless_usd_per_hour,
        service_note=service.note,
        start_note=start.note,
        balancing=request.balancing,
    )


def _start(plan: DeploymentPlan, request: LoadRequest, candidate: Candidate) -> StartTime:
    from gpubench.planning.service_times import StartTime, measured_start

    if request.start_s is not None:
        return StartTime(request.start_s, "as given")
    start = measured_start(plan.directories, candidate)
    if start is None:
        raise InputError(
            "--autoscale needs the time until a new instance serves, and no cold start of this "
            "setting was measured; add --scale-up-delay 90s, or measure it with gpubench cold "
            f"--output {plan.directories[0] if plan.directories else 'DIR'}"
        )
    return start
