"""Which settings of a sweep with an objective cannot win."""

from __future__ import annotations

import math

import pytest
from simulated_sweeps import TOLERANCE, compared

from gpubench.results.result import Reason, Verdict
from gpubench.statistics.crossing import MOST_LOAD, Crossing, Tally
from gpubench.statistics.pruning import (
    RUN_SPREAD,
    Best,
    Loser,
    best_of,
    by_capacity,
    by_probes,
    is_slowed,
)

UNKNOWN = Crossing(rate=100.0, interval=None, note=None, centre=100.0, slope=5.0, near=())
LATE_SHARE = 0.05


def certain(rate: float) -> Best:
    """A best setting whose rate is exactly known."""
    return Best(rate, 0.0, "best")


BEAT_80 = certain(80.04 * math.exp(RUN_SPREAD))  # the rate to beat is 80.04


def tally(rate: float, late: int, requests: int = 600, effective: float = 600.0) -> Tally:
    return Tally(rate, requests, late, effective)


def test_the_errors_of_two_rates_and_of_their_runs_add_as_squares() -> None:
    assert pytest.approx(0.0554, abs=1e-4) == RUN_SPREAD
    best = best_of(100.0, (95.0, 107.0), 6, "a")
    assert best is not None
    # 0.0513 is the logarithm of 100 / 95: exp(-sqrt(0.0513^2 + 0.0554^2)) = 0.927.
    assert best.to_beat() == pytest.approx(92.7, abs=0.1)
    # exp(0.04 - sqrt(0.04^2 + 0.0513^2 + 0.0554^2)) = 0.955
    assert best.to_beat(0.04) == pytest.approx(95.5, abs=0.1)


def test_a_certain_rate_is_beaten_by_no_less_than_the_spread_between_runs() -> None:
    best = best_of(100.0, (100.0, 100.0), 6, "a")
    assert best is not None
    assert best.to_beat() == pytest.approx(100 / math.exp(RUN_SPREAD))


def test_without_an_interval_a_rate_is_10_percent_uncertain_and_with_few_probes_unknown() -> None:
    best = best_of(100.0, None, 6, "a")
    assert best is not None
    assert best.error == pytest.approx(math.log(100 / 90))
    assert best_of(100.0, None, 5, "a") is None
    assert best_of(100.0, (0.0, 150.0), 6, "a") is None, "the interval excludes no rate"


def test_a_capacity_counts_with_the_upper_end_of_its_interval() -> None:
    def dropped(factor: float) -> Loser | None:
        own = math.log(99 / 95) / 2
        needed = MOST_LOAD * 99 * math.exp(math.hypot(own, RUN_SPREAD) - own)
        return by_capacity((95.0, 99.0), certain(needed * factor))

    lost = dropped(1.001)
    assert lost is not None
    assert lost.reason == "capacity"
    assert lost.figure == pytest.approx(99 * MOST_LOAD)
    assert lost.figure < lost.limit
    assert dropped(0.999) is None
    assert by_capacity(None, certain(1e9)) is None, "without an interval nothing is certain"


def test_a_probe_drops_a_setting_only_if_its_late_share_is_certain() -> None:
    # P(X >= 48) is 0.0008 for 600 requests at 5%, and P(X >= 40) is 0.04.
    lost = by_probes([tally(20.0, 48)], UNKNOWN, LATE_SHARE, batch=4, best=BEAT_80)
    assert lost is not None
    assert (lost.reason, lost.figure) == ("late", 80.0)
    assert lost.limit == pytest.approx(80.04)
    assert by_probes([tally(20.0, 40)], UNKNOWN, LATE_SHARE, batch=4, best=BEAT_80) is None


def test_autocorrelated_requests_are_less_certain() -> None:
    dependent = tally(20.0, 48, effective=100.0)
    assert by_probes([dependent], UNKNOWN, LATE_SHARE, batch=4, best=BEAT_80) is None


def test_late_requests_above_the_rate_to_beat_say_nothing() -> None:
    assert by_probes([tally(20.1, 600)], UNKNOWN, LATE_SHARE, batch=4, best=BEAT_80) is None


def test_probes_below_the_rate_to_beat_count_together() -> None:
    # Each of them alone has a probability of 0.04.
    probes = [tally(80.0, 40), tally(79.0, 40), tally(78.0, 40)]
    lost = by_probes(probes, UNKNOWN, LATE_SHARE, batch=1, best=BEAT_80)
    assert lost is not None
    assert lost.figure == 80.0
    assert by_probes([*probes, tally(81.0, 0)], UNKNOWN, LATE_SHARE, 1, BEAT_80) is not None


@pytest.mark.parametrize(
    ("interval", "near", "needed"),
    [
        # exp(sqrt(0.0645^2 + 0.0554^2)) = 1.0888, where 0.0645 is the logarithm of 16 / 15
        ((14.0, 16.0), 6, 30 * 1.0888),
        # The same with the logarithm of 1.1: exp(sqrt(0.0953^2 + 0.0554^2)) = 1.1165
        (None, 6, 30 * 1.1165),
    ],
)
def test_a_crossing_below_the_best_rate_drops_a_setting(
    interval: tuple[float, float] | None, near: int, needed: float
) -> None:
    probes = (tally(15.0, 30),) * near
    crossing = Crossing(15.0, interval, None, 15.0, 5.0, probes)
    lost = by_probes(probes, crossing, LATE_SHARE, 2, certain(needed * 1.001))
    assert lost is not None
    assert lost.reason == "crossing"
    assert lost.figure == pytest.approx(2 * (interval[1] if interval else 16.5))
    assert by_probes(probes, crossing, LATE_SHARE, 2, certain(needed * 0.999)) is None


def test_a_crossing_of_few_probes_drops_nothing() -> None:
    probes = (tally(15.0, 30),) * 5
    crossing = Crossing(15.0, None, None, 15.0, 5.0, probes)
    assert by_probes(probes, crossing, LATE_SHARE, 1, certain(32.0)) is None


def test_a_setting_that_other_programs_slowed_down_is_known_by_its_verdict() -> None:
    def verdict(code: str) -> Verdict:
        return Verdict(reasons=[Reason(code=code, figure=1, limit=0, remedy="")], status="suspect")

    assert is_slowed(verdict("cpu-busy"))
    assert not is_slowed(verdict("outputs-differ"))


@pytest.mark.parametrize("seed", range(20))
def test_a_pruned_sweep_finds_the_winner_of_the_full_one(seed: int) -> None:
    # Ten settings here; tests/benchmarks/pruned_sweeps.py has forty.
    found = compared(seed, variants=1)
    assert found.same_winner or found.lost - found.lost_in_full <= TOLERANCE
    assert found.ratio_to_full <= 1.01


def test_forty_settings_take_a_few_times_as_long_as_one_search() -> None:
    found = compared(0)
    assert found.same_winner
    assert found.settings == 40
    assert found.searches < 6
    assert found.ratio_to_full < 0.2
