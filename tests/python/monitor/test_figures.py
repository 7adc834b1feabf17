"""The metrics of a measurement."""

import dataclasses

import numpy as np
import pytest
from factories import failed, result, samples

from gpubench.monitor.definitions import BUCKETS_S, METRICS, MOST_SERIES
from gpubench.monitor.figures import beginning, label, measurement
from gpubench.monitor.series import MetricSeries
from gpubench.monitor.update import Update, parse_update
from gpubench.results.result import Cost, DeviceReport, GpuReport, Reason, Result, Verdict


def exported(*results: Result) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample that is exported after these measurements, by its name and labels."""
    series = MetricSeries()
    for each in results:
        series.update(parse_update(measurement(each).to_line()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in series.collect()
        for sample in family.samples
    }


def values(results: list[Result], name: str) -> list[float]:
    return [value for (each, _), value in exported(*results).items() if each == name]


def test_every_latency_is_in_the_bucket_that_holds_it() -> None:
    latency_s = np.array([*BUCKETS_S, 3e-6, 3.1, 1e4])
    due = np.arange(len(latency_s)) * 10**6
    made = dataclasses.replace(
        samples(len(latency_s)),
        scheduled_ns=due,
        completed_ns=due + np.round(latency_s * 1e9).astype(np.int64),
    )
    measured = result().with_samples(made, np.ones(len(made), np.bool_))
    found = exported(measured)
    for bound in BUCKETS_S:
        (count,) = (
            value
            for (name, labels), value in found.items()
            if name.endswith("_bucket") and ("le", f"{bound:g}") in labels
        )
        assert count == (latency_s <= bound).sum()
    assert values([measured], "gpubench_request_latency_seconds_count") == [len(latency_s)]
    (total,) = values([measured], "gpubench_request_latency_seconds_sum")
    assert total == pytest.approx(latency_s.sum())


def test_only_requests_that_count_are_in_the_histogram() -> None:
    made = samples(10)
    measured = result().with_samples(made, np.arange(10) < 4)
    assert values([measured], "gpubench_request_latency_seconds_count") == [4]


def test_what_was_not_measured_is_absent() -> None:
    names = {name for name, _ in exported(failed())}
    assert "gpubench_measurements_total" in names
    for absent in (
        "throughput_per_second",
        "latency_seconds",
        "queue_depth_mean",
        "gpu_clock_hertz",
    ):
        assert f"gpubench_{absent}" not in names


def test_a_figure_that_is_absent_the_second_time_is_no_longer_exported() -> None:
    first = result()
    second = first.model_copy(update={"throughput_per_second": None})
    assert values([first], "gpubench_throughput_per_second") == [first.throughput_per_second]
    assert values([first, second], "gpubench_throughput_per_second") == []


def test_measurements_are_counted_by_their_outcome_and_reasons() -> None:
    reason = Reason(code="cpu-busy", figure=1.0, limit=0.2, remedy="end them")
    suspect = result().model_copy(
        update={"verdict": Verdict(status="suspect", reasons=[reason, reason])}
    )
    found = exported(result(), suspect, failed(), suspect)
    outcomes = {
        dict(labels)["outcome"]: value
        for (name, labels), value in found.items()
        if name == "gpubench_measurements_total"
    }
    assert outcomes == {"valid": 1, "suspect": 2, "failed": 1}
    assert values([suspect, suspect], "gpubench_verdicts_total") == [2]


def test_the_cost_so_far_is_the_measured_time_at_the_price_of_an_hour() -> None:
    cost = Cost(instance="g5.xlarge", measured_here=True, usd_per_hour=36.0, usd_per_million=2.5)
    measured = result().model_copy(update={"costs": [cost]})
    assert measured.seconds is not None
    (usd,) = values([measured, measured], "gpubench_cost_usd_total")
    assert usd == pytest.approx(2 * measured.seconds.total * 0.01)
    assert values([measured], "gpubench_usd_per_million") == [2.5]


def test_each_gpu_has_its_own_figures() -> None:
    gpus = [GpuReport(device=f"cuda:{n}", name="L4", power_w=60.0 + n) for n in (0, 1)]
    measured = result().model_copy(update={"device": DeviceReport(gpus=gpus)})
    assert values([measured], "gpubench_gpu_power_watts") == [60.0, 61.0]
    assert values([measured], "gpubench_gpu_temperature_celsius") == []


def test_a_sweep_of_many_cells_exports_few_series() -> None:
    cells = [result(batch=batch) for batch in range(1, 501)]
    found = exported(*cells)
    assert len(values(cells[-MOST_SERIES:], "gpubench_throughput_per_second")) == MOST_SERIES
    assert len(found) < 1000
    assert len(values(cells, "gpubench_latency_seconds")) == 3 * MOST_SERIES
    last = {dict(labels).get("batch") for _, labels in found} - {None}
    assert last == {str(batch) for batch in range(501 - MOST_SERIES, 501)}


def test_models_beyond_the_limit_are_counted_together() -> None:
    cells = [result(model=f"m{number}.onnx") for number in range(80)]
    found = exported(*cells)
    counts = {
        dict(labels)["model"]: value
        for (name, labels), value in found.items()
        if name == "gpubench_requests_total"
    }
    assert len(counts) == MOST_SERIES
    completed = cells[0].requests.completed
    assert sum(counts.values()) == 80 * completed
    assert counts["other"] == (80 - (MOST_SERIES - 1)) * completed


def test_models_beyond_the_limit_begin_together() -> None:
    series = MetricSeries()
    for number in range(80):
        series.update(beginning(result(model=f"m{number}.onnx").spec))
    for family in series.collect():
        outcomes = 3 if family.name == "gpubench_measurements" else 1
        models = {sample.labels["model"] for sample in family.samples}
        assert len(models) == MOST_SERIES
        if family.type == "counter":
            assert len(family.samples) == (MOST_SERIES - 1) * outcomes + 1
        assert {sample.value for sample in family.samples} == {0}


def test_a_cell_that_begins_changes_no_counter() -> None:
    series, cell = MetricSeries(), result()
    series.update(measurement(cell))
    before = {each.name: each.samples for each in series.collect()}
    series.update(beginning(cell.spec))
    after = {each.name: each.samples for each in series.collect()}
    for name, found in before.items():
        assert all(sample in after[name] for sample in found)
    assert after["gpubench_requests"] == before["gpubench_requests"]


def test_a_label_is_short_and_visible() -> None:
    assert label("a\x1b[2J\u202eb\nc") == "a\\x1b[2J\\u202eb c"
    assert label("/x" * 200 + "/model.onnx").endswith("/x/model.onnx")
    assert len(label("y" * 5000)) == 100


def test_every_name_and_type_follows_the_conventions_of_prometheus() -> None:
    for name, definition in METRICS.items():
        assert name.startswith("gpubench_")
        assert name.endswith("_total") == (definition.kind == "counter")
        assert len(set(definition.labels)) == len(definition.labels)
        assert definition.text.endswith(".")


def test_a_line_that_was_cut_off_is_no_update() -> None:
    line = Update(add=[("gpubench_requests_total", ["a", "b", "c"], [1.0])]).to_line()
    with pytest.raises(ValueError):  # noqa: PT011
        parse_update(line[:-5])
