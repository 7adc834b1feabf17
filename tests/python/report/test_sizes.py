"""Models side by side: which cell stands for a model, and what the table and the chart show."""

from __future__ import annotations

from typing import Any, Literal

from factories import DRIFT, G4DN, G5, WRONG_ANSWERS, failed, repeated, result

from gpubench.report import markdown, terminal
from gpubench.report.charts import files
from gpubench.report.charts.size_charts import size_charts
from gpubench.report.results import result_tables
from gpubench.report.sizes import size_tables, variants
from gpubench.results.result import Accuracy, AccuracyData, Result, Stages, StageSummary


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


def test_one_model_has_neither_table_nor_chart() -> None:
    cells = [sized(), sized(30, precision="bf16"), sized(25, batch=4)]
    assert size_tables(cells) == []
    assert size_charts(cells).charts == ()


def test_one_model_with_two_accuracies_has_both() -> None:
    cells = [sized(accuracy=0.761), sized(50, precision="bf16", accuracy=0.760)]
    assert len(size_tables(cells)) == len(size_charts(cells).charts) == 1


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


def with_stages(result: Result, preprocess: float, compute: float, postprocess: float) -> Result:
    """The result of a model with pre- and postprocessing. Times are mean milliseconds."""
    times = {"preprocess": preprocess, "compute": compute, "postprocess": postprocess}
    stages = Stages(**{n: StageSummary(mean=ms, p50=1.0, p95=1.0) for n, ms in times.items()})
    return result.model_copy(update={"stages_ms": stages})


def test_models_with_pre_or_postprocessing_have_a_column_for_each_of_three_stages() -> None:
    cells = [with_stages(sized(), 0.2, 3.6, 4.5), distilbert()]
    titles = ["preprocess ms", "compute ms", "postprocess ms"]
    for table in (*size_tables(cells), *result_tables(cells)):
        shown = [column.title for column in table.columns]
        first = shown.index(titles[0])
        assert shown[first : first + 3] == titles
        times = {tuple(cell.text for cell in row[first : first + 3]) for row in table.rows}
        assert times == {("0.200", "3.60", "4.50"), ("–", "–", "–")}


def test_other_models_have_no_columns_of_stages() -> None:
    only_compute = Stages(compute=StageSummary(mean=3.6, p50=3.6, p95=3.7))
    cells = [sized().model_copy(update={"stages_ms": only_compute}), distilbert()]
    for table in (*size_tables(cells), *result_tables(cells)):
        assert not [column.title for column in table.columns if "process" in column.title]


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


def drawn(cells: list[Result]) -> list[tuple[Any, ...]]:
    """(panel, model, variant, x, y) of each point."""
    names = ("panel", "colour", "shape", "x", "y")
    return [tuple(row[name] for name in names) for row in size_charts(cells).tables["models"]]


def usd(cell: Result) -> float:
    value = cell.costs[0].usd_per_million
    assert value is not None
    return float(f"{value:.5g}")


def test_cost_is_drawn_against_accuracy() -> None:
    cells = [bert(accuracy=0.92), distilbert(accuracy=0.905), sized()]
    charts = size_charts(cells)
    [chart] = charts.charts
    assert chart.name == "models-cost-accuracy"
    panel = "top-1 accuracy on labelled.parquet"
    assert drawn(cells) == [
        (panel, "distilbert", "", 90.5, usd(cells[1])),
        (panel, "bert-base", "", 92.0, usd(cells[0])),
    ]
    row = charts.tables["models"][0]
    assert (row["x_low"], row["x_high"]) == (89.5, 91.5)
    assert "Not drawn for lack of a figure: 1 of 3 variants." in chart.remarks


def test_each_metric_and_each_data_has_its_panel() -> None:
    cells = [
        make(accuracy=0.9, data=data, metric=metric, precision=precision)
        for make in (bert, distilbert)
        for data, metric, precision in (
            ("a.parquet", "top1", "fp32"),
            ("b.parquet", "top1", "bf16"),
            ("b.parquet", "f1", "int8"),
        )
    ]
    assert len(size_charts(cells).charts) == 1
    panels = [panel for panel, *_ in drawn(cells)]
    assert {name: panels.count(name) for name in panels} == {
        "top-1 accuracy on a.parquet": 2,
        "top-1 accuracy on b.parquet": 2,
        "F1 accuracy on b.parquet": 2,
    }


def test_without_accuracy_cost_is_drawn_against_the_arithmetic() -> None:
    cells = [bert(), distilbert()]
    assert [chart.name for chart in size_charts(cells).charts] == ["models-cost-arithmetic"]
    assert [(model, x) for _, model, _, x, _ in drawn(cells)] == [
        ("distilbert", 11.2),
        ("bert-base", 22.4),
    ]


def test_without_a_price_it_is_the_throughput() -> None:
    cells = [cell.model_copy(update={"costs": []}) for cell in (bert(), distilbert())]
    assert [chart.name for chart in size_charts(cells).charts] == ["models-throughput-arithmetic"]
    assert [y for *_, y in drawn(cells)] == [40.0, 20.0]


def test_without_sizes_there_is_a_reason_for_no_chart() -> None:
    charts = size_charts([sized(flops=None), distilbert(accuracy=0.9)])
    assert charts.charts == ()
    assert charts.remarks == ("No chart of the models: fewer than two have their figures.",)


def test_shapes_are_the_variants_of_a_model() -> None:
    cells = [
        *(bert(20, precision=precision) for precision in ("fp32", "bf16")),
        *(distilbert(40, precision=precision) for precision in ("fp32", "bf16")),
    ]
    assert [(model, shape) for _, model, shape, *_ in drawn(cells)] == [
        ("distilbert", "fp32"),
        ("distilbert", "bf16"),
        ("bert-base", "fp32"),
        ("bert-base", "bf16"),
    ]
    document = files.svg(size_charts(cells))
    assert all(f">{name}<" in document for name in ("bf16", "bert-base", "distilbert"))


def test_two_machines_are_two_colours_of_a_model() -> None:
    cells = [make(machine=machine) for make in (bert, distilbert) for machine in (G5, G4DN)]
    assert {model for _, model, *_ in drawn(cells)} == {
        "distilbert · g5.4xlarge",
        "bert-base · g5.4xlarge",
        "distilbert · g4dn.4xlarge",
        "bert-base · g4dn.4xlarge",
    }


def test_engines_of_clearly_different_size_of_one_model_have_a_table() -> None:
    mib = 2**20
    similar = sized(25, runtime="onnxruntime", artifact_bytes=101 * mib)
    assert size_tables([sized(), similar]) == []
    small = sized(30, runtime="onnxruntime", precision="int8", artifact_bytes=26 * mib)
    [table] = size_tables([sized(), small])
    titles = [column.title for column in table.columns]
    sizes = [row[titles.index("artifact MiB")].text for row in table.rows]
    assert sorted(sizes) == ["100", "26.0"]
