"""The name of a price: instance, region, term."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from factories import a_machine, result

from gpubench.cells.grid import cells, read_grids
from gpubench.errors import InputError
from gpubench.pricing import bundled_catalog
from gpubench.pricing.catalog import Catalog, Instance
from gpubench.pricing.cost import Hardware, price
from gpubench.pricing.names import PriceName, parse_price_name

G5 = dataclasses.replace(
    bundled_catalog().find("g5.xlarge"), spot_usd_per_hour=0.4, three_year_usd_per_hour=0.5
)
IRELAND = dataclasses.replace(G5, region="eu-west-1", on_demand_usd_per_hour=1.1, as_of=None)
CATALOG = Catalog((G5, IRELAND))
ANY = Hardware(None, (), 0, 4)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("g5.xlarge", PriceName("g5.xlarge")),
        ("aws/g5.xlarge", PriceName("g5.xlarge", "aws")),
        ("g5.xlarge:spot", PriceName("g5.xlarge", term="spot")),
        ("g5.xlarge:1y", PriceName("g5.xlarge", term="1-year")),
        ("aws/g5.xlarge@eu-west-1:3-year", PriceName("g5.xlarge", "aws", "eu-west-1", "3-year")),
        ("n1-standard-4+1xT4@us-central1", PriceName("n1-standard-4+1xT4", None, "us-central1")),
    ],
)
def test_a_name_has_a_provider_a_region_and_a_term_if_they_are_written(
    text: str, name: PriceName
) -> None:
    assert parse_price_name(text) == name


@pytest.mark.parametrize("text", ["", "/g5.xlarge", "aws/", "g5.xlarge@", "@eu-west-1", ":spot"])
def test_a_name_with_an_empty_part_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not the name of a price; write"):
        parse_price_name(text)


@pytest.mark.parametrize("text", ["g5.xlarge:sopt", "g5.xlarge:"])
def test_an_unknown_term_is_answered_with_the_terms(text: str) -> None:
    with pytest.raises(InputError, match=r"unknown term .*on-demand, spot"):
        parse_price_name(text)


def test_without_a_region_it_is_the_first_row_and_without_a_term_on_demand() -> None:
    assert CATALOG.find_price("g5.xlarge") == (G5, "on-demand", 1.006)
    assert CATALOG.find_price("g5.xlarge@eu-west-1") == (IRELAND, "on-demand", 1.1)
    assert CATALOG.find_price("aws/g5.xlarge:spot") == (G5, "spot", 0.4)


def own(region: str, spot_usd_per_hour: float = 0.4) -> Instance:
    """A row that a refresh wrote, for a region that is not in the bundled list."""
    return dataclasses.replace(
        IRELAND, region=region, needs_region=True, spot_usd_per_hour=spot_usd_per_hour
    )


def test_a_region_that_a_refresh_added_does_not_change_what_a_name_without_a_region_means() -> None:
    catalog = Catalog((own("eu-west-1"), G5))
    assert catalog.find_price("g5.xlarge") == (G5, "on-demand", 1.006)
    assert catalog.find_price("g5.xlarge@eu-west-1")[2] == 1.1


def test_a_price_that_is_known_in_one_other_region_only_is_that_of_this_region() -> None:
    no_spot = dataclasses.replace(G5, spot_usd_per_hour=None)
    catalog = Catalog((own("eu-west-1", spot_usd_per_hour=0.3), no_spot))
    assert catalog.find_price("g5.xlarge")[0].region == "us-east-1"
    instance, term, usd_per_hour = catalog.find_price("g5.xlarge:spot")
    assert (instance.region, term, usd_per_hour) == ("eu-west-1", "spot", 0.3)


def test_a_price_that_is_known_in_several_other_regions_needs_one_of_them() -> None:
    no_spot = dataclasses.replace(G5, spot_usd_per_hour=None)
    rows = (own("eu-west-1", spot_usd_per_hour=0.3), own("eu-west-3", spot_usd_per_hour=0.2))
    with pytest.raises(
        InputError, match=r"several regions; choose one of g5.xlarge@eu-west-1, g5.xlarge@eu-west-3"
    ):
        Catalog((*rows, no_spot)).find_price("g5.xlarge:spot")
    with pytest.raises(InputError, match=r"on-demand price of 'g5.xlarge' is known in several"):
        Catalog(rows).find_price("g5.xlarge")
    assert Catalog(rows[:1]).find_price("g5.xlarge")[0].region == "eu-west-1"


def test_with_a_region_no_price_of_another_region_is_taken() -> None:
    no_spot = dataclasses.replace(G5, spot_usd_per_hour=None)
    with pytest.raises(
        InputError, match=r"'g5.xlarge' in us-east-1 is not known \(known: on-demand, 3-year\)"
    ):
        Catalog((own("eu-west-1"), no_spot)).find_price("g5.xlarge@us-east-1:spot")


def test_an_unknown_region_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"region 'mars-1' is known; known: us-east-1, eu-west-1"):
        CATALOG.find_price("g5.xlarge@mars-1")


def test_a_term_whose_price_is_unknown_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(
        InputError, match=r"1-year price of 'g5.xlarge' .*known: on-demand, spot, 3-year"
    ):
        CATALOG.find_price("g5.xlarge:1-year")


def test_a_cost_carries_the_region_the_term_and_the_date_of_its_price() -> None:
    spot_later = dataclasses.replace(G5, spot_as_of="2026-10-30")
    costs = price(
        10.0, None, ANY, ["g5.xlarge@us-east-1", "g5.xlarge:spot"], catalog=Catalog((spot_later,))
    )
    assert [(c.region, c.term, c.usd_per_hour, c.price_as_of) for c in costs] == [
        ("us-east-1", "on-demand", 1.006, "2026-07-20"),
        ("us-east-1", "spot", 0.4, "2026-10-30"),
    ]


def test_the_machines_own_instance_is_priced_as_its_name_without_a_region() -> None:
    only_spot = dataclasses.replace(G5, on_demand_usd_per_hour=None)
    this = Hardware("g5.xlarge", (), 0, 4)
    [cost] = price(10.0, None, this, catalog=Catalog((only_spot, IRELAND)))
    assert (cost.region, cost.usd_per_hour) == ("eu-west-1", 1.1)
    assert price(10.0, None, this, catalog=Catalog((only_spot,))) == []
    assert price(10.0, None, this, catalog=Catalog((own("a"), own("b")))) == []


def test_yaml_names_prices_in_the_same_way(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("model: synthetic\ninstance: [g5.xlarge@us-east-1:1y, aws/c7i.xlarge]\n")
    planned = cells(read_grids(file), a_machine())
    assert [cell.spec.instance for cell in planned.cells] == [
        ("g5.xlarge@us-east-1:1y", "aws/c7i.xlarge")
    ]


def test_the_key_of_a_cell_does_not_depend_on_its_prices() -> None:
    plain, priced = result(), result(instance="g5.xlarge@us-east-1")
    assert priced.costs[0].region == "us-east-1"
    assert plain.spec.key("machine") == priced.spec.key("machine")
