"""Tests of the time and the money of a launch, and of the limits on them."""

from __future__ import annotations

from typing import Any

import pytest
from factories import result

from gpubench.cells.grid import parse_grids
from gpubench.errors import InputError
from gpubench.launch.estimate import (
    AROUND_CELL_S,
    ENGINE_S,
    RUN_S,
    START_S,
    LaunchEstimate,
    estimate,
    refuse_expensive,
    time_limits,
)
from gpubench.launch.plan_jobs import plan_jobs
from gpubench.pricing.price_files import current_catalog
from gpubench.results.result import CellSeconds, Result

GRID: dict[str, Any] = {
    "model": "resnet50",
    "batch": [1, 2, 4],
    "warmup": "2s",
    "duration": "10s",
    "instance": ["g5.xlarge", "c7i.xlarge"],
}
PRICES: dict[str | None, float | None] = {"g5.xlarge": 1.2, "c7i.xlarge": 0.3}


def estimated(
    grid: dict[str, Any] = GRID,
    repeats: int = 1,
    machines: int = 1,
    earlier: list[Result] | None = None,
    prices: dict[str | None, float | None] = PRICES,
) -> LaunchEstimate:
    jobs = plan_jobs(parse_grids(grid, "test"), current_catalog()).jobs
    return estimate(jobs, repeats, {}, machines, earlier or [], prices)


def test_the_known_times_and_the_assumed_ones_are_added() -> None:
    found = estimated()
    g5, c7i = found.fleets
    work_s = 3 * (ENGINE_S + 12 + AROUND_CELL_S)
    assert (g5.jobs, g5.measurements, g5.machines, g5.work_s) == (3, 3, 1, work_s)
    assert g5.usd == pytest.approx((START_S + work_s) / 3600 * 1.2)
    assert found.usd == pytest.approx((START_S + work_s) / 3600 * 1.5)
    assert found.seconds == START_S + work_s  # both types at the same time
    assert c7i.usd_per_hour == 0.3
    assert len(found.assumptions) == 3


def test_more_machines_are_faster_and_pay_more_starts() -> None:
    one, three = estimated().fleets[0], estimated(machines=5).fleets[0]
    assert three.machines == 3  # one for each engine
    assert three.longest_s == pytest.approx(one.longest_s / 3)
    assert three.work_s == one.work_s
    assert three.usd == pytest.approx((one.usd or 0) + 2 * START_S / 3600 * 1.2)


def test_repeats_are_measured_with_one_engine() -> None:
    assert estimated(repeats=4).fleets[0].work_s == 3 * (ENGINE_S + 4 * (12 + AROUND_CELL_S))


def test_a_length_that_is_not_known_is_assumed() -> None:
    found = estimated({**GRID, "warmup": "auto"})
    assert found.fleets[0].work_s == 3 * (ENGINE_S + RUN_S + AROUND_CELL_S)
    assert any("not known before" in text for text in found.assumptions)


def test_earlier_measurements_replace_what_is_assumed() -> None:
    took = CellSeconds(warmup=2.0, measure=10.0, other=30.0, total=42.0)
    earlier = result(model="resnet50", batch=8).model_copy(update={"seconds": took})
    found = estimated(earlier=[earlier])
    assert found.fleets[0].work_s == pytest.approx(3 * (12 + 30))
    assert found.assumptions == ("Assumed: 5 min 0 s for the start of a machine.",)


def test_only_missing_measurements_are_counted() -> None:
    jobs = plan_jobs(parse_grids(GRID, "test"), current_catalog()).jobs
    missing = {job.digest: 1 for job in jobs}
    found = estimate(jobs, 3, missing, 1, [], PRICES)
    assert found.fleets[0].measurements == 3
    assert found.fleets[0].work_s == pytest.approx(3 * (ENGINE_S + 12 + AROUND_CELL_S))


def test_an_estimate_above_the_limit_is_refused_with_both_figures() -> None:
    found = estimated()
    cost = found.usd
    assert cost is not None
    refuse_expensive(found, cost + 0.001)
    with pytest.raises(InputError, match=r"costs about \$0\.294, and --max-usd is \$0\.200"):
        refuse_expensive(found, 0.2)


def test_an_unknown_price_makes_a_limit_impossible() -> None:
    found = estimated(prices={"g5.xlarge": 1.2})
    assert found.usd is None
    with pytest.raises(InputError, match=r"price of c7i\.xlarge is not known"):
        refuse_expensive(found, 100)


@pytest.mark.parametrize("machines", [1, 2, 3])
@pytest.mark.parametrize("max_usd", [0.5, 2.0, 50.0])
def test_machines_that_all_reach_their_limits_cost_no_more_than_allowed(
    machines: int, max_usd: float
) -> None:
    found = estimated(machines=machines)
    limits = time_limits(found, max_usd)
    most = sum(
        fleet.machines * (START_S + limits[fleet.instance]) / 3600 * (fleet.usd_per_hour or 0)
        for fleet in found.fleets
    )
    assert max_usd - 0.01 < most <= max_usd


def test_a_limit_that_pays_no_work_is_refused() -> None:
    with pytest.raises(InputError, match="does not pay for the start"):
        time_limits(estimated(machines=3), 0.3)
