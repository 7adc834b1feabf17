"""Google's catalog of parts: the sums are the prices of machines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from price_server import DATA, Reply, data, serve

from gpubench.errors import GpubenchError
from gpubench.pricing import bundled_catalog
from gpubench.pricing.catalog import Instance
from gpubench.pricing.refresh import ProviderAnswer, google
from gpubench.pricing.refresh.fetch import Downloads

TODAY = "2026-11-27"
PAGES = ("google_1.json", "google_2.json")
KEY = "secret-key"


def answer(
    replies: list[Reply], names: tuple[str, ...] = (), region: str = "us-central1"
) -> ProviderAnswer:
    with serve(replies) as server:
        return google.read(Downloads(sleep=lambda _: None), region, names, TODAY, KEY, server.url)


def by_name(found: ProviderAnswer) -> dict[str, Instance]:
    return {instance.name: instance for instance in found.instances}


def skus() -> list[dict[str, Any]]:
    pages = [json.loads((DATA / name).read_text()) for name in PAGES]
    return [sku for page in pages for sku in page["skus"]]


def page(found: list[dict[str, Any]]) -> Reply:
    return Reply(json.dumps({"skus": found, "nextPageToken": ""}).encode())


def with_sku(description: str, usage_type: str, nanos: int = 1_000_000) -> list[Reply]:
    """All SKUs, and a copy of that of a GPU or of a core with another description and price."""
    model = "Nvidia L4 GPU running" if "GPU" in description else "G2 Instance Core"
    sku = json.loads(
        json.dumps(next(each for each in skus() if each["description"].startswith(model)))
    )
    sku["description"], sku["skuId"] = description, "ADDED"
    sku["category"]["usageType"] = usage_type
    rate = sku["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]
    rate["unitPrice"] |= {"units": "0", "nanos": nanos}
    return [page([sku, *skus()])]


def changed(change: str, value: object) -> list[Reply]:
    """The SKUs with another value in the price of the L4."""
    found = skus()
    sku = next(each for each in found if each["description"].startswith("Nvidia L4 GPU running"))
    expression = sku["pricingInfo"][0]["pricingExpression"]
    if change in expression:
        expression[change] = value
    else:
        expression["tieredRates"][0]["unitPrice"][change] = value
    return [page(found)]


def test_the_sum_of_host_gpu_and_local_ssd_is_the_price_in_the_bundled_catalog() -> None:
    """The rates of parts in the test data are Google's; the bundled prices are of machines."""
    found = by_name(answer(data(*PAGES)))
    families = ("a2-", "a3-highgpu", "g2-", "n2-", "c4-")
    known = [
        each for each in bundled_catalog().select(provider="gcp") if each.name.startswith(families)
    ]
    assert len(known) == 23
    for each in known:
        assert each.on_demand_usd_per_hour is not None
        assert found[each.name].on_demand_usd_per_hour == pytest.approx(
            each.on_demand_usd_per_hour, rel=1e-4
        )


def test_the_price_of_a_machine_with_gpus_is_far_more_than_that_of_its_gpu_sku_or_host() -> None:
    g2 = by_name(answer(data(*PAGES)))["g2-standard-4"]
    assert g2.on_demand_usd_per_hour == pytest.approx(4 * 0.024988 + 16 * 0.002927 + 0.56004)


def test_a_sku_that_includes_the_machine_is_not_added_to_another_host() -> None:
    a4 = by_name(answer(data(*PAGES)))["a4-highgpu-8g"]
    assert a4.on_demand_usd_per_hour == 8 * 16.11
    assert (a4.accelerator, a4.accelerator_count, a4.vcpus) == ("B200", 8, 224)


def test_the_h100_plus_is_the_gpu_of_the_mega_machine() -> None:
    mega = by_name(answer(data(*PAGES)))["a3-megagpu-8g"]
    parts = 8 * 10.344275712 + 208 * 0.026924 + 1872 * 0.002344 + 6000 * 0.08 / 730
    assert mega.on_demand_usd_per_hour == pytest.approx(parts)


def test_an_n1_with_gpus_has_a_name_that_its_source_states_as_made_up() -> None:
    found = by_name(answer(data(*PAGES), ("n1-standard-2+4xT4",)))
    for name, vcpus, gpus in (("n1-standard-4+1xT4", 4, 1), ("n1-standard-2+4xT4", 2, 4)):
        instance = found[name]
        assert instance.on_demand_usd_per_hour == pytest.approx(
            vcpus * 0.031611 + 3.75 * vcpus * 0.004237 + gpus * 0.35
        )
        assert (instance.accelerator, instance.accelerator_count) == ("T4", gpus)
        assert instance.source is not None
        assert instance.source.endswith("sum of SKUs; the name of the combination is gpubench's")
    assert found["n1-standard-4"].accelerator is None


def test_spot_prices_are_sums_of_spot_skus_whose_descriptions_have_two_forms() -> None:
    found = by_name(answer(data(*PAGES)))
    assert found["g2-standard-4"].spot_usd_per_hour == pytest.approx(
        4 * 0.01 + 16 * 0.00117 + 0.224
    )
    assert found["n2-standard-16"].spot_usd_per_hour is None


def test_a_spot_sku_with_the_usage_type_on_demand_is_a_spot_price() -> None:
    a4 = by_name(answer(data(*PAGES)))["a4-highgpu-8g"]
    assert a4.spot_usd_per_hour == pytest.approx(8 * 4.9542)


def test_commitments_are_sums_too_and_those_of_n1_name_no_family() -> None:
    found = by_name(answer(data(*PAGES)))
    g2, n1 = found["g2-standard-4"], found["n1-standard-4+1xT4"]
    assert g2.one_year_usd_per_hour == pytest.approx(0.706832 * 0.63, rel=1e-4)
    assert g2.three_year_usd_per_hour == pytest.approx(0.706832 * 0.45, rel=1e-4)
    assert n1.three_year_usd_per_hour == pytest.approx(0.54 * 0.45, rel=1e-3)
    assert g2.commitment == "committed use discount on resources"


@pytest.mark.parametrize(
    ("description", "usage_type"),
    [
        ("Nvidia L4 GPU attached to Sole Tenancy VMs running in Americas", "OnDemand"),
        ("Nvidia L4 GPU attached to DWS Defined Duration VMs running in Americas", "OnDemand"),
        ("Reserved Nvidia L4 GPU in Americas", "OnDemand"),
        ("Reserved Nvidia L4 GPU in Americas in Calendar Mode", "OnDemand"),
        ("DWS Calendar Mode Nvidia L4 GPU in Americas", "OnDemand"),
        ("Commitment v1: Nvidia L4 GPU running in Americas for 5 Years", "Commit"),
        ("Commitment v1: Nvidia L4 GPU running in Americas for 1 Year", "OnDemand"),
        ("G2 Sole Tenancy Instance Core running in Americas", "OnDemand"),
        ("Sole Tenancy Premium for G2 Sole Tenancy Instance Core running in Americas", "OnDemand"),
        ("G2 Custom Instance Core running in Americas", "OnDemand"),
        ("G2 Custom Extended Instance Ram running in Americas", "OnDemand"),
        ("Committed Use Discount Premium for G2 Instance Core running in Americas", "OnDemand"),
        ("Reserved G2 Core in Americas", "OnDemand"),
        ("N2D AMD Instance Core running in Americas", "OnDemand"),
    ],
)
def test_skus_that_look_alike_change_nothing(description: str, usage_type: str) -> None:
    unchanged = answer(data(*PAGES))
    assert answer(with_sku(description, usage_type)) == unchanged


def test_a_second_price_of_a_part_refuses_every_machine_that_has_it() -> None:
    found = answer(with_sku("Nvidia L4 GPU running in Iowa", "OnDemand", 600_000_000))
    assert "g2-standard-4" not in by_name(found)
    assert "a2-highgpu-1g" in by_name(found)
    refusal = next(each for each in found.refusals if each.name == "g2-standard-4")
    assert "gpu L4: it is listed with several prices: $0.56004 " in refusal.reason
    assert "$0.6 (SKU ADDED)" in refusal.reason


def test_units_and_nanos_are_added() -> None:
    found = by_name(answer(changed("units", "2")))
    assert found["g2-standard-4"].on_demand_usd_per_hour == pytest.approx(2 + 0.706824)


def test_a_free_first_tier_does_not_make_a_machine_free() -> None:
    usd = {"currencyCode": "USD", "units": "0"}
    tiers = [
        {"startUsageAmount": 0, "unitPrice": {**usd, "nanos": 0}},
        {"startUsageAmount": 744, "unitPrice": {**usd, "nanos": 560_040_000}},
    ]
    found = by_name(answer(changed("tieredRates", tiers)))
    assert found["g2-standard-4"].on_demand_usd_per_hour == pytest.approx(0.706824)


def test_a_part_at_0_refuses_its_machines() -> None:
    found = answer(changed("nanos", 0))
    assert "g2-standard-4" not in by_name(found)
    assert any("gpu L4: the listed price is $0" in each.reason for each in found.refusals)


def test_a_machine_without_the_sku_of_its_gpu_has_no_price() -> None:
    without = [sku for sku in skus() if not sku["description"].startswith("Nvidia L4 GPU running")]
    assert "g2-standard-4" not in by_name(answer([page(without)]))


def test_skus_of_other_regions_do_not_count() -> None:
    found = by_name(answer(data(*PAGES), region="asia-northeast1"))
    assert found == {}  # Tokyo has a core of N2 in the test data, and no memory


@pytest.mark.parametrize(
    ("change", "value", "problem"),
    [
        ("usageUnit", "mo", "is priced by mo, not by h"),
        ("tieredRates", [], "has no price"),
        ("nanos", "many", "is not a number"),
        ("currencyCode", "EUR", "are in EUR, not in USD"),
    ],
)
def test_a_price_of_another_form_is_refused(change: str, value: object, problem: str) -> None:
    with pytest.raises(GpubenchError, match=problem):
        answer(changed(change, value))


def test_the_key_is_in_a_header_and_in_no_address_and_no_message() -> None:
    with serve(data(*PAGES)) as server:
        google.read(Downloads(), "us-central1", (), TODAY, KEY, server.url)
    assert {headers["X-Goog-Api-Key"] for headers in server.headers} == {KEY}
    assert not any(KEY in path for path in server.paths)
    assert "pageToken=AB12" in server.paths[1]
    with serve([Reply(status=403)]) as server, pytest.raises(GpubenchError) as error:
        google.read(Downloads(), "us-central1", (), TODAY, KEY, server.url)
    assert KEY not in str(error.value)
    assert "the key may not read prices" in str(error.value)


def test_the_same_page_twice_is_no_answer() -> None:
    with pytest.raises(GpubenchError, match="a page was answered twice"):
        answer(data(PAGES[0]))
