"""The price list of AWS: the one row for each instance among those that look like it."""

from __future__ import annotations

import csv
import io

import pytest
from price_server import DATA, Reply, data, serve

from gpubench.errors import GpubenchError
from gpubench.pricing import bundled_catalog
from gpubench.pricing.catalog import Instance
from gpubench.pricing.refresh import ProviderAnswer, aws
from gpubench.pricing.refresh.fetch import Downloads

TODAY = "2026-11-27"


def answer(replies: list[Reply], names: tuple[str, ...] = ()) -> ProviderAnswer:
    with serve(replies) as server:
        return aws.read(Downloads(sleep=lambda _: None), "us-east-1", names, TODAY, server.url)


def by_name(found: ProviderAnswer) -> dict[str, Instance]:
    return {instance.name: instance for instance in found.instances}


def changed(column: str, value: str) -> list[Reply]:
    """The list with another value in its first row of prices, which is for g5.xlarge."""
    rows = list(csv.reader(io.StringIO((DATA / "aws_us-east-1.csv").read_text())))
    rows[6][rows[5].index(column)] = value
    return [Reply(as_csv(rows))]


def as_csv(rows: list[list[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return written.getvalue().encode()


def test_the_prices_and_the_hardware_are_those_of_the_bundled_catalog() -> None:
    found = by_name(answer(data("aws_us-east-1.csv")))
    shared = set(found) & {each.name for each in bundled_catalog().instances}
    assert len(shared) == 14
    for name in shared:
        known = bundled_catalog().find(name)
        assert found[name].on_demand_usd_per_hour == known.on_demand_usd_per_hour
        assert found[name].accelerator == known.accelerator
        assert found[name].accelerator_count == known.accelerator_count
        assert found[name].accelerator_memory_gib == known.accelerator_memory_gib
        assert (found[name].vcpus, found[name].memory_gib) == (known.vcpus, known.memory_gib)


def test_rows_of_other_systems_licences_tenancies_places_and_capacity_do_not_count() -> None:
    """g5.xlarge has ten such rows, three of them at $0, before or after the right one."""
    found = answer(data("aws_us-east-1.csv"))
    assert by_name(found)["g5.xlarge"].on_demand_usd_per_hour == 1.006
    assert "g5.xlarge" not in {refusal.name for refusal in found.refusals}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("MarketOption", "CapacityBlock"),
        ("CapacityStatus", "UnusedCapacityReservation"),
        ("CapacityStatus", "AllocatedCapacityReservation"),
        ("TermType", "Reserved"),
        ("Operating System", "Windows"),
        ("operation", "RunInstances:0002"),
        ("Pre Installed S/W", "SQL Std"),
        ("License Model", "Bring your own license"),
        ("Tenancy", "Dedicated"),
        ("Tenancy", "Host"),
        ("Product Family", "Dedicated Host"),
        ("Location Type", "AWS Local Zone"),
        ("Region Code", "us-east-1-bos-1"),
        ("Unit", "Quantity"),
    ],
)
def test_each_look_alike_is_no_price_even_if_it_is_alone(column: str, value: str) -> None:
    assert "g5.xlarge" in by_name(answer(data("aws_us-east-1.csv")))
    assert "g5.xlarge" not in by_name(answer(changed(column, value)))


@pytest.mark.parametrize("option", ["All Upfront", "Partial Upfront"])
def test_an_upfront_payment_is_not_hidden_in_an_hourly_price(option: str) -> None:
    rows = list(csv.reader(io.StringIO((DATA / "aws_us-east-1.csv").read_text())))
    place = rows[5].index("PurchaseOption")
    for row in rows[6:]:
        row[place] = option if row[place] == "No Upfront" else row[place]
    assert by_name(answer([Reply(as_csv(rows))]))["g5.xlarge"].one_year_usd_per_hour is None


def test_a_capacity_block_at_0_dollars_is_not_the_price_on_demand() -> None:
    found = by_name(answer(data("aws_us-east-1.csv")))
    assert found["p5.48xlarge"].on_demand_usd_per_hour == 55.04
    assert found["p5.48xlarge"].memory_gib == 2048


def test_reserved_prices_are_those_without_upfront_payment_in_the_standard_class() -> None:
    g5 = by_name(answer(data("aws_us-east-1.csv")))["g5.xlarge"]
    assert g5.one_year_usd_per_hour == pytest.approx(1.006 * 0.63, abs=1e-5)
    assert g5.three_year_usd_per_hour == pytest.approx(1.006 * 0.43, abs=1e-5)
    assert g5.commitment == "reserved instance, standard, no upfront payment"


def test_date_source_and_skus_are_in_the_row() -> None:
    g5 = by_name(answer(data("aws_us-east-1.csv")))["g5.xlarge"]
    assert g5.as_of == TODAY
    assert g5.source == ("AWS price list, us-east-1, Linux, shared tenancy, published 2026-11-20")
    assert g5.sku_ids == "SKU0000000000001"


def test_other_sizes_of_known_families_and_new_cpu_families_are_read() -> None:
    found = by_name(answer(data("aws_us-east-1.csv")))
    assert (found["c7i.16xlarge"].vcpus, found["c7i.16xlarge"].accelerator) == (64, None)
    assert found["r8g.4xlarge"].on_demand_usd_per_hour == 0.94256


def test_an_older_cpu_family_is_read_if_it_is_asked_for() -> None:
    assert "m5.large" not in by_name(answer(data("aws_us-east-1.csv")))
    asked = by_name(answer(data("aws_us-east-1.csv"), ("m5.large",)))
    assert (asked["m5.large"].on_demand_usd_per_hour, asked["m5.large"].vcpus) == (0.096, 2)


def test_a_part_of_a_gpu_and_an_unknown_gpu_are_never_written_as_a_machine_without_one() -> None:
    found = answer(data("aws_us-east-1.csv"), ("g6f.large", "g9x.xlarge"))
    assert {"g6f.large", "g9x.xlarge"}.isdisjoint(by_name(found))
    reasons = {refusal.name: refusal.reason for refusal in found.refusals}
    assert "part of a GPU (0.125)" in reasons["g6f.large"]
    assert "does not know its accelerators" in reasons["g9x.xlarge"]


@pytest.mark.parametrize("name", ["inf1.xlarge", "trn2.48xlarge", "dl1.24xlarge", "f2.6xlarge"])
def test_accelerators_that_the_list_does_not_count_are_never_left_out(name: str) -> None:
    """AWS states no GPU for Inferentia, Trainium, Gaudi and FPGAs."""
    rows = list(csv.reader(io.StringIO((DATA / "aws_us-east-1.csv").read_text())))
    rows[6][rows[5].index("Instance Type")], rows[6][rows[5].index("GPU")] = name, "NA"
    found = answer([Reply(as_csv(rows))], (name,))
    assert name not in by_name(found)
    (refusal,) = [each for each in found.refusals if each.name == name]
    assert (refusal.reason, refusal.is_final) == ("gpubench does not know its accelerators", True)


def test_two_different_prices_for_one_instance_are_refused_with_their_skus() -> None:
    rows = list(csv.reader(io.StringIO((DATA / "aws_us-east-1.csv").read_text())))
    twin = list(rows[6])
    twin[rows[5].index("SKU")], twin[rows[5].index("PricePerUnit")] = "TWIN", "2.5"
    found = answer([Reply(as_csv([*rows, twin]))])
    assert "g5.xlarge" not in by_name(found)
    (refusal,) = [each for each in found.refusals if each.name == "g5.xlarge"]
    assert "$1.006 (SKU SKU0000000000001) and $2.5 (SKU TWIN)" in refusal.reason
    assert refusal.is_final


def test_a_price_of_0_alone_is_refused() -> None:
    found = answer(changed("PricePerUnit", "0.0000000000"))
    assert "g5.xlarge" not in by_name(found)
    assert any("the listed price is $0" in each.reason for each in found.refusals)


def test_hardware_that_contradicts_the_bundled_catalog_is_refused() -> None:
    found = answer(changed("vCPU", "8"))
    assert "g5.xlarge" not in by_name(found)
    assert any("8 vCPUs and 1 GPUs in the price list" in each.reason for each in found.refusals)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("vCPU", "NA", "its number of vCPUs is 'NA' in the price list"),
        ("Memory", "NA", "its memory is 'NA' in the price list"),
        ("GPU", "0.5", "it has a part of a GPU (0.5)"),
    ],
)
def test_hardware_that_is_no_figure_refuses_one_instance_and_not_the_list(
    column: str, value: str, reason: str
) -> None:
    found = answer(changed(column, value))
    assert [each.reason for each in found.refusals] == [reason]
    assert "g5.xlarge" not in by_name(found)
    assert "g5.2xlarge" in by_name(found)


def test_accelerators_that_the_list_does_not_count_are_those_of_the_bundled_catalog() -> None:
    for value in ("", "NA"):
        g5 = by_name(answer(changed("GPU", value)))["g5.xlarge"]
        assert (g5.accelerator, g5.accelerator_count) == ("A10G", 1)


def test_prices_in_another_currency_are_refused() -> None:
    with pytest.raises(GpubenchError, match="us-east-1 are in CNY, not in USD; no price"):
        answer(changed("Currency", "CNY"))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no line with the names of the columns"),
        (b"<html>\n" * 30, "no line with the names of the columns"),
        (b'"SKU","TermType"\n', "it has no column 'operating system'"),
        (b"\xff\xfe\n", "it is not UTF-8"),
    ],
)
def test_a_list_of_another_form_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(GpubenchError, match=problem):
        answer([Reply(body)])


def test_a_row_that_breaks_off_is_refused() -> None:
    body = (DATA / "aws_us-east-1.csv").read_bytes()
    with pytest.raises(GpubenchError, match="line 48 has too few columns"):
        answer([Reply(body[: body.rindex(b'"g9x.xlarge"')])])


def test_an_empty_line_at_the_end_is_no_row() -> None:
    body = (DATA / "aws_us-east-1.csv").read_bytes()
    assert answer([Reply(body + b"\n")]) == answer([Reply(body)])


def test_the_file_of_the_region_is_asked_for() -> None:
    with serve(data("aws_us-east-1.csv")) as server:
        aws.read(Downloads(), "us-east-1", (), TODAY, server.url)
    assert server.paths == ["/offers/v1.0/aws/AmazonEC2/current/us-east-1/index.csv"]
