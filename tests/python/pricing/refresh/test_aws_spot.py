"""Spot prices of AWS, with botocore's own stub of the service."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpubench.pricing import bundled_catalog
from gpubench.pricing.refresh import ProviderAnswer, aws_spot

boto3 = pytest.importorskip("boto3")
stub = pytest.importorskip("botocore.stub")

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ZONES = {
    "AvailabilityZones": [
        {"ZoneName": "us-east-1a", "ZoneId": "use1-az4"},
        {"ZoneName": "us-east-1b", "ZoneId": "use1-az1"},
    ]
}


def entry(zone: str, price: str, days_ago: float, **other: object) -> dict[str, Any]:
    return {
        "AvailabilityZone": zone,
        "InstanceType": "g5.xlarge",
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": price,
        "Timestamp": NOW - timedelta(days=days_ago),
        **other,
    }


def question(**other: object) -> dict[str, Any]:
    return {
        "InstanceTypes": ["g5.xlarge"],
        "ProductDescriptions": ["Linux/UNIX"],
        "StartTime": NOW - timedelta(days=7),
        "EndTime": NOW,
        **other,
    }


@pytest.fixture
def client() -> Any:
    return boto3.client(
        "ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


@pytest.fixture
def stubber(client: Any) -> Iterator[Any]:
    with stub.Stubber(client) as stubber:
        stubber.add_response("describe_availability_zones", ZONES)
        yield stubber
        stubber.assert_no_pending_responses()


def spot(client: Any) -> aws_spot.SpotPrice:
    return aws_spot.spot_prices(client, ["g5.xlarge"], NOW)["g5.xlarge"]


def test_the_median_is_over_zones_and_days_and_the_zone_is_an_id(client: Any, stubber: Any) -> None:
    history = [
        entry("us-east-1a", "0.40", 9),  # in force when the seven days begin
        entry("us-east-1a", "0.50", 2.5),  # so 4 samples of 0.40 and 3 of 0.50
        entry("us-east-1b", "0.45", 8),  # 7 samples
    ]
    stubber.add_response("describe_spot_price_history", {"SpotPriceHistory": history}, question())
    found = spot(client)
    assert (found.low, found.median, found.high) == (0.40, 0.45, 0.50)
    assert found.zone == "use1-az4"  # its own median is 0.40


def test_a_peak_between_two_samples_is_the_highest_price_and_leaves_the_median(
    client: Any, stubber: Any
) -> None:
    history = [
        entry("us-east-1a", "0.40", 9),
        entry("us-east-1a", "1.00", 3.4),
        entry("us-east-1a", "0.41", 3.3),
    ]
    stubber.add_response("describe_spot_price_history", {"SpotPriceHistory": history})
    found = spot(client)
    assert found.high == 1.00
    assert found.median in {0.40, 0.41, 0.405}


def test_a_price_that_was_replaced_before_the_seven_days_does_not_count(
    client: Any, stubber: Any
) -> None:
    history = [entry("us-east-1a", "0.10", 20), entry("us-east-1a", "0.40", 9)]
    stubber.add_response("describe_spot_price_history", {"SpotPriceHistory": history})
    assert spot(client) == aws_spot.SpotPrice(0.40, 0.40, 0.40, "use1-az4")


def test_all_pages_are_read_and_other_systems_and_unknown_zones_do_not_count(
    client: Any, stubber: Any
) -> None:
    first = [
        entry("us-east-1a", "0.01", 8, ProductDescription="Windows"),
        entry("us-east-1z", "0.02", 8),
        entry("us-east-1a", "0.0", 8),
    ]
    stubber.add_response(
        "describe_spot_price_history",
        {"SpotPriceHistory": first, "NextToken": "more"},
        question(),
    )
    stubber.add_response(
        "describe_spot_price_history",
        {"SpotPriceHistory": [entry("us-east-1b", "0.45", 8)]},
        question(NextToken="more"),
    )
    assert spot(client) == aws_spot.SpotPrice(0.45, 0.45, 0.45, "use1-az1")


def test_an_instance_without_a_history_has_no_spot_price(client: Any, stubber: Any) -> None:
    stubber.add_response("describe_spot_price_history", {"SpotPriceHistory": []})
    assert aws_spot.spot_prices(client, ["g5.xlarge"], NOW) == {}


def on_demand() -> ProviderAnswer:
    return ProviderAnswer((bundled_catalog().find("g5.xlarge"),), has_spot=False)


def test_the_answer_gets_the_prices_with_their_date(
    client: Any, stubber: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_spot, "connect", lambda region: client)
    stubber.add_response(
        "describe_spot_price_history", {"SpotPriceHistory": [entry("us-east-1a", "0.4", 8)]}
    )
    found = aws_spot.with_spot(on_demand(), "us-east-1", NOW)
    assert found.has_spot
    assert not found.notices
    (instance,) = found.instances
    assert (instance.spot_usd_per_hour, instance.spot_as_of) == (0.4, "2026-11-27")


def test_a_page_that_fails_gives_no_spot_price_at_all_and_a_notice(
    client: Any, stubber: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_spot, "connect", lambda region: client)
    stubber.add_response(
        "describe_spot_price_history",
        {"SpotPriceHistory": [entry("us-east-1a", "0.4", 8)], "NextToken": "more"},
    )
    stubber.add_client_error("describe_spot_price_history", "UnauthorizedOperation", "not allowed")
    found = aws_spot.with_spot(on_demand(), "us-east-1", NOW)
    assert not found.has_spot
    assert found.instances[0].spot_usd_per_hour is None
    assert "those that were known remain: ClientError: " in found.notices[0]
    assert "UnauthorizedOperation" in found.notices[0]


def test_without_boto3_the_notice_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    found = aws_spot.with_spot(on_demand(), "us-east-1", NOW)
    assert found.instances == on_demand().instances
    assert "pip install 'gpubench-inference[prices]'" in found.notices[0]
