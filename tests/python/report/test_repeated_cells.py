"""Reports of cells that were measured several times."""

from __future__ import annotations

import csv as csv_module
import io

import pytest
from factories import DRIFT, repeated, result
from golden import assert_golden

from gpubench.report import csv, terminal
from gpubench.report.charts.result_charts import result_charts
from gpubench.report.repeats import ONE_PROCESS, OVER_REPEATS, one_for_each_cell
from gpubench.report.results import result_tables
from gpubench.report.table import Table
from gpubench.results.result import Latency, Result, Verdict, Worst

SPREAD = (96.0, 100.0, 104.0)


def cells() -> list[Result]:
    """A cell whose repeats differ, one of which a repeat failed, and one that was measured once."""
    apart = repeated(18.1, 18.9, 18.4, 17.6, 18.6, instance="c7i.xlarge")
    for cell in (apart[1], apart[4]):
        cell.verdict = Verdict(status="suspect", reasons=[DRIFT])
    partly = repeated(30.1, None, 30.4, 30.2, batch=4, instance="c7i.xlarge")
    return [*apart, *partly, result(batch=16, instance="c7i.xlarge")]


def column(table: Table, title: str) -> list[str]:
    index = [column.title for column in table.columns].index(title)
    return [row[index].text for row in table.rows]


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_has_one_row_for_each_cell(width: int) -> None:
    assert_golden(f"repeats_{width}.txt", terminal.text(result_tables(cells()), width))


def test_each_repeat_can_be_a_row() -> None:
    shown = terminal.text(result_tables(cells(), each_repeat=True), 140)
    assert_golden("each_repeat_140.txt", shown)


def test_the_number_of_repeats_is_a_column_only_if_there_are_several() -> None:
    [table] = result_tables(cells())
    assert column(table, "repeats") == ["5", "3 (1 failed)", "1"]
    [single] = result_tables([result(), result(batch=2)])
    assert not {"repeats", "repeat"} & {column.title for column in single.columns}
    assert OVER_REPEATS not in single.remarks
    [each] = result_tables(cells(), each_repeat=True)
    assert column(each, "repeat") == ["1", "2", "3", "4", "5", "1", "2", "3", "4", "–"]


def test_both_intervals_are_beside_the_figure() -> None:
    [table] = result_tables([*repeated(*SPREAD), *repeated(99.0, 101.0, batch=2)])
    assert column(table, "± between") == ["±10%", "–"]
    assert column(table, "± inside") == ["±2.0%", "±2.0%"]
    assert column(table, "inferences /s")[0] == "100 ±10"


def test_repeats_of_one_process_are_said_to_be_so() -> None:
    one, separate = repeated(*SPREAD), repeated(*SPREAD, processes=True)
    assert ONE_PROCESS in result_tables(one)[0].remarks
    assert ONE_PROCESS not in result_tables(separate)[0].remarks


def test_notes_say_in_how_many_repeats_a_reason_was_found() -> None:
    [table] = result_tables(cells())
    assert any(note.text.startswith("drift in 2 of 5 repeats: 0.17") for note in table.notes)


def test_a_cell_of_which_all_repeats_failed_is_failed() -> None:
    [table] = result_tables(repeated(None, None))
    assert column(table, "repeats") == ["0 (2 failed)"]
    assert column(table, "verdict") == ["failed"]
    assert "failed in measure: it failed" in {note.text for note in table.notes}


def rows_of(documents: list[tuple[str, Result]]) -> list[dict[str, str]]:
    return list(csv_module.DictReader(io.StringIO(csv.text(documents))))


def test_csv_has_the_repeats_and_both_intervals() -> None:
    documents = [(f"key-{number}", cell) for number, cell in enumerate(repeated(*SPREAD, None), 1)]
    [row] = rows_of(one_for_each_cell(documents))
    assert row["cell"] == "key-1"
    assert (row["repeat_number"], row["repeats"], row["repeats_failed"]) == ("", "3", "1")
    assert row["repeats_processes"] == "1"
    assert float(row["throughput_spread"]) == pytest.approx(0.04, rel=0.01)
    assert float(row["throughput_inside_inferences_per_second_low"]) == pytest.approx(
        97.9, rel=0.01
    )
    assert (
        row["throughput_between_inferences_per_second_low"]
        == (row["throughput_inferences_per_second_low"])
    )
    assert float(row["latency_p95_between_ms_high"]) > float(row["latency_p95_inside_ms_high"])
    each = rows_of(documents)
    assert [row["repeat_number"] for row in each] == ["1", "2", "3", "4"]
    assert {row["repeats"] for row in each} == {""}
    assert each[3]["error"] == "measure: it failed"


def test_charts_have_the_figure_of_the_cell_and_those_of_each_repeat() -> None:
    charts = result_charts([*repeated(*SPREAD), *repeated(200.0, None, 210.0, batch=2)])
    first, second = charts.tables["cells"]
    assert first["throughput"] == pytest.approx(99.946, rel=1e-3)
    assert first["repeats_throughput"] == list(SPREAD)
    assert first["repeats_p95"] == pytest.approx([1000 / each for each in SPREAD], rel=1e-4)
    assert second["repeats_throughput"] == [200.0, 210.0]
    single, _ = result_charts([result(), result(batch=2)]).tables["cells"]
    assert single["repeats_throughput"] is None


SLOWEST = Worst(
    latency_ms=248.4, at_seconds=3.12, request=57, longest_stage="queue", longest_stage_ms=230.2
)


def slowest(worst: Worst) -> str:
    cell = result()
    cell.latency_ms = Latency(p95=120.0, p95_at_most=131.26, worst=worst)
    return " ".join(result_tables([cell])[0].remarks)


def test_a_single_cell_has_its_bounds_and_its_slowest_request_below_the_table() -> None:
    shown = slowest(SLOWEST)
    assert "With 95% confidence each: P95 is at most 131.3 ms." in shown
    assert "Slowest request: 248 ms, due 3.1 s into the window" in shown
    assert "longest stage: queue, 230 ms." in shown
    early = SLOWEST.model_copy(update={"at_seconds": -0.25, "repeat": 4})
    assert "in repeat 4, due 0.25 s before the window opened" in slowest(early)
    two = [result(), result(batch=2)]
    two[0].latency_ms.worst = SLOWEST
    assert not [remark for remark in result_tables(two)[0].remarks if "Slowest" in remark]
