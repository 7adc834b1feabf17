"""The price of an hour of hardware that one owns: what it cost, over its life, and electricity.

    usd_per_hour = capital_usd / (years * 8760) + watts / 1000 * pue * usd_per_kwh

PUE, the power usage effectiveness, is the power that the building draws for each watt of the
machine. Staff, network, repairs, interest and hours without work are not part of this price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.spec.spec import MOST_USD_PER_HOUR

HOURS_PER_YEAR = 8760


@dataclass(frozen=True)
class Electricity:
    """The figures that the user gives for electricity. None: not given."""

    usd_per_kwh: float | None = None
    grams_co2_per_kwh: float | None = None
    pue: float = 1.0


@dataclass(frozen=True)
class Owned:
    """What the user says about hardware of their own."""

    capital_usd: float
    years: float  # over which it is written off
    usd_per_kwh: float
    pue: float = 1.0
    watts: float | None = None  # of the machine at work; None: the measured power

    def usd_per_hour(self, measured_w: float | None) -> float:
        """The price of an hour. `measured_w` is the mean power of the GPUs, or of the CPU packages.

        Raises InputError if neither it nor --watts is known.
        """
        watts = self.watts if self.watts is not None else measured_w
        if watts is None:
            raise InputError(
                "--capital-usd: the power of a result was not measured; add --watts with the power "
                "of the machine at work"
            )
        capital = self.capital_usd / (self.years * HOURS_PER_YEAR)
        return capital + watts / 1e3 * self.pue * self.usd_per_kwh

    def source(self, measured_w: float | None, of: str = "GPUs") -> str:
        """Where the price comes from, for tables. `of` is what has the measured power."""
        watts = self.watts if self.watts is not None else measured_w
        power = "" if watts is None else f"{watts:.4g} W"
        measured = f" ({of}, measured)" if self.watts is None else ""
        unit = "year" if self.years == 1 else "years"
        return (
            f"${self.capital_usd:,.10g} over {self.years:g} {unit}, {power}{measured} x PUE "
            f"{self.pue:g} at ${self.usd_per_kwh:g}/kWh"
        )


def owned_hardware(
    capital_usd: float | None,
    years: float | None,
    usd_per_kwh: float | None,
    pue: float | None = None,
    watts: float | None = None,
) -> Owned | None:
    """Hardware of the user's own, from the flags with these names. None: it is not asked for.

    Raises InputError for flags that miss others, and for figures that cannot be.
    """
    if capital_usd is None:
        for name, value in (("--years", years), ("--watts", watts)):
            if value is not None:
                raise InputError(f"{name} is about hardware of your own; add --capital-usd")
        return None
    for name, value in (("--years", years), ("--usd-per-kwh", usd_per_kwh)):
        if value is None:
            raise InputError(f"--capital-usd needs {name}")
    assert years is not None
    assert usd_per_kwh is not None
    _check("--capital-usd", capital_usd, 0, MOST_USD_PER_HOUR)
    _check("--years", years, 0.01, 100)
    if watts is not None:
        _check("--watts", watts, 0, 1e9)
    tariff = electricity(usd_per_kwh, None, pue)
    assert tariff is not None
    return Owned(capital_usd, years, usd_per_kwh, tariff.pue, watts)


def electricity(
    usd_per_kwh: float | None, grams_co2_per_kwh: float | None, pue: float | None = None
) -> Electricity | None:
    """The figures from the flags with these names. None if there are none.

    Raises InputError for figures that cannot be.
    """
    if usd_per_kwh is None and grams_co2_per_kwh is None:
        if pue is not None:
            raise InputError("--pue needs --usd-per-kwh or --grams-co2-per-kwh")
        return None
    if usd_per_kwh is not None:
        _check("--usd-per-kwh", usd_per_kwh, 0, 1000)
    if grams_co2_per_kwh is not None:
        _check("--grams-co2-per-kwh", grams_co2_per_kwh, 0, 100_000)
    if pue is not None:
        _check("--pue", pue, 1, 10)
    return Electricity(usd_per_kwh, grams_co2_per_kwh, 1.0 if pue is None else pue)


def _check(flag: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise InputError(f"{flag} {value:g} must be from {least:g} to {most:,.10g}")
