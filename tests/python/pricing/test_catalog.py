"""The bundled prices: every row usable, every lookup answered or explained."""

from __future__ import annotations

import csv
import re
from importlib.resources import files

import pytest

from gpubench.errors import InputError
from gpubench.pricing import bundled_catalog


def rows() -> list[dict[str, str]]:
    text = files("gpubench.pricing").joinpath("catalog.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_row_of_the_file_is_an_instance_with_a_price_and_its_source() -> None:
    instances = bundled_catalog().instances
    assert len(instances) == len(rows()) == 116
    for instance in instances:
        if (instance.accelerator or "").startswith("TPU"):  # see docs/prices.md
            assert instance.known_terms() == ()
            assert (instance.as_of, instance.source) == (None, None)
            assert instance.accelerator_count > 0
            continue
        assert instance.on_demand_usd_per_hour is not None
        assert instance.on_demand_usd_per_hour > 0
        assert instance.as_of
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", instance.as_of)
        assert instance.source
        assert (instance.accelerator is None) == (instance.accelerator_count == 0)


def test_names_are_unique_even_across_providers() -> None:
    names = [instance.name for instance in bundled_catalog().instances]
    assert len(set(names)) == len(names)


def test_what_the_file_leaves_empty_is_none_and_never_zero() -> None:
    by_name = {row["instance"]: row for row in rows()}
    for instance in bundled_catalog().instances:
        row = by_name[instance.name]
        assert (instance.spot_usd_per_hour is None) == (row["spot_usd_per_hour"] == "")
        assert (instance.accelerator_memory_gib is None) == (row["accelerator_memory_gib"] == "")


def test_the_two_instances_of_the_published_study_have_the_prices_that_give_its_costs() -> None:
    assert bundled_catalog().find("g5.4xlarge").on_demand_usd_per_hour == 1.624
    assert bundled_catalog().find("g4dn.4xlarge").on_demand_usd_per_hour == 1.204


def test_an_instance_is_found_by_its_name_and_by_its_provider_and_name() -> None:
    catalog = bundled_catalog()
    assert catalog.find("aws/c7i.xlarge") is catalog.find("c7i.xlarge")
    assert catalog.find("c7i.xlarge").vcpus == 4


def test_a_mistyped_instance_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(InputError, match=r"unknown instance 'g5.4xlrage'; did you mean g5.4xlarge"):
        bundled_catalog().find("g5.4xlrage")


def test_a_name_like_no_other_is_pointed_to_the_list_and_does_not_print_all_of_it() -> None:
    with pytest.raises(InputError) as error:
        bundled_catalog().find("qqqqqqqq")
    assert "gpubench prices list" in str(error.value)
    assert len(str(error.value)) < 200


def test_a_name_of_another_provider_is_not_found() -> None:
    with pytest.raises(InputError, match=r"did you mean g5\.xlarge"):
        bundled_catalog().find("gcp/g5.xlarge")


@pytest.mark.parametrize(
    ("asked", "models"),
    [
        ("A100", {"A100 40GB", "A100 80GB"}),
        ("a100 80gb", {"A100 80GB"}),
        ("A10", {"A10"}),
        ("A10G", {"A10G"}),
    ],
)
def test_an_accelerator_is_selected_by_whole_words(asked: str, models: set[str]) -> None:
    selected = bundled_catalog().select(accelerator=asked)
    assert {instance.accelerator for instance in selected} == models


def test_providers_are_selected_and_a_mistyped_one_is_explained() -> None:
    assert {i.provider for i in bundled_catalog().select(provider="gcp")} == {"gcp"}
    with pytest.raises(InputError, match="unknown provider 'gpc'; did you mean gcp"):
        bundled_catalog().select(provider="gpc")
    with pytest.raises(InputError, match="unknown accelerator 'T44'; did you mean T4"):
        bundled_catalog().select(accelerator="T44")


def test_a_machine_with_tpus_has_no_price_and_the_message_says_how_to_give_one() -> None:
    assert bundled_catalog().find("ct6e-standard-4t").accelerator == "TPU v6e"
    with pytest.raises(InputError, match=r"no price of it is known.*--usd-per-hour or --prices"):
        bundled_catalog().find_price("ct6e-standard-4t")
