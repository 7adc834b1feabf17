"""Spot prices of AWS. They need an account and boto3 (`pip install 'gpubench-inference[prices]'`).

EC2 keeps the history of spot prices: each entry is a price in one zone from one moment on. The
price of an instance is taken in each zone at the same time of day on the last seven days. The
median of these samples is the spot price. Low and high are the lowest and the highest entry that
was in force during these days.

Zones are told apart by their id (use1-az1). The name of a zone (us-east-1a) means another zone in
another account.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict

from gpubench.errors import GpubenchError, one_line
from gpubench.pricing.refresh.answer import ProviderAnswer

if TYPE_CHECKING:
    from gpubench.pricing.catalog import Instance

DAYS = 7
_PRODUCT = "Linux/UNIX"
_NO_BOTO3 = "boto3 is not installed; pip install 'gpubench-inference[prices]'"
_MOST_PAGES = 1000
_NAMES_IN_A_REQUEST = 100


class Zone(TypedDict):
    ZoneName: str
    ZoneId: str


class Zones(TypedDict):
    AvailabilityZones: list[Zone]


class SpotEntry(TypedDict):
    AvailabilityZone: str
    InstanceType: str
    ProductDescription: str
    SpotPrice: str
    Timestamp: datetime


class History(TypedDict):
    SpotPriceHistory: list[SpotEntry]
    NextToken: NotRequired[str]


class Ec2(Protocol):
    """What is used of boto3's client for EC2."""

    def describe_availability_zones(self, **arguments: object) -> Zones: ...

    def describe_spot_price_history(self, **arguments: object) -> History: ...


@dataclass(frozen=True)
class SpotPrice:
    """US dollars per hour, over zones and days. `zone` is the id of that with the lowest median."""

    low: float
    median: float
    high: float
    zone: str


def connect(region: str) -> Ec2:
    """A client with the credentials that boto3 finds. Raises ImportError without boto3."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10, read_timeout=30, retries={"mode": "standard", "max_attempts": 5}
    )
    client: Ec2 = boto3.client("ec2", region_name=region, config=config)
    return client


def with_spot(answer: ProviderAnswer, region: str, now: datetime) -> ProviderAnswer:
    """`answer` with spot prices. If they cannot be read, it has a notice and no spot prices."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return _without_spot(answer, _NO_BOTO3)
    names = [instance.name for instance in answer.instances]
    try:
        prices = spot_prices(connect(region), names, now)
    except ImportError:
        return _without_spot(answer, _NO_BOTO3)
    except (BotoCoreError, ClientError, GpubenchError) as error:
        return _without_spot(answer, f"{one_line(error)}; docs/prices.md says what boto3 needs")
    instances = tuple(_priced(each, prices.get(each.name), now) for each in answer.instances)
    return replace(answer, instances=instances, has_spot=True)


def _without_spot(answer: ProviderAnswer, reason: str) -> ProviderAnswer:
    notice = f"spot prices of AWS were not read, and those that were known remain: {reason}"
    return replace(answer, notices=(*answer.notices, notice))


def _priced(instance: Instance, spot: SpotPrice | None, now: datetime) -> Instance:
    if spot is None:
        return instance
    return replace(
        instance,
        spot_usd_per_hour=spot.median,
        spot_low_usd_per_hour=spot.low,
        spot_high_usd_per_hour=spot.high,
        spot_zone=spot.zone,
        spot_as_of=now.date().isoformat(),
    )


def spot_prices(client: Ec2, names: Sequence[str], now: datetime) -> dict[str, SpotPrice]:
    """The spot price of each instance that has one. `now` has a time zone."""
    zones = {
        zone["ZoneName"]: zone["ZoneId"]
        for zone in client.describe_availability_zones()["AvailabilityZones"]
    }
    start = now - timedelta(days=DAYS)
    entries: dict[str, dict[str, list[tuple[datetime, float]]]] = {}
    for first in range(0, len(names), _NAMES_IN_A_REQUEST):
        for entry in _history(client, names[first : first + _NAMES_IN_A_REQUEST], start, now):
            zone, price = zones.get(entry["AvailabilityZone"]), float(entry["SpotPrice"])
            is_usable = entry["ProductDescription"] == _PRODUCT and math.isfinite(price)
            if zone is None or not is_usable or price <= 0:
                continue
            of_instance = entries.setdefault(entry["InstanceType"], {})
            of_instance.setdefault(zone, []).append((entry["Timestamp"].astimezone(UTC), price))
    found = {name: _summary(by_zone, start, now) for name, by_zone in entries.items()}
    return {name: spot for name, spot in found.items() if spot is not None}


def _history(
    client: Ec2, names: Sequence[str], start: datetime, now: datetime
) -> Iterable[SpotEntry]:
    token = ""
    for _ in range(_MOST_PAGES):
        page = client.describe_spot_price_history(
            InstanceTypes=list(names),
            ProductDescriptions=[_PRODUCT],
            StartTime=start,
            EndTime=now,
            **({"NextToken": token} if token else {}),
        )
        yield from page["SpotPriceHistory"]
        token = page.get("NextToken", "")
        if not token:
            return
    raise GpubenchError(f"the history of EC2 has more than {_MOST_PAGES} pages")


def _summary(
    by_zone: dict[str, list[tuple[datetime, float]]], start: datetime, now: datetime
) -> SpotPrice | None:
    """None if no price is in force at any of the sampled moments."""
    moments = [now - timedelta(days=day) for day in range(DAYS)]
    samples: dict[str, list[float]] = {}
    in_force: list[float] = []
    for zone, entries in by_zone.items():
        entries.sort()
        taken = [_price_at(entries, moment) for moment in moments]
        if known := [price for price in taken if price is not None]:
            samples[zone] = known
        before = _price_at(entries, start)
        in_force += [price for time, price in entries if time > start]
        in_force += [] if before is None else [before]
    if not samples:
        return None
    return SpotPrice(
        low=min(in_force),
        median=statistics.median([price for prices in samples.values() for price in prices]),
        high=max(in_force),
        zone=min(samples, key=lambda zone: (statistics.median(samples[zone]), zone)),
    )


def _price_at(entries: list[tuple[datetime, float]], moment: datetime) -> float | None:
    """The price of the last entry up to `moment`."""
    prices = [price for time, price in entries if time <= moment]
    return prices[-1] if prices else None
