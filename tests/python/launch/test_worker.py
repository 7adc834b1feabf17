"""Tests of workers: which jobs they measure, what they refuse, and what they record."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import a_machine

from gpubench.cells.grid import parse_grids
from gpubench.errors import GpubenchError, InputError
from gpubench.files.leases import Lease, Leases, LeaseTimes
from gpubench.files.process_identity import ProcessIdentity
from gpubench.launch.count_cells import count_cells
from gpubench.launch.files import LaunchFiles, WorkerRecord
from gpubench.launch.manifest import Manifest
from gpubench.launch.prepare import LaunchWishes, prepare
from gpubench.launch.status import launch_status
from gpubench.launch.worker import WorkerOutcome, WorkerWishes, work
from gpubench.measure.progress import Progress
from gpubench.results.result import Result

MACHINE = a_machine(instance=None)
GRID: dict[str, Any] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 20,
    "batch": [1, 2, 3],
    "instance": ["c7i.xlarge", "c7i.2xlarge"],
}


def launched(folder: Path, grid: dict[str, Any] = GRID, **wishes: Any) -> Manifest:
    """A launch whose manifest is in the folder."""
    wishes = {"name": "study", "machines": 10, **wishes}
    launch = prepare(parse_grids(grid, "test"), str(folder), LaunchWishes(**wishes)).launch
    assert launch is not None
    LaunchFiles(str(folder)).write_manifest(launch.manifest)
    return launch.manifest


def worked(
    folder: Path,
    instance: str | None = "c7i.xlarge",
    progress: Progress | None = None,
    machine: Any = MACHINE,
    **wishes: Any,
) -> WorkerOutcome:
    asked = WorkerWishes(instance=instance, **wishes)
    return work(str(folder), machine, asked, progress or Progress())


def the_record(folder: Path) -> WorkerRecord:
    (record,) = LaunchFiles(str(folder)).workers("study").values()
    return record


class Told(Progress):
    def __init__(self) -> None:
        self.names: list[tuple[int, str | None]] = []

    def measured(self, result: Result) -> None:
        self.names.append((result.spec.batch, result.environment.instance))


def test_the_machines_of_a_fleet_measure_each_cell_once(tmp_path: Path) -> None:
    launched(tmp_path)
    told = Told()
    for index in range(2):
        outcome = worked(tmp_path, progress=told, index=index, machines=2)
        assert (outcome.failed, outcome.impossible, outcome.interrupted) == (0, 0, False)
    assert sorted(told.names) == [(batch, "c7i.xlarge") for batch in (1, 2, 3)]
    status = launch_status(str(tmp_path), None)
    counts = {each.instance: each.counts for each in status.instances}
    assert (counts["c7i.xlarge"].measured, counts["c7i.xlarge"].missing) == (3, 0)
    assert (counts["c7i.2xlarge"].measured, counts["c7i.2xlarge"].missing) == (0, 3)
    assert not status.complete
    worked(tmp_path, "c7i.2xlarge")
    assert launch_status(str(tmp_path), None).complete


def test_a_worker_without_a_number_measures_everything_that_is_missing(tmp_path: Path) -> None:
    launched(tmp_path)
    told = Told()
    worked(tmp_path, progress=told, index=1, machines=3)
    assert worked(tmp_path, progress=told).measured == 2
    assert worked(tmp_path, progress=told).measured == 0  # nothing is measured again
    assert sorted(batch for batch, _ in told.names) == [1, 2, 3]


def test_a_worker_leaves_alone_what_another_one_works_on(tmp_path: Path) -> None:
    manifest = launched(tmp_path)
    told = Told()

    class Meanwhile(Progress):
        """While this worker measures its first cell, another one measures all others."""

        def cell_begins(self, number: int, spec: object, seconds_left: float | None) -> None:
            if not told.names:
                worked(tmp_path, progress=told)

    outcome = worked(tmp_path, progress=Meanwhile())
    assert (outcome.measured, len(told.names)) == (1, 2)
    (counts,) = {
        counts.measured
        for counts in count_cells(
            LaunchFiles(str(tmp_path)), manifest.jobs_of("c7i.xlarge"), 1
        ).by_job.values()
    }
    assert counts == 1


def test_repeats_are_counted_each(tmp_path: Path) -> None:
    launched(tmp_path, repeats=2)
    worked(tmp_path, index=0, machines=3)
    status = launch_status(str(tmp_path), "study")
    assert (status.instances[0].counts.measured, status.instances[0].counts.missing) == (2, 4)


def test_a_new_launch_leaves_out_what_an_earlier_one_has_measured(tmp_path: Path) -> None:
    launched(tmp_path)
    worked(tmp_path, index=0, machines=3)
    worked(tmp_path, "c7i.2xlarge")
    again = prepare(parse_grids(GRID, "test"), str(tmp_path), LaunchWishes())
    assert again.launch is not None
    assert again.jobs_before == 4
    assert [(job.instance, job.index) for job in again.launch.manifest.jobs] == [
        ("c7i.xlarge", 0),
        ("c7i.xlarge", 1),
    ]
    worked(tmp_path)
    assert prepare(parse_grids(GRID, "test"), str(tmp_path), LaunchWishes()).launch is None


def test_the_machine_that_says_its_type_must_be_the_priced_one(tmp_path: Path) -> None:
    launched(tmp_path)
    machine = replace(MACHINE, instance="m5.large")
    with pytest.raises(InputError, match=r"this machine is a m5\.large"):
        worked(tmp_path, machine=machine)
    with pytest.raises(InputError, match=r"jobs for c7i\.xlarge, c7i\.2xlarge, and this machine"):
        worked(tmp_path, None, machine=machine)
    with pytest.raises(InputError, match="--instance TYPE"):
        worked(tmp_path, None)
    with pytest.raises(InputError, match=r"has no job for it; it has c7i\.xlarge, c7i\.2xlarge"):
        worked(tmp_path, "g5.xlarge")
    assert LaunchFiles(str(tmp_path)).workers("study") == {}  # nothing began
    told = Told()
    worked(tmp_path, None, progress=told, machine=replace(MACHINE, instance="c7i.2xlarge"))
    assert {instance for _, instance in told.names} == {"c7i.2xlarge"}


def test_a_launch_for_any_machine_has_no_instance(tmp_path: Path) -> None:
    launched(tmp_path, {**GRID, "instance": [], "usd_per_hour": 36.0})
    assert worked(tmp_path, None).measured == 3
    (fleet,) = launch_status(str(tmp_path), None).instances
    assert fleet.usd == pytest.approx(fleet.seconds / 100)


def test_another_version_is_refused(tmp_path: Path) -> None:
    manifest = launched(tmp_path)
    other = manifest.model_copy(update={"gpubench": "0.0.1"})
    LaunchFiles(str(tmp_path)).write_manifest(other, replace=True)
    with pytest.raises(InputError, match=r"written by gpubench 0\.0\.1, and this is"):
        worked(tmp_path)


@pytest.mark.parametrize("setting", ["model", "eval"])
def test_code_of_a_launch_needs_permission_of_the_worker(tmp_path: Path, setting: str) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    code = f"{planted}:make"
    grid = {"model": code} if setting == "model" else {"model": "resnet50", "eval": code}
    folder = tmp_path / "run"
    launched(folder, {**grid, "instance": "c7i.xlarge"}, allow_code=True)
    with pytest.raises(InputError, match=f"{setting} of this launch: .* add --allow-code"):
        worked(folder)
    assert not (tmp_path / "ran").exists()


def test_a_cell_that_the_machine_cannot_measure_is_reported_and_the_others_measured(
    tmp_path: Path,
) -> None:
    grids = parse_grids([GRID, {"model": "missing.onnx", "instance": "c7i.xlarge"}], "test")
    launch = prepare(grids, str(tmp_path), LaunchWishes(name="study")).launch
    assert launch is not None
    LaunchFiles(str(tmp_path)).write_manifest(launch.manifest)
    outcome = worked(tmp_path)
    assert (outcome.measured, outcome.impossible) == (3, 1)
    counts = launch_status(str(tmp_path), None).instances[0].counts
    assert (counts.measured, counts.impossible.total(), counts.missing) == (3, 1, 0)
    assert "missing.onnx" in next(iter(counts.impossible))


def test_a_cell_may_be_left_out(tmp_path: Path) -> None:
    grid = {**GRID, "instance": [], "only_on": "cuda"}
    launched(tmp_path, grid)
    assert worked(tmp_path, None).measured == 0
    counts = launch_status(str(tmp_path), None).instances[0].counts
    assert (counts.wanted, counts.left_out, counts.missing) == (0, 3, 0)


def test_a_price_that_the_machine_does_not_know_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(
        "provider,instance,region,accelerator,accelerator_count,accelerator_memory_gib,vcpus,"
        "memory_gib,on_demand_usd_per_hour,spot_usd_per_hour,as_of,source\n"
        "own,rack,cellar,,0,,4,16,1.5,,2026-10-01,me\n"
    )
    with monkeypatch.context() as patched:
        patched.setenv("GPUBENCH_PRICES", str(prices))
        launched(tmp_path / "run", {**GRID, "instance": "rack"})
    outcome = worked(tmp_path / "run", "rack")
    assert (outcome.measured, outcome.unpriced) == (3, {"rack"})
    assert the_record(tmp_path / "run").usd_per_hour == 1.5  # of the launch


def test_a_job_that_would_end_after_the_limit_is_not_begun(tmp_path: Path) -> None:
    launched(tmp_path)
    first = worked(tmp_path, index=0, machines=1, max_time_s=1000.0)
    assert (first.measured, first.out_of_time) == (3, False)
    files = LaunchFiles(str(tmp_path))
    ((identifier, record),) = files.workers("study").items()
    # The same machine of the fleet, before the provider took it back.
    files.write_worker(identifier, record.model_copy(update={"seconds": 1000.0}))
    told = Told()
    again = worked(tmp_path, progress=told, index=0, machines=1, max_time_s=1000.0)
    assert (again.measured, again.out_of_time, told.names) == (0, True, [])
    assert "time-limit" in {each.ended for each in files.workers("study").values()}


def test_a_worker_ends_at_its_limit_and_goes_on_later(tmp_path: Path) -> None:
    launched(tmp_path)

    class Late(Progress):
        def cell_begins(self, number: int, spec: object, seconds_left: float | None) -> None:
            signal.raise_signal(signal.SIGALRM)  # as the timer of the worker does

    outcome = worked(tmp_path, progress=Late(), max_time_s=1000.0)
    assert (outcome.measured, outcome.out_of_time, outcome.interrupted) == (0, True, True)
    assert the_record(tmp_path).ended == "time-limit"
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert worked(tmp_path, max_time_s=1000.0).measured == 3


def test_the_record_says_why_a_worker_ended(tmp_path: Path) -> None:
    launched(tmp_path)

    class Failing(Progress):
        def __init__(self, error: BaseException) -> None:
            self._error = error

        def cell_begins(self, number: int, spec: object, seconds_left: float | None) -> None:
            raise self._error

    endings = []
    for error in (GpubenchError("the disk is full"), KeyboardInterrupt()):
        before = set(LaunchFiles(str(tmp_path)).workers("study"))
        with suppress(GpubenchError):
            worked(tmp_path, progress=Failing(error))
        records = LaunchFiles(str(tmp_path)).workers("study")
        (new,) = set(records) - before
        endings.append((records[new].ended, records[new].message))
    assert endings == [("failed", "the disk is full"), ("interrupted", None)]
    worked(tmp_path)
    records = LaunchFiles(str(tmp_path)).workers("study")
    assert ("finished", 3) in {(each.ended, each.measured) for each in records.values()}


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"index": 3, "machines": 3}, "0 to 2"),
        ({"index": -1, "machines": 3}, "0 to 2"),
        ({"launch": "other"}, "no launch 'other'; .* has study"),
    ],
)
def test_bad_wishes_are_refused(tmp_path: Path, wishes: dict[str, Any], message: str) -> None:
    launched(tmp_path)
    with pytest.raises(InputError, match=message):
        worked(tmp_path, **wishes)


def test_a_cell_that_was_interrupted_is_missing_and_measured_again(tmp_path: Path) -> None:
    launched(tmp_path, {**GRID, "batch": [1, 2], "instance": "c7i.xlarge"}, repeats=2)
    worked(tmp_path)
    documents = [path for path in tmp_path.glob("*.json") if not path.name.startswith(".")]
    for path, message in (
        (documents[0], "interrupted after 7 requests"),
        (documents[1], "the model is broken"),
    ):
        document = json.loads(path.read_text())
        document["error"] = {"stage": "measure", "message": message}
        path.write_text(json.dumps(document))
    status = launch_status(str(tmp_path), None)
    counts = status.instances[0].counts
    assert (counts.measured, counts.failed, counts.missing) == (2, 1, 1)
    assert not status.complete
    again = worked(tmp_path, index=0)
    assert (again.measured, again.failed) == (2, 0)
    assert launch_status(str(tmp_path), None).complete
    lost = [json.loads(path.read_text())["lost_attempts"] for path in documents]
    assert lost == [1, 0, 0, 0]


@pytest.mark.parametrize("wishes", [{"index": 0}, {}])
def test_a_machine_waits_for_what_a_lost_one_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wishes: dict[str, Any]
) -> None:
    """A machine was lost a moment ago, and another host continues its work."""
    launched(tmp_path, {**GRID, "instance": "c7i.xlarge"})
    times = LeaseTimes(expiry_s=0.05, poll_s=0.06)
    monkeypatch.setattr(
        "gpubench.measure.sweep.Leases", lambda folder, usual: Leases(folder, times)
    )

    class Lost(BaseException):
        pass

    class LostAtOnce(Progress):
        def cell_begins(self, number: int, spec: object, seconds_left: float | None) -> None:
            raise Lost

    with monkeypatch.context() as patched, suppress(Lost):
        patched.setattr(Lease, "release", lambda lease: lease._leases.forget(lease))
        other = ProcessIdentity("other", "kernel", 7, 1)
        patched.setattr("gpubench.files.leases.this_process", lambda: other)
        worked(tmp_path, progress=LostAtOnce(), **wishes)
    assert list(tmp_path.glob(".lease-*"))
    outcome = worked(tmp_path, **wishes)
    assert (outcome.measured, outcome.left_to_others) == (3, 0)
    assert launch_status(str(tmp_path), None).complete


def test_a_damaged_document_is_missing_again(tmp_path: Path) -> None:
    manifest = launched(tmp_path, {**GRID, "batch": 1, "instance": "c7i.xlarge"})
    worked(tmp_path)
    files = LaunchFiles(str(tmp_path))
    (document,) = (path for path in tmp_path.glob("*.json") if not path.name.startswith("."))
    document.write_text("{")
    (counts,) = count_cells(files, manifest.jobs, 1).by_job.values()
    assert (counts.measured, counts.missing) == (0, 1)
