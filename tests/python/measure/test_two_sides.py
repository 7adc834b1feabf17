"""Two cells that are measured in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.errors import GpubenchError, InputError
from gpubench.measure import cell
from gpubench.measure.executors import synthetic_executors
from gpubench.measure.progress import Progress
from gpubench.measure.rounds import RepeatedCell
from gpubench.measure.two_sides import MeasuredSides, balanced_rounds, measure_two_sides
from gpubench.results.run_directory import open_run
from gpubench.spec.cell import Cell, ServiceTime
from gpubench.spec.settings import Settings
from gpubench.spec.spec import Spec
from gpubench.system.machine import this_machine

FAST: Settings = {"model": "synthetic", "service_time": "10us", "warmup": 0, "requests": 20}
SLOW: Settings = {**FAST, "service_time": "20us"}


def planned(count: int) -> list[list[tuple[str, int]]]:
    """The side and the number of each turn of each round."""
    resolved = resolve(Spec(**FAST), this_machine())
    a, b = (RepeatedCell(resolved, "key", open_run("unused")) for _ in "ab")
    rounds = balanced_rounds(a, b, count)
    return [[("A" if turn.of is a else "B", turn.number) for turn in round_] for round_ in rounds]


def test_rounds_are_a_b_b_a_and_b_a_a_b_alternately() -> None:
    rounds = planned(3)
    assert rounds == [
        [("A", 1), ("B", 1), ("B", 2), ("A", 2)],
        [("B", 3), ("A", 3), ("A", 4), ("B", 4)],
        [("A", 5), ("B", 5), ("B", 6), ("A", 6)],
    ]


@pytest.mark.parametrize("count", [3, 4, 10])
def test_a_linear_drift_cancels_in_each_round_and_a_bend_in_each_two(
    count: int,
) -> None:
    rounds = planned(count)

    def difference(round_: list[tuple[str, int]], drift: list[int]) -> int:
        return sum(
            value if side == "B" else -value for (side, _), value in zip(round_, drift, strict=True)
        )

    assert {difference(each, [0, 1, 2, 3]) for each in rounds} == {0}
    bends = [difference(each, [0, 1, 4, 9]) for each in rounds]
    assert bends[0] != 0
    assert {sum(two) for two in zip(bends[::2], bends[1::2], strict=False)} == {0}


def test_both_directories_together_hold_the_comparison(tmp_path: Path) -> None:
    pair = gpubench.ab(FAST, SLOW, rounds=3, fresh=False, output=tmp_path)
    assert len(pair.rounds.paired) == 3
    assert {len(side) for round_ in pair.rounds.paired for side in round_} == {2}
    assert pair.throughput_per_second.estimate is not None
    assert pair.throughput_per_second.estimate.method == "paired"
    a, b = ([result for _, result in open_run(tmp_path / each).read_all().cells] for each in "ab")
    again = gpubench.compare(a, b)
    assert again.pairs[0].throughput_per_second == pair.throughput_per_second


def test_each_measurement_has_a_process_of_its_own(tmp_path: Path) -> None:
    """Both sides have the same settings, too: nothing but the directory tells them apart."""
    pair = gpubench.ab(FAST, FAST, rounds=3, output=tmp_path)
    repeats = [*pair.a_repeats, *pair.b_repeats]
    assert len({result.repeat.process for result in repeats if result.repeat}) == 12
    assert pair.differences == ()
    assert len(pair.rounds.paired) == 3


class StopAt(Progress):
    """Raises KeyboardInterrupt when this measurement begins, as Ctrl-C does."""

    def __init__(self, number: int | None = None) -> None:
        self._number = number
        self.begun = self.measured_before = 0
        self.ended: tuple[int, int] | None = None

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self.measured_before = measured_before

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        if number == self._number:
            raise KeyboardInterrupt
        self.begun += 1

    def rounds_ended(
        self, ended: int, planned: int, unreached: Sequence[tuple[Spec, float | None]]
    ) -> None:
        self.ended = (ended, planned)


def measure(output: Path | None, rounds: int, progress: Progress) -> MeasuredSides:
    machine = this_machine()
    a, b = (resolve(Spec(**side), machine) for side in (FAST, SLOW))
    return measure_two_sides(a, b, machine, rounds, fresh=False, output=output, progress=progress)


def test_ctrl_c_leaves_the_complete_rounds_and_the_same_call_continues(tmp_path: Path) -> None:
    stopped = measure(tmp_path, 4, StopAt(15))  # in round 4, when both sides were measured once
    assert (stopped.interrupted, stopped.rounds) == (True, 3)
    assert (len(stopped.a), len(stopped.b)) == (6, 6)
    rest = StopAt()
    finished = measure(tmp_path, 4, rest)
    assert (rest.measured_before, rest.begun) == (14, 2)
    assert (finished.interrupted, finished.rounds) == (False, 4)
    assert (len(finished.a), len(finished.b)) == (8, 8)
    (pair,) = gpubench.compare(finished.a, finished.b).pairs
    assert [(len(a), len(b)) for a, b in pair.rounds.paired].count((1, 1)) == 2  # of two series
    with pytest.raises(KeyboardInterrupt):
        gpubench.ab(FAST, SLOW, fresh=False, progress=StopAt(1))


def test_it_ends_when_a_side_fails_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def failing(measured: Cell) -> object:
        if measured.service == ServiceTime(20_000, "constant"):
            raise RuntimeError("there is no engine")
        return synthetic_executors(measured)

    monkeypatch.setattr(cell, "synthetic_executors", failing)
    progress = StopAt()
    measured = measure(tmp_path, 5, progress)
    assert (progress.begun, progress.ended) == (4, (1, 5))
    assert [result.error is None for result in measured.a + measured.b] == [True] * 2 + [False] * 2
    with pytest.raises(GpubenchError, match=r"B failed: .*there is no engine"):
        gpubench.ab(FAST, SLOW, fresh=False)


@pytest.mark.parametrize(
    ("a", "b", "more", "expected"),
    [
        (FAST, SLOW, {"rounds": 2}, "--rounds 2 is not allowed: .* give 3 to 500"),
        (FAST, SLOW, {"within": "200%"}, "within '200%' is not a share"),
        (
            FAST,
            {**FAST, "rate": 100.0},
            {},
            "A is measured in a closed loop and B in an open .*--fo",
        ),
        (FAST, {**FAST, "instance": "no.such"}, {}, "no.such"),
        (FAST, {**FAST, "batch": 0}, {}, "--batch"),
        (FAST, SLOW, {"output": ""}, "--output: it is empty"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_is_refused_before_anything_is_measured(
    a: Settings, b: Settings, more: dict[str, Any], expected: str
) -> None:
    progress = StopAt()
    with pytest.raises(InputError, match=expected):
        gpubench.ab(a, b, progress=progress, **more)
    assert progress.begun == 0


def test_a_directory_holds_one_comparison(tmp_path: Path) -> None:
    measure(tmp_path, 3, StopAt(3))
    third: Settings = {**FAST, "service_time": "30us"}
    with pytest.raises(InputError, match=r"/b holds another cell: .*; choose another --output"):
        gpubench.ab(FAST, third, fresh=False, output=tmp_path)
