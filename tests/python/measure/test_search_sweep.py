"""Sweeps with an objective: what is measured, dropped, written and resumed, in simulated time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import factories
import numpy as np
import pytest

import gpubench
from gpubench import core
from gpubench.cli import program as cli
from gpubench.errors import InputError
from gpubench.measure.cell import Interrupted
from gpubench.measure.collect import collect
from gpubench.measure.progress import Progress
from gpubench.results.result import Failure, Reason, Result
from gpubench.results.run_directory import open_run
from gpubench.results.search_result import SearchResult
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine

# A request takes 10 ms, and each further inference in it 4 ms more. So 1, 4 and 8 inferences in a
# request have capacities of 100, 182 and 211 inferences per second. With P95 within 100 ms they
# serve about 85, 115 and 80.
GRID: dict[str, Any] = {
    "model": "synthetic",
    "service_time": "10ms",
    "batch": [1, 4, 8],
    "workers": 1,
    "requests": 4000,
    "warmup": 0,
    "usd_per_hour": 1,
}
OBJECTIVE = "p95:100ms"
FLAGS = [
    *("--model", "synthetic", "--service-time", "10ms", "--batch", "1,4,8", "--workers", "1"),
    *("--requests", "4000", "--warmup", "0", "--usd-per-hour", "1", "--objective", OBJECTIVE),
]
BUSY = Reason(code="cpu-busy", figure=0.5, limit=0.2, remedy="end other programs")


class SimulatedBench:
    """Measures cells in simulated time. Verdicts are valid unless `reasons` says otherwise."""

    measured: list[Spec]
    reasons: Callable[[Spec], tuple[Reason, ...]]
    interrupt_at: int  # the number of the measurement that Ctrl-C ends
    fail: Callable[[Spec], bool]

    has_hung_batch = False

    def __init__(self, machine: Machine, progress: Progress) -> None:
        pass

    def __enter__(self) -> SimulatedBench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def measure(self, cell: Cell) -> Result:
        spec = cell.spec
        self.measured.append(spec)
        if self.fail(spec):
            error = Failure(stage="build", message="no memory")
            return self._result(spec, None, error)
        if len(self.measured) == self.interrupt_at:
            raise Interrupted(
                self._result(spec, None, Failure(stage="measure", message="interrupted"))
            )
        assert spec.service_time is not None
        service_s = spec.service_time * (1 + 0.4 * (spec.batch - 1))
        count = spec.requests or 4000
        due = (
            core.poisson_arrivals(spec.rate, count, cell.load_seed)
            if spec.rate
            else np.arange(count, dtype=np.int64) * round(service_s * 1e9)
        )
        samples = collect(core.simulate(core.OpenLoop(due), service_ns=round(service_s * 1e9)))
        found = self._result(spec, spec.batch / service_s, None)
        found.latency_ms.mean = float(samples.latency_ns.mean()) / 1e6
        return found.with_samples(samples, np.ones(len(samples), np.bool_))

    def _result(self, spec: Spec, throughput: float | None, error: Failure | None) -> Result:
        made = factories.result(
            throughput,
            12.0,
            relative_interval=0.001,
            reasons=self.reasons(spec),
            error=error,
        )
        made.requests.unfinished = 0
        return made.model_copy(update={"spec": spec})


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> type[SimulatedBench]:
    """The class that measures, with nothing measured yet."""
    SimulatedBench.measured = []
    SimulatedBench.reasons = staticmethod(lambda spec: ())
    SimulatedBench.fail = staticmethod(lambda spec: False)
    SimulatedBench.interrupt_at = -1
    monkeypatch.setattr("gpubench.measure.search_sweep.Bench", SimulatedBench)
    return SimulatedBench


def by_batch(searches: list[SearchResult]) -> dict[int, SearchResult]:
    return {found.spec.batch: found for found in searches}


def open_loops(found: SearchResult) -> int:
    return sum(probe.load == "open" for probe in found.probes)


def test_what_cannot_win_is_dropped_and_says_why(
    tmp_path: Path, bench: type[SimulatedBench]
) -> None:
    found = by_batch(gpubench.search_grid(GRID, tmp_path, OBJECTIVE))
    best = found[4]
    assert best.pruned is None
    assert best.max_rate_per_second is not None
    small = found[1]
    assert small.pruned is not None
    assert small.pruned.reason == "capacity"
    # 98% of 100 per second, with 0.1% for its interval; the best serves 4 in each request.
    assert small.pruned.figure == pytest.approx(98.1, abs=0.1)
    assert small.pruned.figure < small.pruned.limit < 4 * best.max_rate_per_second
    assert small.pruned.best == "synthetic, batch 4"
    assert small.max_rate_per_second is None
    assert small.costs == []
    assert open_loops(small) == 0
    large = found[8]
    assert large.pruned is not None
    assert large.pruned.reason == "late"
    assert 0 < open_loops(large) < open_loops(best)
    assert large.pruned.figure <= large.pruned.limit


def test_the_winner_has_the_figures_of_a_search(
    tmp_path: Path, bench: type[SimulatedBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubench.measure.search.Bench", SimulatedBench)
    best = by_batch(gpubench.search_grid(GRID, tmp_path, OBJECTIVE))[4]
    alone = gpubench.search(Spec.model_validate(GRID | {"batch": 4}), OBJECTIVE)
    assert best.max_rate_per_second == alone.max_rate_per_second
    assert best.interval == alone.interval
    assert best.costs == alone.costs


def test_a_second_sweep_measures_nothing(tmp_path: Path, bench: type[SimulatedBench]) -> None:
    first = gpubench.search_grid(GRID, tmp_path, OBJECTIVE)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    bench.measured.clear()
    assert gpubench.search_grid(GRID, tmp_path, OBJECTIVE) == first
    assert bench.measured == []
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.json")} == before


def test_without_its_rival_a_dropped_setting_is_searched_from_where_it_ended(
    tmp_path: Path, bench: type[SimulatedBench]
) -> None:
    dropped = by_batch(gpubench.search_grid(GRID, tmp_path, OBJECTIVE))[8]
    bench.measured.clear()
    (found,) = gpubench.search_grid(GRID | {"batch": 8}, tmp_path, OBJECTIVE)
    assert found.pruned is None
    assert found.max_rate_per_second is not None
    assert found.probes[: len(dropped.probes)] == [
        probe.model_copy(update={"near": found.probes[number].near})
        for number, probe in enumerate(dropped.probes)
    ]
    assert len(bench.measured) == len(found.probes) - len(dropped.probes)
    assert all(spec.rate for spec in bench.measured)


def test_another_objective_is_another_search(tmp_path: Path, bench: type[SimulatedBench]) -> None:
    gpubench.search_grid(GRID, tmp_path, OBJECTIVE)
    bench.measured.clear()
    found = by_batch(gpubench.search_grid(GRID, tmp_path, "p95:1s"))
    assert found[8].max_rate_per_second is not None, "with more time, the large batch is the best"
    assert bench.measured
    assert len(list(tmp_path.glob("search-*.json"))) == 6


@pytest.mark.parametrize("code", ["outputs-differ", "drift"])
def test_a_suspect_setting_drops_no_other(
    tmp_path: Path, bench: type[SimulatedBench], code: str
) -> None:
    reason = Reason(code=code, figure=0.5, limit=0.1, remedy="choose another precision")
    bench.reasons = staticmethod(lambda spec: (reason,) if spec.batch == 4 else ())
    found = by_batch(gpubench.search_grid(GRID, tmp_path, OBJECTIVE))
    assert found[8].pruned is None
    assert found[8].max_rate_per_second is not None


def test_a_setting_that_other_programs_slowed_down_is_not_dropped(
    tmp_path: Path, bench: type[SimulatedBench]
) -> None:
    bench.reasons = staticmethod(lambda spec: (BUSY,) if spec.batch == 8 else ())
    assert by_batch(gpubench.search_grid(GRID, tmp_path, OBJECTIVE))[8].pruned is None


def test_other_work_does_not_compete(tmp_path: Path, bench: type[SimulatedBench]) -> None:
    grid = GRID | {"batch": 4, "service_time": ["10ms", "1ms"]}
    slow, fast = gpubench.search_grid(grid, tmp_path, OBJECTIVE)
    assert slow.pruned is None
    assert fast.pruned is None


def test_ctrl_c_keeps_everything(tmp_path: Path, bench: type[SimulatedBench]) -> None:
    bench.interrupt_at = 9  # two closed loops of each setting, then the first search
    with pytest.raises(KeyboardInterrupt):
        gpubench.search_grid(GRID, tmp_path, OBJECTIVE)
    kept = [found for _, found in open_run(tmp_path).read_all(searches=True).searches]
    assert [len(found.probes) for found in kept if found.error] == [len(f.probes) for f in kept]
    assert sum(len(found.probes) for found in kept) == 9
    assert sum("run the same sweep again" in f.error.message for f in kept if f.error) == 2
    bench.measured.clear()
    bench.interrupt_at = -1
    found = by_batch(gpubench.search_grid(GRID, tmp_path, OBJECTIVE))
    assert found[4].max_rate_per_second is not None
    assert all(spec.rate for spec in bench.measured), "no closed loop is measured twice"


def test_a_setting_that_fails_is_kept_and_the_others_follow(
    tmp_path: Path, bench: type[SimulatedBench]
) -> None:
    bench.fail = staticmethod(lambda spec: spec.batch == 4)
    found = by_batch(gpubench.search_grid(GRID, tmp_path, OBJECTIVE))
    assert found[4].error is not None
    assert found[8].max_rate_per_second is not None
    bench.fail = staticmethod(lambda spec: False)
    assert by_batch(gpubench.search_grid(GRID, tmp_path, OBJECTIVE))[4].error is None


def test_a_search_makes_a_dropped_setting_anew(
    tmp_path: Path, bench: type[SimulatedBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubench.measure.search.Bench", SimulatedBench)
    gpubench.search_grid(GRID, tmp_path, OBJECTIVE)
    search = [each if each != "1,4,8" else "1" for each in FLAGS]
    assert cli.main(["search", *search, "--output", str(tmp_path), "--quiet"]) == 0
    contents = open_run(tmp_path).read_all(searches=True)
    assert len(contents.searches) == 3
    (small,) = [found for _, found in contents.searches if found.spec.batch == 1]
    assert small.pruned is None
    assert small.max_rate_per_second is not None


def test_the_command_names_the_best_setting(
    tmp_path: Path, bench: type[SimulatedBench], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert cli.main(["sweep", *FLAGS, "--output", run, "--require", "valid"]) == 0
    captured = capsys.readouterr()
    shown = " ".join(captured.out.split())
    assert "P95 within 100ms: the best setting is synthetic, batch 4: 117 ±3/s, $2.37" in shown
    assert "dropped: capacity" in shown
    assert "98% of its capacity is at most 98.10/s, and the rate to beat is 11" in shown
    assert "[screen 1/3] synthetic, batch 1\n" in captured.err
    assert "3 settings to search" in captured.err
    assert captured.err.count("    dropped: ") == 2
    assert cli.main(["report", run]) == 0
    assert capsys.readouterr().out == captured.out
    assert cli.main(["sweep", *FLAGS, "--output", run]) == 0
    again = capsys.readouterr()
    assert again.out == captured.out
    assert "0 settings to measure, 3 measured before" in again.err
    assert cli.main(["report", run, "--format", "markdown", "--instance", "c7i.xlarge"]) == 0
    assert "c7i.xlarge" in capsys.readouterr().out


def test_an_objective_that_nothing_meets(
    tmp_path: Path, bench: type[SimulatedBench], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [each if each != OBJECTIVE else "p95:5ms" for each in FLAGS]
    assert cli.main(["sweep", *flags, "--output", str(tmp_path / "run"), "--quiet"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "no setting of synthetic meets it; the best P95 of a single client is 12.0 ms" in shown
    assert "no rate meets this: even a single client misses it (P95 12.0 ms)" in shown
    assert len(bench.measured) == 3, "one client answers the question"


def test_require_valid_looks_at_settings_with_a_rate(
    tmp_path: Path, bench: type[SimulatedBench], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.reasons = staticmethod(lambda spec: (BUSY,) if spec.rate else ())
    run = ["sweep", *FLAGS, "--output", str(tmp_path / "run"), "--quiet", "--require", "valid"]
    assert cli.main(run) == 3
    captured = capsys.readouterr()
    assert "is suspect: cpu-busy" in captured.err
    assert captured.out.count("\ncpu-busy: end other programs\n") == 1, "one line for each reason"
    assert "so it dropped no other setting" in " ".join(captured.out.split())


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (["--clients", "2"], "clients: a sweep with an objective chooses it; remove it"),
        (["--rate", "5,9"], "rate: a sweep with an objective chooses it; remove it"),
        (["--arrivals", "trace:times.txt"], "every probe needs different arrivals"),
        (["--repeats", "3"], "every setting is searched once"),
        (["--fresh"], "every setting is searched once"),
        (["--probes", "0"], "--probes 0"),
        (["--tolerance", "2"], "--tolerance 2"),
        (["--objective", "p50:1s"], "choose from p90, p95, p99"),
        (["--max-cells", "2"], "3 cells, and the limit is 2"),
        (["--instance", "no-such"], "no-such"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, flags: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert cli.main(["sweep", *FLAGS, "--output", str(run), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert hint in line
    assert not run.exists()


def test_flags_of_a_search_need_an_objective(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["sweep", "--model", "synthetic", "--output", str(tmp_path / "run"), "--probes", "5"]
    assert cli.main(run) == 2
    assert "--probes belongs to a search; add --objective" in capsys.readouterr().err


def test_a_sweep_file_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("model: synthetic\nunavailable: skip\nclients: [1, 2]\n")
    run = ["sweep", str(file), "--output", str(tmp_path / "run"), "--objective", OBJECTIVE]
    assert cli.main(run) == 2
    assert f"{file}:3: clients: a sweep with an objective" in capsys.readouterr().err


def test_a_sweep_that_is_really_measured(tmp_path: Path) -> None:
    times = {"service_time": "10us", "warmup": 0, "duration": "20ms"}
    grid = {"model": "synthetic", "workers": 1, "wait": "block", **times}
    (found,) = gpubench.search_grid(grid, tmp_path, "p90:1s", probes=1)
    assert found.error is None
    assert [probe.load for probe in found.probes] == ["unloaded", "saturated", "open"]
    document = json.loads(next(tmp_path.glob("search-*.json")).read_text())
    assert document["pruned"] is None


def test_an_objective_has_a_percentile(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="write it like p99:10ms"):
        gpubench.search_grid(GRID, tmp_path / "run", "50ms")
