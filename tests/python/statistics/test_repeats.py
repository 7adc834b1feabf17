"""Several measurements of the same cell, combined."""

from __future__ import annotations

import math
import random

import factories
import pytest
import scipy.stats

from gpubench.results.result import Failure, Repeat, Result
from gpubench.spec.repetition import LEAST_REPEATS_UNTIL
from gpubench.statistics.repeats import between_repeats, combined, grouped, half_width


def repeats(*throughputs: float | None, **settings: object) -> list[Result]:
    """Repeats of one cell in one process. None: the repeat failed."""
    results = []
    for number, throughput in enumerate(throughputs, 1):
        error = None if throughput else Failure(stage="measure", message="it failed")
        p95_ms = None if throughput is None else 1000 / throughput
        result = factories.result(throughput, p95_ms, error=error, **settings)  # type: ignore[arg-type]
        repeat = Repeat(number=number, of=len(throughputs), round=number, series="s", process="p")
        results.append(result.model_copy(update={"repeat": repeat}))
    return results


def test_the_figure_is_the_geometric_mean() -> None:
    result = combined(repeats(50.0, 100.0, 200.0))
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
    apart = combined(repeats(90.0, 100.0, 110.0))
    assert apart.repeats is not None
    assert apart.repeats.throughput_per_second is not None
    assert apart.throughput_interval == apart.repeats.throughput_per_second.interval
    alike = combined(repeats(100.0, 100.0, 100.0))
    assert alike.throughput_interval == pytest.approx((98, 102))
    assert alike.repeats is not None
    assert alike.repeats.throughput_per_second is not None
    assert alike.repeats.throughput_per_second.interval == pytest.approx((100, 100))


def test_two_repeats_have_no_interval_between_them() -> None:
    result = combined(repeats(90.0, 110.0, relative_interval=None))
    assert result.throughput_interval is None
    assert result.throughput_interval_note is not None
    assert "needs 3" in result.throughput_interval_note


def test_the_cost_is_that_of_the_throughput() -> None:
    result = combined(repeats(90.0, 100.0, 110.0, instance="c7i.xlarge"))
    (cost,) = result.costs
    expected = cost.usd_per_hour / 3600 / (result.throughput_per_second or 0) * 1e6
    assert cost.usd_per_million == pytest.approx(expected)
    assert cost.usd_per_million_interval is not None


def test_a_failed_repeat_is_counted_and_in_no_figure() -> None:
    result = combined(repeats(100.0, None, 100.0))
    assert result.repeats is not None
    assert (result.repeats.count, result.repeats.failed) == (2, 1)
    assert result.throughput_per_second == pytest.approx(100)
    assert [reason.code for reason in result.verdict.reasons] == ["repeats-failed"]
    assert result.error is None


def test_if_every_repeat_failed_the_cell_failed() -> None:
    result = combined(repeats(None, None))
    assert result.error is not None
    assert result.repeats is not None
    assert result.repeats.failed == 2


def test_a_reason_says_in_how_many_repeats_it_is() -> None:
    one, two, three = repeats(100.0, 100.0, 100.0)
    doubted = two.model_copy(
        update={"verdict": factories.result(reasons=(factories.DRIFT,)).verdict}
    )
    result = combined([one, doubted, three])
    assert result.verdict.status == "suspect"
    assert [(r.code, r.in_repeats) for r in result.verdict.reasons] == [("drift", 1)]


def test_a_single_result_is_unchanged() -> None:
    (result,) = repeats(100.0)
    assert combined([result]) is result


def test_repeats_are_grouped_by_settings_machine_and_software() -> None:
    one, two = repeats(100.0, 101.0)
    other_batch = factories.result(batch=2)
    other_machine = factories.result(machine=factories.G5)
    priced = factories.result(instance="c7i.xlarge")
    groups = grouped([two, other_batch, one, other_machine, priced])
    assert groups == [[one, priced, two], [other_batch], [other_machine]]


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
