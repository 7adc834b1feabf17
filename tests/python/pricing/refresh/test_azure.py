"""The retail prices of Azure: the one row for each size and term among those that look like it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from price_server import DATA, Reply, data, serve

from gpubench.errors import GpubenchError
from gpubench.pricing import bundled_catalog
from gpubench.pricing.catalog import Instance
from gpubench.pricing.refresh import ProviderAnswer, azure
from gpubench.pricing.refresh.fetch import Downloads

TODAY = "2026-11-27"
PAGES = ("azure_eastus_1.json", "azure_eastus_2.json")
T4 = "Standard_NC4as_T4_v3"


def answer(replies: list[Reply], names: tuple[str, ...] = (), today: str = TODAY) -> ProviderAnswer:
    with serve(replies) as server:
        return azure.read(Downloads(sleep=lambda _: None), "eastus", names, today, server.url)


def by_name(found: ProviderAnswer) -> dict[str, Instance]:
    return {instance.name: instance for instance in found.instances}


def items() -> list[dict[str, Any]]:
    pages = [json.loads((DATA / name).read_text()) for name in PAGES]
    return [item for page in pages for item in page["Items"]]


def page(rows: list[dict[str, Any]], link: str | None = None) -> Reply:
    return Reply(json.dumps({"Items": rows, "NextPageLink": link, "Count": len(rows)}).encode())


def linux_row(**other: object) -> dict[str, Any]:
    """A row for the T4 with some other values."""
    return {**next(item for item in items() if item["armSkuName"] == T4), **other}


def test_the_prices_and_the_hardware_are_those_of_the_bundled_catalog() -> None:
    found = by_name(answer(data(*PAGES)))
    known = bundled_catalog().select(provider="azure")
    assert len(known) == 18
    for each in known:
        assert found[each.name].on_demand_usd_per_hour == each.on_demand_usd_per_hour
        assert found[each.name].accelerator_count == each.accelerator_count
        assert found[each.name].vcpus == each.vcpus


def test_rows_for_windows_low_priority_hosts_and_subscribers_do_not_count() -> None:
    """The T4 has rows for Windows under "Windows" and " Win", and four cheaper look-alikes."""
    found = answer(data(*PAGES))
    assert by_name(found)[T4].on_demand_usd_per_hour == 0.526
    assert by_name(found)[T4].spot_usd_per_hour == 0.2104
    assert not found.refusals


@pytest.mark.parametrize(
    "other",
    [
        {"productName": "Virtual Machines NCasv3 T4 Series Windows"},
        {"productName": "Virtual Machines NCasv3 T4 Series Win"},
        {"skuName": "NC4as T4 v3 Low Priority"},
        {"meterName": "NC4as T4 v3 Low Priority"},
        {"productName": "NCasv3 T4 Dedicated Host"},
        {"productName": "NCasv3 T4 Series Cloud Services"},
        {"type": "DevTestConsumption"},
        {"isPrimaryMeterRegion": False},
        {"unitOfMeasure": "1 GB/Month"},
        {"tierMinimumUnits": 100.0},
        {"type": "Reservation", "reservationTerm": "5 Years"},
    ],
)
def test_each_look_alike_is_no_price_even_if_it_is_alone(other: dict[str, object]) -> None:
    assert not answer([page([linux_row(**other)])]).instances


def test_a_reservation_is_the_price_of_the_term_although_its_unit_is_an_hour() -> None:
    found = by_name(answer(data(*PAGES)))[T4]
    assert found.one_year_usd_per_hour == 2900.0 / 8760
    assert found.three_year_usd_per_hour == 5600.0 / 26280
    assert found.commitment == "reservation"


def test_the_row_counts_that_began_last_and_has_not_ended() -> None:
    rows = [
        linux_row(retailPrice=0.6, effectiveStartDate="2023-01-01T00:00:00Z"),
        linux_row(
            retailPrice=0.5,
            effectiveStartDate="2025-01-01T00:00:00Z",
            effectiveEndDate="2026-12-31T23:59:59Z",
        ),
        linux_row(retailPrice=0.4, effectiveStartDate="2027-01-01T00:00:00Z"),
    ]
    assert by_name(answer([page(rows)]))[T4].on_demand_usd_per_hour == 0.5
    assert by_name(answer([page(rows)], today="2026-12-31"))[T4].on_demand_usd_per_hour == 0.5
    later = by_name(answer([page(rows)], today="2027-02-01"))
    assert later[T4].on_demand_usd_per_hour == 0.4


def test_a_placeholder_at_0_does_not_replace_the_price_and_is_no_price_alone() -> None:
    newer = linux_row(retailPrice=0.0, effectiveStartDate="2026-10-01T00:00:00Z")
    assert by_name(answer([page([linux_row(), newer])]))[T4].on_demand_usd_per_hour == 0.526
    alone = answer([page([newer])])
    assert not alone.instances
    assert alone.refusals[0].reason.startswith("the listed price is $0 (SKU ")


def test_two_rows_of_the_same_day_with_different_prices_are_refused() -> None:
    found = answer([page([linux_row(), linux_row(retailPrice=0.8, meterId="TWIN")])])
    assert not found.instances
    assert "several prices: $0.526 " in found.refusals[0].reason
    assert "$0.8 (SKU TWIN)" in found.refusals[0].reason


def test_a_size_with_a_part_of_a_gpu_is_never_written_as_one_with_a_gpu() -> None:
    asked = ("Standard_NV6ads_A10_v5", "Standard_ND96isr_H200_v5")
    found = answer(data(*PAGES), asked)
    assert set(asked).isdisjoint(by_name(found))
    reasons = {refusal.name: refusal.reason for refusal in found.refusals}
    assert all("does not know its hardware" in reasons[name] for name in asked)


def test_sizes_of_general_cpu_families_have_the_memory_of_their_family() -> None:
    found = by_name(answer(data(*PAGES)))
    assert (found["Standard_D8s_v5"].vcpus, found["Standard_D8s_v5"].memory_gib) == (8, 32.0)


def test_prices_in_another_currency_are_refused() -> None:
    with pytest.raises(GpubenchError, match="are in EUR, not in USD; no price was changed"):
        answer([page([linux_row(currencyCode="EUR")])])


def test_the_next_page_is_asked_at_the_same_host_whatever_its_link_names() -> None:
    link = "https://example.com:443/api/retail/prices?$filter=x&$skip=1000"
    with serve([page([linux_row()], link), page([])]) as server:
        azure.read(Downloads(), "eastus", (), TODAY, server.url)
    assert server.paths[1] == "/api/retail/prices?$filter=x&$skip=1000"
    query = "armRegionName+eq+%27eastus%27"
    assert query in server.paths[0]
    assert "currencyCode=%27USD%27" in server.paths[0]


def test_a_full_page_without_a_link_is_followed_by_a_page_of_our_own_asking() -> None:
    """In March 2023 the interface gave no links. Half of the prices would have been missing."""
    other = linux_row(armSkuName="Standard_D16s_v5", retailPrice=0.768)
    with serve([page([linux_row()] * 100), page([other]), page([])]) as server:
        found = azure.read(Downloads(), "eastus", (), TODAY, server.url)
    assert set(by_name(found)) == {T4, "Standard_D16s_v5"}
    assert server.paths[1].endswith("&$skip=100")
    assert len(server.paths) == 2


@pytest.mark.parametrize(
    "body", [b"{}", b'{"Items": {}}', b'{"Items": [1]}', b'{"Items": [], "NextPageLink": 3}']
)
def test_a_page_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(GpubenchError, match="another form"):
        answer([Reply(body)])


def test_a_price_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(GpubenchError, match=f"'retailPrice' of {T4} is not a number"):
        answer([page([linux_row(retailPrice="0.526")])])
