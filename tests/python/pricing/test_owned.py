"""Hardware of one's own, and the electricity and carbon dioxide of a million inferences."""

from __future__ import annotations

from typing import Any

import pytest
from factories import G5, cold_result, result

from gpubench.errors import InputError
from gpubench.pricing.cost import costs, reprice, reprice_search
from gpubench.pricing.energy import with_electricity
from gpubench.pricing.owned import Electricity, Owned, electricity, owned_hardware
from gpubench.pricing.start_cost import reprice_starts
from gpubench.results.result import DeviceReport, Result, Verdict
from gpubench.results.search_result import ObjectiveInfo, Probe, SearchResult
from gpubench.statistics.repeats import same_price

# 8760 USD over one year are 1 USD an hour; 500 W at PUE 2 draw 1 kWh an hour.
BOX = Owned(capital_usd=8760.0, years=1.0, usd_per_kwh=0.25, pue=2.0, watts=500.0)


def on_gpu(power_w: float | None = None, energy_j: float | None = None, **more: Any) -> Result:
    measured = result(100.0, machine=G5, **more)
    measured.device = DeviceReport(power_w=power_w, energy_j_per_inference=energy_j)
    return measured


def test_the_formula_on_an_example_by_hand() -> None:
    assert BOX.usd_per_hour(None) == pytest.approx(1.25)
    assert Owned(17520.0, 2.0, 0.0).usd_per_hour(300.0) == pytest.approx(1.0)


def test_the_measured_power_counts_only_if_none_is_stated() -> None:
    measured = Owned(8760.0, 1.0, usd_per_kwh=0.25, pue=2.0)
    assert measured.usd_per_hour(500.0) == pytest.approx(1.25)
    assert BOX.usd_per_hour(123.0) == pytest.approx(1.25)
    assert "500 W (GPUs, measured)" in measured.source(500.0)
    assert "500 W x PUE 2" in BOX.source(123.0)


def test_a_power_that_nobody_knows_is_asked_for() -> None:
    with pytest.raises(InputError, match="the power of a result was not measured; add --watts"):
        costs(result(100.0), owned=Owned(8760.0, 1.0, usd_per_kwh=0.25))


def test_a_result_on_owned_hardware_has_a_cost_of_its_own_kind() -> None:
    [cost] = costs(on_gpu(power_w=500.0), owned=Owned(8760.0, 1.0, usd_per_kwh=0.25, pue=2.0))
    assert (cost.owned, cost.instance, cost.measured_here) == (True, None, None)
    assert cost.usd_per_million == pytest.approx(1.25 / 3600 / 100 * 1e6)
    assert cost.usd_per_million_interval is not None


def test_it_stands_beside_other_prices_and_replaces_those_of_the_spec() -> None:
    measured = on_gpu(500.0, instance="g5.4xlarge")
    assert [c.owned for c in reprice(measured, (), None, BOX).costs] == [True]
    both = reprice(measured, ("g5.4xlarge",), 2.0, BOX).costs
    assert [(c.instance, c.owned) for c in both] == [
        ("g5.4xlarge", False),
        (None, False),
        (None, True),
    ]


def test_repeats_with_different_power_have_the_same_price_and_other_prices_are_others() -> None:
    box = Owned(8760.0, 1.0, usd_per_kwh=0.25)
    a, b = (reprice(on_gpu(power_w), ("g5.4xlarge",), None, box) for power_w in (300.0, 310.0))
    in_cloud, owned = a.costs
    assert same_price(b, owned) is b.costs[1]
    assert same_price(b, in_cloud) is b.costs[0]
    assert not in_cloud.has_price_of(in_cloud.model_copy(update={"term": "spot"}))


def test_a_search_has_the_power_of_the_probes_from_which_its_rate_comes() -> None:
    probes = [
        Probe(
            load="open",
            requests=10,
            late=0,
            effective=10.0,
            near=near,
            result=on_gpu(power_w),
        )
        for power_w, near in ((100.0, False), (480.0, True), (520.0, True))
    ]
    found = SearchResult(
        spec=probes[0].result.spec,
        objective=ObjectiveInfo(percentile="p95", latency_ms=100.0),
        max_rate_per_second=50.0,
        probes=probes,
        verdict=Verdict(status="valid"),
    )
    priced = reprice_search(found, (), None, Owned(8760.0, 1.0, usd_per_kwh=0.25, pue=2.0))
    assert [cost.usd_per_hour for cost in priced.costs] == [pytest.approx(1.25)]
    assert found.costs == []


def test_a_start_is_priced_on_owned_hardware_whose_power_is_stated() -> None:
    starts = cold_result(instance="c7i.xlarge@us-east-1")
    [figures] = starts.figures
    assert [(c.instance, c.region, c.term) for c in figures.costs] == [
        ("c7i.xlarge", "us-east-1", "on-demand")
    ]
    [figures] = reprice_starts(starts, (), None, BOX).figures
    [cost] = figures.costs
    assert figures.billed_seconds is not None
    assert (cost.owned, cost.instance) == (True, None)
    assert cost.usd_per_start == pytest.approx(1.25 / 3600 * figures.billed_seconds)
    with pytest.raises(InputError, match="add --watts"):
        reprice_starts(starts, (), None, Owned(8760.0, 1.0, usd_per_kwh=0.25))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"capital_usd": 1.0}, "--capital-usd needs --years"),
        ({"capital_usd": 1.0, "years": 1.0}, "--capital-usd needs --usd-per-kwh"),
        ({"years": 1.0}, "--years is about hardware of your own; add --capital-usd"),
        ({"watts": 1.0}, "--watts is about hardware of your own; add --capital-usd"),
        ({"capital_usd": -1.0, "years": 1.0, "usd_per_kwh": 1.0}, "--capital-usd -1 must be from"),
        ({"capital_usd": 1.0, "years": 0.0, "usd_per_kwh": 1.0}, "--years 0 must be from 0.01"),
        ({"capital_usd": 1.0, "years": 1.0, "usd_per_kwh": -1.0}, "--usd-per-kwh -1 must be"),
        (
            {"capital_usd": 1.0, "years": 1.0, "usd_per_kwh": 1.0, "watts": float("nan")},
            "--watts nan must be",
        ),
        (
            {"capital_usd": 1.0, "years": 1.0, "usd_per_kwh": 1.0, "pue": 0.9},
            "--pue 0.9 must be from 1 to 10",
        ),
    ],
)
def test_a_flag_that_cannot_be_is_refused(flags: dict[str, float], said: str) -> None:
    given = dict.fromkeys(("capital_usd", "years", "usd_per_kwh", "pue", "watts")) | flags
    with pytest.raises(InputError) as error:
        owned_hardware(**given)
    assert said in str(error.value)


def test_figures_of_electricity_are_checked() -> None:
    assert electricity(None, None) is None
    assert electricity(0.2, None) == Electricity(usd_per_kwh=0.2)
    with pytest.raises(InputError, match="--pue needs --usd-per-kwh or --grams-co2-per-kwh"):
        electricity(None, None, 1.5)
    with pytest.raises(InputError, match="--grams-co2-per-kwh -1 must be from 0"):
        electricity(None, -1.0)


def test_electricity_and_carbon_on_an_example_by_hand() -> None:
    # 3.6 J an inference are 1 kWh a million; with PUE 1.5 the building draws 1.5 kWh.
    use = with_electricity(on_gpu(energy_j=3.6), Electricity(0.2, 400.0, 1.5)).electricity
    assert use is not None
    assert use.kwh_per_million == pytest.approx(1.5)
    assert use.usd_per_million == pytest.approx(0.3)
    assert use.grams_co2_per_million == pytest.approx(600)


def test_what_was_not_measured_or_not_given_is_absent() -> None:
    asked = Electricity(usd_per_kwh=0.2)
    assert with_electricity(result(), asked).electricity is None
    assert with_electricity(on_gpu(power_w=300.0), asked).electricity is None
    assert with_electricity(on_gpu(energy_j=3.6), None).electricity is None
    use = with_electricity(on_gpu(energy_j=3.6), asked).electricity
    assert use is not None
    assert use.grams_co2_per_million is None
