"""The percentiles that a report is asked for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from factories import failed, repeated, result, samples

from gpubench.errors import InputError
from gpubench.planning.documents import Place
from gpubench.report.latency import parse_percentiles, percentile, with_percentiles
from gpubench.report.repeats import one_for_each_cell
from gpubench.report.results import result_tables
from gpubench.results.result import CountedRows, Result, WindowInfo
from gpubench.results.run_directory import RunDirectory, open_run
from gpubench.results.samples import Samples

P97_5 = Fraction("97.5")


def of_slow(count: int, slow_ms: int) -> Samples:
    """Requests of 0.9 ms each, the last tenth of which take `slow_ms`."""
    fast = samples(count)
    completed = fast.completed_ns.copy()
    completed[-count // 10 :] = fast.scheduled_ns[-count // 10 :] + slow_ms * 10**6
    return replace(fast, completed_ns=completed)


def all_rows(cell: Result, recorded: Samples) -> Result:
    """The cell with a window in which every sample counts."""
    due = recorded.scheduled_ns
    rows = CountedRows(stamp="scheduled_ns", from_ns=int(due[0]), to_ns=int(due[-1]))
    return cell.model_copy(update={"window": WindowInfo(seconds=1.0, counted=rows)})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return open_run(tmp_path)


def cells_of(run: RunDirectory) -> list[tuple[Place, Result]]:
    return [(Place(run.url, key), cell) for key, cell in run.read_all().cells]


def test_percentiles_are_numbers_between_0_and_100() -> None:
    assert parse_percentiles("99.9, 50,95,50") == (50, 95, Fraction(999, 10))
    for text in (
        "",
        "0",
        "100",
        "101",
        "-5",
        "p95",
        "nan",
        "1e1",
        "99.99999",
        "50,,95",
        "\u0665\u0660",
    ):
        with pytest.raises(InputError, match="--percentiles") as error:
            parse_percentiles(text)
        assert "such as 50,95,99.9" in str(error.value)


def test_usual_percentiles_are_those_of_the_documents(run: RunDirectory) -> None:
    cells, problems = with_percentiles([(Place(run.url, "a"), result())], (50, 99))
    assert problems == []
    assert cells[0][1].latency_ms.other_percentiles is None
    assert percentile(cells[0][1].latency_ms, 99) == pytest.approx(150)


def test_others_are_computed_from_the_samples(run: RunDirectory) -> None:
    recorded = of_slow(200, 7)
    run.write("a", all_rows(result(), recorded), recorded)
    cells, problems = with_percentiles(cells_of(run), (80, P97_5))
    assert problems == []
    assert percentile(cells[0][1].latency_ms, 80) == 0.9
    assert percentile(cells[0][1].latency_ms, P97_5) == 7
    [table] = result_tables([cells[0][1]], percents=(80, P97_5))
    assert [c.title for c in table.columns if c.title.endswith(" ms")] == ["P80 ms", "P97.5 ms"]


def test_unfinished_requests_are_slower_than_every_percentile(run: RunDirectory) -> None:
    recorded = of_slow(190, 7)
    never = recorded.scheduled_ns[:10] + 1
    recorded = replace(recorded, unfinished_scheduled_ns=np.sort(never))
    run.write("a", all_rows(result(), recorded), recorded)
    cells, _ = with_percentiles(cells_of(run), (94, P97_5))
    assert cells[0][1].latency_ms.other_percentiles == {"p94": 7}


def test_over_repeats_they_are_geometric_means(run: RunDirectory) -> None:
    for number, (cell, slow_ms) in enumerate(zip(repeated(9.0, 10.0), (4, 9), strict=True)):
        recorded = of_slow(200, slow_ms)
        run.write(f"a-{number}", all_rows(cell, recorded), recorded)
    cells, _ = with_percentiles(cells_of(run), (P97_5,))
    [(_, cell)] = one_for_each_cell((place.name, each) for place, each in cells)
    assert percentile(cell.latency_ms, P97_5) == pytest.approx(6)


def test_a_cell_without_usable_samples_has_none_and_the_reason(run: RunDirectory) -> None:
    recorded = of_slow(200, 7)
    run.write("gone", all_rows(result(), recorded))
    run.write("other", all_rows(result(batch=2), recorded), recorded)
    (Path(run.url) / "other.parquet").write_bytes(b"no samples")
    run.write("older", result(batch=3), recorded)
    run.write("older-too", result(batch=4), recorded)
    run.write("failed", failed(batch=5))
    cells, problems = with_percentiles(cells_of(run), (P97_5,))
    assert len(cells) == 5
    assert all(percentile(cell.latency_ms, P97_5) is None for _, cell in cells)
    assert len(problems) == 3
    said = "\n".join(problems)
    assert "no P97.5 of gone: " in said
    assert "gone.parquet does not exist; measure the cell again" in said
    assert "no P97.5 of other: " in said
    assert "no P97.5 of 2 cells, of which older is the first" in said


def test_a_percentile_that_needs_more_requests_says_so() -> None:
    p99_9 = Fraction("99.9")
    [table] = result_tables([result(), result(batch=2)], percents=(95, p99_9))
    assert "P99.9 needs 1,000 requests" in {note.text for note in table.notes}
    [over] = result_tables(repeated(9.0, 10.0), percents=(p99_9,))
    assert "P99.9 needs 1,000 requests in each repeat" in {note.text for note in over.notes}
    [usual] = result_tables([failed(), result(batch=2)], percents=(95, 99))
    assert not [note for note in usual.notes if "needs" in note.text]
