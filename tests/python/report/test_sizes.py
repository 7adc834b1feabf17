"""Models side by side: which cell stands for a model, and what the table and the plots show."""

from __future__ import annotations

from typing import Any, Literal
from xml.etree import ElementTree

import pytest
from factories import DRIFT, G4DN, G5, WRONG_ANSWERS, failed, repeated, result

from gpubench.report import markdown, svg, terminal
from gpubench.report.sizes import size_plots, size_tables, variants
from gpubench.results.result import Accuracy, AccuracyData, Result


def sized(
    throughput: float = 20.0,
    *,
    model: str = "resnet50",
    parameters: int | None = 25_557_032,
    flops: float | None = 8.2e9,
    artifact_bytes: int | None = 100 * 2**20,
    accuracy: float | None = None,
    drop: float | None = None,
    data: str = "labelled.parquet",
    metric: Literal["top1", "f1"] = "top1",
    **settings: Any,
) -> Result:
    measured = result(throughput, 50.0, model=model, instance="c7i.xlarge", **settings)
    engine = measured.engine.model_copy(
        update={"parameters": parameters, "flops": flops, "artifact_bytes": artifact_bytes}
    )
    figures = None
    if accuracy is not None:
        figures = Accuracy(
            metric=metric,
            value=accuracy,
            interval=(accuracy - 0.01, accuracy + 0.01),
            samples=5000,
            reference=None if drop is None else accuracy + drop,
            drop=drop,
            data=AccuracyData(name=data),
        )
    return measured.model_copy(update={"engine": engine, "accuracy": figures})


def distilbert(throughput: float = 40.0, **settings: Any) -> Result:
    sizes: dict[str, Any] = {"parameters": 66_362_880, "flops": 11.2e9}
    return sized(throughput, model="distilbert", **sizes, **settings)


def bert(throughput: float = 20.0, **settings: Any) -> Result:
    sizes: dict[str, Any] = {"parameters": 109_482_240, "flops": 22.4e9}
    return sized(throughput, model="bert-base", **sizes, **settings)


def test_one_model_has_neither_table_nor_plot() -> None:
    cells = [sized(), sized(30, precision="bf16"), sized(25, batch=4)]
    assert size_tables(cells) == []
    assert size_plots(cells) == []


def test_one_model_with_two_accuracies_has_both() -> None:
    cells = [sized(accuracy=0.761), sized(50, precision="bf16", accuracy=0.760)]
    assert len(size_tables(cells)) == len(size_plots(cells)) == 1


def test_a_row_has_the_sizes_the_speed_and_the_price_of_a_model() -> None:
    [table] = size_tables([bert(), distilbert()])
    titles = [column.title for column in table.columns]
    small, large = (
        dict(zip(titles, [cell.text for cell in row], strict=True)) for row in table.rows
    )
    assert (small["model"], large["model"]) == ("distilbert", "bert-base")  # the smaller one first
    assert (small["parameters M"], small["GFLOP"], small["artifact MiB"]) == ("66.4", "11.2", "100")
    assert (small["inferences /s"], small["P95 ms"]) == ("40.0 ±0.8", "50.0")
    assert small["$/million c7i.xlarge"] == "1.24 ±0.03"
    assert small["verdict"] == "valid"
    assert "accuracy" not in titles


def test_a_size_that_no_model_has_is_no_column() -> None:
    [table] = size_tables([bert(artifact_bytes=None), distilbert(artifact_bytes=None)])
    assert "artifact MiB" not in [column.title for column in table.columns]


def test_the_valid_cell_with_the_highest_throughput_stands_for_a_model() -> None:
    best = sized(30, batch=4)
    cells = [
        sized(20),
        best,
        sized(60, batch=8, reasons=(DRIFT,)),
        sized(90, batch=16, reasons=(WRONG_ANSWERS,)),
        failed(batch=32),
    ]
    assert variants(cells) == [best]
    assert variants([cells[2], cells[3]]) == [cells[2]]
    assert variants([failed()]) == []


def test_the_synthetic_model_is_not_among_them() -> None:
    cells = [sized(), result(1000.0, model="synthetic", service_time="1ms")]
    assert size_tables(cells) == []


def test_every_precision_and_runtime_has_a_row() -> None:
    cells = [
        sized(20),
        sized(30, precision="bf16"),
        sized(40, precision="int8", runtime="onnxruntime"),
        distilbert(),
    ]
    [table] = size_tables(cells)
    assert len(table.rows) == 4


def test_an_open_loop_does_not_stand_for_a_closed_one() -> None:
    assert len(variants([sized(20), sized(10, rate=10.0)])) == 2


def test_repeats_of_a_cell_are_one_row() -> None:
    cells = [*repeated(20.0, 20.1, 20.2), *repeated(40.0, 40.1, 40.2, model="distilbert")]
    [table] = size_tables(cells)
    assert len(table.rows) == 2


def test_each_machine_has_its_table() -> None:
    cells = [
        result(100.0, model=model, machine=machine)
        for model in ("resnet50", "distilbert")
        for machine in (G5, G4DN)
    ]
    machines = [dict(table.facts)["models on"] for table in size_tables(cells)]
    assert [machine.split(" · ")[0] for machine in machines] == ["g5.4xlarge", "g4dn.4xlarge"]


def test_accuracy_and_drop_are_columns_where_they_were_measured() -> None:
    cells = [bert(accuracy=0.92, drop=0.0), distilbert(accuracy=0.905, drop=0.012), sized()]
    shown = terminal.text(size_tables(cells), 250)
    assert "90.5" in shown
    assert "1.2" in shown
    assert {"accuracy", "drop"} <= set(markdown.text(size_tables(cells)).split())


def test_cost_is_plotted_against_accuracy() -> None:
    cells = [bert(accuracy=0.92), distilbert(accuracy=0.905), sized()]
    [plot] = size_plots(cells)
    assert plot.name == "models-cost-top-1-accuracy"
    assert plot.x
    assert not plot.x.begins_at_zero
    [small, large] = plot.lines
    assert (small.name, large.name) == ("distilbert", "bert-base")
    [point] = small.points
    assert (point.x, point.y) == (90.5, cells[1].costs[0].usd_per_million)
    assert point.x_interval == pytest.approx((89.5, 91.5))
    assert "Not drawn for lack of a figure: 1 of 3 variants." in plot.remarks


def test_accuracies_on_other_data_have_another_plot() -> None:
    cells = [
        make(accuracy=0.9, data=data, precision=precision)
        for make in (bert, distilbert)
        for data, precision in (("a.parquet", "fp32"), ("b.parquet", "bf16"))
    ]
    plots = size_plots(cells)
    assert [plot.name for plot in plots] == [
        "models-cost-top-1-accuracy",
        "models-cost-top-1-accuracy-2",
    ]
    assert [plot.x and "a.parquet" in plot.x.title for plot in plots] == [True, False]
    assert [len(line.points) for plot in plots for line in plot.lines] == [1] * 4


def test_each_metric_has_its_plot() -> None:
    cells = [
        bert(accuracy=0.92),
        distilbert(accuracy=0.9),
        bert(accuracy=0.88, metric="f1", precision="bf16"),
        distilbert(accuracy=0.87, metric="f1", precision="bf16"),
    ]
    assert [plot.name for plot in size_plots(cells)] == [
        "models-cost-top-1-accuracy",
        "models-cost-f1-accuracy",
    ]


def test_without_accuracy_cost_is_plotted_against_the_arithmetic() -> None:
    [plot] = size_plots([bert(), distilbert()])
    assert plot.name == "models-cost-arithmetic"
    assert [line.name for line in plot.lines] == ["distilbert", "bert-base"]
    assert [line.points[0].x for line in plot.lines] == pytest.approx([11.2, 22.4])


def test_without_a_price_it_is_the_throughput() -> None:
    cells = [cell.model_copy(update={"costs": []}) for cell in (bert(), distilbert())]
    [plot] = size_plots(cells)
    assert plot.name == "models-throughput-arithmetic"
    assert [line.points[0].y for line in plot.lines] == [40.0, 20.0]


def test_without_sizes_there_is_no_plot() -> None:
    assert size_plots([sized(flops=None), sized(model="resnet50", flops=None, rate=5.0)]) == []


def test_shapes_are_the_variants_of_a_model() -> None:
    cells = [
        *(bert(20, precision=precision) for precision in ("fp32", "bf16")),
        *(distilbert(40, precision=precision) for precision in ("fp32", "bf16")),
    ]
    [plot] = size_plots(cells)
    assert plot.shapes == ("fp32", "bf16")
    assert [[point.shape for point in line.points] for line in plot.lines] == [[0, 1], [0, 1]]
    drawn = "".join(ElementTree.fromstring(svg.draw(plot)).itertext())
    assert all(name in drawn for name in ("bf16", "bert-base", "distilbert", "USD per million"))


def of_many_models(count: int) -> list[Result]:
    return [
        sized(10 + number, model=f"m.py:model_{number}", flops=1e9 * (number + 1), precision=each)
        for number in range(count)
        for each in ("fp32", "bf16")
    ]


def test_many_models_have_a_plot_for_each_variant_with_the_same_scales() -> None:
    assert len(size_plots(of_many_models(7))) == 1
    plots = size_plots(of_many_models(8))
    assert [plot.name for plot in plots] == [
        "models-cost-arithmetic-fp32",
        "models-cost-arithmetic-bf16",
    ]
    assert plots[0].y_limit == plots[1].y_limit
    assert [len(line.points) for plot in plots for line in plot.lines] == [1] * 16
    assert plots[0].shapes == ()


def test_two_machines_are_two_lines_of_a_model() -> None:
    cells = [make(machine=machine) for make in (bert, distilbert) for machine in (G5, G4DN)]
    [plot] = size_plots(cells)
    assert [line.name for line in plot.lines] == [
        "distilbert · g5.4xlarge",
        "bert-base · g5.4xlarge",
        "distilbert · g4dn.4xlarge",
        "bert-base · g4dn.4xlarge",
    ]
