"""Tests of the measured run: from a spec to samples."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from factories import a_machine, another

from gpubench import core
from gpubench.cells.resolve import resolve
from gpubench.errors import GpubenchError, InputError
from gpubench.measure import run
from gpubench.measure.arrivals import schedule
from gpubench.measure.collect import collect
from gpubench.measure.executors import synthetic_executors
from gpubench.measure.loads import offered_load
from gpubench.measure.run import MeasuredRun, measured_run
from gpubench.results.samples import Nanoseconds, Samples
from gpubench.spec import trace
from gpubench.spec.cell import Cell, OpenLoad
from gpubench.spec.parse import make_spec
from gpubench.statistics import ClosedLoopRule, OpenLoopRule, analyse


def synthetic(**settings: object) -> Cell:
    defaults: dict[str, object] = {
        "model": "synthetic",
        "service_time": 1e-4,
        "warmup": 0,
        "requests": 200,
    }
    return resolve(make_spec(defaults | settings), a_machine())


def drive(cell: Cell) -> MeasuredRun:
    return measured_run(cell, synthetic_executors(cell))


def due(cell: Cell) -> Nanoseconds:
    assert isinstance(cell.load, OpenLoad)
    return schedule(cell.load, cell.load_seed)


def assert_stamps_are_in_order(samples: Samples) -> None:
    assert (np.diff(samples.departed_ns) >= 0).all()
    assert (samples.scheduled_ns <= samples.departed_ns).all()
    assert (samples.opened_ns <= samples.departed_ns).all()
    assert (samples.departed_ns <= samples.submitted_ns).all()
    assert (samples.submitted_ns <= samples.completed_ns).all()


def test_a_closed_loop_counts_at_least_the_given_number_of_requests() -> None:
    spec = synthetic(clients=3, workers=2)
    driven = drive(spec)
    assert driven.error is None
    assert driven.reason == "completions"
    assert_stamps_are_in_order(driven.samples)
    assert isinstance(driven.loop, ClosedLoopRule)
    assert analyse(driven.samples, driven.loop).completed >= 200
    assert set(driven.samples.id.tolist()) == {0, 1, 2}
    assert set(driven.samples.worker.tolist()) == {0, 1}


def test_a_run_counts_the_programs_that_were_compiled_after_the_warm_up() -> None:
    cell = synthetic()
    until_now = [5]

    def compiles(*_: object) -> None:
        until_now[0] += 3

    driven = measured_run(
        cell,
        synthetic_executors(cell),
        after_warm_up=compiles,
        compilations=lambda: until_now[0],
    )
    assert driven.compilations == 0
    counts = iter([8, 10])
    driven = measured_run(cell, synthetic_executors(cell), compilations=lambda: next(counts))
    assert driven.compilations == 2
    assert drive(cell).compilations is None


def test_batches_of_several_workers_have_different_numbers() -> None:
    samples = drive(synthetic(clients=4, workers=2)).samples
    worker_of_batch: dict[int, int] = {}
    for batch, worker in zip(samples.batch.tolist(), samples.worker.tolist(), strict=True):
        assert worker_of_batch.setdefault(batch, worker) == worker


def test_an_open_loop_settles_before_its_window() -> None:
    driven = drive(synthetic(rate=2000, arrivals="constant", warmup=0.05, requests=100))
    assert isinstance(driven.loop, OpenLoopRule)
    assert driven.loop.settle_ns == 50_000_000
    assert driven.offered == 200  # 100 of them before the window opens
    assert_stamps_are_in_order(driven.samples)
    analysis = analyse(driven.samples, driven.loop)
    assert analysis.completed == 100
    assert analysis.offered_per_second == pytest.approx(2000)


@pytest.mark.parametrize("arrivals", ["poisson", "constant", "burst:7"])
@pytest.mark.parametrize("rate", [3.0, 900.0, 12_345.6])
@pytest.mark.parametrize("requests", [1, 200, 1_001])
def test_an_open_loop_counts_exactly_the_given_number_of_requests(
    arrivals: str, rate: float, requests: int
) -> None:
    whole_bursts = -(-requests // 7) * 7 if arrivals == "burst:7" else requests
    for seed in range(20):
        cell = synthetic(rate=rate, arrivals=arrivals, warmup=2.0, requests=requests, seed=seed)
        load = offered_load(cell, 0.0)
        due_ns = due(cell)
        assert (np.diff(due_ns) >= 0).all()
        loop = load.counted(10**15)
        assert isinstance(loop, OpenLoopRule)
        assert int(loop.inside(10**15 + due_ns).sum()) == whole_bursts
        assert loop.settle_ns == pytest.approx(2e9, abs=7e9 / rate)
        # The length of the schedule is requests / rate, exact to the nanosecond.
        assert loop.end_ns - loop.opens_ns == pytest.approx(whole_bursts / rate * 1e9, abs=1)
        assert load.stop_after_s is not None
        assert loop.end_ns - loop.start_ns <= load.stop_after_s * 1e9


def test_the_settling_part_has_other_arrivals_than_the_measured_part() -> None:
    cell = synthetic(rate=1_000.0, warmup=1.0, requests=1_000)
    due_ns = due(cell)
    before, after = due_ns[:1_000], due_ns[1_000:] - 10**9
    assert abs(np.corrcoef(np.diff(before), np.diff(after))[0, 1]) < 0.15
    assert not np.array_equal(after, due(another(cell, seed=1))[1_000:])


def test_a_run_in_real_time_counts_the_same_requests() -> None:
    driven = drive(synthetic(rate=2_000.0, warmup=0.1, requests=150))
    analysis = analyse(driven.samples, driven.loop)
    assert analysis.completed + analysis.unfinished == 150
    assert analysis.offered_per_second == 2_000


def test_all_requests_of_a_trace_are_measured(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("0\n0.01\n0.02\n")
    trace = f"trace:{path}"
    driven = drive(synthetic(arrivals=trace, requests=3, warmup=0.5))
    assert analyse(driven.samples, driven.loop).completed == 3
    with pytest.raises(InputError, match="--requests 4: the trace has 3 arrivals"):
        synthetic(arrivals=trace, requests=4)


@pytest.mark.parametrize("max_batch", [1, 4])
def test_a_closed_loop_counts_enough_requests_for_every_batch_size(max_batch: int) -> None:
    rng = np.random.default_rng(max_batch)
    for _ in range(300):
        clients, workers, requests = (int(rng.integers(1, most)) for most in (13, 5, 200))
        delay_ns = int(rng.choice([0, 300_000, 8_000_000])) if max_batch > 1 else 0
        loop = ClosedLoopRule(clients, workers * max_batch)
        stop = loop.completions_to_run(requests, max_batch)
        service = rng.exponential(1e6, stop + 100) if rng.random() < 0.5 else np.full(1, 1e6)
        outcome = core.simulate(
            core.ClosedLoop(clients),
            service_ns=service.astype(np.int64),
            executors=workers,
            max_batch=max_batch,
            max_delay_ns=delay_ns,
            stop_after_completions=stop,
        )
        analysis = analyse(collect(outcome), loop, max_batch=max_batch)
        assert analysis.completed >= requests


def test_dynamic_batches_join_waiting_requests_of_several_samples() -> None:
    spec = synthetic(batch=4, dynamic_batch="16:10ms", clients=4, requests=80)
    assert drive(spec).samples.batch_size.max() == 4  # requests, of 4 samples each


def test_exponential_service_times_have_the_given_mean_and_come_from_the_seed() -> None:
    spec = synthetic(service_time=1e-5, service_dist="exponential", requests=3000)
    samples = drive(spec).samples
    service = samples.completed_ns - samples.submitted_ns
    assert service.mean() >= 0.9e-5 * 1e9
    assert service.std() > 0.5 * service.mean()


def test_the_service_time_may_be_zero() -> None:
    assert len(drive(synthetic(service_time=0, requests=1000)).samples) >= 1000


def test_every_batch_size_runs_before_the_measurement() -> None:
    sizes: list[int] = []
    executor = core.PythonExecutor(lambda ids: sizes.append(len(ids)))
    measured_run(synthetic(dynamic_batch="4:1ms", clients=4, requests=8), [executor])
    assert sizes[:3] == [1, 2, 3]
    assert sizes[3:6] == [4, 4, 4]


def test_the_garbage_collector_is_off_during_the_measured_run() -> None:
    enabled: list[bool] = []
    executor = core.PythonExecutor(lambda ids: enabled.append(gc.isenabled()))
    measured_run(synthetic(requests=50), [executor])
    assert enabled[-50:] == [False] * 50
    assert gc.isenabled()


def test_an_error_in_the_warm_up_is_raised_with_its_cause() -> None:
    def fails(ids: np.ndarray) -> None:
        raise RuntimeError("no kernel image")

    with pytest.raises(GpubenchError, match="RuntimeError: no kernel image"):
        measured_run(synthetic(), [core.PythonExecutor(fails)])


def test_an_error_in_the_measured_run_keeps_what_was_measured() -> None:
    calls = 0

    def fails_later(ids: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        if calls > 50:
            raise MemoryError("out of memory")

    driven = measured_run(synthetic(), [core.PythonExecutor(fails_later)])
    assert driven.error is not None
    assert "out of memory" in driven.error
    assert 0 < len(driven.samples) < 50
    assert driven.failed == 1


def test_requests_that_were_not_served_in_time_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubench.measure.loads._LEAST_DRAIN_S", 0.0)
    driven = drive(synthetic(rate=20_000, service_time=1e-3, requests=400))
    assert len(driven.samples.unfinished_scheduled_ns) > 0
    assert len(driven.samples) + len(driven.samples.unfinished_scheduled_ns) == driven.offered


@pytest.mark.parametrize(
    ("text", "rate", "expected_ns"),
    [
        ("0\n0.5\n0.5\n2\n", None, [0, 500_000_000, 500_000_000, 2_000_000_000]),
        ("# seconds\n1.5\n", None, [1_500_000_000]),
        ("1\n2\n4\n", 6.0, [125_000_000, 250_000_000, 500_000_000]),
    ],
)
def test_a_trace_is_a_file_of_times_in_seconds(
    tmp_path: Path, text: str, rate: float | None, expected_ns: list[int]
) -> None:
    (tmp_path / "trace.txt").write_text(text)
    assert trace.read_trace(tmp_path / "trace.txt").due_ns(rate).tolist() == expected_ns


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1\n0.5\n",
            "-1\n2\n",
            "one\n",
            "nan\n",
            "1 2\n3 4\n",
            "1\n1e300\n",
            "1_0\n",
            "\x1b[2J\n",
        ),
        *("inf\n", "#\n#\n", "1" * 5000, "0x10\n", "1,2\n"),
    ],
)
def test_a_bad_trace_gives_a_one_line_error_with_the_fix(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.txt").write_text(text)
    with pytest.raises(InputError, match=r"--arrivals trace:.*(in seconds|sorted)"):
        trace.read_trace(tmp_path / "trace.txt")


def test_a_trace_is_a_regular_file_and_errors_name_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="it is a device"):
        trace.read_trace(Path("/dev/zero"))
    with pytest.raises(InputError, match="it is a named pipe"):
        trace.read_trace(tmp_path / "pipe")
    (tmp_path / "trace.txt").write_text("0\n" * 100)
    with monkeypatch.context() as patch:
        patch.setattr(trace, "_MOST_TRACE_BYTES", 100)
        with pytest.raises(InputError, match="it is larger than"):
            trace.read_trace(tmp_path / "trace.txt")
    (tmp_path / "trace.txt").write_text("# seconds\n0.5 # the first\n\n1,5\n")
    with pytest.raises(InputError, match=r"trace.txt: line 4: '1,5' is not a time"):
        trace.read_trace(tmp_path / "trace.txt")
    (tmp_path / "trace.txt").write_text("0\n1e6\n")
    with pytest.raises(InputError, match=r"--rate 1e-09: the trace would take longer than a year"):
        trace.read_trace(tmp_path / "trace.txt").due_ns(1e-9)


def test_the_error_names_a_missing_trace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.txt"):
        trace.read_trace(tmp_path / "absent.txt")


def test_the_timeline_never_takes_more_than_its_share_of_memory() -> None:
    assert run._capacity(10, workers=2) == 10_020
    assert run._capacity(10**15, workers=1) < 10**12
