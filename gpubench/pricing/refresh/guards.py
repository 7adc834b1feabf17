"""Which of the new prices can be believed.

A price is refused if

- it changed by more than 30% since the price that was known (not for spot prices, which do that),
- it is out of line with its family: in a family of instances, the price is nearly a * accelerators
  + b * vCPUs. With the prices of the bundled catalog, no instance is more than 8% off. More than
  30% is refused,
- it is more than three times the price that the bundled catalog has for another region, or less
  than a third of it,
- your own file has a price of the instance without SKU ids, so that you wrote it yourself,
- it is a spot or committed price of more than 105% or less than 2% of the on-demand price.

If the on-demand price of an instance is refused, its row stays as it was. A committed price that is
refused is left out of the row. For a refused spot price, the known one stays with its own date. The
other rows are written. `--accept NAME` accepts what was refused here.

The family is fitted without its outliers: with several shapes (vCPUs per accelerator), a and b are
the medians over all pairs of instances; otherwise the price per vCPU is the median. Families with
fewer than three sizes, or than five with several shapes, are not checked.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from gpubench.pricing.catalog import Instance, bundled_catalog
from gpubench.pricing.names import TERMS, Term
from gpubench.pricing.refresh.answer import ProviderAnswer, Refusal
from gpubench.pricing.refresh.hardware import family

LARGEST_CHANGE = 0.3
LARGEST_DEVIATION = 0.3
LARGEST_RATIO_OF_REGIONS = 3.0
_SAME = 1e-8  # relative; a price file has ten digits
_SMALLEST_SHARE, _LARGEST_SHARE = 0.02, 1.05  # of the on-demand price
ACCEPT_ALL = "all"

Prices = Mapping[Term, float]  # the known prices of an instance


@dataclass(frozen=True)
class PriceChange:
    """A price that is new, differs from the known one, or is not listed any more (None)."""

    name: str
    term: Term
    old_usd_per_hour: float | None
    new_usd_per_hour: float | None


@dataclass(frozen=True)
class Judgement:
    """Instances to write, what is new in them, and what was refused."""

    instances: tuple[Instance, ...]
    changes: tuple[PriceChange, ...]
    refusals: tuple[Refusal, ...]


def judge(
    answer: ProviderAnswer,
    known: Mapping[str, Prices],
    accept: Collection[str] = (),
    only: Collection[str] = (),
    by_hand: Collection[str] = (),
) -> Judgement:
    """Separates the prices that can be believed from the others.

    `known` has the prices that were known before, by the name of the instance. `accept` has names
    of instances, or "all". With `only`, all instances are judged, and these are returned. `by_hand`
    has the names of instances whose known price the user wrote.
    """
    expected = _expected(answer.instances)
    kept: list[Instance] = []
    changes: list[PriceChange] = []
    refusals = [each for each in answer.refusals if not only or each.name in only]
    for instance in answer.instances:
        if only and instance.name not in only:
            continue
        before = known.get(instance.name, {})
        refused = (
            []
            if _is_accepted(instance.name, accept)
            else _refused(instance, before, expected.get(instance.name), instance.name in by_hand)
        )
        refusals += refused
        terms = {each.term for each in refused}
        if "on-demand" in terms:
            continue
        if "spot" in terms:
            instance = replace(instance, spot_usd_per_hour=None)
        if "1-year" in terms:
            instance = replace(instance, one_year_usd_per_hour=None)
        if "3-year" in terms:
            instance = replace(instance, three_year_usd_per_hour=None)
        kept.append(instance)
        unread = terms if answer.has_spot else terms | {"spot"}
        for term in TERMS:
            old, new = before.get(term), instance.usd_per_hour(term)
            if term not in unread and not _is_same(old, new):
                changes.append(PriceChange(instance.name, term, old, new))
    return Judgement(tuple(kept), tuple(changes), tuple(refusals))


def _is_same(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return math.isclose(old, new, rel_tol=_SAME)


def _is_accepted(name: str, accept: Collection[str]) -> bool:
    return ACCEPT_ALL in accept or name in accept


def _refused(
    instance: Instance, before: Prices, expected: float | None, is_by_hand: bool
) -> list[Refusal]:
    on_demand = instance.on_demand_usd_per_hour
    found: list[Refusal] = []
    for term in TERMS:
        price = instance.usd_per_hour(term)
        if price is None or on_demand is None:
            continue
        reasons = []
        old = before.get(term)
        if term != "spot" and old is not None and abs(price / old - 1) > LARGEST_CHANGE:
            reasons.append(f"it was ${old:.10g}, a change of {price / old - 1:+.0%}")
        if term == "on-demand":
            if expected is not None and abs(price / expected - 1) > LARGEST_DEVIATION:
                reasons.append(f"it is out of line with its family, which suggests ${expected:.4g}")
            if is_by_hand:
                reasons.append("your price file has a price without SKU ids, which is your own")
            reasons += _far_from_another_region(instance, price)
        elif not _SMALLEST_SHARE <= price / on_demand <= _LARGEST_SHARE:
            reasons.append(f"it is {price / on_demand:.3g} times the on-demand price")
        if reasons:
            found.append(Refusal(instance.name, term, price, "; ".join(reasons)))
    return found


def _far_from_another_region(instance: Instance, price: float) -> list[str]:
    """What is wrong with the price beside that of the bundled catalog, which has one region."""
    return [
        f"it is {price / other:.3g} times the price in {each.region}"
        for each in bundled_catalog().instances
        if each.qualified_name == instance.qualified_name
        and each.region != instance.region
        and (other := each.on_demand_usd_per_hour) is not None
        and not 1 / LARGEST_RATIO_OF_REGIONS <= price / other <= LARGEST_RATIO_OF_REGIONS
    ]


def _expected(instances: Sequence[Instance]) -> dict[str, float]:
    """The on-demand price of each instance by the prices of its family, where it has enough."""
    families: dict[str, list[tuple[str, int, int, float]]] = {}
    for each in instances:
        if each.vcpus and each.on_demand_usd_per_hour is not None:
            size = (each.name, each.accelerator_count, each.vcpus, each.on_demand_usd_per_hour)
            families.setdefault(family(each.provider, each.name), []).append(size)
    found: dict[str, float] = {}
    for sizes in families.values():
        fitted = _fit([(accelerators, vcpus, price) for _, accelerators, vcpus, price in sizes])
        if fitted is None:
            continue
        per_accelerator, per_vcpu = fitted
        for name, accelerators, vcpus, _ in sizes:
            expected = per_accelerator * accelerators + per_vcpu * vcpus
            if expected > 0:
                found[name] = expected
    return found


def _fit(sizes: Sequence[tuple[int, int, float]]) -> tuple[float, float] | None:
    """US dollars per accelerator and per vCPU. None if the family has too few sizes."""
    shapes = {accelerators / vcpus for accelerators, vcpus, _ in sizes}
    if len(shapes) == 1:
        if len(sizes) < 3:
            return None
        return 0.0, statistics.median(price / vcpus for _, vcpus, price in sizes)
    if len(sizes) < 5:
        return None
    solutions = []
    for (a, v, p), (b, w, q) in itertools.combinations(sizes, 2):
        if determinant := a * w - b * v:
            solutions.append(((p * w - q * v) / determinant, (a * q - b * p) / determinant))
    per_accelerator = statistics.median(first for first, _ in solutions)
    return per_accelerator, statistics.median(second for _, second in solutions)
