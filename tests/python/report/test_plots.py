"""The plots of a run directory, and that the drawing shows all of their content."""

from __future__ import annotations

from itertools import product
from typing import Any
from xml.etree import ElementTree

import pytest
from factories import DRIFT, G4DN, G5, WRONG_ANSWERS, failed, quick_start, result

from gpubench.report import svg
from gpubench.report.plots import MAX_LINES, Axis, Plot, Point, result_plots
from gpubench.results.result import Achieved, Result


def plotted(*results: Result) -> dict[str, Plot]:
    """By name."""
    return {plot.name: plot for plot in result_plots(results)[0]}


def points(plot: Plot) -> dict[str, list[Point]]:
    return {line.name: list(line.points) for line in plot.lines}


def by_batch(**settings: Any) -> list[Result]:
    return [result(10.0 * batch, 100.0, batch=batch, **settings) for batch in (1, 4, 16)]


def texts(plot: Plot) -> str:
    """All text of the drawing, in one line."""
    return " ".join("".join(ElementTree.fromstring(svg.draw(plot)).itertext()).split())


def test_throughput_over_batch_size_has_a_line_for_each_precision() -> None:
    plot = plotted(*by_batch(), *by_batch(precision="bf16"))["throughput-resnet50"]
    assert plot.x
    assert plot.x.title == "batch size (samples)"
    drawn = points(plot)
    assert list(drawn) == ["fp32", "bf16"]
    assert [(point.x, point.y) for point in drawn["bf16"]] == [(1, 10), (4, 40), (16, 160)]
    assert [point.interval for point in drawn["bf16"]] == [
        cell.throughput_interval for cell in by_batch(precision="bf16")
    ]


def with_shares(rates: dict[int, tuple[float, float | None]], **settings: Any) -> list[Result]:
    """A cell for each batch size: (throughput, share of the peak)."""
    return [
        result(rate, batch=batch, achieved=Achieved(peak_share=share), **settings)
        for batch, (rate, share) in rates.items()
    ]


def test_the_share_of_the_peak_is_beside_the_knee_of_each_line() -> None:
    rising = with_shares({1: (10, 0.1), 4: (40, 0.4), 16: (50, 0.5), 32: (51, 0.51)})
    unknown = with_shares({1: (10, None), 4: (20, None), 16: (21, None)}, precision="bf16")
    plots = plotted(*rising, *unknown)
    plot = plots["throughput-resnet50"]
    labels = {name: [p.label for p in line] for name, line in points(plot).items()}
    assert labels == {"fp32": ["", "", "50% of peak", ""], "bf16": ["", "", ""]}
    assert "50% of peak" in texts(plot)
    [remark] = [remark for remark in plot.remarks if "peak FLOP/s" in remark]
    assert "first point of a line with 95%" in remark
    assert not any("peak FLOP/s" in r for r in plots["trade-off-resnet50"].remarks)


def test_the_label_of_the_last_point_is_inside_the_picture() -> None:
    growing = with_shares({1: (10, 0.1), 8: (40, 0.4), 32: (90, 0.9)})
    figure = svg.figure(plotted(*growing)["throughput-resnet50"])
    figure.canvas.draw()
    (label,) = [text for text in figure.axes[0].texts if text.get_text()]
    assert label.get_text() == "90% of peak"
    assert label.get_window_extent().x1 <= figure.axes[0].bbox.x1


def test_a_line_of_two_points_has_no_knee() -> None:
    plot = plotted(*with_shares({1: (10, 0.1), 4: (10.1, 0.1)}))["throughput-resnet50"]
    assert [p.label for p in plot.lines[0].points] == ["", ""]
    assert not any("peak" in remark for remark in plot.remarks)


def test_latency_reaches_from_p50_to_p99_around_p95() -> None:
    [line] = plotted(*by_batch())["latency-resnet50"].lines
    assert [point.y for point in line.points] == [100.0] * 3
    assert line.points[0].spread == pytest.approx((92.0, 125.0))
    assert line.points[0].interval == pytest.approx((98.0, 102.0))


def test_latency_against_throughput_is_labelled_with_the_batch_size() -> None:
    plot = plotted(*by_batch())["trade-off-resnet50"]
    [line] = plot.lines
    assert [(p.x, p.y, p.label) for p in line.points] == [
        (10.0, 100.0, "1"),
        (40.0, 100.0, "4"),
        (160.0, 100.0, "16"),
    ]
    assert "The number at a point is its batch size (samples)." in plot.remarks


def test_prices_name_the_lines_of_the_cost_and_different_hardware_is_noted() -> None:
    cells = by_batch(instance=("c7i.xlarge", "c7a.4xlarge"))
    plot = plotted(*cells)["cost-resnet50"]
    drawn = points(plot)
    assert list(drawn) == ["c7i.xlarge", "c7a.4xlarge"]
    assert [point.y for point in drawn["c7a.4xlarge"]] == [
        cell.costs[1].usd_per_million for cell in cells
    ]
    assert "c7i.xlarge: not the hardware measured: 4 vCPUs priced, 2 cores measured" in plot.remarks
    assert any(remark.startswith("Prices: c7i.xlarge $0.1785/h") for remark in plot.remarks)


def test_without_a_price_there_is_no_plot_of_the_cost() -> None:
    assert set(plotted(*by_batch())) == {
        "throughput-resnet50",
        "latency-resnet50",
        "trade-off-resnet50",
    }


def test_an_open_loop_is_plotted_over_the_offered_rate() -> None:
    plots = plotted(*(result(rate, 100.0, rate=rate) for rate in (5.0, 10.0)), *by_batch())
    plot = plots["latency-resnet50-open-loop"]
    assert plot.x
    assert plot.x.title == "offered rate (requests/s)"
    assert [point.x for point in plot.lines[0].points] == [5.0, 10.0]
    assert len(plots["latency-resnet50"].lines[0].points) == 3  # the closed loop's, apart


def test_workers_are_the_axis_if_no_batch_size_differs() -> None:
    cells = [result(workers=1), result(workers=2), result(workers=4, clients=8)]
    assert [plotted(*some)["throughput-resnet50"].x for some in (cells[:2], cells)] == [
        Axis("workers", is_stepped=True),
        Axis("clients", is_stepped=True),
    ]


def test_a_memory_format_names_a_line_without_its_title() -> None:
    cells = [
        result(batch=batch, memory_format=each)
        for each in ("contiguous", "channels_last")
        for batch in (1, 4)
    ]
    plots = [plot for name, plot in plotted(*cells).items() if name.startswith("throughput")]
    assert [line.name for plot in plots for line in plot.lines] == ["contiguous", "channels_last"]


def test_if_no_number_differs_each_name_is_a_row() -> None:
    plots = plotted(result(10.0), result(12.0, runtime="eager"), result(9.0, precision="bf16"))
    assert set(plots) == {"throughput-resnet50", "latency-resnet50"}
    plot = plots["throughput-resnet50"]
    assert plot.x is None
    assert {name: p.y for name, [p] in points(plot).items()} == {
        "eager · fp32": 12.0,
        "torchscript · fp32": 10.0,
        "torchscript · bf16": 9.0,
    }


def test_a_single_result_has_no_plot_and_a_remark_says_so() -> None:
    plots, remarks = result_plots([result(), *by_batch(model="bert-base")])
    assert not any("resnet50" in plot.name for plot in plots)
    assert remarks == ["No plot of resnet50: it has fewer than two figures."]


def test_two_machines_are_lines_of_one_plot() -> None:
    cells = [cell for machine in (G5, G4DN) for cell in by_batch(machine=machine)]
    assert list(points(plotted(*cells)["throughput-resnet50"])) == ["g5.4xlarge", "g4dn.4xlarge"]


def test_machines_of_the_same_name_have_the_numbers_of_their_tables() -> None:
    other = by_batch()
    for cell in other:
        cell.environment.torch = "2.16.0"
    assert list(points(plotted(*by_batch(), *other)["throughput-resnet50"])) == [
        "2 cores of Intel(R) Xeon(R) Processor @ 2.10GHz (table 1)",
        "2 cores of Intel(R) Xeon(R) Processor @ 2.10GHz (table 2)",
    ]


def test_a_failed_cell_is_absent_never_zero_and_counted() -> None:
    plot = plotted(*by_batch(), failed(batch=64))["throughput-resnet50"]
    assert [point.x for line in plot.lines for point in line.points] == [1, 4, 16]
    assert "Not drawn for lack of this figure: 1 of 4 results." in plot.remarks


def test_many_lines_become_several_plots_with_the_same_scale() -> None:
    runtimes, workers = ("eager", "compile", "torchscript"), (1, 2, 4)
    cells = [
        result(10.0 * batch * w, 100.0, batch=batch, runtime=runtime, workers=w, threads=1)
        for runtime, w, batch in product(runtimes, workers, (1, 2))
    ]
    plots = [plot for name, plot in plotted(*cells).items() if name.startswith("throughput")]
    assert [plot.title for plot in plots] == [
        "Throughput: resnet50, compile",
        "Throughput: resnet50, eager",
        "Throughput: resnet50, torchscript",
    ]
    assert [plot.y_limit for plot in plots] == [pytest.approx(80 * 1.02)] * 3
    assert [plot.x_values for plot in plots] == [(1, 2)] * 3
    assert all(len(plot.lines) <= MAX_LINES for plot in plots)
    drawn = [point for plot in plots for line in plot.lines for point in line.points]
    assert len(drawn) == len(cells)


def test_a_runtime_that_always_failed_has_an_empty_plot_that_says_so() -> None:
    runtimes, workers = ("eager", "compile", "torchscript"), (1, 2, 4)
    cells = [
        (failed if runtime == "eager" else result)(
            batch=batch, runtime=runtime, workers=w, threads=1
        )
        for runtime, w, batch in product(runtimes, workers, (1, 2))
    ]
    said = texts(plotted(*cells)["throughput-resnet50-eager"])
    assert "Not drawn for lack of this figure: 6 of 6 results." in said


def test_if_only_one_batch_size_has_figures_they_are_drawn_at_it() -> None:
    cells = [result(), result(precision="bf16"), failed(batch=64), failed(batch=64, seed=1)]
    plot = plotted(*cells)["throughput-resnet50"]
    assert plot.x_values == (1,)
    assert "1 batch size (samples)" in texts(plot)


def test_models_whose_names_make_the_same_file_name_keep_a_plot_each() -> None:
    plots = plotted(*by_batch(model="hub:a/b"), *by_batch(model="hub:a:b"))
    assert {"throughput-hub-a-b", "throughput-hub-a-b-2"} <= set(plots)


def test_suspect_figures_are_marked() -> None:
    wrong, suspect = result(batch=2, reasons=(WRONG_ANSWERS,)), result(batch=8, reasons=(DRIFT,))
    for plot in plotted(*by_batch(), wrong, suspect).values():
        [line] = plot.lines
        assert [point.is_suspect for point in line.points] == [False, True, False, True, False]
        assert [p.has_wrong_answers for p in line.points] == [False, True, False, False, False]


def test_every_interval_of_both_axes_is_inside_the_plot() -> None:
    for plot in plotted(*by_batch(relative_interval=0.9)).values():
        for point in (point for line in plot.lines for point in line.points):
            assert point.interval
            assert point.interval[1] <= plot.y_limit
            assert point.x_interval is None or point.x_interval[1] <= plot.x_limit


def test_the_drawing_says_what_its_marks_mean() -> None:
    sound = by_batch()
    plain = texts(plotted(*sound)["latency-resnet50"])
    assert "bar: 95% interval" in plain
    assert "pale bar: from P50 to P99" in plain
    assert "hollow" not in plain
    assert "crossed" not in plain

    suspect = texts(plotted(*sound, result(batch=2, reasons=(DRIFT,)))["throughput-resnet50"])
    assert "hollow: suspect, see its verdict" in suspect
    assert "Suspect: drift." in suspect
    assert "crossed" not in suspect

    wrong = texts(plotted(*sound, result(batch=2, reasons=(WRONG_ANSWERS,)))["latency-resnet50"])
    assert "crossed: wrong answers" in wrong
    assert "the outputs differ from the fp32 reference" in wrong


def test_without_intervals_the_legend_has_none() -> None:
    plot = plotted(*by_batch(relative_interval=None))["throughput-resnet50"]
    assert "95% interval" not in texts(plot)


def test_every_interval_is_a_bar_that_is_drawn() -> None:
    def strokes(plot: Plot) -> int:
        return svg.draw(plot).count("<path")

    with_bars = plotted(*by_batch())["throughput-resnet50"]
    without = plotted(*by_batch(relative_interval=None))["throughput-resnet50"]
    assert strokes(with_bars) == strokes(without) + 3 + 1  # and one in the legend


def test_axes_have_units_and_ticks_at_the_batch_sizes_measured() -> None:
    said = texts(plotted(*by_batch())["throughput-resnet50"])
    assert "throughput (inferences/s)" in said
    assert "1 4 16 batch size (samples)" in said
    assert "2 cores of Intel(R) Xeon(R) Processor @ 2.10GHz" in said
    assert "torchscript · random weights" in said


def test_names_are_text_and_never_markup_or_formulas() -> None:
    model = "<script>&$x^2$"
    cells = [cell.model_copy(deep=True) for cell in by_batch()]
    for cell in cells:
        cell.spec.__dict__["model"] = model
    [plot] = [p for p in plotted(*cells).values() if p.title.startswith("Throughput")]
    document = svg.draw(plot)
    assert "<script" not in document
    assert f"Throughput: {model}" in texts(plot)
    assert plot.name == "throughput-script-x-2"


def test_the_same_plot_gives_the_same_text() -> None:
    for name, plot in plotted(*quick_start()).items():
        assert svg.draw(plot) == svg.draw(plotted(*quick_start())[name])
        assert "<dc:date>" not in svg.draw(plot)


def test_elements_of_one_page_share_no_ids() -> None:
    ids: list[str] = []
    for name, plot in plotted(*by_batch()).items():
        tree = ElementTree.fromstring(svg.element(svg.draw(plot), name))
        own = [node.attrib["id"] for node in tree.iter() if "id" in node.attrib]
        href = "{http://www.w3.org/1999/xlink}href"
        used = [node.attrib[href][1:] for node in tree.iter() if href in node.attrib]
        assert used
        assert set(used) <= set(own)
        ids += set(own)
    assert len(ids) == len(set(ids))
