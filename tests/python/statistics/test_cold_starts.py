"""When the service time has settled, and the percentiles of starts."""

from __future__ import annotations

import numpy as np
import pytest
from factories import cold_result, cold_start

from gpubench.results.result import Failure
from gpubench.statistics.cold_starts import figures_of, settled_after, unsettled_note


def test_the_slow_inferences_at_the_beginning_are_counted() -> None:
    assert settled_after([9.0, *[1.0] * 50]) == 1  # only the first inference is slow
    # The median of five in a row is no longer slow when two slow ones are left among them.
    assert settled_after([9.0, *[3.0] * 10, *[1.0] * 40]) == 9


def test_single_slow_inferences_do_not_count() -> None:
    times = [9.0, *[1.0] * 50]
    times[3] = times[4] = times[20] = 8.0
    assert settled_after(times) == 1


def test_a_planted_length_is_found_among_noise() -> None:
    """Between 8 and 12 for 10 slow inferences (twice as slow, noise of 3%), in 200 simulations."""
    random = np.random.default_rng(0)
    for _ in range(200):
        times = random.lognormal(0.0, 0.03, 51)
        times[:10] *= 2
        found = settled_after(list(times))
        assert found is not None
        assert 8 <= found <= 12


def test_it_is_absent_if_nothing_shows_it() -> None:
    assert settled_after([1.0] * 15) is None
    assert settled_after([1.0] * 16) == 1
    assert settled_after(list(np.linspace(10, 1, 51))) is None  # it still falls at the end
    assert "16 are needed" in unsettled_note(4)
    assert "had not settled" in unsettled_note(51)


def test_percentiles_are_measured_starts_and_absent_below_their_least_count() -> None:
    (warm,) = figures_of(cold_result().starts)
    assert warm.count == 20
    ready = warm.ready
    assert ready is not None
    # Starts take 4.5 s and 1/64 to 20/64 s more.
    assert (ready.min, ready.max) == (4.5 + 1 / 64, 4.5 + 20 / 64)
    assert (ready.p50, ready.p90, ready.p95) == (4.5 + 10 / 64, 4.5 + 18 / 64, 4.5 + 19 / 64)
    assert "device" not in warm.seconds
    assert warm.seconds["build"].p50 == 0.71875
    (one,) = figures_of([cold_start(1)])
    assert one.ready is not None
    assert (one.ready.p50, one.ready.p95, one.ready.max) == (None, None, 4.5)


def test_states_of_the_page_cache_are_kept_apart_and_failures_counted() -> None:
    broken = cold_start(3, error=Failure(stage="build", message="no"))
    starts = [
        cold_start(1),
        cold_start(2, "not dropped: 46% of the files stayed in it"),
        broken,
        cold_start(4, "not dropped: 50% of the files stayed in it"),
    ]
    warm, undropped = figures_of(starts)
    assert (warm.page_cache, warm.count, warm.failed) == ("warm", 1, 1)
    assert (undropped.page_cache, undropped.count) == ("not dropped", 2)


def test_the_stages_of_a_start_add_up() -> None:
    start = cold_start(1)
    assert start.ready_seconds == 4.5
    assert start.total_seconds == sum(start.seconds.stages().values()) == 5.0
    failed = cold_start(1, error=Failure(stage="build", message="no"))
    assert failed.ready_seconds is None
    assert failed.total_seconds is None


@pytest.mark.parametrize("count", [2, 3])
def test_a_price_needs_a_median(count: int) -> None:
    starts = [cold_start(number) for number in range(1, count + 1)]
    (figures,) = cold_result(starts, usd_per_hour=3600.0).figures
    assert figures.billed_seconds == 4.5
    assert [cost.usd_per_start for cost in figures.costs] == [4.5]
    (single,) = cold_result(starts[:1], usd_per_hour=3600.0).figures
    assert (single.billed_seconds, single.costs) == (None, [])
