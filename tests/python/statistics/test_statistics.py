"""The definitions of docs/measurement.md, on samples small enough to work out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gpubench import core
from gpubench.measure.collect import collect
from gpubench.results.result import CountedRows
from gpubench.results.samples import Samples
from gpubench.statistics import ClosedLoopRule, OpenLoopRule, analyse
from gpubench.statistics.drift import service_changes
from gpubench.statistics.intervals import at_most_rank, effective_size
from gpubench.statistics.lag import batch_lag_ns
from gpubench.statistics.latency import percentile_effective_size, summarise_latency
from gpubench.statistics.percentiles import (
    PERCENTS,
    Percent,
    least_count,
    percentile_key,
    percentile_name,
    rank,
)
from gpubench.statistics.queues import tau_of_load
from gpubench.statistics.stages import device_gaps, stages_ns, trtexec_times
from gpubench.statistics.windows import counted_samples

MS = 1_000_000


def back_to_back(service_ns: list[int], clients: int = 1) -> Samples:
    """A closed loop with one worker, which serves the clients in turn."""
    completed = np.cumsum(np.array(service_ns, np.int64))
    departed = completed - np.array(service_ns, np.int64)
    count = len(completed)
    return Samples(
        scheduled_ns=np.concatenate((np.zeros(clients, np.int64), completed))[:count],
        opened_ns=departed,
        departed_ns=departed,
        submitted_ns=departed,
        completed_ns=completed,
        worker=np.zeros(count, np.int32),
        batch=np.arange(count),
        id=np.arange(count) % clients,
    )


# Percentiles


@pytest.mark.parametrize("percent", [*PERCENTS, Fraction("97.5"), Fraction("0.1")])
@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100, 130, 1000, 1001])
def test_rank_is_the_smallest_with_this_share_at_or_below(percent: Percent, count: int) -> None:
    found = rank(percent, count)
    assert found * 100 >= percent * count > (found - 1) * 100


def test_percentiles_are_measured_latencies() -> None:
    latency = summarise_latency(np.arange(1, 131) * MS)
    assert (latency.p50, latency.p90, latency.p95, latency.p99) == (65, 117, 124, 129)
    assert (latency.min, latency.mean, latency.max) == (1, 65.5, 130)


def test_percentiles_are_absent_if_no_value_is_expected_above_them() -> None:
    assert [least_count(percent) for percent in PERCENTS] == [2, 10, 20, 100, 1000]
    nineteen, twenty = (summarise_latency(np.arange(n) * MS) for n in (19, 20))
    assert nineteen.p90 is not None
    assert nineteen.p95 is None
    assert nineteen.interval_notes["p95"] == "19 requests; P95 needs 20"
    assert twenty.p95 == 18


def test_p99_9_needs_a_thousand_requests() -> None:
    fewer, enough = (summarise_latency(np.arange(1, n + 1) * MS) for n in (999, 1000))
    assert fewer.p99_9 is None
    assert fewer.interval_notes["p99_9"] == "999 requests; P99.9 needs 1,000"
    assert enough.p99_9 == 999


def test_names_of_percentiles() -> None:
    assert [percentile_key(p) for p in PERCENTS] == ["p50", "p90", "p95", "p99", "p99_9"]
    assert percentile_name(Fraction("99.9999")) == "P99.9999"
    assert percentile_name(Fraction(50)) == "P50"


def test_unfinished_requests_are_slower_than_every_percentile() -> None:
    latency = summarise_latency(np.arange(1, 96) * MS, unfinished=5)
    assert latency.p95 == 95
    assert latency.p99 is None
    assert latency.interval_notes["p99"] == "P99 falls on one of 5 requests that never finished"
    assert latency.mean is None
    assert latency.max is None
    assert latency.min == 1


def test_no_interval_includes_unfinished_requests() -> None:
    rng = np.random.default_rng(1)
    latency = summarise_latency(rng.integers(MS, 2 * MS, 960), unfinished=40)
    assert latency.p95 is not None
    assert latency.p95_interval is None
    assert "never finished" in latency.interval_notes["p95"]
    assert latency.p50_interval is not None


def test_every_absent_interval_has_a_note() -> None:
    for count in (2, 25, 60, 130):
        latency = summarise_latency(np.random.default_rng(2).integers(0, MS, count))
        for name in map(percentile_key, PERCENTS):
            has_interval = getattr(latency, f"{name}_interval") is not None
            assert has_interval is not (name in latency.interval_notes)
            if getattr(latency, name) is not None:
                has_bound = getattr(latency, f"{name}_at_most") is not None
                assert has_bound is not (f"{name}_at_most" in latency.interval_notes)


# Upper bounds


@pytest.mark.parametrize("count", [130, 500, 5_000, 100_000])
@pytest.mark.parametrize("percent", PERCENTS)
def test_the_bound_is_the_lowest_value_that_the_binomial_distribution_allows(
    percent: Percent, count: int
) -> None:
    found, note = at_most_rank(percent, count, float(count))
    share = float(percent) / 100
    # The probability that `rank` or more of the values are below the true percentile.
    too_small = scipy.stats.binom.sf(np.arange(count + 1) - 1, count, share)
    if found is None:
        assert note is not None
        assert too_small[count] > 0.04  # even the largest value may be too small
        return
    assert too_small[found] <= 0.05
    # The effective sample size is itself estimated, which may cost one more rank in a hundred.
    exact = int(np.flatnonzero(too_small <= 0.05)[0])
    assert exact <= found <= exact + 1 + 0.05 * (exact - share * count)


def test_autocorrelation_raises_the_bound() -> None:
    independent, _ = at_most_rank(95, 10_000, 10_000.0)
    correlated, _ = at_most_rank(95, 10_000, 1_000.0)
    assert independent is not None
    assert correlated is not None
    assert 9_500 < independent < correlated
    assert at_most_rank(95, 10_000, 39.0)[0] is None


def test_a_bound_that_falls_on_an_unfinished_request_is_absent() -> None:
    latency = summarise_latency(np.random.default_rng(1).integers(MS, 2 * MS, 960), unfinished=40)
    assert latency.p95 is not None
    assert latency.p95_at_most is None
    assert "never finished" in latency.interval_notes["p95_at_most"]
    assert latency.p50_at_most is not None


# The slowest request


def test_the_slowest_request_has_a_place_and_a_longest_stage() -> None:
    service = [MS] * 200
    service[120] = 30 * MS
    samples = back_to_back(service, clients=2)
    analysis = analyse(samples, ClosedLoopRule(2, 1))
    worst = analysis.latency.worst
    assert worst is not None
    assert worst.latency_ms == analysis.latency.max == 31
    # It was the next one of the other client, which waited for the slow request.
    assert worst.request in {120, 121}
    assert analysis.window_ns is not None
    due = samples.scheduled_ns[worst.request]
    assert worst.at_seconds == pytest.approx((due - analysis.window_ns[0]) / 1e9)
    stage = {120: "compute", 121: "queue"}[worst.request]
    assert (worst.longest_stage, worst.longest_stage_ms) == (stage, 30)


def test_there_is_no_slowest_request_if_one_never_finished() -> None:
    samples = back_to_back([MS] * 200)
    loop = OpenLoopRule(0, 0, 200 * MS)
    unfinished = replace(samples, unfinished_scheduled_ns=np.array([150 * MS]))
    assert analyse(samples, loop).latency.worst is not None
    assert analyse(unfinished, loop).latency.worst is None


# Which rows count


def test_the_rule_for_the_rows_that_count_gives_the_same_rows_again() -> None:
    samples = replace(
        back_to_back([MS] * 200), unfinished_scheduled_ns=np.array([50 * MS, 500 * MS])
    )
    for loop in (ClosedLoopRule(1), OpenLoopRule(0, 20 * MS, 150 * MS)):
        analysis = analyse(samples, loop)
        rows = CountedRows.model_validate_json(analysis.counted_rows.model_dump_json())  # type: ignore[union-attr]
        counted, unfinished = counted_samples(samples, rows)
        assert np.array_equal(counted, analysis.counted)
        assert unfinished == analysis.unfinished
    counted, unfinished = counted_samples(samples, None)
    assert not counted.any()
    assert unfinished == 0


# Intervals


def test_constant_latencies_have_an_interval_without_width() -> None:
    latency = summarise_latency(np.full(1000, 5 * MS))
    assert latency.p95_interval == (5, 5)
    throughput = analyse(back_to_back([MS] * 1000), ClosedLoopRule(1)).throughput_interval
    assert throughput == (1000, 1000)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("count", [2_000, 100_000])
def test_effective_size_of_an_autoregressive_series(correlation: float, count: int) -> None:
    # tau = 1 + 2 * sum of correlation**k = (1 + correlation) / (1 - correlation)
    rng = np.random.default_rng(3)
    series = rng.standard_normal(count)
    for place in range(1, count):
        series[place] += correlation * series[place - 1]
    expected = count * (1 - correlation) / (1 + correlation)
    assert effective_size(series) == pytest.approx(expected, rel=0.25)


def test_the_effective_size_of_an_alternating_series_is_at_most_its_length() -> None:
    assert effective_size(np.tile([1.0, -1.0], 500)) == pytest.approx(1000)


def test_strongly_autocorrelated_requests_give_no_interval_and_a_note_says_why() -> None:
    slow_wave = 10 + np.sin(np.arange(500) * 2 * math.pi / 250)
    samples = back_to_back((slow_wave * MS).astype(int).tolist())
    analysis = analyse(samples, ClosedLoopRule(1))
    assert analysis.latency.p50_interval is None
    assert "so autocorrelated" in analysis.latency.interval_notes["p50"]
    assert analysis.throughput_interval is None
    assert analysis.throughput_interval_note is not None
    assert "so autocorrelated" in analysis.throughput_interval_note


# Tau of the load


def a_queue(
    load: float,
    requests: int,
    *,
    exponential: bool = True,
    workers: int = 1,
    arrivals: str = "random",
) -> Samples:
    rng = np.random.default_rng(int(100 * load) + workers)
    gap = MS / load / workers
    if arrivals == "random":
        due = np.cumsum(rng.exponential(gap, requests)).astype(np.int64)
    else:
        due = (np.arange(requests) // 4 * 4 * gap).astype(np.int64)
    service = rng.exponential(MS, requests).astype(np.int64) if exponential else MS
    outcome = core.simulate(
        core.OpenLoop(due), service_ns=service, executors=workers, capacity=requests
    )
    return collect(outcome)


def tau_of(samples: Samples, in_flight: int | None = None) -> float:
    loop = OpenLoopRule(0, 0, int(samples.scheduled_ns.max()), in_flight=in_flight)
    return tau_of_load(samples, np.ones(len(samples), np.bool_), loop)


@pytest.mark.parametrize(
    ("load", "exponential", "workers", "expected"),
    [
        (0.8, True, 1, 82),  # 2 (1 / 0.8**2 + 1) / (1 / 0.8 - 1)**2
        (0.9, True, 1, 362),
        (0.8, False, 1, 50),
        (0.8, True, 4, 64),  # less: latencies differ mostly by their own service times
        (0.8, False, 4, 50),
    ],
)
def test_tau_of_a_queue_follows_from_its_load(
    load: float, exponential: bool, workers: int, expected: float
) -> None:
    samples = a_queue(load, 200_000, exponential=exponential, workers=workers)
    assert tau_of(samples) == pytest.approx(expected, rel=0.15)
    assert tau_of(samples, workers) == tau_of(samples)


def test_tau_of_a_short_run_is_nearly_as_accurate() -> None:
    taus = [
        tau_of(Samples(**{k: v[start : start + 2_000] for k, v in columns.items()}))
        for columns in [rows_of(a_queue(0.8, 100_000))]
        for start in range(0, 100_000, 2_000)
    ]
    assert np.quantile(taus, 0.1) > 40
    assert np.quantile(taus, 0.9) < 250


def rows_of(samples: Samples) -> dict[str, Any]:
    columns = ["scheduled_ns", "opened_ns", "departed_ns", "submitted_ns", "completed_ns"]
    return {name: getattr(samples, name) for name in [*columns, "worker", "batch", "id"]}


def test_tau_of_a_queue_without_randomness_is_one() -> None:
    assert tau_of(a_queue(0.8, 1_000, exponential=False, arrivals="bursts")) == 1


def test_latencies_are_independent_if_hardly_any_request_waits() -> None:
    assert tau_of(a_queue(0.05, 50_000)) < 1.5


def test_a_queue_that_only_grows_has_an_effective_sample_size_of_one() -> None:
    assert tau_of(a_queue(1.2, 1_000)) == 1_000
    latency = analyse(a_queue(1.2, 1_000), OpenLoopRule(0, 0, 10**12)).latency
    assert latency.p50_interval is None


def test_tau_with_dynamic_batching_is_that_of_full_batches() -> None:
    # Four requests in 1 ms: a load of 0.8 though each batch takes as long as a request would.
    due = np.cumsum(np.random.default_rng(1).exponential(MS / 3.2, 100_000)).astype(np.int64)
    outcome = core.simulate(core.OpenLoop(due), service_ns=MS, max_batch=4, capacity=100_000)
    samples = collect(outcome)
    everything = np.ones(len(samples), np.bool_)
    tau = tau_of_load(samples, everything, OpenLoopRule(0, 0, 10**12), max_batch=4)
    assert tau == pytest.approx(50, rel=0.15)


@pytest.mark.parametrize(("clients", "in_flight", "expected"), [(1, 1, 1), (8, 8, 1), (8, 2, 4)])
def test_more_clients_than_requests_in_service_wait_for_the_same_requests(
    clients: int, in_flight: int, expected: float
) -> None:
    samples = back_to_back([MS] * 100, clients)
    everything = np.ones(len(samples), np.bool_)
    tau = tau_of_load(samples, everything, ClosedLoopRule(clients, in_flight))
    assert tau == expected


def test_tau_of_the_load_removes_or_widens_intervals() -> None:
    latency_ns = np.random.default_rng(3).exponential(MS, 1_000).astype(np.int64)
    alone, known = summarise_latency(latency_ns), summarise_latency(latency_ns, tau=5.0)
    assert alone.p95_interval is not None
    assert known.p95_interval is not None
    assert known.p95_interval[0] <= alone.p95_interval[0]
    assert known.p95_interval[1] >= alone.p95_interval[1]
    assert summarise_latency(latency_ns, tau=50.0).p95_interval is None
    assert percentile_effective_size(latency_ns, 0, 95, 50.0) == 20
    assert percentile_effective_size(latency_ns[:19], 0, 95) is None
    assert percentile_effective_size(latency_ns, 100, 95) is None  # P95 never finished


@pytest.mark.parametrize("latency", [[5], [4, 6]])
def test_constant_and_alternating_latencies_are_independent(latency: list[int]) -> None:
    assert percentile_effective_size(np.tile(latency, 500) * MS, 0, 95) == pytest.approx(
        500 * len(latency)
    )


# Windows and counts


def test_the_window_opens_when_as_many_requests_as_clients_have_completed() -> None:
    analysis = analyse(back_to_back([MS] * 12, clients=3), ClosedLoopRule(3, in_flight=1))
    assert analysis.completed == 9
    assert analysis.window_seconds == pytest.approx(0.009)


def test_throughput_counts_inferences() -> None:
    analysis = analyse(back_to_back([MS] * 12), ClosedLoopRule(1), inferences_per_request=32)
    assert analysis.throughput_per_second == pytest.approx(32_000)
    assert analysis.completed == 11


@pytest.mark.parametrize("requests", [0, 1, 2, 3])
def test_too_few_requests_leave_everything_absent(requests: int) -> None:
    analysis = analyse(back_to_back([MS] * requests, clients=3), ClosedLoopRule(3))
    assert analysis.completed == 0
    assert analysis.throughput_per_second is None
    assert analysis.throughput_interval_note is not None
    assert analysis.latency.p50 is None
    assert analysis.stages.compute is None
    assert analysis.lag is None
    assert analysis.littles_law_residual is None


def test_an_open_loop_counts_what_was_due_inside_the_window() -> None:
    samples = back_to_back([MS] * 10)  # due at 0, 1, ..., 9 ms; the last completes at 10 ms
    samples = replace(samples, unfinished_scheduled_ns=np.array([1, 5, 20]) * MS)
    analysis = analyse(samples, OpenLoopRule(start_ns=0, settle_ns=3 * MS, end_ns=9 * MS))
    assert analysis.completed == 7  # 3 ... 9 ms
    assert analysis.unfinished == 1  # 5 ms
    assert analysis.window_seconds == pytest.approx(0.006)  # completions from 3 to 9 ms
    assert analysis.throughput_per_second == pytest.approx(1000)
    assert analysis.offered_per_second == pytest.approx(7000 / 6)


def test_a_client_that_gets_less_than_its_share_is_found() -> None:
    samples = back_to_back([MS] * 101, clients=2)
    samples = replace(samples, id=(np.arange(101) % 10 == 0).astype(np.int64))
    analysis = analyse(samples, ClosedLoopRule(2, in_flight=1))
    assert analysis.least_served_client == pytest.approx(0.2, abs=0.03)


# Stages and lag

stamps = st.lists(st.integers(0, 10**15), min_size=5, max_size=5).map(sorted)


@given(
    st.lists(st.tuples(stamps, st.booleans()), min_size=1, max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_stages_add_up_to_the_latency_exactly(
    rows: list[tuple[list[int], bool]], with_device: bool, filled: bool
) -> None:
    # The worker may ask the queue before the request is due, or after.
    ordered = np.array([[b, a, *rest] if swap else [a, b, *rest] for (a, b, *rest), swap in rows])
    scheduled, opened, departed, submitted, completed = ordered.T
    count = len(rows)
    events = np.linspace(submitted, completed, 4).astype(np.int64).T if with_device else None
    samples = Samples(
        scheduled,
        opened,
        departed,
        submitted,
        completed,
        worker=np.zeros(count, np.int32),
        batch=np.arange(count),
        id=np.arange(count),
        device_ns=events,
        filled=filled,
    )
    stages = stages_ns(samples)
    assert np.array_equal(sum(stages.values()), samples.latency_ns)
    assert all(stage.dtype == np.int64 for stage in stages.values())
    assert (stages["queue"] >= 0).all()
    assert (stages["batching"] >= 0).all()
    copies = {"h2d", "d2h"} & set(stages)
    assert all(stages[copy].any() for copy in copies)
    assert [name for name in stages if name not in copies] == [
        "queue",
        "batching",
        *(["fill"] if filled else []),
        *(["submit"] if with_device or not filled else []),  # what is left without events is empty
        "compute",
        *(["return"] if with_device else []),
    ]


def one_batch(device_ns: list[list[int]] | None = None) -> Samples:
    """Two requests, due at 0 and 30, that depart together at 40; the worker was free from 10."""
    two = np.ones(2, np.int64)
    return Samples(
        scheduled_ns=np.array([0, 30]),
        opened_ns=10 * two,
        departed_ns=40 * two,
        submitted_ns=45 * two,
        completed_ns=100 * two,
        worker=np.zeros(2, np.int32),
        batch=7 * two,
        id=np.arange(2),
        device_ns=None if device_ns is None else np.array(device_ns),
    )


def test_stages_of_requests_that_came_before_and_after_the_worker() -> None:
    stages = {name: stage.tolist() for name, stage in stages_ns(one_batch()).items()}
    assert stages == {"queue": [10, 0], "batching": [30, 10], "submit": [5, 5], "compute": [55, 55]}


def test_device_events_divide_the_time_after_departure() -> None:
    samples = one_batch([[50, 60, 90, 97]] * 2)
    stages = {name: stage.tolist() for name, stage in stages_ns(samples).items()}
    assert stages["submit"] == [10, 10]
    assert stages["h2d"] == [10, 10]
    assert stages["compute"] == [30, 30]
    assert stages["d2h"] == [7, 7]
    assert stages["return"] == [3, 3]


def test_gathering_the_inputs_is_a_stage_of_its_own() -> None:
    samples = replace(one_batch([[50, 60, 90, 97]] * 2), filled=True)
    stages = {name: stage.tolist() for name, stage in stages_ns(samples).items()}
    assert stages["fill"] == [5, 5]
    assert stages["submit"] == [5, 5]
    assert "fill" not in stages_ns(replace(samples, filled=False))


def test_a_copy_that_no_batch_made_is_no_stage() -> None:
    samples = one_batch([[50, 50, 90, 90]] * 2)
    stages = {name: stage.tolist() for name, stage in stages_ns(samples).items()}
    assert stages["submit"] == [10, 10]
    assert stages["compute"] == [40, 40]
    assert not {"h2d", "d2h"} & set(stages)


def test_trtexec_counts_batches_and_neither_queue_nor_gaps() -> None:
    samples = one_batch([[50, 60, 90, 97]] * 2)
    times = trtexec_times(samples, np.ones(2, np.bool_))
    assert times is not None
    assert times.h2d is not None
    assert times.d2h is not None
    assert [times.h2d.mean, times.gpu_compute.mean, times.d2h.mean] == [10e-6, 30e-6, 7e-6]
    assert times.latency.p95 == pytest.approx(47e-6)  # one batch, not two requests
    assert trtexec_times(one_batch(), np.ones(2, np.bool_)) is None


def test_absent_stages_are_null() -> None:
    stages = analyse(one_batch(), OpenLoopRule(0, 0, 50)).stages
    assert stages.compute is not None
    assert stages.compute.p95 == 55e-6
    assert stages.h2d is None
    assert stages.return_ is None


def test_lag_counts_from_the_time_at_which_the_batch_should_have_departed() -> None:
    # The worker is free at 10. A single request departs when it is due. A batch of two is full at
    # 30. A batch of three is never full, so it departs after the delay.
    assert batch_lag_ns(one_batch()).tolist() == [30]
    assert batch_lag_ns(one_batch(), max_batch=2, max_delay_ns=1000).tolist() == [10]
    assert batch_lag_ns(one_batch(), max_batch=3, max_delay_ns=38).tolist() == [2]


def test_a_request_that_never_finished_keeps_its_position() -> None:
    samples = replace(one_batch(), unfinished_scheduled_ns=np.array([33]))
    assert batch_lag_ns(samples, max_batch=3, max_delay_ns=1000).tolist() == [7]


def test_a_device_waits_for_a_launch_only_once_it_is_free() -> None:
    samples = back_to_back([100, 100, 100])
    events = np.array([[40, 50, 90, 95], [95, 110, 150, 160], [290, 291, 292, 293]])
    gaps = device_gaps(replace(samples, device_ns=events))
    assert gaps is not None
    assert gaps.launch_ns.tolist() == [40, 0, 90]  # departed at 0; busy until 95; departed at 200
    assert gaps.input_ns is None
    assert device_gaps(samples) is None


def test_a_device_waits_for_inputs_only_while_they_are_gathered() -> None:
    samples = replace(
        back_to_back([100, 100, 100, 100]),
        submitted_ns=np.array([30, 130, 230, 330]),  # departed 30 before
        device_ns=np.array(
            [[40, 50, 90, 95], [140, 150, 180, 220], [240, 250, 300, 345], [345, 350, 360, 370]]
        ),
        filled=True,
    )
    gaps = device_gaps(samples)
    assert gaps is not None
    assert gaps.input_ns is not None
    # The third batch finds the device busy until 220. The device is busy during the whole
    # gathering for the fourth, and still when it is launched.
    assert gaps.input_ns.tolist() == [30, 30, 10, 0]
    assert gaps.launch_ns.tolist() == [10, 10, 10, 0]


# Drift


def test_a_slow_start_is_a_change_of_the_first_fifth() -> None:
    rng = np.random.default_rng(5)
    service = (MS * (1 + 0.02 * rng.standard_normal(500))).astype(np.int64)
    service[:100] += MS // 5
    settling, drift = service_changes(service)
    assert settling is not None
    assert settling.figure == pytest.approx(0.2, abs=0.01)
    assert settling.noise < 0.01
    assert drift is not None
    assert abs(drift.figure) < drift.noise


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_steady_slope_is_drift_and_not_chance(noise: float) -> None:
    rng = np.random.default_rng(7)
    ramp = np.linspace(1, 1.5, 200) + noise * rng.standard_normal(200)
    _, drift = service_changes((MS * ramp).astype(np.int64))
    assert drift is not None
    assert drift.figure > 0.1
    assert drift.noise < 0.02


def test_noise_is_the_change_that_chance_explains() -> None:
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(500):
        _, drift = service_changes(rng.lognormal(13, 0.5, 130).astype(np.int64))
        assert drift is not None
        alarms += abs(drift.figure) > drift.noise
    assert alarms <= 15  # 1% of 500, and chance


def test_a_series_that_is_too_short_shows_no_change() -> None:
    assert service_changes(np.full(19, MS)) == (None, None)
