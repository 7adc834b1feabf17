"""The flag --max-usd of a sweep on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gpubench.cells.grid import Grid
from gpubench.cli.sections import Option
from gpubench.errors import InputError

if TYPE_CHECKING:
    from gpubench.measure.spending_limit import SpendingLimit

max_usd_option = click.option(
    "--max-usd",
    cls=Option,
    section="Output",
    type=float,
    metavar="X",
    help="End before a cell after which the time of this sweep would cost more than this, at the "
    "price of this machine or of --usd-per-hour.",
)


def checked_usd(value: float) -> float:
    """Raises InputError, which names --max-usd, for an amount that cannot be spent."""
    if not 0 < value < 1e9:
        raise InputError(f"--max-usd {value:g} is not allowed; give a positive amount")
    return value


def spending_limit(max_usd: float | None, grids: Sequence[Grid]) -> SpendingLimit | None:
    """The limit that --max-usd asks for; None without the flag.

    Raises InputError if the price of an hour of this machine is not known.
    """
    if max_usd is None:
        return None
    from gpubench.measure.spending_limit import SpendingLimit
    from gpubench.pricing.price_files import current_catalog
    from gpubench.system.machine import this_machine

    limit = checked_usd(max_usd)
    given = [grid.settings["usd_per_hour"] for grid in grids if "usd_per_hour" in grid.settings]
    if given:
        try:
            return SpendingLimit(max(map(float, given)), limit)
        except (TypeError, ValueError):
            raise InputError(f"--usd-per-hour: '{given[0]}' is not a number") from None
    instance = this_machine().instance
    if instance is None:
        raise InputError(
            "--max-usd: this machine does not tell which instance it is; add --usd-per-hour X"
        )
    return SpendingLimit(current_catalog().find_price(instance)[2], limit)
