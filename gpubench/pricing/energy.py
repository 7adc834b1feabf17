"""Electricity and carbon dioxide of a million inferences, from the measured energy.

    kWh per million = joules per inference * 1e6 / 3.6e6 * pue

The energy is that of the GPUs alone, or on a CPU that of its packages: the memory, the fans and the
rest of the machine are not measured. The price of a cloud instance already contains its
electricity, so these figures are not to be added to it.
"""

from __future__ import annotations

from gpubench.pricing.owned import Electricity
from gpubench.results.result import ElectricityUse, Result

_J_PER_KWH = 3.6e6


def with_electricity(result: Result, asked: Electricity | None) -> Result:
    """The result with its electricity. Unchanged if it is not asked for or was not measured."""
    energy_j = result.energy_j_per_inference
    if asked is None or energy_j is None:
        return result
    kwh = energy_j * 1e6 / _J_PER_KWH * asked.pue
    usd, grams = asked.usd_per_kwh, asked.grams_co2_per_kwh
    use = ElectricityUse(
        usd_per_kwh=usd,
        grams_co2_per_kwh=grams,
        pue=asked.pue,
        kwh_per_million=kwh,
        usd_per_million=None if usd is None else kwh * usd,
        grams_co2_per_million=None if grams is None else kwh * grams,
    )
    return result.model_copy(update={"electricity": use})
