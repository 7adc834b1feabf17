"""How old a price is. Providers change prices, so an old one is marked in every table."""

from __future__ import annotations

from datetime import UTC, date, datetime

MOST_DAYS = 180


def today() -> date:
    """The date in UTC. Nothing else asks the clock for the age of a price; tests replace it."""
    return datetime.now(UTC).date()


def days_old(as_of: str | None) -> int | None:
    """Days since an ISO date. None if it is unknown, or not a date."""
    try:
        return None if as_of is None else (today() - date.fromisoformat(as_of)).days
    except ValueError:  # in a document from elsewhere
        return None


def is_old(as_of: str | None) -> bool:
    """Whether a price of this date is marked. A price without a date is not."""
    days = days_old(as_of)
    return days is not None and days > MOST_DAYS
