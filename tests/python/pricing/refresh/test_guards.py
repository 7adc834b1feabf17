"""Which new prices are believed, and which stay out until they are accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpubench.pricing import Instance, bundled_catalog
from gpubench.pricing.refresh import Judgement, ProviderAnswer, judge
from gpubench.pricing.refresh.guards import LARGEST_DEVIATION, Prices

G5 = bundled_catalog().find("g5.xlarge")


def family(prefix: str) -> list[Instance]:
    return [each for each in bundled_catalog().instances if each.name.startswith(prefix)]


def judged(*instances: Instance, known: dict[str, Prices] | None = None) -> Judgement:
    return judge(ProviderAnswer(instances), known or {})


def test_every_price_of_the_bundled_catalog_is_in_line_with_its_family() -> None:
    found = judged(*bundled_catalog().instances)
    assert not found.refusals
    assert len(found.instances) == len(bundled_catalog().instances)


@pytest.mark.parametrize("prefix", ["g5.", "c7i.", "g2-standard", "a2-highgpu"])
@pytest.mark.parametrize("factor", [0.1, 1 - LARGEST_DEVIATION - 0.01, 1.4, 10.0])
def test_a_price_out_of_line_with_its_family_is_refused_and_the_others_are_not(
    prefix: str, factor: float
) -> None:
    for wrong in family(prefix):
        assert wrong.on_demand_usd_per_hour is not None
        price = wrong.on_demand_usd_per_hour * factor
        found = judged(
            *(
                replace(each, on_demand_usd_per_hour=price, spot_usd_per_hour=None)
                if each is wrong
                else each
                for each in family(prefix)
            )
        )
        assert {each.name for each in found.refusals} == {wrong.name}
        assert "out of line with its family" in found.refusals[0].reason
        assert wrong.name not in {each.name for each in found.instances}


def test_a_region_in_which_everything_costs_more_is_in_line() -> None:
    dearer = [
        replace(each, region="sa-east-1", on_demand_usd_per_hour=each.on_demand_usd_per_hour * 1.6)
        for each in family("g5.")
        if each.on_demand_usd_per_hour is not None
    ]
    assert not judged(*dearer).refusals


@pytest.mark.parametrize(
    ("factor", "is_refused"), [(0.3, True), (0.4, False), (2.9, False), (3.1, True)]
)
def test_a_price_of_a_new_region_is_held_against_that_of_the_bundled_one(
    factor: float, is_refused: bool
) -> None:
    """A family of one size in a region whose prices were not known has no other check."""
    found = judged(replace(G5, region="sa-east-1", on_demand_usd_per_hour=1.006 * factor))
    assert [each.reason for each in found.refusals] == (
        [f"it is {factor:g} times the price in us-east-1"] if is_refused else []
    )


def test_a_price_that_the_user_wrote_is_replaced_only_if_that_is_accepted() -> None:
    known: dict[str, Prices] = {"g5.xlarge": {"on-demand": 0.9}}
    kept = judge(ProviderAnswer((G5,)), known, by_hand=("g5.xlarge",))
    assert "which is your own" in kept.refusals[0].reason
    assert not kept.instances
    assert judge(ProviderAnswer((G5,)), known, ("g5.xlarge",), (), ("g5.xlarge",)).instances


@pytest.mark.parametrize(("old", "is_refused"), [(0.78, False), (0.77, True), (1.5, True)])
def test_a_change_of_more_than_30_percent_is_refused(old: float, is_refused: bool) -> None:
    found = judged(G5, known={"g5.xlarge": {"on-demand": old}})
    assert bool(found.refusals) is is_refused
    assert bool(found.instances) is not is_refused
    if is_refused:
        assert found.refusals[0].reason.startswith(f"it was ${old:g}, a change of ")


@pytest.mark.parametrize("accept", [("g5.xlarge",), ("all",)])
def test_what_is_accepted_is_used(accept: tuple[str, ...]) -> None:
    found = judge(ProviderAnswer((G5,)), {"g5.xlarge": {"on-demand": 0.5}}, accept)
    assert not found.refusals
    (change,) = found.changes
    assert (change.old_usd_per_hour, change.new_usd_per_hour) == (0.5, 1.006)


def test_accepting_another_instance_changes_nothing() -> None:
    assert judge(ProviderAnswer((G5,)), {"g5.xlarge": {"on-demand": 0.5}}, ("g5.2xlarge",)).refusals


def test_a_spot_price_may_change_by_any_amount() -> None:
    spot = replace(G5, spot_usd_per_hour=0.3)
    assert not judged(spot, known={"g5.xlarge": {"on-demand": 1.006, "spot": 0.9}}).refusals


@pytest.mark.parametrize("price", [0.001, 2.0])
@pytest.mark.parametrize(
    "term", ["spot_usd_per_hour", "one_year_usd_per_hour", "three_year_usd_per_hour"]
)
def test_a_term_far_from_the_on_demand_price_is_left_out_and_the_rest_of_the_row_is_used(
    term: str, price: float
) -> None:
    """A reservation's total taken for an hourly price, or an all-upfront rate near 0."""
    terms = {term: price}
    found = judged(
        replace(
            G5,
            spot_usd_per_hour=terms.get("spot_usd_per_hour"),
            one_year_usd_per_hour=terms.get("one_year_usd_per_hour"),
            three_year_usd_per_hour=terms.get("three_year_usd_per_hour"),
        )
    )
    assert "times the on-demand price" in found.refusals[0].reason
    (instance,) = found.instances
    assert instance.on_demand_usd_per_hour == 1.006
    assert getattr(instance, term) is None


def test_only_the_named_instances_are_returned_but_all_of_the_family_judge_them() -> None:
    wrong = replace(G5, on_demand_usd_per_hour=3.0)
    others = [each for each in family("g5.") if each.name != "g5.xlarge"]
    found = judge(ProviderAnswer((wrong, *others)), {}, only=("g5.xlarge",))
    assert not found.instances
    assert [each.name for each in found.refusals] == ["g5.xlarge"]


def test_a_price_that_is_not_listed_any_more_is_a_change() -> None:
    known: dict[str, Prices] = {"g5.xlarge": {"on-demand": 1.006, "spot": 0.4}}
    (gone,) = judged(G5, known=known).changes
    assert (gone.term, gone.old_usd_per_hour, gone.new_usd_per_hour) == ("spot", 0.4, None)
    assert not judge(ProviderAnswer((G5,), has_spot=False), known).changes


def test_an_unchanged_price_is_no_change() -> None:
    found = judged(G5, known={"g5.xlarge": {"on-demand": 1.006}})
    assert not found.changes
    assert found.instances == (G5,)
