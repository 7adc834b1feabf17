"""Who is told of a measurement, and of which one."""

from pathlib import Path

import pytest

import gpubench
from gpubench.measure.progress import Listeners, Progress
from gpubench.measure.search_rounds import search_repeatedly
from gpubench.results.result import Result
from gpubench.spec.objective import SearchSettings, parse_objective
from gpubench.spec.repetition import Repetition
from gpubench.spec.spec import Spec

FAST: dict[str, object] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 150,
}
SPEC = Spec.model_validate(FAST)


class Recorder(Progress):
    def __init__(self) -> None:
        self.results: list[Result] = []
        self.began: list[int] = []

    def measured(self, result: Result) -> None:
        self.results.append(result)

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        self.began.append(number)


def test_run_tells_its_measurement_with_the_samples() -> None:
    recorder = Recorder()
    result = gpubench.run(SPEC, recorder)
    assert recorder.results == [result]
    assert recorder.results[0].samples is not None


@pytest.mark.parametrize("fresh", [False, True])
def test_a_sweep_tells_every_repeat_once(tmp_path: Path, fresh: bool) -> None:
    recorder = Recorder()
    results = gpubench.sweep(
        FAST | {"workers": [1, 2]},
        tmp_path / "run",
        recorder,
        repeats=1 if fresh else 2,
        fresh=fresh,
    )
    told = [(each.spec.workers, each.throughput_per_second) for each in recorder.results]
    assert sorted(told) == sorted(
        (each.spec.workers, each.throughput_per_second) for each in results
    )


@pytest.mark.parametrize("fresh", [False, True])
def test_a_search_tells_every_probe_once(tmp_path: Path, fresh: bool) -> None:
    recorder = Recorder()
    settings = SearchSettings(parse_objective("p95:2ms"), 0.5, 3)
    outcome = search_repeatedly(
        SPEC, settings, tmp_path / "run", recorder, Repetition(1, fresh=fresh)
    )
    probes = outcome.repeats[0].probes
    assert len(probes) >= 3
    assert [each.throughput_per_second for each in recorder.results] == [
        probe.result.throughput_per_second for probe in probes
    ]


def test_all_listeners_are_told_in_their_order() -> None:
    recorders = Recorder(), Recorder()
    listeners = Listeners(*recorders)
    listeners.cell_begins(3, SPEC, None)
    listeners.cell_begins(number=4, spec=SPEC, seconds_left=1.0)
    assert [recorder.began for recorder in recorders] == [[3, 4], [3, 4]]
    listeners.stage("load")
