"""Several processes measure one sweep into one directory: each cell once, and none is lost."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import factories
import pytest
from moto_server import aws, bucket, moto_server

import gpubench
from gpubench.cells.grid import PlannedCells, parse_grids, sweep_cells
from gpubench.files.leases import Leases, LeaseTimes
from gpubench.files.process_identity import ProcessIdentity
from gpubench.measure.claims import Claims, WaitFor
from gpubench.measure.progress import Progress
from gpubench.measure.rounds import RepeatedCell, Turn, engine_group
from gpubench.measure.sweep import MeasuredShare, SweepOutcome, measure_cells, measure_share
from gpubench.results.result import Failure, Result
from gpubench.results.run_directory import cell_files, open_run
from gpubench.spec.spec import Spec
from gpubench.system.machine import this_machine

__all__ = ["aws", "bucket", "moto_server"]  # fixtures

TIMES = LeaseTimes(poll_s=0.01)


def plan(*seeds: int) -> PlannedCells:
    grid = {
        "model": "synthetic",
        "service_time": "10us",
        "warmup": 0,
        "requests": 10,
        "seed": list(seeds),
    }
    return sweep_cells(parse_grids(grid, "the test"), this_machine())


def measured(
    url: str,
    progress: Progress | None = None,
    cells: int = 4,
    times: LeaseTimes = TIMES,
) -> SweepOutcome:
    return measure_cells(plan(*range(cells)), url, this_machine(), progress, times=times)


def share(
    url: str,
    progress: Progress | None = None,
    cells: int = 4,
    wait: WaitFor = "none",
    times: LeaseTimes = TIMES,
) -> MeasuredShare:
    directory = open_run(url)
    with directory.locked(shared=True):
        return measure_share(
            plan(*range(cells)),
            directory,
            this_machine(),
            progress or Progress(),
            wait=wait,
            times=times,
        )


class Recorder(Progress):
    """Calls `at_first` when the first cell begins."""

    def __init__(self, at_first: Callable[[], object] = lambda: None) -> None:
        self.seeds: list[int] = []
        self.waited: list[tuple[str, int]] = []
        self.reasons: list[str] = []
        self._at_first = at_first

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        if number == 1 and not self.reasons:
            self._at_first()

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        self.seeds.append(result.spec.seed)

    def waits_for(self, holder: str, turns: int) -> None:
        self.waited.append((holder, turns))

    def superseded(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture(params=["local", "s3"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/run"
    return str(tmp_path / "run")


def hidden(url: str) -> list[str]:
    return [name for name in open_run(url).file_names() if name.startswith(".")]


def test_a_cell_that_another_sweep_measures_is_left_to_it(run: str) -> None:
    second = Recorder()
    first = Recorder(lambda: share(run, second))
    outcome = measured(run, first)
    assert (first.seeds, sorted(second.seeds)) == ([0], [1, 2, 3])
    assert [result.spec.seed for result in outcome.results] == [0, 1, 2, 3]
    assert {result.lost_attempts for result in outcome.results} == {0}
    assert [name for name in hidden(run) if name != ".gpubench-lock"] == []


def test_a_process_that_does_not_wait_says_what_is_left_to_others(run: str) -> None:
    shares = []
    measured(run, Recorder(lambda: shares.append(share(run))))
    assert shares == [MeasuredShare(complete=True, begun=3, left_to_others=1)]


class OtherMachine:
    """A process of another machine of the same type, which has the lease of a cell."""

    def __init__(self, url: str, seed: int) -> None:
        self._directory = open_run(url)
        identity = this_machine().identity
        [cell] = plan(seed).cells
        self.turn = Turn(RepeatedCell(cell, cell.spec.key(identity), self._directory), 1)
        leases = Leases(self._directory.folder)
        leases._process = ProcessIdentity("host-b", "another kernel", 7, 1)
        self._claims = Claims(
            self._directory, identity, leases, engine_group, Progress(), wait="none"
        )
        self._turns = self._claims.turns([self.turn])
        next(self._turns)

    def beat(self) -> None:
        self._claims.leases.beat()

    def stop(self) -> None:
        list(self._turns)

    def store(self, error: Failure | None = None) -> None:
        """Store a result, and release the lease."""
        spec = self.turn.of.cell.spec
        changes = {"spec": spec, "error": error}
        result = factories.result(throughput=123.0).model_copy(update=changes)
        self._directory.store(self.turn.name, cell_files(result, None))
        self.stop()


@pytest.mark.parametrize("waits", [True, False])
def test_what_was_interrupted_on_another_machine_is_measured_again(run: str, waits: bool) -> None:
    class InterruptedMeanwhile(Recorder):
        def waits_for(self, holder: str, turns: int) -> None:
            interrupt()

        def cell_ended(self, result: Result, elapsed_s: float) -> None:
            super().cell_ended(result, elapsed_s)
            if not waits and self.seeds == [0]:  # before this process comes to the cell
                interrupt()

    def interrupt() -> None:
        other.store(Failure(stage="measure", message="interrupted after 5 requests"))
        assert f".interrupted-{other.turn.name}" in open_run(run).file_names()

    open_run(run).folder.create()
    other, progress = OtherMachine(run, seed=2), InterruptedMeanwhile()
    outcome = measured(run, progress)
    assert sorted(progress.seeds) == [0, 1, 2, 3]
    assert [result.error for result in outcome.results] == [None] * 4
    assert [result.lost_attempts for result in outcome.results] == [0, 0, 1, 0]
    assert not any(name.startswith(".interrupted") for name in open_run(run).file_names())


def test_documents_of_others_are_not_read_to_find_interrupted_ones(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run(run).folder.create()
    complete, interrupted = (OtherMachine(run, seed=seed) for seed in (1, 2))
    complete.store()
    interrupted.store(Failure(stage="measure", message="interrupted after 5 requests"))
    directory, read = open_run(run), list[str]()
    read_each = directory.folder.read_each

    def logged(names: Sequence[str], most: int) -> Iterator[tuple[str, bytes | OSError]]:
        read.extend(names)
        return read_each(names, most)

    monkeypatch.setattr(directory.folder, "read_each", logged)
    names = [complete.turn.name, interrupted.turn.name]
    assert directory.interrupted(names) == {interrupted.turn.name}
    assert read == [f"{interrupted.turn.name}.json"]


def test_what_failed_on_another_machine_is_not_measured_again(run: str) -> None:
    class FailedMeanwhile(Recorder):
        def waits_for(self, holder: str, turns: int) -> None:
            other.store(Failure(stage="load", message="interrupted_file.onnx is missing"))

    open_run(run).folder.create()
    other, progress = OtherMachine(run, seed=2), FailedMeanwhile()
    outcome = measured(run, progress)
    assert sorted(progress.seeds) == [0, 1, 3]
    assert [result.error is None for result in outcome.results] == [True, True, False, True]


def test_a_process_may_wait_only_for_others_that_may_be_lost(tmp_path: Path) -> None:
    class Seen(Recorder):
        def waits_for(self, holder: str, turns: int) -> None:
            super().waits_for(holder, turns)
            other.beat()

    run = str(tmp_path / "run")
    open_run(run).folder.create()
    other, progress = OtherMachine(run, seed=2), Seen()
    assert share(run, progress, wait="unless-alive") == MeasuredShare(
        True, begun=3, left_to_others=1
    )
    assert len(progress.waited) == 1, "it does not know yet that the other one is alive"
    lost = LeaseTimes(expiry_s=0.05, poll_s=0.06)
    assert share(run, wait="unless-alive", times=lost) == MeasuredShare(
        True, begun=1, left_to_others=0
    )


def test_a_sweep_waits_for_what_another_machine_measures(run: str) -> None:
    class StoredMeanwhile(Recorder):
        def waits_for(self, holder: str, turns: int) -> None:
            super().waits_for(holder, turns)
            other.store()

    open_run(run).folder.create()
    other, progress = OtherMachine(run, seed=2), StoredMeanwhile()
    outcome = measured(run, progress)
    assert sorted(progress.seeds) == [0, 1, 3]
    [(holder, turns)] = progress.waited
    assert holder.startswith("process 7 on host-b since ")
    assert turns == 1
    assert [result.throughput_per_second == 123.0 for result in outcome.results] == [
        False,
        False,
        True,
        False,
    ]


def test_a_cell_whose_machine_is_lost_is_measured_again_and_says_so(run: str) -> None:
    open_run(run).folder.create()
    lost = OtherMachine(run, seed=2)
    progress = Recorder()
    outcome = measured(run, progress, times=LeaseTimes(expiry_s=0.2, poll_s=0.01))
    assert sorted(progress.seeds) == [0, 1, 2, 3]
    assert [result.lost_attempts for result in outcome.results] == [0, 0, 1, 0]
    lost.stop()
    assert "lease" not in " ".join(hidden(run))


def test_the_document_that_was_written_first_stays(run: str) -> None:
    """Also if another process has written it without a lease."""

    def write() -> None:
        # Another gpubench has no lease here, as after a long suspension.
        result = factories.result(throughput=123.0).model_copy(
            update={"spec": other.turn.of.cell.spec}
        )
        open_run(run).write(other.turn.name, result)

    open_run(run).folder.create()
    other = OtherMachine(run, seed=0)
    other.stop()  # it releases the lease
    progress = Recorder(write)
    outcome = measured(run, progress)
    [reason] = progress.reasons
    assert f"another process has written {run}/{other.turn.name}.json meanwhile" in reason
    assert sorted(progress.seeds) == [1, 2, 3]
    assert outcome.results[0].throughput_per_second == 123.0


def test_a_cell_that_failed_is_measured_once_more_by_one_of_the_sweeps(run: str) -> None:
    open_run(run).folder.create()
    other = OtherMachine(run, seed=1)
    failed = factories.failed().model_copy(update={"spec": other.turn.of.cell.spec})
    other.turn.of.directory.write(other.turn.name, failed)
    other.stop()
    second = Recorder()
    first = Recorder(lambda: share(run, second, cells=2))
    outcome = measured(run, first, cells=2)
    assert (first.seeds, second.seeds) == ([0], [1])
    assert [result.error for result in outcome.results] == [None, None]


# Claims alone: no cell is measured.


def claims_of(url: str, group: Callable[[RepeatedCell], object] = engine_group) -> Claims:
    directory = open_run(url)
    return Claims(
        directory, "a machine", Leases(directory.folder), group, Progress(), "none", Random(1)
    )


def turns_of(claims: Claims, *batches: int) -> list[Turn]:
    return [
        Turn(
            RepeatedCell(
                factories.a_cell(model="resnet50", batch=batch, workers=workers, runtime="eager"),
                f"{batch}-{workers}",
                claims.directory,
            ),
            1,
        )
        for batch in batches
        for workers in (1, 2, 3)
    ]


def test_the_cells_of_an_engine_have_one_lease(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/engines"
    with claims_of(url) as mine, claims_of(url) as others:
        turns = turns_of(mine, 1, 2)
        leases = set()
        for turn in mine.turns(turns):
            [held] = hidden(url)
            leases.add(held)
            if turn.name == "1-2":
                names = [each.name for each in others.turns(turns_of(others, 1, 2))]
                assert names == ["2-1", "2-2", "2-3"], "the other engine is free"
        assert len(leases) == 2
    assert hidden(url) == []


def test_a_process_that_meets_another_one_goes_on_elsewhere(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/elsewhere"
    with claims_of(url) as mine, claims_of(url) as others:
        first = mine.turns(turns_of(mine, *range(1, 9)))
        assert next(first).name == "1-1"
        batches = [
            int(turn.name.partition("-")[0])
            for turn in others.turns(turns_of(others, *range(1, 9)))
        ]
        assert batches[0] != 2, "a random engine (the seed is fixed)"
        order = [batch for batch, _ in itertools.groupby(batches)]
        assert order == [*range(int(order[0]), 9), *range(2, int(order[0]))], "then in order"


def test_a_cell_of_a_model_that_shares_nothing_needs_five_requests(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    requests: Counter[str] = Counter()
    call = S3FileSystem._call_s3

    async def counted(self: S3FileSystem, method: str, *parts: object, **named: object) -> object:
        requests[method] += 1
        return await call(self, method, *parts, **named)

    share(f"{bucket}/a", cells=1)
    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    share(f"{bucket}/b", cells=1)
    one = requests.total()
    requests.clear()
    share(f"{bucket}/c", cells=6)
    assert requests.total() - one == 5 * 5
    assert requests["put_object"] == 3 * 6


# Processes of their own.


def sweep_in_process(
    variables: dict[str, str], url: str, log: Path, cells: int, then: str, at: int
) -> None:
    """Log each stored cell. When cell `at` begins, this process gets the signal `then`."""
    os.environ.update(variables)

    class Log(Recorder):
        def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
            if then and number == at:  # it holds the lease of this cell
                with log.open("a") as file:
                    file.write(f"{then} {spec.seed}\n")
                os.kill(os.getpid(), getattr(signal, then))

        def cell_ended(self, result: Result, elapsed_s: float) -> None:
            with log.open("a") as file:
                file.write(f"stored {result.spec.seed}\n")

        def superseded(self, reason: str) -> None:
            with log.open("a") as file:
                file.write(f"superseded {reason}\n")

    measured(url, Log(), cells, times=LeaseTimes(heartbeat_s=0.2, expiry_s=2.0, poll_s=0.05))


# Each process starts with the imports done and without threads.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["gpubench.measure.sweep", "gpubench.measure.cell", "pyarrow.parquet"])


def process(url: str, log: Path, cells: int, then: str = "", at: int = 0) -> BaseProcess:
    # The process that starts them has another environment.
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    started = FRESH.Process(target=sweep_in_process, args=(variables, url, log, cells, then, at))
    started.start()
    return started


def lines(log: Path, word: str) -> list[str]:
    return [
        rest
        for kind, _, rest in (line.partition(" ") for line in log.read_text().splitlines())
        if kind == word
    ]


def test_processes_measure_every_cell_once_although_one_is_killed(run: str, tmp_path: Path) -> None:
    cells = 16
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    processes = [process(run, logs[0], cells, "SIGKILL", 2)]
    processes += [process(run, log, cells) for log in logs[1:]]
    for each in processes:
        each.join()
    assert [each.exitcode for each in processes] == [-signal.SIGKILL, 0, 0]
    stored = Counter(seed for log in logs for seed in lines(log, "stored"))
    assert stored == {str(seed): 1 for seed in range(cells)}
    contents = open_run(run).read_all()
    assert contents.problems == []
    [killed] = lines(logs[0], "SIGKILL")
    lost = {str(result.spec.seed): result.lost_attempts for _, result in contents.cells}
    assert lost == {str(seed): int(str(seed) == killed) for seed in range(cells)}
    assert hidden(run) == []


def state(of: BaseProcess) -> str:
    """One letter: see proc_pid_stat(5)."""
    return Path(f"/proc/{of.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_holder_that_was_suspended_stores_nothing_after_its_lease_was_taken(
    run: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    suspended = process(run, log, 1, "SIGSTOP", 1)
    try:
        while state(suspended) != "T":
            assert suspended.is_alive()
        mine = Recorder()
        [result] = measured(run, mine, 1, times=LeaseTimes(expiry_s=0.5, poll_s=0.05)).results
        assert mine.seeds == [0]
        assert result.lost_attempts == 1
        os.kill(suspended.pid or 0, signal.SIGCONT)
        suspended.join()
        assert suspended.exitcode == 0
    finally:
        suspended.kill()
    assert lines(log, "stored") == []
    assert len(lines(log, "superseded")) == 1
    [(_, kept)] = open_run(run).read_all().cells
    assert kept == result
    assert hidden(run) == []


def test_two_commands_share_a_local_directory(tmp_path: Path) -> None:
    inner: list[Result] = []

    class Second(Progress):
        def cell_ended(self, result: Result, elapsed_s: float) -> None:
            if not inner:
                inner.extend(gpubench.sweep({**GRID, "workers": 3}, tmp_path / "run"))

    assert len(gpubench.sweep(GRID, tmp_path / "run", Second())) == 2
    assert len(inner) == 1
    assert len(list((tmp_path / "run").iterdir())) == 6


GRID: dict[str, object] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 10,
    "workers": [1, 2],
}
