"""How many instances a load needs, and what they cost in a month.

    instances = ceil(peak of the load / rate of one instance) + spare
    utilisation = peak of the load / (instances * rate of one instance)
    usd_per_month = instances * usd_per_hour * 730
    usd_per_million = instances * usd_per_hour / 3600 / mean of the load * 1e6

The rate of one instance is the lower end of the candidate's interval: with the estimate itself,
about half of all such fleets would be too small. The load is shared at random among the instances,
so each gets its part as an independent stream, which is what a search measures. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from gpubench.errors import InputError
from gpubench.planning.traffic import Load
from gpubench.pricing.catalog import Catalog
from gpubench.pricing.names import TERMS, Term

if TYPE_CHECKING:
    from gpubench.planning.autoscaling import Simulated
    from gpubench.planning.candidates import Candidate
    from gpubench.planning.decision import Decision
    from gpubench.planning.serverless import FunctionPlan
    from gpubench.results.result import Cost

HOURS_A_MONTH = 730.0
# Which instance gets a request; docs/autoscaling.md says what each means.
Balancing = Literal["least-requests", "random", "shared"]
BALANCINGS: tuple[Balancing, ...] = get_args(Balancing)
_MOST_INSTANCES = 1_000_000


@dataclass(frozen=True)
class Size:
    """A number of instances for a load. Rates are inferences per second."""

    instances: int  # with the spare ones
    spare: int
    rate_per_instance: float
    peak_per_second: float
    mean_per_second: float

    @property
    def needed(self) -> int:
        """Without the spare ones."""
        return self.instances - self.spare

    @property
    def utilisation(self) -> float:
        """At the peak, with all instances."""
        return self.peak_per_second / (self.instances * self.rate_per_instance)

    @property
    def utilisation_after_loss(self) -> float:
        """At the peak, without the spare instances."""
        return self.peak_per_second / (self.needed * self.rate_per_instance)

    def usd_per_month(self, usd_per_hour: float) -> float:
        return self.instances * usd_per_hour * HOURS_A_MONTH

    def usd_per_million(self, usd_per_hour: float) -> float:
        """Idle time is part of it."""
        return self.instances * usd_per_hour / 3600 / self.mean_per_second * 1e6


def size(load: Load, rate_per_instance: float, spare: int = 0) -> Size:
    """The number of instances for the peak of `load`.

    Raises InputError for a `spare` that is not allowed, and for more than a million instances.
    """
    if not 0 <= spare <= _MOST_INSTANCES:
        raise InputError(
            f"--spare {spare}: give the number of instances that may fail, from 0 to "
            f"{_MOST_INSTANCES:,}"
        )
    # A load of exactly n times the rate needs n instances, whatever the last bit of the quotient.
    needed = max(1, math.ceil(load.peak_per_second / rate_per_instance * (1 - 1e-12)))
    if needed + spare > _MOST_INSTANCES:
        raise InputError(
            f"{load.origin} needs {needed + spare:,} instances; a fleet of more than a million is "
            "not planned; check the unit, which is inferences per second"
        )
    return Size(
        needed + spare, spare, rate_per_instance, load.peak_per_second, load.mean_per_second
    )


@dataclass(frozen=True)
class Fleet:
    """The instances of one candidate that a load needs."""

    candidate: Candidate
    size: Size
    usd_per_hour: dict[Term, float]  # of one instance, for each term whose price is known

    @property
    def usd_per_month(self) -> float | None:
        """At the price of the candidate. None: it has none."""
        cost = self.candidate.cost
        return None if cost is None else self.size.usd_per_month(cost.usd_per_hour)

    @property
    def usd_per_million(self) -> float | None:
        """At the price of the candidate, with idle time. None: it has none."""
        cost = self.candidate.cost
        return None if cost is None else self.size.usd_per_million(cost.usd_per_hour)


def guaranteed_rate(candidate: Candidate) -> float:
    """The lower end of the rate of one instance, in inferences per second."""
    return candidate.rate_per_second if candidate.interval is None else candidate.interval[0]


def fleets(
    candidates: Iterable[Candidate], load: Load, spare: int, catalog: Catalog
) -> list[Fleet]:
    """The cheapest fleet at each price, the cheapest first.

    Instances are whole, so the candidate with the lowest cost of a million need not make the
    cheapest fleet. Candidates whose rate may be 0 are left out. Raises InputError as `size` does.
    """
    cheapest: dict[tuple[str | None, str | None, Term | None, float | None], Fleet] = {}
    for candidate in candidates:
        rate = guaranteed_rate(candidate)
        if rate <= 0:
            continue
        fleet = Fleet(candidate, size(load, rate, spare), _prices(candidate.cost, catalog))
        cost = candidate.cost
        key = (
            (None, None, None, None)
            if cost is None
            else (cost.instance, cost.region, cost.term, cost.usd_per_hour)
        )
        if key not in cheapest or _order(fleet) < _order(cheapest[key]):
            cheapest[key] = fleet
    return sorted(cheapest.values(), key=_order)


def _order(fleet: Fleet) -> tuple[bool, float, float]:
    """The cheapest first; of equal ones the one with the lowest utilisation."""
    usd = fleet.usd_per_month
    return usd is None, usd or 0.0, fleet.size.utilisation


def _prices(cost: Cost | None, catalog: Catalog) -> dict[Term, float]:
    """The known prices of an hour of the instance. Empty for a price without an instance."""
    if cost is None or cost.instance is None:
        return {}
    found: dict[Term, float] = {}
    for instance in catalog.instances:
        if (instance.name, instance.region) == (cost.instance, cost.region):
            for term in TERMS:
                usd_per_hour = instance.usd_per_hour(term)
                if usd_per_hour is not None:
                    found[term] = usd_per_hour
            break
    return found | {cost.term: cost.usd_per_hour}


@dataclass(frozen=True)
class Autoscaling:
    """The cheapest fleet under the load, simulated with and without an autoscaler."""

    constant: Simulated  # as many instances as the peak needs
    scaled: Simulated
    from_zero: Simulated | None  # with a minimum of 0, for serverless; None: not asked for
    serverless_usd_per_hour: float | None
    service_note: str  # where the service times come from
    start_note: str  # where the time of a start comes from
    balancing: Balancing


@dataclass(frozen=True)
class LoadAnswer:
    """What a load needs, for one workload of a plan."""

    decision: Decision
    load: Load
    spare: int
    fleets: tuple[Fleet, ...]  # the cheapest first; empty: no setting can be recommended
    autoscaling: Autoscaling | None = None
    functions: tuple[FunctionPlan, ...] = ()  # of this workload, the cheapest first
