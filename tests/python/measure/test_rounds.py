"""Cells that are measured several times: their order, their documents, and when it ends."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import factories
import pytest

import gpubench
from gpubench.measure.assemble import assemble
from gpubench.measure.cell import Bench, Keep
from gpubench.measure.progress import Progress
from gpubench.measure.rounds import RepeatedCell, Turn, engine_group, own_group, shuffled_rounds
from gpubench.measure.time_left import TimeLeft, run_seconds
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec

GRID: dict[str, object] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 20,
    "workers": [1, 2],
}


class Recorder(Progress):
    def __init__(self) -> None:
        self.plan: tuple[int, int] = (0, 0)
        self.estimate: tuple[int, int, float | None] | None = None
        self.results: list[Result] = []
        self.rounds: tuple[int, int] = (0, 0)
        self.unreached: dict[int | None, float | None] = {}  # by workers

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self.plan = (to_measure, measured_before)

    def rounds_planned(self, cells: int, rounds: int, run_s: float | None) -> None:
        self.estimate = (cells, rounds, run_s)

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        self.results.append(result)

    def rounds_ended(
        self, ended: int, planned: int, unreached: Sequence[tuple[Spec, float | None]]
    ) -> None:
        self.rounds = (ended, planned)
        self.unreached = {spec.workers: width for spec, width in unreached}


# The plan.


def cells(*batches: int, runtime: str = "eager") -> list[RepeatedCell]:
    directory = open_run("memory://unused")
    return [
        RepeatedCell(
            factories.a_cell(model="resnet50", batch=batch, workers=workers, runtime=runtime),
            f"{batch} {workers}",
            directory,
        )
        for batch in batches
        for workers in (1, 2, 3)
    ]


def order(round_: Sequence[Turn]) -> list[str]:
    return [turn.of.key for turn in round_]


def test_a_round_measures_each_cell_once_in_an_order_of_its_own() -> None:
    every = cells(1, 2, 4)
    rounds = shuffled_rounds(every, 6, own_group)
    assert [[turn.number for turn in round_] for round_ in rounds] == [[n] * 9 for n in range(1, 7)]
    assert all({turn.of for turn in round_} == set(every) for round_ in rounds)
    assert len({tuple(order(round_)) for round_ in rounds}) == 6
    for odd, even in zip(rounds[::2], rounds[1::2], strict=True):
        assert order(even) == order(odd)[::-1], "a linear change of the machine cancels"
    again = shuffled_rounds(cells(1, 2, 4), 6, own_group)
    assert [order(round_) for round_ in again] == [order(round_) for round_ in rounds]


def test_cells_that_share_an_engine_stay_together() -> None:
    rounds = shuffled_rounds(cells(1, 2, 4), 8, engine_group)
    for round_ in rounds:
        batches = [turn.of.cell.batch for turn in round_]
        assert len(list(itertools.groupby(batches))) == 3
    firsts = {round_[0].of.key for round_ in rounds}
    assert len({key.split()[0] for key in firsts}) > 1, "engines are shuffled"
    assert len({key.split()[1] for key in firsts}) > 1, "and the cells of an engine"


@pytest.mark.parametrize(("workers", "times"), [([1, 2], 3), (1, 0)])
def test_each_round_of_several_engines_has_its_own(
    workers: object, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten = []
    monkeypatch.setattr(Bench, "forget_engine", lambda bench: forgotten.append(bench))
    monkeypatch.setattr(Bench, "__exit__", lambda *_: None)  # it frees the engine, too
    gpubench.sweep({**GRID, "workers": workers}, tmp_path, repeats=3)
    assert len(forgotten) == times


def test_a_single_round_has_the_order_of_the_grid() -> None:
    every = cells(4, 1)
    assert order(shuffled_rounds(every, 1, own_group)[0]) == [cell.key for cell in every]


# Documents.


def test_each_repeat_is_a_document_with_its_samples(tmp_path: Path) -> None:
    recorder = Recorder()
    results = gpubench.sweep(GRID, tmp_path, recorder, repeats=3)
    assert [(r.spec.workers, r.repeat.number) for r in results if r.repeat] == [
        (workers, number) for workers in (1, 2) for number in (1, 2, 3)
    ]
    keys = {path.name.partition(".")[0] for path in tmp_path.glob("*.json")}
    assert keys == {f"{key[:16]}{n}" for key in keys for n in ("", "-2", "-3")}
    assert all((tmp_path / f"{key}.parquet").exists() for key in keys)
    repeats = [result.repeat for result in recorder.results]
    assert [repeat.round for repeat in repeats if repeat] == [1, 1, 2, 2, 3, 3]
    assert {repeat.number - repeat.round for repeat in repeats if repeat} == {0}
    assert len({(repeat.series, repeat.process, repeat.of) for repeat in repeats if repeat}) == 1
    assert recorder.plan == (6, 0)
    assert recorder.estimate == (2, 3, None)
    assert recorder.rounds == (3, 3)

    one, two = gpubench.combine(results)
    assert one.repeats is not None
    assert (one.repeats.count, one.repeats.processes) == (3, 1)
    assert one.repeats.throughput_per_second is not None
    assert two.requests.completed >= 60


def test_a_cell_that_is_measured_once_is_no_repeat(tmp_path: Path) -> None:
    results = gpubench.sweep(GRID, tmp_path)
    assert [result.repeat for result in results] == [None, None]
    assert open_run(tmp_path).read_all().cells[0][1].repeat is None


def test_further_repeats_are_added_to_those_that_exist(tmp_path: Path) -> None:
    gpubench.sweep(GRID | {"workers": 1}, tmp_path)  # counts as the first repeat
    recorder = Recorder()
    gpubench.sweep(GRID, tmp_path, recorder, repeats=2)
    assert recorder.plan == (3, 1)
    results = gpubench.sweep(GRID, tmp_path, recorder, repeats=3)
    assert recorder.plan == (2, 4)
    assert [r.repeat and r.repeat.number for r in results] == [None, 2, 3, 1, 2, 3]
    assert gpubench.sweep(GRID, tmp_path, recorder) == results, "the directory holds them all"
    assert recorder.plan == (0, 2)


def test_after_ctrl_c_in_the_second_round_only_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count(1)

    def pressed_in_the_third(*arguments: Any) -> Result:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return assemble(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("gpubench.measure.cell.assemble", pressed_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            gpubench.sweep(GRID, tmp_path, repeats=3)
    before = dict(open_run(tmp_path).read_all().cells)
    assert len(before) == 3
    recorder = Recorder()
    results = gpubench.sweep(GRID, tmp_path, recorder, repeats=3)
    assert recorder.plan == (3, 3)
    after = dict(open_run(tmp_path).read_all().cells)
    assert all(after[key] == result for key, result in before.items())
    assert len({r.repeat.series for r in results if r.repeat}) == 2


@pytest.fixture
def throughputs(monkeypatch: pytest.MonkeyPatch) -> dict[int, Iterator[float | None]]:
    """Measured throughputs, by the number of workers. None: the cell fails."""
    given: dict[int, Iterator[float | None]] = {}

    def measure(bench: Bench, cell: Cell, keep: Keep) -> Result:
        throughput = next(given[cell.workers])
        if throughput is None:
            result = factories.failed(**cell.spec.model_dump(exclude_unset=True))
        else:
            settings = cell.spec.model_dump(exclude_unset=True)
            result = factories.result(throughput, completed=0, **settings)
        keep(result)
        return result

    monkeypatch.setattr(Bench, "measure", measure)
    return given


def test_a_failed_repeat_is_measured_again(
    tmp_path: Path, throughputs: dict[int, Iterator[float | None]]
) -> None:
    throughputs |= {1: iter([100.0, None, 101.0, 102.0]), 2: itertools.repeat(50.0)}
    recorder = Recorder()
    results = gpubench.sweep(GRID, tmp_path, recorder, repeats=3)
    assert [r.error is None for r in results] == [True, False, True, True, True, True]
    one, _ = gpubench.combine(results)
    assert one.repeats is not None
    assert (one.repeats.count, one.repeats.failed) == (2, 1)
    results = gpubench.sweep(GRID, tmp_path, recorder, repeats=3)
    assert recorder.plan == (1, 5)
    assert [r.throughput_per_second for r in results[:3]] == [100.0, 102.0, 101.0]


# The end.


def test_until_ends_when_every_throughput_is_known(
    tmp_path: Path, throughputs: dict[int, Iterator[float | None]]
) -> None:
    wide = [100.0, 104.0, 100.0, 104.0, 100.0, 104.0, 102.0, 102.0, 102.0]
    throughputs |= {1: itertools.repeat(50.0), 2: iter(wide)}
    recorder = Recorder()
    gpubench.sweep(GRID, tmp_path, recorder, until="2%")
    assert recorder.plan == (40, 0)
    assert recorder.rounds == (7, 20)  # all cells go on, so that each round has all pairs
    assert recorder.unreached == {}
    gpubench.sweep(GRID, tmp_path, recorder, until="2%")
    assert len(recorder.results) == 14, "the documents of the first sweep say that it is known"
    gpubench.sweep(GRID, tmp_path, recorder, until="1.5%", repeats=9)
    assert len(recorder.results) == 18
    assert recorder.rounds == (9, 9)
    assert recorder.unreached == {}


def test_until_ends_no_sooner_than_after_five_rounds(
    tmp_path: Path, throughputs: dict[int, Iterator[float | None]]
) -> None:
    throughputs |= {1: itertools.repeat(50.0), 2: itertools.repeat(50.0)}
    recorder = Recorder()
    gpubench.sweep(GRID, tmp_path, recorder, until=0.02)
    assert recorder.rounds == (5, 20)


def test_what_until_did_not_reach_is_named(
    tmp_path: Path, throughputs: dict[int, Iterator[float | None]]
) -> None:
    throughputs |= {
        1: itertools.cycle([100.0, 110.0]),
        2: itertools.cycle([None]),  # no round can make its throughput known
        3: iter([None, 50.0, None, 50.0, None, None]),
    }
    recorder = Recorder()
    gpubench.sweep(GRID | {"workers": [1, 2, 3]}, tmp_path, recorder, until="2%", repeats=6)
    assert recorder.rounds == (6, 6)
    assert recorder.unreached == {1: pytest.approx(0.056, abs=0.001), 3: None}
    gpubench.sweep(GRID | {"workers": 2}, tmp_path, recorder, until="2%", repeats=6)
    assert recorder.rounds == (5, 6)


class Clock:
    """A clock that every measurement moves by a second for each worker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        measure = Bench.measure

        def measured(bench: Bench, cell: Cell, keep: Keep) -> Result:
            self.now += cell.workers
            return measure(bench, cell, keep)

        monkeypatch.setattr(Bench, "measure", measured)
        monkeypatch.setattr("gpubench.measure.rounds.time", self)
        monkeypatch.setattr("gpubench.measure.limits.time", self)

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("limit", "rounds"), [("1s", 1), ("6s", 2), ("8.9s", 2), ("9s", 3)])
def test_no_round_begins_that_would_end_too_late(
    limit: str,
    rounds: int,
    tmp_path: Path,
    throughputs: dict[int, Iterator[float | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    throughputs |= {1: itertools.repeat(1.0), 2: itertools.repeat(1.0)}
    Clock(monkeypatch)  # a round takes three seconds
    recorder = Recorder()
    gpubench.sweep(GRID, tmp_path, recorder, repeats=4, max_time=limit)
    assert recorder.rounds == (rounds, 4)
    assert len(recorder.results) == 2 * rounds


def test_the_remaining_time_is_that_of_each_cell(
    tmp_path: Path, throughputs: dict[int, Iterator[float | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds: list[float | None] = []

    class Left(Progress):
        def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
            seconds.append(seconds_left)

    throughputs |= {1: itertools.repeat(1.0), 2: itertools.repeat(1.0)}
    Clock(monkeypatch)
    gpubench.sweep(GRID, tmp_path, Left(), repeats=3)
    assert seconds[0] is None
    assert seconds[2] == 6.0
    assert seconds[4] == 3.0


def test_the_time_of_a_cell_that_was_not_measured_is_that_of_the_others() -> None:
    left = TimeLeft(["a", "a", "b", "b"])
    assert left.seconds() is None
    left.ended("a", 2.0)
    assert left.seconds() == 6.0
    left.ended("b", 10.0)
    assert left.seconds() == 12.0


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({"warmup": "2s", "duration": "30s"}, 32.0),
        ({"warmup": "2s", "requests": 100}, None),
        ({"warmup": "2s", "rate": 10, "requests": 100}, 14.0),  # 2 s more until it has settled
    ],
)
def test_the_time_of_a_run_is_known_before_it(
    settings: dict[str, Any], seconds: float | None
) -> None:
    assert run_seconds(factories.a_cell(model="synthetic", **settings)) == seconds
