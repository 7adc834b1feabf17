"""Where a warm-up ends, on service times whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from factories import samples
from simulated_warm_ups import STEADY, Planted, errors, false_alarms

from gpubench.results.samples import Samples
from gpubench.statistics.warm_up import LEAST_BATCHES, describe, settled

MS = 1_000_000


@pytest.mark.parametrize("noise", [noise for noise in STEADY if noise != "exponential"])
def test_a_steady_system_has_no_warm_up(noise: str) -> None:
    alarms = [false_alarms(noise, least, 50) for least in (40, 200)]
    assert np.mean(alarms) <= 0.05


def test_exponential_service_times_have_no_warm_up() -> None:
    assert false_alarms("exponential", 2_000, 20) <= 0.05


@pytest.mark.parametrize("noise", ["5% noise", "5% noise, 2% outliers", "AR(1) 0.5", "AR(1) 0.9"])
@pytest.mark.parametrize("planted", [Planted("step", 0.3, 300), Planted("decay", 5.0, 300)])
def test_a_planted_warm_up_is_found(noise: str, planted: Planted) -> None:
    found = np.abs(errors(noise, planted, 10))
    assert np.median(found) < 0.1
    assert np.mean(found < 0.2) >= 0.9


def test_a_step_that_is_followed_by_a_decay_is_one_warm_up() -> None:
    rng = np.random.default_rng(3)
    factor = np.ones(2_000)
    factor[:100] = 8.0
    factor[100:] += 0.5 * np.exp(-np.arange(1_900) / 50)  # within 1% after 196 batches
    found = settled((MS * factor * (1 + 0.02 * rng.standard_normal(2_000))).astype(np.int64))
    assert found.settled
    assert found.batches == pytest.approx(296, rel=0.1)


def test_a_speed_that_still_changes_has_not_settled() -> None:
    rng = np.random.default_rng(4)
    falling = MS * np.linspace(2, 1, 500) * (1 + 0.02 * rng.standard_normal(500))
    assert not settled(falling.astype(np.int64)).settled


def test_the_halves_tell_the_size_of_a_change_that_lasts_until_the_end() -> None:
    decay = 1 + np.exp(-np.arange(500) / 500)
    noise = 1 + 0.02 * np.random.default_rng(4).standard_normal(500)
    found = settled((MS * decay * noise).astype(np.int64))
    assert (found.settled, found.batches) == (False, 500)
    assert found.slower == pytest.approx(decay[:250].mean() / decay[250:].mean() - 1, abs=0.01)


def test_batches_that_the_clock_cannot_tell_from_nothing_are_steady() -> None:
    assert settled(np.zeros(500, np.int64)).settled


def test_a_change_must_be_followed_by_half_of_its_length() -> None:
    rng = np.random.default_rng(5)
    service = MS * np.repeat([2.0, 1.0], [400, 500]) * (1 + 0.02 * rng.standard_normal(900))
    assert not settled(service[:550].astype(np.int64)).settled  # 150 ms after 800 ms
    found = settled(service.astype(np.int64))
    assert (found.settled, found.batches) == (True, 400)
    assert found.slower == pytest.approx(1, rel=0.02)


def test_the_first_requests_may_be_the_faster_ones() -> None:
    rng = np.random.default_rng(6)
    service = MS * np.repeat([0.8, 1.0], [200, 400]) * (1 + 0.02 * rng.standard_normal(600))
    found = settled(service.astype(np.int64))
    assert (found.settled, found.batches) == (True, 200)
    assert found.slower == pytest.approx(-0.2, abs=0.01)


@pytest.mark.parametrize("count", [0, 1, 5, LEAST_BATCHES - 1])
def test_few_batches_tell_nothing(count: int) -> None:
    found = settled(np.full(count, MS))
    assert (found.settled, found.batches, found.slower) == (False, 0, None)


def test_so_much_noise_that_no_change_would_show_has_not_settled() -> None:
    service = MS * np.random.default_rng(7).exponential(1, 100)
    assert not settled(service.astype(np.int64)).settled


def one_client(service_ms: np.ndarray) -> Samples:
    """Requests one after another, from the time 0 on."""
    completed = np.cumsum((service_ms * MS).astype(np.int64))
    departed = completed - (service_ms * MS).astype(np.int64)
    numbers = np.arange(len(completed))
    return Samples(
        scheduled_ns=departed,
        opened_ns=departed,
        departed_ns=departed,
        submitted_ns=departed,
        completed_ns=completed,
        worker=np.zeros(len(completed), np.int32),
        batch=numbers,
        id=np.zeros(len(completed), np.int64),
    )


def test_it_says_what_two_seconds_would_have_hidden() -> None:
    """Requests take 20 ms for 4 s, then 10 ms. From 2 s on, a window of 10 s has 900 requests."""
    warm_up = one_client(np.repeat([20.0, 10.0], [200, 400]))
    service_ns = warm_up.completed_ns - warm_up.departed_ns
    said = describe(warm_up, settled(service_ns), 0, window_s=10.0, limit_reached=False)
    assert (said.settled_seconds, said.settled_requests, said.slower) == (4.0, 200, 1.0)
    assert said.throughput_error_after_2s == pytest.approx(-0.1)
    short = describe(warm_up, settled(service_ns), 0, window_s=1.0, limit_reached=False)
    assert short.throughput_error_after_2s == pytest.approx(-0.5)
    open_loop = describe(warm_up, settled(service_ns), 0, window_s=None, limit_reached=False)
    assert open_loop.throughput_error_after_2s is None


def test_two_seconds_hide_nothing_if_the_speed_settles_before() -> None:
    warm_up = one_client(np.repeat([20.0, 10.0], [60, 400]))
    service_ns = warm_up.completed_ns - warm_up.departed_ns
    said = describe(warm_up, settled(service_ns), 0, window_s=10.0, limit_reached=False)
    assert (said.settled_seconds, said.settled_requests) == (1.2, 60)
    assert said.throughput_error_after_2s is None


def test_what_has_not_settled_has_no_length() -> None:
    warm_up = one_client(np.repeat([20.0, 10.0], [200, 40]))
    service_ns = warm_up.completed_ns - warm_up.departed_ns
    said = describe(warm_up, settled(service_ns), 0, window_s=10.0, limit_reached=True)
    assert (said.settled_seconds, said.settled_requests, said.limit_reached) == (None, None, True)
    assert said.slower == 1.0


def test_samples_that_hold_a_warm_up_are_not_analysed() -> None:
    from gpubench.results.samples import with_warm_up
    from gpubench.statistics import ClosedLoopRule, analyse

    marked = with_warm_up(samples(10), samples(200))
    assert marked.warmup is not None
    assert marked.warmup.sum() == 10
    with pytest.raises(ValueError, match="warm-up"):
        analyse(marked, ClosedLoopRule(1))
