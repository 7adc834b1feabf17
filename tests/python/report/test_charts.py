"""The charts of a run directory: their rows are the results, and their specifications are valid."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import altair
import numpy as np
import pytest
from factories import DRIFT, G5, WRONG_ANSWERS, failed, quick_start, repeated, result, samples

from gpubench.errors import InputError
from gpubench.planning.compare import compare
from gpubench.report.charts import files, marks
from gpubench.report.charts.chart import ChartSet, Json, Row
from gpubench.report.charts.comparison_charts import comparison_charts
from gpubench.report.charts.request_rows import MOST_SHARES, MOST_TIMES, distribution
from gpubench.report.charts.result_charts import result_charts
from gpubench.report.charts.size_charts import size_charts
from gpubench.results.result import (
    Achieved,
    CountedRows,
    DeviceReport,
    GpuReadings,
    GpuReport,
    Result,
    Stages,
    StageSummary,
)


def by_batch(**settings: Any) -> list[Result]:
    return [result(10.0 * batch, 100.0 + batch, batch=batch, **settings) for batch in (1, 4, 16)]


def many(count: int) -> list[Result]:
    """Cells of three models, with three prices each."""
    models, precisions, batches = ("resnet50", "bert-base", "distilbert"), ("fp32", "bf16"), 84
    cells = [
        result(
            10.0 * batch**0.7 + len(model),
            100.0 * batch**0.4,
            model=model,
            precision=precision,
            batch=batch,
            machine=G5,
            instance=("g5.4xlarge", "g4dn.4xlarge", "g5.xlarge"),
        )
        for model in models
        for precision in precisions
        for batch in range(1, batches + 1)
    ]
    return cells[:count]


def rows(charts: ChartSet, table: str, *names: str) -> list[tuple[Json, ...]]:
    return [tuple(row[name] for name in names) for row in charts.tables[table]]


def test_each_cell_is_a_row_with_its_figures_and_intervals() -> None:
    charts = result_charts(by_batch())
    assert rows(charts, "cells", "x", "throughput", "p95", "p95_low", "p95_high") == [
        (
            batch,
            10.0 * batch,
            100.0 + batch,
            *(pytest.approx(f * (100 + batch)) for f in (0.98, 1.02)),
        )
        for batch in (1, 4, 16)
    ]


def test_the_front_has_the_cells_that_no_other_beats() -> None:
    slow, dominated = result(5.0, 300.0, batch=2), result(39.0, 105.0, batch=8)
    charts = result_charts([*by_batch(), slow, dominated])
    assert [key for key, front in rows(charts, "cells", "x", "front") if front] == [1, 4, 16]


def test_suspect_cells_are_on_the_front_only_if_there_are_no_valid_ones() -> None:
    doubtful = result(1000.0, 1.0, batch=2, reasons=(DRIFT,))
    wrong = result(2000.0, 0.5, batch=8, reasons=(WRONG_ANSWERS,))
    mixed = result_charts([*by_batch(), doubtful, wrong])
    assert [x for x, front in rows(mixed, "cells", "x", "front") if front] == [1, 4, 16]
    only = result_charts([doubtful, wrong])
    assert rows(only, "cells", "x", "front", "suspect", "wrong") == [
        (2, True, True, False),
        (8, False, True, True),
    ]


def test_the_front_of_the_cost_has_the_cheapest_of_each_latency() -> None:
    charts = result_charts(by_batch(instance=("c7i.xlarge", "c7a.4xlarge")))
    assert rows(charts, "costs", "price", "front") == [
        (name, name == "c7i.xlarge") for _ in range(3) for name in ("c7i.xlarge", "c7a.4xlarge")
    ]


def test_a_row_is_named_by_the_number_of_its_row_in_the_tables() -> None:
    charts = result_charts([*by_batch(), *by_batch(precision="bf16")][::-1])
    assert rows(charts, "cells", "key", "cell") == [
        ("1", "fp32 · batch 1"),
        ("2", "fp32 · batch 4"),
        ("3", "fp32 · batch 16"),
        ("4", "bf16 · batch 1"),
        ("5", "bf16 · batch 4"),
        ("6", "bf16 · batch 16"),
    ]
    assert set(rows(charts, "cells", "colour")) == {("fp32",), ("bf16",)}


def test_the_knee_of_a_line_has_its_share_of_the_peak() -> None:
    cells = [
        result(rate, batch=batch, achieved=Achieved(peak_share=share))
        for batch, rate, share in ((1, 10, 0.1), (4, 40, 0.4), (16, 50, 0.5), (32, 51, 0.51))
    ]
    charts = result_charts(cells)
    assert rows(charts, "cells", "knee") == [
        ("",), ("",), ("knee, 50% of peak",), ("",)
    ]  # fmt: skip


def test_the_repeats_of_a_cell_are_one_row_with_the_figures_of_each() -> None:
    charts = result_charts([*repeated(100.0, 110.0, None), *by_batch(precision="bf16")])
    [repeats] = [figures for (figures,) in rows(charts, "cells", "repeats_throughput") if figures]
    assert repeats == [100.0, 110.0]


def test_cells_without_figures_are_counted_below_the_chart() -> None:
    charts = result_charts([*by_batch(), failed(batch=64)])
    assert len(charts.tables["cells"]) == 3
    assert all(
        "Not drawn for lack of a figure: 1 of 4 cells." in chart.remarks
        for chart in charts.charts
        if chart.name == "trade-off"
    )


def test_there_is_a_reason_for_each_chart_that_is_absent() -> None:
    charts = result_charts([failed()])
    assert charts.charts == ()
    assert any("latency against throughput" in remark for remark in charts.remarks)
    assert result_charts([]).charts == ()


def test_more_lines_than_colours_have_the_colour_of_their_first_setting() -> None:
    cells = [
        result(10.0 * batch, batch=batch, workers=workers, precision=precision)
        for batch in (1, 2)
        for workers in (1, 2, 4, 8)
        for precision in ("fp32", "bf16")
    ]
    charts = result_charts(cells)
    assert set(rows(charts, "cells", "colour")) == {("fp32",), ("bf16",)}
    assert len(set(rows(charts, "cells", "shape"))) == 4


def test_specifications_are_valid_and_use_only_tables_of_the_set() -> None:
    import altair

    charts = result_charts(quick_start(), objective_ms=100.0)
    assert len(charts.charts) <= 6
    for chart in charts.charts:
        altair.Chart.from_dict(dict(chart.spec))  # validates
        assert set(chart.data) == set(tables_of(chart.spec))
        assert set(chart.data) <= set(charts.tables)
        named = [parameter["name"] for parameter in chart.spec["params"]]  # type: ignore[index, call-overload, union-attr]
        assert set(chart.parameters) <= set(named)


def tables_of(spec: Json) -> list[str]:
    """The names of the tables in a specification."""
    if isinstance(spec, Mapping):
        data = spec.get("data")
        own = [str(data["name"])] if isinstance(data, Mapping) and "name" in data else []
        return own + [name for value in spec.values() for name in tables_of(value)]
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return [name for value in spec for name in tables_of(value)]
    return []


HOSTILE = "</script><b>&amp;'\"; datum.x + alert(1) \x1b[31m\u202e a.b[0] ${x} {{y}}"


def without_domains(spec: Json) -> Json:
    """The specification without lists of values of a field, which Vega never evaluates."""
    if isinstance(spec, Mapping):
        lists = {"domain", "values"}
        return {name: without_domains(value) for name, value in spec.items() if name not in lists}
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return [without_domains(value) for value in spec]
    return spec


def test_names_are_values_and_never_a_part_of_a_specification() -> None:
    cells = [cell.model_copy(deep=True) for cell in [*by_batch(), *by_batch(precision="bf16")]]
    for cell in cells:
        cell.spec.__dict__["model"] = HOSTILE
        cell.spec.__dict__["runtime"] = f"{HOSTILE}{cell.spec.precision}"
    charts = result_charts(cells)
    for chart in charts.charts:
        text = json.dumps(without_domains(chart.spec))
        assert "alert" not in text
        assert "script" not in text
        document = files.svg(charts, chart)
        assert "<script" not in document
        assert "\x1b" not in document
        assert "\u202e" not in document
        assert "datum.x + alert(1)" in document  # as a text


def test_specifications_are_valid_vega_lite() -> None:
    """They are made without validation."""
    results = [*quick_start(), *by_batch()]
    pairs = compare(by_batch(), by_batch())
    models = [
        result(model=model, precision=precision)
        for model in ("resnet50", "bert-base")
        for precision in ("fp32", "bf16")
    ]
    for each in models:
        each.engine.flops = 1e9
    for charts in (result_charts(results), size_charts(models), comparison_charts([pairs])):
        assert charts.charts
        for chart in charts.charts:
            altair.Chart.from_json(json.dumps(files.document(charts, chart)), validate=True)


def test_scaling_without_p95_is_the_throughput_alone() -> None:
    cells = by_batch()
    for cell in cells:
        cell.latency_ms.p95 = None
    [chart] = [each for each in result_charts(cells).charts if each.name == "scaling"]
    assert chart.title.startswith("Throughput over batch size")
    assert "P95 latency (ms)" not in json.dumps(chart.spec)


def test_a_shape_without_a_name_is_not_in_the_legend() -> None:
    rows = [{"shape": shape, "colour": "c", "panel": "p"} for shape in ("", "fp32", "bf16", "fp32")]
    assert marks.look("x", ("runtime", "precision"), rows).shapes == ["fp32", "bf16"]


def test_a_picture_has_a_mark_for_each_point() -> None:
    charts = result_charts(by_batch())
    document = files.svg(charts, charts.charts[0])
    for batch in (1, 4, 16):
        assert f"P95 ms: {100 + batch};" in document  # each mark has its figures as a label
    assert document == files.svg(result_charts(by_batch()), charts.charts[0])
    assert "<title>" in document or "P95 latency against throughput: resnet50" in document


def test_the_bar_of_an_instance_is_its_cheapest_cell_within_the_objective() -> None:
    cells = by_batch(instance=("c7i.xlarge", "c7a.4xlarge"))  # P95: 101, 104 and 116 ms

    def labels(objective_ms: float | None) -> list[str]:
        charts = result_charts(cells, objective_ms=objective_ms)
        [chart] = [each for each in charts.charts if each.name == "instances"]
        return re.findall(r">(\$[^<]*)<", files.svg(charts, chart))

    cheapest = [cells[2].costs[0].usd_per_million, cells[2].costs[1].usd_per_million]
    within = [cells[1].costs[0].usd_per_million, cells[1].costs[1].usd_per_million]
    assert labels(None) == [f"${usd:.3g}" for usd in cheapest]
    assert labels(110.0) == [f"${usd:.3g}" for usd in within]
    assert labels(50.0) == [f"${usd:.3g}, misses the objective" for usd in cheapest]


def test_in_one_picture_each_chart_has_its_own_colours_and_legend() -> None:
    cells = [
        *by_batch(instance=("c7i.xlarge", "c7a.4xlarge")),
        *by_batch(precision="bf16", instance=("c7i.xlarge", "c7a.4xlarge")),
    ]
    charts = result_charts(cells)
    picture = files.svg(charts)
    for name in ("fp32", "bf16", "c7i.xlarge · fp32", "c7a.4xlarge · bf16"):
        assert f">{name}<" in picture
    together = Counter(re.findall(r"#[0-9A-F]{6}", picture))
    apart: Counter[str] = Counter()
    for chart in charts.charts:
        apart += Counter(re.findall(r"#[0-9A-F]{6}", files.svg(charts, chart)))
    assert together == apart


def test_500_cells_stay_small() -> None:
    charts = result_charts(many(500))
    assert len(charts.tables["cells"]) == 500
    size = len(json.dumps({name: [*map(dict, each)] for name, each in charts.tables.items()}))
    assert size < 1_000_000
    assert sum(len(json.dumps(chart.spec)) for chart in charts.charts) < 100_000
    assert len(charts.charts) <= 6


def test_no_row_has_a_field_that_comes_from_a_result() -> None:
    charts = result_charts(quick_start())
    for table in charts.tables.values():
        first: Row = table[0]
        assert all(set(row) == set(first) for row in table)
        assert all(name.isidentifier() for name in first)


def with_requests(cell: Result, seconds: float = 4.0) -> Result:
    """Its samples: 1,000 requests, of which every tenth takes ten times as long."""
    made = samples(1000)
    latency_ns = np.where(np.arange(1000) % 10 == 9, 10_000_000, 1_000_000)
    made = replace(made, completed_ns=made.scheduled_ns + latency_ns)
    first = int(made.scheduled_ns[0])
    cell.window.counted = CountedRows(
        stamp="scheduled_ns", from_ns=first, to_ns=first + int(seconds * 1e9)
    )
    return cell.with_samples(made, None)


def test_the_distribution_of_the_requests_ends_with_the_slowest_one() -> None:
    [row] = result_charts([with_requests(result())]).tables["requests"]
    assert isinstance(row["ms"], list)
    assert isinstance(row["share"], list)
    points = dict(zip(row["share"], row["ms"], strict=True))
    assert (points[1.0], points[0.001]) == (1.0, 10.0)
    assert all(ms == (10.0 if share <= 0.1 else 1.0) for share, ms in points.items())
    assert len(points) <= MOST_SHARES


def test_an_unfinished_request_is_slower_than_all_others() -> None:
    assert distribution(np.array([1.0, 2.0]), 2, 10) == {"ms": [1.0, 2.0], "share": [1.0, 0.75]}


def test_parts_of_the_window_without_requests_have_a_rate_of_0_and_no_latency() -> None:
    [row] = result_charts([with_requests(result())]).tables["requests"]
    rate, median, highest = row["rate"], row["median"], row["highest"]
    assert isinstance(rate, list)
    assert isinstance(median, list)
    assert isinstance(highest, list)
    assert len(rate) == MOST_TIMES
    assert rate[:50] == [1000.0] * 50  # 20 ms each; the requests end after the first of 4 seconds
    assert rate[50:] == [0.0] * 150
    assert median[:50] == [1.0] * 50
    assert highest[:50] == [10.0] * 50
    assert median[50:] == highest[50:] == [None] * 150


def with_gpus(cell: Result, *power_w: float | None, count: int = 20) -> Result:
    """Readings of a GPU for each of the powers, evenly over the four seconds of the window."""
    gpus = [
        GpuReport(
            device=f"cuda:{number}",
            readings=GpuReadings(
                seconds=[4 * n / count for n in range(count)],
                sm_clock_mhz=[1410.0 - n for n in range(count)],
                power_w=[watts] * count,
                total=count,
            ),
        )
        for number, watts in enumerate(power_w)
    ]
    return with_requests(cell).model_copy(update={"device": DeviceReport(gpus=gpus)})


def requests_of(charts: ChartSet) -> str:
    """The picture of the requests of the first cell."""
    [chart] = [each for each in charts.charts if each.name == "requests"]
    assert set(chart.data) == set(tables_of(chart.spec))
    return files.svg(charts, chart)


def read_with(cells: list[Result]) -> ChartSet:
    """Charts of cells whose samples are lost when they are copied."""
    made = with_requests(result()).samples
    return result_charts(cells, samples=lambda _: made)


def test_clocks_and_power_have_a_line_for_each_gpu_and_the_readings_as_points() -> None:
    charts = read_with([with_gpus(result(), 120.0, 130.0)])
    assert rows(charts, "readings", "key", "gpu") == [("1", "cuda:0"), ("1", "cuda:1")]
    first = charts.tables["readings"][0]
    assert first["s"] == pytest.approx([0.2 * n for n in range(20)])
    assert first["mhz"] == [1410.0 - n for n in range(20)]
    picture = requests_of(charts)
    for number in range(20):
        assert f'cuda:0, {first["s"][number]:g} s, SM clock (MHz): {1410 - number}"' in picture  # type: ignore[index]
    assert picture.count(', power (W): 130"') >= 20
    assert picture.count(">time in the window (s)<") == 4


def test_a_figure_that_no_cell_has_gets_no_picture() -> None:
    picture = requests_of(read_with([with_gpus(result(), None)]))
    assert ">SM clock (MHz)<" in picture
    assert ">power (W)<" not in picture
    charts = read_with([with_gpus(result())])
    assert "readings" not in charts.tables
    assert "SM clock" not in requests_of(charts)


def test_a_cell_without_readings_beside_one_with_them_says_so() -> None:
    charts = read_with([with_requests(result(99.0)), with_gpus(result(batch=4), 120.0)])
    assert rows(charts, "readings", "key", "gpu", "mhz")[0] == ("1", "not measured", [None])
    picture = requests_of(charts)
    assert ">not measured<" in picture
    assert 'MHz): 0"' not in picture


def test_the_readings_are_those_of_the_repeat_whose_requests_are_shown() -> None:
    cells = [
        with_gpus(cell, watts)
        for cell, watts in zip(repeated(90.0, 100.0, 110.0), (1.0, 2.0, 3.0), strict=True)
    ]
    [row] = read_with(cells).tables["readings"]
    assert set(row["watts"]) == {2.0}  # type: ignore[arg-type]


def test_the_readings_of_500_cells_stay_small() -> None:
    charts = read_with([with_gpus(cell, *[250.5] * 8, count=200) for cell in many(500)])
    table = charts.tables["readings"]
    assert len(table) == 4000
    assert len(json.dumps(table, separators=(",", ":"))) < 500_000
    assert table[0]["s"] == [0.0, pytest.approx(1.32), pytest.approx(2.66), 3.98]


def test_without_samples_there_is_no_chart_of_requests() -> None:
    assert any("single requests" in remark for remark in result_charts(by_batch()).remarks)

    def damaged(_: Result) -> None:
        raise InputError("x.parquet is not a sample file")

    charts = result_charts([with_requests(result())], samples=damaged)
    assert any("x.parquet is not a sample file" in remark for remark in charts.remarks)


def test_stages_add_up_and_the_front_has_a_bar_first() -> None:
    cells = []
    for number in range(40):
        cell = result(10.0 + number, 100.0 + number, batch=number + 1)
        times = {name: StageSummary(mean=ms, p50=ms, p95=ms) for name, ms in STAGES.items()}
        cells.append(cell.model_copy(update={"stages_ms": Stages.model_validate(times)}))
    charts = result_charts(cells)
    table = charts.tables["stages"]
    assert len(table) == 40
    assert table[0]["stage"] == ["queue", "compute", "return"]
    assert table[0]["ms"] == [1.0, 4.0, 0.5]
    shown = {str(row["key"]) for row in table if row["shown"]}
    assert len(shown) == 30
    assert str(40) in shown  # the highest throughput
    [chart] = [each for each in charts.charts if each.name == "stages"]
    assert any("30 of 40 cells" in remark for remark in chart.remarks)


STAGES = {"compute": 4.0, "return": 0.5, "queue": 1.0}


def test_a_ratio_has_a_row_for_each_pair_and_figure_with_its_answer() -> None:
    def side(factor: float) -> list[Result]:
        cells = []
        for batch in (1, 4):
            speeds = [factor * batch * (100.0 + each) for each in range(4)]
            cells += repeated(*speeds, batch=batch, instance="c7i.xlarge")
        return cells

    charts = comparison_charts([compare(side(1.0), side(1.1))])
    table = charts.tables["pairs"]
    assert [row["cell"] for row in table] == ["batch 1", "batch 4"] * 3
    ratios = [1.1, 1.1, *[1 / 1.1] * 4]  # throughput, then P95 latency and cost
    assert [row["ratio"] for row in table] == pytest.approx(ratios, rel=1e-4)
    assert [row["colour"] for row in table] == ["B is better"] * 6
    document = files.svg(charts)
    assert "B is better" in document
    assert comparison_charts([]).charts == ()


def test_the_same_colour_is_the_same_setting_in_all_charts() -> None:
    charts = result_charts([*by_batch(), *by_batch(precision="bf16")])
    domains = [
        found for chart in charts.charts for found in domains_of(chart.spec) if "bf16" in found
    ]
    assert len(domains) > 2
    assert all(domain == ["fp32", "bf16"] for domain in domains)


def domains_of(spec: Json) -> list[Any]:
    if isinstance(spec, Mapping):
        own = [spec["domain"]] if isinstance(spec.get("domain"), list) else []
        return own + [found for value in spec.values() for found in domains_of(value)]
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return [found for value in spec for found in domains_of(value)]
    return []


def with_training() -> list[Result]:
    """Two inferences and two steps of one model, and a model without a P95."""
    price: dict[str, Any] = {"machine": G5, "instance": ("g5.4xlarge", "g5.xlarge")}
    step: dict[str, Any] = {"task": "train", "runtime": "eager", "optimizer": "sgd", "replicas": 1}
    steps = [result(2.0 * n, 900.0, accumulate=n, **step, **price) for n in (1, 2)]
    return [*by_batch(**price)[:2], *steps, result(5.0, None, model="distilbert", **price)]


def test_an_objective_is_not_about_steps_of_training() -> None:
    charts = result_charts(with_training(), objective_ms=200.0)
    cells, costs = charts.tables["cells"], charts.tables["costs"]
    for rows in (cells, costs):
        lines = [row["panel"] for row in rows if row["first"]]
        assert lines == ["resnet50"]
    assert {row["panel"] for row in costs if row["serves"]} == {"resnet50", "distilbert"}
    # The key of a row is the number of the cell in the tables, where training comes last.
    keys = {row["panel"]: row["key"] for row in cells}
    assert keys == {"distilbert": "1", "resnet50": "3", "resnet50, training": "5"}
    assert "throughput (samples/s)" in json.dumps(charts.charts[0].spec)


def test_a_model_without_the_figures_has_no_empty_panel() -> None:
    trade_off = result_charts(with_training()).charts[0]
    assert trade_off.name == "trade-off"
    shown = [each["filter"] for each in trade_off.spec["transform"]]  # type: ignore[union-attr, index, call-overload]
    assert shown == [{"field": "panel", "oneOf": ["resnet50", "resnet50, training"]}]
