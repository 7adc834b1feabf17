"""Tests of the jobs of a launched sweep."""

from __future__ import annotations

from typing import Any

import pytest

from gpubench.cells.grid import Grid, parse_grids, read_grids
from gpubench.errors import InputError
from gpubench.launch.plan_jobs import PlannedJobs, plan_jobs, unfinished
from gpubench.pricing.price_files import current_catalog

GRID: dict[str, Any] = {
    "model": ["resnet50", "bert-base"],
    "batch": [1, 4],
    "workers": [1, 2],
    "instance": ["g5.xlarge", "c7i.xlarge"],
}


def planned(grid: dict[str, Any] | list[Grid] = GRID, max_cells: int = 100) -> PlannedJobs:
    grids = grid if isinstance(grid, list) else parse_grids(grid, "test")
    return plan_jobs(grids, current_catalog(), max_cells)


def shape(found: PlannedJobs) -> list[tuple[str | None, int, int]]:
    return [(job.instance, job.index, len(job.cells)) for job in found.jobs]


def test_a_job_is_the_cells_of_an_engine_on_a_type_of_instance() -> None:
    found = planned()
    # Four engines (two models, two batch sizes), each with two numbers of workers.
    assert shape(found) == [
        (instance, index, 2) for instance in ("g5.xlarge", "c7i.xlarge") for index in range(4)
    ]
    for job in found.jobs:
        assert len({(cell.spec.model, cell.spec.batch) for cell in job.cells}) == 1
        assert {cell.spec.instance for cell in job.cells} == {(job.instance,)}


def test_several_prices_of_a_type_price_one_measurement() -> None:
    found = planned({**GRID, "instance": ["g5.xlarge", "g5.xlarge@us-east-1"]})
    assert {job.instance for job in found.jobs} == {"g5.xlarge"}
    assert {cell.spec.instance for job in found.jobs for cell in job.cells} == {
        ("g5.xlarge", "g5.xlarge@us-east-1")
    }


def test_a_cell_of_two_grids_is_measured_once() -> None:
    assert shape(planned(parse_grids([GRID, GRID], "test"))) == shape(planned())


def test_without_an_instance_the_cells_are_for_any_machine() -> None:
    grid = {"model": "resnet50", "batch": [1, 2], "only_on": "cuda"}
    found = planned(grid)
    assert shape(found) == [(None, 0, 1), (None, 1, 1)]
    # The machine that measures decides.
    assert {cell.only_on for job in found.jobs for cell in job.cells} == {"cuda"}


def test_steps_of_training_are_launched_with_what_their_machine_decides_left_open() -> None:
    grid = {**GRID, "workers": [1], "task": "train", "checkpointing": [False, True]}
    found = planned(grid)
    assert [(job.instance, len(job.cells)) for job in found.jobs] == [
        (instance, 1) for instance in ("g5.xlarge", "c7i.xlarge") for _ in range(8)
    ]
    assert {cell.spec.replicas for job in found.jobs for cell in job.cells} == {None}


def test_synthetic_cells_are_split_so_that_several_machines_can_share_them() -> None:
    grid = {"model": "synthetic", "clients": list(range(1, 46)), "instance": "c7i.xlarge"}
    assert [len(job.cells) for job in planned(grid).jobs] == [20, 20, 5]


@pytest.mark.parametrize(
    ("kind", "instances"), [("cuda", {"g5.xlarge"}), ("cpu", {"c7i.xlarge", "inf2.xlarge"})]
)
def test_only_on_is_decided_by_the_gpus_of_the_instance(kind: str, instances: set[str]) -> None:
    grid = {**GRID, "instance": ["g5.xlarge", "c7i.xlarge", "inf2.xlarge"], "only_on": kind}
    assert {job.instance for job in planned(grid).jobs} == instances


@pytest.mark.parametrize(
    ("device", "instance", "message"),
    [
        ("cuda:0", "c7i.xlarge", "c7i.xlarge has no GPU that gpubench can use"),
        ("all", "inf2.xlarge", "inf2.xlarge has no GPU that gpubench can use"),
        ("cuda:1", "g5.xlarge", "g5.xlarge has 1 GPU, cuda:0"),
        ("cuda:4", "g5.12xlarge", "g5.12xlarge has 4 GPUs, cuda:0 to cuda:3"),
    ],
)
def test_a_device_that_an_instance_does_not_have_is_refused(
    device: str, instance: str, message: str
) -> None:
    grid = {"model": "resnet50", "device": device, "instance": instance}
    with pytest.raises(InputError, match=message):
        planned(grid)
    elsewhere = {**grid, "instance": "g5.48xlarge"}
    skipping = parse_grids([elsewhere, {**grid, "unavailable": "skip"}], "test")
    found = planned(skipping)
    assert {job.instance for job in found.jobs} == {"g5.48xlarge"}
    assert list(found.skipped.values()) == [1]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({**GRID, "instance": "g5.xlrge"}, "did you mean"),
        ({**GRID, "instance": "g5.xlarge@nowhere"}, "region 'nowhere'"),
        ({**GRID, "batch": 0}, "batch"),
        ({**GRID, "only_on": "cuda", "instance": "c7i.xlarge"}, "no cell for these instances"),
        (
            {"model": "kserve:m", "server": "grpc://h:1", "instance": "c7i.xlarge"},
            "it is the price of the server",
        ),
    ],
)
def test_a_sweep_that_cannot_be_measured_is_refused(grid: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        planned(grid)


def test_the_limit_counts_the_cells_on_all_instances() -> None:
    assert planned(max_cells=16)
    with pytest.raises(InputError, match=r"16 cells .* limit is 15; .*--max-cells"):
        planned(max_cells=15)
    with pytest.raises(InputError, match="these grids have 8 cells"):
        planned(max_cells=7)


def test_code_in_a_file_needs_permission(tmp_path: Any) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("model: planted.py:make\ninstance: g5.xlarge\n")
    with pytest.raises(InputError, match="--allow-code"):
        planned(read_grids(file))
    assert shape(planned(read_grids(file, allow_code=True))) == [("g5.xlarge", 0, 1)]


def test_a_digest_says_what_is_measured_without_prices() -> None:
    (job,) = planned({"model": "resnet50", "instance": "g5.xlarge"}).jobs
    (there,) = planned({"model": "resnet50", "instance": "g5.xlarge@us-east-1"}).jobs
    (other,) = planned({"model": "resnet50", "instance": "g6.xlarge"}).jobs
    (larger,) = planned({"model": "resnet50", "batch": 2, "instance": "g5.xlarge"}).jobs
    assert job.digest == there.digest
    assert len({job.digest, other.digest, larger.digest}) == 3


def test_complete_jobs_are_left_out_and_the_others_numbered_anew() -> None:
    jobs = planned().jobs
    left = unfinished(jobs, {jobs[0].digest, jobs[5].digest})
    assert [(job.instance, job.index) for job in left] == [
        (instance, index) for instance in ("g5.xlarge", "c7i.xlarge") for index in range(3)
    ]
    assert {job.digest for job in left} == {job.digest for job in jobs} - {
        jobs[0].digest,
        jobs[5].digest,
    }
