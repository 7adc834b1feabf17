"""Several measurements of the same cell, combined."""

from __future__ import annotations

import math
import random

import factories
import pytest
import scipy.stats
from factories import repeated

from gpubench.results.result import Achieved, Memory, Verdict, Worst
from gpubench.spec.repetition import LEAST_REPEATS_UNTIL
from gpubench.statistics.repeats import between_repeats, combined, grouped, half_width


def test_the_figure_is_the_geometric_mean() -> None:
    result = combined(repeated(50.0, 100.0, 200.0))
    assert result.throughput_per_second == pytest.approx(100)
    assert result.latency_ms.p95 == pytest.approx(10)
    assert result.latency_ms.max == pytest.approx(1000 / 50 * 1.4)
    assert result.requests.completed == 390


def test_the_interval_between_repeats_is_students() -> None:
    logs = [math.log(value) for value in (98.0, 100.0, 101.0, 103.0)]
    interval, spread = between_repeats(logs)
    expected = scipy.stats.t.interval(0.95, 3, scipy.stats.tmean(logs), scipy.stats.sem(logs))
    assert interval == pytest.approx([math.exp(end) for end in expected])
    assert spread == pytest.approx(scipy.stats.tstd(logs))


def test_the_wider_interval_is_that_of_the_result() -> None:
    apart = combined(repeated(90.0, 100.0, 110.0))
    assert apart.repeats is not None
    assert apart.repeats.throughput_per_second is not None
    assert apart.throughput_interval == apart.repeats.throughput_per_second.interval
    alike = combined(repeated(100.0, 100.0, 100.0))
    assert alike.throughput_interval == pytest.approx((98, 102))
    assert alike.repeats is not None
    assert alike.repeats.throughput_per_second is not None
    assert alike.repeats.throughput_per_second.interval == pytest.approx((100, 100))


def test_two_repeats_have_no_interval_between_them() -> None:
    result = combined(repeated(90.0, 110.0, relative_interval=None))
    assert result.throughput_interval is None
    assert result.throughput_interval_note is not None
    assert "needs 3" in result.throughput_interval_note


def test_the_cost_is_that_of_the_throughput() -> None:
    result = combined(repeated(90.0, 100.0, 110.0, instance="c7i.xlarge"))
    (cost,) = result.costs
    expected = cost.usd_per_hour / 3600 / (result.throughput_per_second or 0) * 1e6
    assert cost.usd_per_million == pytest.approx(expected)
    assert cost.usd_per_million_interval is not None


def test_a_failed_repeat_is_counted_and_in_no_figure() -> None:
    result = combined(repeated(100.0, None, 100.0))
    assert result.repeats is not None
    assert (result.repeats.count, result.repeats.failed) == (2, 1)
    assert result.throughput_per_second == pytest.approx(100)
    assert [reason.code for reason in result.verdict.reasons] == ["repeats-failed"]
    assert result.error is None


def test_if_every_repeat_failed_the_cell_failed() -> None:
    result = combined(repeated(None, None))
    assert result.error is not None
    assert result.repeats is not None
    assert result.repeats.failed == 2


def test_a_reason_says_in_how_many_repeats_it_is() -> None:
    one, two, three = repeated(100.0, 100.0, 100.0)
    doubted = two.model_copy(
        update={"verdict": factories.result(reasons=(factories.DRIFT,)).verdict}
    )
    result = combined([one, doubted, three])
    assert result.verdict.status == "suspect"
    assert [(r.code, r.in_repeats) for r in result.verdict.reasons] == [("drift", 1)]


def test_a_single_result_is_unchanged() -> None:
    (result,) = repeated(100.0)
    assert combined([result]) is result


def test_repeats_are_grouped_by_settings_machine_and_software() -> None:
    one, two = repeated(100.0, 101.0)
    other_batch = factories.result(batch=2)
    other_machine = factories.result(machine=factories.G5)
    priced = factories.result(instance="c7i.xlarge")
    groups = grouped([two, other_batch, one, other_machine, priced])
    assert groups == [[one, priced, two], [other_batch], [other_machine]]


def test_the_arithmetic_follows_the_throughput() -> None:
    cells = repeated(50.0, 100.0, 200.0)
    for cell in cells:
        cell.achieved = Achieved(
            flops_per_second=4e9 * (cell.throughput_per_second or 0), peak_share=0.1
        )
    achieved = combined(cells).achieved
    assert achieved.flops_per_second == pytest.approx(4e11)
    assert achieved.peak_share == pytest.approx(0.1)


def test_the_peak_memory_is_the_largest() -> None:
    cells = repeated(50.0, 100.0, 200.0)
    cells[0].memory = Memory(peak_host_bytes=30, peak_device_bytes=1, peak_device_of="process")
    cells[2].memory = Memory(peak_host_bytes=20, peak_device_bytes=2, peak_device_of="device")
    memory = combined(cells).memory
    assert (memory.peak_host_bytes, memory.peak_device_bytes) == (30, 2)
    assert memory.peak_device_of == "device"
    assert combined(repeated(50.0, 100.0)).memory == Memory()


def test_the_slowest_request_is_that_of_all_repeats() -> None:
    cells = repeated(50.0, 100.0, 200.0)
    for cell in cells[:2]:
        cell.latency_ms.worst = Worst(
            latency_ms=cell.latency_ms.max or 0,
            at_seconds=1.5,
            request=7,
            longest_stage="queue",
            longest_stage_ms=1,
        )
    worst = combined(cells).latency_ms.worst
    assert worst is not None
    assert worst.latency_ms == combined(cells).latency_ms.max
    assert (worst.repeat, worst.request) == (1, 7)


def test_p99_9_is_a_figure_like_the_others() -> None:
    cells = repeated(90.0, 100.0, 110.0)
    for cell in cells:
        cell.latency_ms.p99_9 = cell.latency_ms.p95
    result = combined(cells)
    assert result.repeats is not None
    assert result.latency_ms.p99_9 == result.latency_ms.p95
    assert result.latency_ms.p99_9_interval == result.repeats.p99_9_ms.interval  # type: ignore[union-attr]


def test_the_bound_of_a_percentile_is_the_larger_of_two() -> None:
    apart, alike = repeated(90.0, 100.0, 110.0), repeated(100.0, 100.0, 100.0)
    for cell in (*apart, *alike):
        cell.latency_ms.p95_at_most = 10.5
    logs = [math.log(1000 / value) for value in (90.0, 100.0, 110.0)]
    t = scipy.stats.t.ppf(0.95, 2)
    expected = math.exp(scipy.stats.tmean(logs) + t * scipy.stats.sem(logs))
    assert combined(apart).latency_ms.p95_at_most == pytest.approx(expected)
    assert combined(alike).latency_ms.p95_at_most == pytest.approx(10.5)
    assert combined(repeated(100.0, 100.0)).latency_ms.p95_at_most is None


def test_the_bound_of_a_higher_percentile_is_not_lower() -> None:
    cells = repeated(90.0, 100.0, 110.0)  # P95 differs between the repeats, and P99 does not
    for cell in cells:
        cell.latency_ms.p99 = 11.0
    latency = combined(cells).latency_ms
    assert latency.p95_at_most is not None
    assert latency.p95_at_most > 11
    assert latency.p99_at_most == latency.p95_at_most


def test_a_reason_has_the_figure_that_is_farthest_from_its_limit() -> None:
    cells = repeated(100.0, 100.0, 100.0)
    for cell, figure in zip(cells, (0.06, 0.3, 0.1), strict=True):
        reason = factories.DRIFT.model_copy(update={"figure": figure})
        cell.verdict = Verdict(status="suspect", reasons=[reason])
    [reason] = combined(cells).verdict.reasons
    assert (reason.figure, reason.in_repeats) == (0.3, 3)


def test_figures_that_no_measurement_gives_end_no_report() -> None:
    cells = repeated(1e300, 1e-300, 100.0, 100.0)
    cells[3].throughput_per_second = -1.0
    cells[3].throughput_interval = (-2.0, -1.0)
    cells[3].latency_ms.p95_interval = (5.0, -1.0)
    result = combined(cells)
    low, high = result.throughput_interval or (0.0, 0.0)
    assert 0 < low < high < math.inf


@pytest.mark.parametrize("spread", [0.01, 0.02, 0.03])
def test_repeats_that_end_when_their_interval_is_narrow_still_cover_the_truth(
    spread: float,
) -> None:
    """As with --until 2%. An end from three repeats on would give 90% at a spread of 3%."""
    generator = random.Random(spread)
    covered = 0
    for _ in range(1000):
        logs: list[float] = []
        while len(logs) < 20:
            logs.append(generator.gauss(0.0, spread))
            if len(logs) >= LEAST_REPEATS_UNTIL and (half_width(logs) or 1.0) <= 0.02:
                break
        interval, _ = between_repeats(logs)
        assert interval is not None
        covered += interval[0] <= 1.0 <= interval[1]
    assert 0.91 <= covered / 1000 <= 0.98
