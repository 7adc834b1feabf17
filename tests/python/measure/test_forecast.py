"""Tests of `sweep --dry-run`: what would be measured, for how long and for how much money."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gpubench
from gpubench.cells.grid import grids_of
from gpubench.errors import InputError
from gpubench.measure.forecast import forecast_cells, forecast_searches
from gpubench.report import terminal
from gpubench.report.forecast import forecast_tables
from gpubench.results.forecast import Forecast
from gpubench.spec.objective import SearchSettings, parse_objective
from gpubench.spec.repetition import ONCE, Repetition

GRID: dict[str, Any] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 150,
    "workers": [1, 2],
    "usd_per_hour": 36.0,
}
TIMED = {**GRID, "warmup": "2s", "requests": None, "duration": "10s"}
WANTED = SearchSettings(parse_objective("p95:10ms"), probes=4)


def forecast(
    output: Path, grid: dict[str, Any] = GRID, repetition: Repetition = ONCE, max_cells: int = 100
) -> Forecast:
    return forecast_cells(grids_of(grid, True), output, max_cells, repetition)


def text(forecast: Forecast, width: int = 80) -> str:
    return terminal.text(forecast_tables(forecast), width)


def test_nothing_is_written(tmp_path: Path) -> None:
    forecast(tmp_path / "run")
    forecast_searches(grids_of({**GRID, "requests": None}, True), tmp_path / "run", 100, WANTED)
    assert list(tmp_path.iterdir()) == []


def test_the_time_is_that_of_the_warm_up_and_the_window_if_nothing_was_measured(
    tmp_path: Path,
) -> None:
    found = forecast(tmp_path / "run", TIMED, Repetition(repeats=3))
    assert [(each.missing, each.stored, each.seconds) for each in found.cells] == [(3, 0, 36)] * 2
    shown = text(found)
    # 72 s at $36 an hour
    assert "6 repeats to measure: about 1 min 12 s, which costs about $0.720 at $36/h." in shown
    assert "without loading and building" in shown


def test_an_unknown_time_stays_unknown(tmp_path: Path) -> None:
    found = forecast(tmp_path / "run")
    assert [each.seconds for each in found.cells] == [None, None]
    assert "2 cells to measure. How long that takes is not known" in text(found, 200)


def test_what_was_measured_is_not_counted_and_tells_the_time_of_the_rest(tmp_path: Path) -> None:
    (first,) = gpubench.sweep({**GRID, "workers": 1}, tmp_path / "run")
    assert first.seconds is not None
    found = forecast(tmp_path / "run", repetition=Repetition(repeats=2))
    assert [(each.missing, each.stored) for each in found.cells] == [(1, 1), (2, 0)]
    assert [each.seconds for each in found.cells] == [first.seconds.total, None]
    assert "an unknown time for 2 of them" in text(found, 200)
    timed = forecast(tmp_path / "run", TIMED)
    rest_s = first.seconds.total - (first.seconds.warmup or 0) - (first.seconds.measure or 0)
    assert [each.seconds for each in timed.cells] == [pytest.approx(12 + rest_s)] * 2


def test_a_sweep_that_is_complete_has_nothing_left(tmp_path: Path) -> None:
    gpubench.sweep(GRID, tmp_path / "run")
    assert "Nothing is left to measure" in text(forecast(tmp_path / "run"))


def test_what_this_machine_cannot_measure_is_left_out_with_the_reason(tmp_path: Path) -> None:
    grid = {**GRID, "device": ["cpu", "cuda:99"], "unavailable": "skip"}
    assert "left out 2 cells: " in text(forecast(tmp_path / "run", grid))


def test_a_search_takes_at_most_all_its_open_loops(tmp_path: Path) -> None:
    grids = grids_of({**TIMED, "service_time": "1ms"}, True)
    found = forecast_searches(grids, tmp_path / "run", 100, WANTED)
    assert [each.seconds for each in found.cells] == [4 * 12, 4 * 12]
    assert "2 settings to search: at most about 1 min 36 s" in text(found)


@pytest.mark.parametrize("more", [{"instance": "g5.4xlrge"}, {"workers": [1, 0]}, {"batch": []}])
def test_what_a_sweep_refuses_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        forecast(tmp_path / "run", {**GRID, **more})
