"""Reports, in every format and at every width."""

from __future__ import annotations

import csv as csv_module
import io
import json as json_module
from typing import Any

import pytest
from factories import DRIFT, G5, LAPTOP, TOO_FEW, WRONG_ANSWERS, failed, quick_start, result
from golden import assert_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from gpubench.planning.compare import compare
from gpubench.report import csv, json, markdown, terminal
from gpubench.report.charts import files
from gpubench.report.charts.result_charts import result_charts
from gpubench.report.format import (
    elapsed,
    milliseconds,
    number,
    percent,
    ratio,
    seconds,
    usd,
    with_interval,
)
from gpubench.report.results import result_tables
from gpubench.report.sizes import size_tables
from gpubench.report.table import Column, DraftCell, make_table
from gpubench.results.result import (
    Accuracy,
    AccuracyData,
    Achieved,
    DeviceReport,
    Failure,
    GpuReport,
    Memory,
    Numerics,
    Result,
)


def everything_that_can_be_marked() -> list[Result]:
    """Two machines; a failed, an emulated and two suspect cells, several prices, an open loop."""
    g5: dict[str, Any] = {
        "machine": G5,
        "instance": ("g5.4xlarge", "g5.12xlarge"),
        "time": "2026-11-21T11:00:00Z",
        "batch": 32,
        "workers": 2,
    }
    too_few = TOO_FEW.model_copy(update={"figure": 98.0})
    return [
        *quick_start(),
        failed("DefaultCPUAllocator: not enough memory", model="bert-large", instance="c7i.xlarge"),
        result(
            0.41,
            2660,
            precision="fp16",
            native_precision=False,
            allow_emulated=True,
            completed=64,
            reasons=(TOO_FEW,),
            instance="c7i.xlarge",
        ),
        result(
            18,
            140,
            model="distilbert",
            completed=98,
            reasons=(too_few, DRIFT),
            instance=("c7i.xlarge", "c7a.4xlarge"),
        ),
        result(723, 44, model="bert-base", precision="tf32", clients=2, **g5),
        result(870, 37, model="bert-base", precision="amp", clients=4, **g5),
        result(941, 34, precision="fp32", rate=30, **g5),
    ]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_quick_starts_table(width: int) -> None:
    shown = terminal.text(result_tables(quick_start()), width)
    assert_golden(f"quick_start_{width}.txt", shown)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_table_with_everything_marked(width: int) -> None:
    shown = terminal.text(result_tables(everything_that_can_be_marked()), width)
    assert_golden(f"marked_{width}.txt", shown)


def test_the_table_without_a_price_says_how_to_get_one() -> None:
    shown = terminal.text(result_tables(quick_start(instance=())), 100)
    assert "$/million " not in shown.splitlines()[6]
    assert "--instance NAME" in shown
    assert "--usd-per-hour" in shown
    assert_golden("no_price_100.txt", shown)


def test_markdown() -> None:
    assert_golden("marked.md", markdown.text(result_tables(everything_that_can_be_marked())))


def test_csv() -> None:
    cells = [(f"{i:016x}", cell) for i, cell in enumerate(everything_that_can_be_marked())]
    assert_golden("marked.csv", csv.text(cells))


def test_csv_has_one_row_for_each_cell_and_price_and_empty_fields_for_what_is_absent() -> None:
    cells = [
        ("two", result(instance=("c7i.xlarge", "c7a.4xlarge"))),
        ("none", result(relative_interval=None)),
        ("failed", failed()),
    ]
    rows = list(csv_module.DictReader(io.StringIO(csv.text(cells))))
    assert [row["cell"] for row in rows] == ["two", "two", "none", "failed"]
    assert rows[1]["instance_priced"] == "c7a.4xlarge"
    assert rows[2]["usd_per_million_inferences"] == ""
    assert rows[2]["throughput_inferences_per_second_low"] == ""
    assert rows[3]["latency_p95_ms"] == ""
    assert rows[3]["error"] == "measure: CUDA out of memory"


ON_A10G = Achieved(
    flops_per_second=23.8e12, peak_share=0.34, peak_source="1 x NVIDIA A10G: 70 TFLOP/s in amp"
)


def test_the_table_shows_the_arithmetic_and_its_share_of_the_peak() -> None:
    cells = [
        result(941, machine=G5, precision="amp", achieved=ON_A10G),
        result(500, machine=G5, precision="bf16", achieved=Achieved(flops_per_second=0.9e12)),
        result(500, machine=G5, precision="fp16"),
    ]
    [table] = result_tables(cells)
    titles = [column.title for column in table.columns]
    column = titles.index("TFLOP/s (of peak)")
    assert [row[column].text for row in table.rows] == ["23.8 (34%)", "–", "0.900"]
    assert ("peak", "1 x NVIDIA A10G: 70 TFLOP/s in amp") in table.facts
    assert any(remark.startswith("FLOP/s count") for remark in table.remarks)


def test_slow_cells_are_shown_in_gflops_and_a_cpu_has_no_share() -> None:
    slow = Achieved(flops_per_second=150e9)
    [table] = result_tables([result(18.4, achieved=slow), result(2.0, batch=2)])
    titles = [column.title for column in table.columns]
    column = titles.index("GFLOP/s")
    assert sorted(row[column].text for row in table.rows) == ["150", "–"]
    assert "peak" not in dict(table.facts)


def test_without_arithmetic_there_is_no_column_for_it() -> None:
    [table] = result_tables(quick_start())
    assert not [column.title for column in table.columns if "FLOP" in column.title]
    assert not [remark for remark in table.remarks if "FLOP" in remark]


def test_the_table_shows_the_peaks_of_the_memory_that_are_known() -> None:
    on_gpu = Memory(peak_host_bytes=3 << 30, peak_device_bytes=3 << 29, peak_device_of="process")
    [table] = result_tables([result(batch=1, memory=on_gpu), result(batch=2)])
    titles = [column.title for column in table.columns]
    figures = titles.index("GPU GiB"), titles.index("host GiB")
    assert [[row[at].text for at in figures] for row in table.rows] == [["1.50", "3.00"], ["–"] * 2]
    [table] = result_tables([result(memory=Memory(peak_host_bytes=3 << 30))])
    assert not [column.title for column in table.columns if column.title == "GPU GiB"]
    [row] = csv_module.DictReader(io.StringIO(csv.text([("a", result(memory=on_gpu))])))
    assert (row["peak_host_bytes"], row["peak_device_bytes"]) == (str(3 << 30), str(3 << 29))
    assert row["peak_device_bytes_of"] == "process"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (0.001, "<1%"), (0.336, "34%"), (1.0, "100%"), (1e300, "1.00e+302%")],
)
def test_a_share_is_in_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_csv_has_the_arithmetic_in_full_precision() -> None:
    rows = list(csv_module.DictReader(io.StringIO(csv.text([("a", result(achieved=ON_A10G))]))))
    assert rows[0]["achieved_flops_per_second"] == "23800000000000.0"
    assert rows[0]["achieved_peak_share"] == "0.34"
    assert rows[0]["achieved_peak_source"] == "1 x NVIDIA A10G: 70 TFLOP/s in amp"


def test_the_accuracy_on_own_data_has_columns_and_a_note() -> None:
    measured = result()
    measured.accuracy = Accuracy(
        metric="f1",
        value=0.7613,
        interval=(0.7521, 0.7703),
        samples=8000,
        reference=0.765,
        drop=0.0037,
        drop_interval=(0.0012, 0.0063),
        data=AccuracyData(name="val.parquet"),
        note="the weights are random",
    )
    shown = terminal.text(result_tables([measured, result(precision="bf16")]), 200)
    assert "F1 of 8,000 samples of val.parquet" in shown
    assert "76.1 ±0.9" in shown
    assert "0.4 ±0.3" in shown
    assert "the weights are random" in shown
    first, second = csv_module.DictReader(io.StringIO(csv.text([("a", measured), ("b", result())])))
    assert first["accuracy"] == "0.7613"
    assert first["accuracy_drop_high"] == "0.0063"
    assert first["accuracy_data"] == "val.parquet"
    assert second["accuracy"] == ""
    assert "accuracy" not in terminal.text(result_tables([result()]), 200)


def test_csv_says_whether_the_answers_agree_with_the_reference_and_by_how_much() -> None:
    right, wrong = Numerics(cosine=0.999, top1_agreement=1.0), Numerics(cosine=0.5)
    own = Numerics.model_validate({"cosine": 1.0, "breed_agreement": 0.75})
    cells = [
        ("right", result(numerics=right)),
        ("wrong", result(numerics=wrong, reasons=(WRONG_ANSWERS,))),
        ("of an own model", result(numerics=own, reasons=(DRIFT,))),
        ("without a reference", result()),
        ("not judged", failed(numerics=wrong)),
    ]
    rows = list(csv_module.DictReader(io.StringIO(csv.text(cells))))
    assert [row["answers_agree"] for row in rows] == ["true", "false", "true", "", ""]
    assert [row["numerics_cosine"] for row in rows] == ["0.999", "0.5", "1.0", "", "0.5"]
    assert [row["numerics_finite"] for row in rows] == ["true", "true", "true", "", "true"]
    assert rows[0]["numerics_top1_agreement"] == "1.0"
    assert [row["numerics_breed_agreement"] for row in rows] == ["", "", "0.75", "", ""]


def test_json_is_the_list_of_results_as_they_were_stored() -> None:
    results = everything_that_can_be_marked()
    listed = json_module.loads(json.text(results))
    assert listed == [json_module.loads(cell.to_json()) for cell in results]


@settings(max_examples=20, deadline=None)
@given(width=st.integers(60, 200))
def test_no_line_of_a_report_is_wider_than_the_terminal(width: int) -> None:
    shown = terminal.text(result_tables(quick_start()), width)
    assert max(map(len, shown.splitlines())) <= width


@settings(max_examples=20, deadline=None)
@given(width=st.integers(70, 200))
def test_no_figure_that_matters_is_left_out_or_cut_at_any_width(width: int) -> None:
    shown = terminal.text(result_tables(quick_start()), width)
    words = shown.split()
    for cell in quick_start():
        throughput = with_interval(cell.throughput_per_second, cell.throughput_interval)
        cost = cell.costs[0]
        price = with_interval(cost.usd_per_million, cost.usd_per_million_interval)
        for figure in (throughput, milliseconds(cell.latency_ms.p95), price):
            assert all(part in words for part in figure.split())


def test_equal_settings_are_listed_once_and_different_ones_are_columns() -> None:
    [table] = result_tables(quick_start())
    titles = [column.title for column in table.columns]
    assert "runtime" not in titles
    assert "torchscript" in dict(table.facts)["all cells"]

    mixed = [*quick_start(), result(runtime="eager", inputs="device")]
    [table] = result_tables(mixed)
    titles = [column.title for column in table.columns]
    assert {"runtime", "inputs"} <= set(titles)
    assert "torchscript" not in dict(table.facts)["all cells"]


def test_the_memory_format_is_told_only_if_it_is_not_the_default() -> None:
    def told(*formats: str) -> tuple[bool, str]:
        [table] = result_tables([result(memory_format=each) for each in formats])
        titles = [column.title for column in table.columns]
        return "memory format" in titles, dict(table.facts)["all cells"]

    is_column, settings = told("contiguous", "contiguous")
    assert not is_column
    assert "contiguous" not in settings
    is_column, settings = told("channels_last", "channels_last")
    assert not is_column
    assert "torchscript · channels_last · " in settings
    is_column, settings = told("contiguous", "channels_last")
    assert is_column
    assert "channels_last" not in settings


def with_weights(weights: str | None, model: str, **settings: Any) -> Result:
    measured = result(model=model, **settings)
    measured.engine.weights = weights
    return measured


@pytest.mark.parametrize(
    ("model", "weights", "said"),
    [
        ("resnet50", "random (seed 0)", "random weights"),
        ("resnet50", None, "random weights"),
        ("m.py:make", "own: m.py:make", "weights from the model's function"),
        ("m.onnx", "local: m.onnx", "weights from m.onnx"),
        ("folder/", "pretrained: folder/", "pretrained weights from folder/"),
        ("folder/", "random (seed 0)", "random weights"),
    ],
)
def test_where_weights_come_from_is_said_as_it_was_measured(
    model: str, weights: str | None, said: str
) -> None:
    runtime = "onnxruntime" if model.endswith(".onnx") else "torchscript"
    text = terminal.text(result_tables([with_weights(weights, model, runtime=runtime)]), width=200)
    assert f" {said} · " in text


def test_different_weights_are_a_column_and_unknown_ones_are_not_guessed() -> None:
    cells = [
        with_weights("random (seed 0)", "resnet50"),
        with_weights("own: m.py:make", "m.py:make"),
        with_weights("own: n.py:make", "n.py:make"),
        with_weights(None, "o.py:make"),  # it could not be loaded
    ]
    text = terminal.text(result_tables(cells), width=200)
    rows = {
        line.split()[0]: line for line in text.splitlines() if "make" in line or "resnet" in line
    }
    assert "from the model's function" in rows["m.py:make"]
    assert "from the model's function" in rows["n.py:make"]
    assert "random" in rows["resnet50"]
    assert "random" not in rows["o.py:make"]
    assert "random weights" not in text
    rows_of_csv = list(csv_module.DictReader(io.StringIO(csv.text([("a", cells[1])]))))
    assert rows_of_csv[0]["weights"] == "own: m.py:make"


def test_the_division_of_the_cores_is_reported() -> None:
    [shared_out] = result_tables([result(workers=1), result(workers=2)])
    assert "2 CPU threads shared out among the workers" in dict(shared_out.facts)["all cells"]
    [equal] = result_tables([result(workers=1, threads=1), result(workers=2, threads=1)])
    assert "1 CPU thread in each worker" in dict(equal.facts)["all cells"]
    [own] = result_tables([result(workers=1, threads=1), result(workers=2, threads=2)])
    assert "threads" in [column.title for column in own.columns]


def test_each_machine_and_software_has_its_own_table() -> None:
    other_torch = result()
    other_torch.environment.torch = "2.16.0"
    tables = result_tables([result(), result(machine=G5), other_torch, result(batch=4)])
    assert [len(table.rows) for table in tables] == [2, 1, 1]
    assert ["2.16.0" in dict(table.facts)["software"] for table in tables] == [False, False, True]


def test_a_different_time_of_measurement_makes_no_separate_table() -> None:
    assert len(result_tables([result(), result(batch=2, time="2026-11-22T10:00:00Z")])) == 1


def test_open_and_closed_loops_are_in_one_table() -> None:
    [table] = result_tables([result(clients=4), result(rate=12.5, arrivals="poisson")])
    titles = [column.title for column in table.columns]
    by_title = [dict(zip(titles, (cell.text for cell in row), strict=True)) for row in table.rows]
    assert [(row["clients"], row["rate /s"]) for row in by_title] == [("–", "12.5"), ("4", "–")]


def test_a_synthetic_cell_has_no_weights_or_precision() -> None:
    synthetic = result(model="synthetic", service_time=1e-3, runtime="eager")
    [table] = result_tables([synthetic])
    assert "weights" not in dict(table.facts)["all cells"]
    assert "service time constant 1ms" in dict(table.facts)["all cells"]


def test_a_cell_whose_machines_were_lost_has_a_note() -> None:
    again = result().model_copy(update={"lost_attempts": 2})
    [table] = result_tables([again, result().model_copy(update={"lost_attempts": 0})])
    assert "measured again: 2 machines stopped before the end" in [
        each.text for each in table.notes
    ]


def test_a_failure_over_several_lines_is_one_note() -> None:
    [table] = result_tables(
        [result(None, None, error=Failure(stage="load", message="no such file:\n  model.pt"))]
    )
    assert [note.text for note in table.notes] == ["failed in load: no such file: model.pt"]


def test_markup_in_a_message_stays_text() -> None:
    cells = [result(None, None, error=Failure(stage="load", message="[bold] a|b <i> *x*"))]
    assert "[bold] a|b <i> *x*" in terminal.text(result_tables(cells), 120)
    assert r"\<i\>" in markdown.text(result_tables(cells))
    assert r"a\|b" in markdown.text(result_tables(cells))


def test_a_machine_that_may_be_the_priced_instance_is_marked_as_unknown() -> None:
    four_cores = LAPTOP | {"cores": 4}
    [table] = result_tables([result(machine=four_cores, instance="c7i.xlarge")])
    [note] = table.notes
    assert note.text == "c7i.xlarge: the machine measured does not say whether it is one"


def test_a_note_of_all_cells_of_a_column_is_at_its_title() -> None:
    table = make_table(
        [Column("a"), Column("b")],
        [
            [DraftCell("1", ("everywhere",)), DraftCell("2", ("once",))],
            [DraftCell("3", ("everywhere",)), DraftCell("4")],
        ],
    )
    assert table.header_marks == {0: (1,)}
    assert [[cell.marks for cell in row] for row in table.rows] == [[(), (2,)], [(), ()]]
    assert [note.text for note in table.notes] == ["everywhere", "once"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.0123449, "0.01234"),
        (12.3451, "12.35"),
        (999.96, "1,000"),
        (1234567.8, "1,234,568"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (None, None, "–"),
        (18.41, None, "18.41"),
        (18.41, (18.1, 18.75), "18.4 ±0.3"),
        (6.98, (6.84, 7.12), "6.98 ±0.14"),
        (723.4, (709.0, 738.0), "723 ±15"),
        (18.41, (10.0, 19.0), "18 ±8"),
        (999.712, (999.7119, 999.7121), "999.71 ±0.01"),
        (1234567.0, (1224567.0, 1244567.0), "1,234,567 ±10,000"),
        (0.41, (0.4018, 0.4182), "0.410 ±0.008"),
        (0.0135, (0.0001, 1.9), "0.01 ±1.89"),
        (0.4, (0.02, 8.1), "0.4 ±7.7"),
        (-0.0012, (-0.2, 0.2), "-0.001 ±0.201"),
    ],
)
def test_an_interval_decides_how_many_digits_a_figure_has(
    value: float | None, interval: tuple[float, float] | None, text: str
) -> None:
    assert with_interval(value, interval) == text


def test_units_of_money_time_and_ratio() -> None:
    assert [usd(v) for v in (None, 0.0, 0.00123, 0.624, 2.169, 1234.5)] == [
        "–",
        "0.00",
        "0.00123",
        "0.624",
        "2.17",
        "1,234.50",
    ]
    assert [seconds(v) for v in (0, 5e-8, 250e-6, 1.5e-3, 2, 90)] == [
        "0s",
        "50ns",
        "250us",
        "1.5ms",
        "2s",
        "90s",
    ]
    assert [milliseconds(v) for v in (0.1234, 12.34, 1234.0)] == ["0.123", "12.3", "1,234"]
    assert ratio(3.4806) == "3.48"


def test_figures_of_gpus_have_columns_if_any_result_has_them() -> None:
    told = result(machine=G5, instance="g5.4xlarge")
    gpus = [GpuReport(device=f"cuda:{n}", throughput_per_second=361.2 + n) for n in range(2)]
    told.device = DeviceReport(
        power_w=298.4, energy_j_per_inference=0.412, throttled_share=0.25, gpus=gpus
    )
    silent = result(machine=G5, instance="g5.4xlarge", batch=4)
    shown = markdown.text(result_tables([told, silent]))
    assert "| each GPU /s | GPU W | J /inference | throttled |" in " ".join(shown.split())
    assert "361.2 to 362.2 | 298 | 0.412 | 25% |" in " ".join(shown.split())
    assert "GPU W" not in terminal.text(result_tables([silent]), 160)
    [row] = csv_module.DictReader(io.StringIO(csv.text([("key", told)])))
    assert row["gpu_energy_joules_per_inference"] == "0.412"
    assert row["throughput_by_gpu_inferences_per_second"] == "cuda:0 361.2; cuda:1 362.2"


def test_energy_whose_meters_contradict_each_other_is_a_dash_with_the_reason() -> None:
    told = result(machine=G5)
    note = "the power readings add up to 1.50 times the energy of the counter, so neither is used"
    gpu = GpuReport(device="cuda:0", energy_disagreement=0.5, energy_note=note)
    told.device = DeviceReport(gpus=[gpu])
    shown = markdown.text(result_tables([told]))
    assert "| J /inference |" in shown
    assert "– ¹ |" in shown
    assert f"¹ cuda:0: {note}" in shown
    [row] = csv_module.DictReader(io.StringIO(csv.text([("key", told)])))
    assert row["gpu_energy_joules_per_inference"] == ""
    assert row["gpu_energy_notes"] == f"cuda:0 {note}"


FIGURE = st.floats(allow_nan=False) | st.sampled_from([5e-324, 1e-320, 1e308, -1e308, 1e30, 0.0])


@settings(deadline=None)
@given(FIGURE, FIGURE, FIGURE)
def test_no_figure_is_too_large_or_too_small_to_be_shown(a: float, b: float, c: float) -> None:
    interval = (min(b, c), max(b, c))
    for text in (
        *(number(a), milliseconds(a), usd(a), ratio(a), seconds(a), elapsed(a)),
        *(with_interval(a, interval), with_interval(a, None)),
    ):
        assert "inf" not in text or "inf" in f"{a}"
        assert len(text) < 60


@pytest.mark.parametrize("throughput", [5e-324, 1e-320, 1e-9, 1e30, 0.0])
@pytest.mark.parametrize("form", ["terminal", "markdown", "csv", "json", "html"])
def test_an_impossible_throughput_still_makes_a_report(throughput: float, form: str) -> None:
    cell = result(throughput, 1e30, relative_interval=None, usd_per_hour=1e9)
    assert cell.costs[0].usd_per_million is None or cell.costs[0].usd_per_million < 1e308
    rows = [cell, result()]
    match form:
        case "csv":
            csv.text([("key", row) for row in rows])
        case "json":
            json.text(rows)
        case "html":
            charts = result_charts([cell, result(batch=2)])
            assert charts.charts
            files.svg(charts)
        case "markdown":
            markdown.text(result_tables(rows))
        case _:
            terminal.text(result_tables(rows))
    pair = compare([cell], [result()], force=True).pairs[0]
    quotient = pair.throughput_per_second.b_over_a
    assert quotient is None or quotient < 1e308


def test_training_has_a_table_of_its_own() -> None:
    training: dict[str, Any] = {"task": "train", "optimizer": "sgd", "accumulate": 1, "replicas": 1}
    inference = result(9.0, 100.0)
    step = result(2.0, 900.0, runtime="eager", **training)
    tables = result_tables([step, inference])
    titles = [[column.title for column in table.columns] for table in tables]
    assert ["inferences /s" in each for each in titles] == [True, False]
    assert ["samples /s" in each for each in titles] == [False, True]
    assert ["workers" in each for each in titles] == [True, False]
    inferences = [inference, result(8.0, 110.0, model="distilbert")]
    assert size_tables([step, *inferences]) == size_tables(inferences)
