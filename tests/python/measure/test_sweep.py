"""Tests of sweeps: what is measured, written, resumed, and kept after errors."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import gpubench
from gpubench.errors import InputError
from gpubench.measure.assemble import assemble
from gpubench.measure.cell import Bench
from gpubench.measure.progress import Listeners, Opening, Progress
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec

GRID: dict[str, object] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 150,
    "workers": [1, 2],
}


class Recorder(Progress):
    def __init__(self) -> None:
        self.plan: tuple[int, int] = (0, 0)
        self.began: list[tuple[int, float | None]] = []
        self.results: list[Result] = []

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self.plan = (to_measure, measured_before)

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        self.began.append((number, seconds_left))

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        self.results.append(result)


def test_every_cell_is_kept_with_its_samples(tmp_path: Path) -> None:
    results = gpubench.sweep(GRID, tmp_path / "run")
    assert [result.spec.workers for result in results] == [1, 2]
    directory = open_run(tmp_path / "run")
    for key, result in directory.read_all().cells:
        samples = directory.read_samples(key)
        assert samples is not None
        assert len(samples) >= result.requests.completed >= 150


def test_the_remaining_time_is_reported_from_the_second_cell_on(tmp_path: Path) -> None:
    recorder = Recorder()
    gpubench.sweep(GRID, tmp_path / "run", recorder)
    assert recorder.plan == (2, 0)
    assert recorder.began[0] == (1, None)
    number, seconds_left = recorder.began[1]
    assert number == 2
    assert seconds_left is not None
    assert seconds_left > 0


def test_a_second_sweep_measures_only_what_is_missing(tmp_path: Path) -> None:
    first = gpubench.sweep(GRID | {"workers": 1}, tmp_path / "run")
    recorder = Recorder()
    results = gpubench.sweep(GRID, tmp_path / "run", recorder)
    assert recorder.plan == (1, 1)
    assert len(results) == 2
    assert results[0].throughput_per_second == first[0].throughput_per_second


def test_other_prices_do_not_cause_a_new_measurement(tmp_path: Path) -> None:
    gpubench.sweep(GRID | {"usd_per_hour": 1}, tmp_path / "run")
    recorder = Recorder()
    results = gpubench.sweep(GRID | {"instance": ["c7i.xlarge"]}, tmp_path / "run", recorder)
    assert recorder.plan == (0, 2)
    assert [cost.instance for cost in results[0].costs] == ["c7i.xlarge"]


def test_a_failing_cell_is_stored_and_the_sweep_continues(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    failing = {"model": "resnet50", "weights": str(tmp_path / "empty"), "requests": 2}
    results = gpubench.sweep([failing, GRID], tmp_path / "run")
    assert [result.error is None for result in results] == [False, True, True]
    assert results[0].error is not None
    assert "could not be loaded" in results[0].error.message
    recorder = Recorder()
    gpubench.sweep([failing, GRID], tmp_path / "run", recorder)
    assert recorder.plan == (1, 2)  # a cell that failed is tried again


def test_ctrl_c_between_measuring_and_writing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed_in_the_second(cell: Cell, *rest: Any) -> Result:
        if cell.workers == 2:
            signal.raise_signal(signal.SIGINT)
        return assemble(cell, *rest)

    monkeypatch.setattr("gpubench.measure.cell.assemble", pressed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        gpubench.sweep(GRID | {"workers": [1, 2, 3]}, tmp_path / "run")
    cells = open_run(tmp_path / "run").read_all().cells
    assert {result.spec.workers for _, result in cells} == {1, 2}
    assert all(result.throughput_per_second is not None for _, result in cells)


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        (GRID | {"instance": ["g5.xlrge"]}, "g5.xlarge"),
        (GRID | {"workers": [1, 0]}, "workers"),
        ([GRID, {"model": "resnet5"}], "sweep, grid 2"),
        ({"model": "resnet50", "precision": "tf32", "device": "cpu"}, "tf32"),
        (
            {"model": "resnet50", "precision": "tf32", "device": "cpu", "unavailable": "skip"},
            "no cell for this machine",
        ),
    ],
)
def test_bad_input_is_reported_before_anything_is_measured(
    tmp_path: Path, grid: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        gpubench.sweep(grid, tmp_path / "run")
    assert expected in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_a_directory_that_cannot_be_written_is_reported_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(Bench, "measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(InputError, match="cannot be written"):
        gpubench.sweep(GRID, tmp_path / "file" / "run")


def test_a_cell_whose_sample_file_is_missing_is_measured_again(tmp_path: Path) -> None:
    gpubench.sweep(GRID, tmp_path / "run")
    first, second = sorted((tmp_path / "run").glob("*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    recorder = Recorder()
    gpubench.sweep(GRID, tmp_path / "run", recorder)
    assert recorder.plan == (2, 0)
    gpubench.sweep(GRID, tmp_path / "run", recorder)
    assert recorder.plan == (0, 2)


def test_several_listeners_hear_all_in_the_same_order(tmp_path: Path) -> None:
    heard: list[str] = []

    class Stages(Progress):
        def __init__(self, name: str) -> None:
            self.name = name

        def stage(self, name: str) -> None:
            heard.append(f"{self.name} {name}")

        def window_opens(self, opening: Opening) -> None:
            assert opening.warmup_per_second > 0
            assert opening.warmup_p95_ms > 0
            assert opening.seconds is not None
            heard.append(f"{self.name} opens")

        def window_closed(self) -> None:
            heard.append(f"{self.name} closed")

        def cell_ended(self, result: Result, elapsed_s: float) -> None:
            heard.append(f"{self.name} ended")

    gpubench.sweep({**GRID, "workers": 1}, tmp_path / "run", Listeners(Stages("a"), Stages("b")))
    what = ["measure", "opens", "closed", "ended"]
    assert heard == [f"{name} {each}" for each in what for name in "ab"]
