"""The price of a cold start.

    usd_per_start = usd_per_hour / 3600 * billed seconds

An instance is billed while it starts. Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpubench.pricing.cost import measured_hardware, price
from gpubench.pricing.owned import Owned
from gpubench.results.cold_result import ColdFigures, ColdResult, StartCost


def with_costs(result: ColdResult) -> ColdResult:
    """`result` with the costs of its figures, at the prices that its spec asks for.

    Raises InputError for an instance that is not in the catalog or has no price there.
    """
    return _priced(result, result.spec.instance, result.spec.usd_per_hour)


def reprice_starts(
    result: ColdResult,
    instances: Sequence[str],
    usd_per_hour: float | None,
    owned: Owned | None = None,
) -> ColdResult:
    """The result with new costs; unchanged if no price is given. Raises as `with_costs` does.

    The power of a start is not measured, so owned hardware must state its own. A function is paid
    by memory and time (`gpubench.pricing.serverless`), so it is never priced on an instance.
    """
    if result.function is not None:
        return result
    if not instances and usd_per_hour is None and owned is None:
        return result
    return _priced(result, instances, usd_per_hour, owned)


def _priced(
    result: ColdResult,
    instances: Sequence[str],
    usd_per_hour: float | None,
    owned: Owned | None = None,
) -> ColdResult:
    hardware = measured_hardware(result.spec, result.environment)
    prices = price(None, None, hardware, instances, usd_per_hour, owned=owned)

    def priced(figures: ColdFigures) -> ColdFigures:
        ready = figures.ready.p50 if figures.ready else None
        if ready is None:
            return figures
        billed_s = ready + (result.image.seconds if result.image else 0.0)
        costs = [
            StartCost(
                instance=each.instance,
                region=each.region,
                term=each.term,
                owned=each.owned,
                measured_here=each.measured_here,
                usd_per_hour=each.usd_per_hour,
                usd_per_start=each.usd_per_hour / 3600 * billed_s,
                price_as_of=each.price_as_of,
                price_source=each.price_source,
                hardware_note=each.hardware_note,
            )
            for each in prices
        ]
        return figures.model_copy(update={"billed_seconds": billed_s, "costs": costs})

    figures = [priced(each) for each in result.figures]
    return result.model_copy(update={"figures": figures})
