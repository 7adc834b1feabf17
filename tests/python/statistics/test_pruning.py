"""Which settings of a sweep with an objective cannot win."""

from __future__ import annotations

import math

import pytest
from simulated_sweeps import TOLERANCE, compared

from gpubench.results.result import Reason, Verdict
from gpubench.statistics.crossing import MOST_LOAD, Crossing, Tally
from gpubench.statistics.pruning import (
    RUN_SPREAD,
    by_capacity,
    by_probes,
    is_slowed,
    rate_to_beat,
)

UNKNOWN = Crossing(rate=100.0, interval=None, note=None, centre=100.0, slope=5.0, near=())
LATE_SHARE = 0.05


def tally(rate: float, late: int, requests: int = 600, effective: float = 600.0) -> Tally:
    return Tally(rate, requests, late, effective)


def test_the_rate_to_beat_is_below_the_interval_by_the_spread_between_runs() -> None:
    assert math.exp(1.96 * math.sqrt(2) * 0.02) == RUN_SPREAD
    assert rate_to_beat(100.0, (96.0, 105.0), 6, 0.05) == pytest.approx(96 / RUN_SPREAD)


def test_without_an_interval_the_rate_to_beat_is_lower_and_with_few_probes_unknown() -> None:
    assert rate_to_beat(100.0, None, 6, 0.05) == pytest.approx(90 / RUN_SPREAD)
    assert rate_to_beat(100.0, None, 5, 0.05) is None


def test_a_capacity_counts_with_the_upper_end_of_its_interval() -> None:
    lost = by_capacity((95.0, 99.0), to_beat=99 * MOST_LOAD + 0.1)
    assert lost is not None
    assert lost.reason == "capacity"
    assert lost.figure == pytest.approx(99 * MOST_LOAD)
    assert by_capacity((95.0, 99.0), to_beat=99 * MOST_LOAD - 0.1) is None
    assert by_capacity(None, to_beat=1e9) is None, "without an interval nothing is certain"


def test_a_probe_drops_a_setting_only_if_its_late_share_is_certain() -> None:
    # P(X >= 48) is 0.0008 for 600 requests at 5%, and P(X >= 40) is 0.04.
    lost = by_probes([tally(20.0, 48)], UNKNOWN, LATE_SHARE, batch=4, to_beat=80.0)
    assert lost is not None
    assert (lost.reason, lost.figure, lost.limit) == ("late", 80.0, 80.0)
    assert by_probes([tally(20.0, 40)], UNKNOWN, LATE_SHARE, batch=4, to_beat=80.0) is None


def test_autocorrelated_requests_are_less_certain() -> None:
    dependent = tally(20.0, 48, effective=100.0)
    assert by_probes([dependent], UNKNOWN, LATE_SHARE, batch=4, to_beat=80.0) is None


def test_late_requests_above_the_rate_to_beat_say_nothing() -> None:
    assert by_probes([tally(20.1, 600)], UNKNOWN, LATE_SHARE, batch=4, to_beat=80.0) is None


def test_probes_below_the_rate_to_beat_count_together() -> None:
    # Each of them alone has a probability of 0.04.
    probes = [tally(20.0, 40), tally(19.0, 40), tally(18.0, 40)]
    lost = by_probes(probes, UNKNOWN, LATE_SHARE, batch=1, to_beat=20.0)
    assert lost is not None
    assert lost.figure == 20.0
    assert by_probes([*probes, tally(21.0, 0)], UNKNOWN, LATE_SHARE, 1, 20.0) is not None


def test_an_interval_below_the_rate_to_beat_drops_a_setting() -> None:
    crossing = Crossing(15.0, (14.0, 16.0), None, 15.0, 5.0, ())
    probes = [tally(15.0, 30)]
    lost = by_probes(probes, crossing, LATE_SHARE, batch=2, to_beat=32.1)
    assert lost is not None
    assert (lost.reason, lost.figure) == ("crossing", 32.0)
    assert by_probes(probes, crossing, LATE_SHARE, batch=2, to_beat=31.9) is None


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
