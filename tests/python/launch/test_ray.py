"""What `sweep --on ray` decides without a cluster: which node measures what, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpubench.cells.grid import MAX_CELLS, parse_grids
from gpubench.cells.resolve import cell_of, resolve
from gpubench.errors import InputError
from gpubench.launch.ray.admission import other_answer, refusal, remark
from gpubench.launch.ray.cluster import RayNode, connected, parse_on
from gpubench.launch.ray.jobs import MOST_REQUEUES, RoundJobs
from gpubench.launch.ray.messages import AskedCell, NodeAnswer, NodeFacts
from gpubench.launch.ray.node import answers_of, software_versions
from gpubench.launch.ray.plan import (
    NodeType,
    asked_cells,
    chosen_types,
    plan_cells,
    wanted_instances,
)
from gpubench.measure.rounds import RepeatedCell, Turn
from gpubench.results.run_directory import open_run
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine

GRID: dict[str, object] = {"model": "synthetic", "service_time": "10us", "requests": 50}


def machine(instance: str | None = None, gpus: tuple[str, ...] = (), cpu: str = "a CPU") -> Machine:
    return Machine(cpu, 4, frozenset(), gpus, instance, "Linux")


def node_type(asked: list[AskedCell], at: Machine, nodes: int = 1) -> NodeType:
    return NodeType(at, nodes, answers_of(asked, at))


def asked(*grids: dict[str, object]) -> list[AskedCell]:
    return asked_cells(parse_grids(list(grids), "sweep.yaml"), MAX_CELLS)


# The address.


@pytest.mark.parametrize(
    ("on", "where"),
    [("ray", "auto"), ("ray:local", "local"), ("ray:10.0.0.1:6379", "10.0.0.1:6379")],
)
def test_where_on_says_to_measure(on: str, where: str) -> None:
    assert parse_on(on) == where


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("dask", "write --on ray"),
        ("", "write --on ray"),
        ("ray:", "write --on ray"),
        ("ray:head", "not HOST:PORT"),
        ("ray:head:0", "not HOST:PORT"),
        ("ray:head:six", "not HOST:PORT"),
        ("ray://head:10001", "ray:HOST:6379"),
    ],
)
def test_another_place_is_refused(on: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        parse_on(on)


def test_a_cluster_that_is_not_there_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="cannot be reached: Connection refused"):
        connected("127.0.0.1:9").__enter__()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(InputError, match="no Ray cluster runs on this machine"):
        connected("auto").__enter__()


# Which node measures what.


def test_a_cell_is_measured_on_each_instance_that_it_names() -> None:
    cells = asked(GRID | {"instance": ["g5.xlarge", "aws/c7i.xlarge", "c7i.xlarge"]})
    assert wanted_instances(cells) == {"g5.xlarge", "c7i.xlarge"}
    types = [
        node_type(cells, machine("g5.xlarge", ("NVIDIA A10G",))),
        node_type(cells, machine("c7i.xlarge")),
        node_type(cells, machine("c7g.xlarge")),
        node_type(cells, machine()),
    ]
    plan = plan_cells(cells, types)
    assert {
        identity.partition(";")[0]: [cell.spec.instance for cell in found]
        for identity, found in plan.cells.items()
    } == {"g5.xlarge": [("g5.xlarge",)], "c7i.xlarge": [("aws/c7i.xlarge", "c7i.xlarge")]}


def test_without_instances_each_type_of_node_measures_all_that_it_can() -> None:
    cells = asked(GRID | {"workers": [1, 2]}, GRID | {"only_on": "cuda", "batch": 2})
    types = [node_type(cells, machine()), node_type(cells, machine(gpus=("NVIDIA A10G",)))]
    plan = plan_cells(cells, types)
    assert {identity: len(found) for identity, found in plan.cells.items()} == {
        types[0].identity: 2,
        types[1].identity: 3,
    }


def test_equal_cells_are_measured_once() -> None:
    cells = asked(GRID, GRID)
    plan = plan_cells(cells, [node_type(cells, machine())])
    assert [len(found) for found in plan.cells.values()] == [1]


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"instance": ["c7i.xlarge", "g5.xlarge"]}, r"sweep.yaml, grid 1: no node is a g5.xlarge"),
        ({"model": "no/such.pt", "input_shape": "3"}, r"there is no no/such.pt.*\(on c7i"),
        ({"model": "resnet50", "device": "cuda:0"}, "no NVIDIA device"),
        ({"only_on": "cuda"}, "no cell for the nodes"),
    ],
)
def test_what_no_node_can_measure_is_listed(grid: dict[str, object], expected: str) -> None:
    given = GRID if "model" not in grid else {"requests": 50}
    cells = asked(dict(given) | grid)
    with pytest.raises(InputError, match=expected):
        plan_cells(cells, [node_type(cells, machine("c7i.xlarge"))])


def test_unavailable_skip_leaves_out_what_no_node_can_measure() -> None:
    cells = asked(GRID | {"instance": ["c7i.xlarge", "g5.xlarge"], "unavailable": "skip"})
    plan = plan_cells(cells, [node_type(cells, machine("c7i.xlarge"))])
    assert [len(found) for found in plan.cells.values()] == [1]
    assert [count for reason, count in plan.skipped.items() if "g5.xlarge" in reason] == [1]


def test_bad_prices_and_too_many_cells_are_refused_without_a_node() -> None:
    with pytest.raises(InputError, match=r"g5\.xlarge"):
        asked(GRID | {"instance": ["g5.xlrge"]})
    with pytest.raises(InputError, match="the limit is 1"):
        asked_cells(parse_grids(GRID | {"workers": [1, 2]}, "sweep"), 1)


def test_of_two_processors_of_one_instance_the_more_frequent_is_used() -> None:
    cells = asked(GRID)
    few, many = (
        node_type(cells, machine("m5.large", cpu=cpu), nodes) for cpu, nodes in (("A", 1), ("B", 2))
    )
    other = node_type(cells, machine())
    assert chosen_types([few, many, other]) == [other, many]


def test_the_instance_of_a_node_is_its_label_or_a_resource() -> None:
    def node(label: str | None, *resources: str) -> RayNode:
        return RayNode("1", "10.0.0.1", 4.0, 0.0, label, frozenset({"CPU", *resources}))

    wanted = frozenset({"g5.xlarge", "c7i.xlarge"})
    assert node("g5.xlarge").instance(wanted) == "g5.xlarge"
    assert node(None, "c7i.xlarge", "disk").instance(wanted) == "c7i.xlarge"
    assert node(None, "disk").instance(wanted) is None


# Nodes that would mislead.


def facts(**changes: Any) -> NodeFacts:
    known: dict[str, Any] = {
        "machine": machine("g5.xlarge"),
        "versions": software_versions(),
        "priority": 0,
    }
    return NodeFacts(**known | changes)


def test_nodes_with_other_versions_or_a_wrong_label_are_refused() -> None:
    assert refusal(facts(), None) is None
    assert refusal(facts(), "g5.xlarge") is None
    other = refusal(facts(versions=software_versions() | {"torch": "1.0"}), None)
    assert other is not None
    assert "torch 1.0 (here" in other
    assert "install the same" in other
    wrong = refusal(facts(), "g5.2xlarge")
    assert wrong == "it is a g5.xlarge, and Ray describes it as g5.2xlarge; correct its label"


def test_a_low_priority_is_remarked() -> None:
    assert remark(facts()) is None
    assert "RAY_worker_niceness=0" in str(remark(facts(priority=15)))


def test_nodes_of_one_type_must_answer_alike() -> None:
    able = NodeAnswer(cell=resolve(Spec(model="synthetic"), machine()).spec)
    unable = NodeAnswer(refusal="there is no m.pt")
    assert other_answer([able], [able]) is None
    assert "cannot measure what other nodes" in str(other_answer([unable], [able]))
    assert "other nodes of its type cannot: there is no m.pt" in str(other_answer([able], [unable]))


# Jobs.


def resnet(**settings: Any) -> Spec:
    """With all defaults filled in."""
    filled = {"model": "resnet50", "device": "cpu", "duration": 1, "workers": 1, "depth": 1}
    return make_spec({**filled, "clients": 1, **settings})


def turns(tmp_path: Path, *specs: Spec) -> list[Turn]:
    directory = open_run(tmp_path)
    cells = [cell_of(spec) for spec in specs]
    return [Turn(RepeatedCell(cell, cell.spec.key("m"), directory), 1) for cell in cells]


def test_a_job_is_what_shares_an_engine(tmp_path: Path) -> None:
    one, other, same = turns(tmp_path, resnet(clients=1), resnet(batch=4), resnet(clients=2))
    jobs = RoundJobs([one, other, same], {each.of: "a type" for each in (one, other, same)})
    assert jobs.waiting() == ["a type"]
    assert jobs.take("another type") == ()
    assert [jobs.take("a type") for _ in range(3)] == [[one, same], [other], ()]
    assert jobs.waiting() == []


@pytest.mark.parametrize(("cells", "jobs"), [(3, 3), (100, 50), (2000, 100)])
def test_synthetic_cells_are_divided_into_enough_jobs(
    tmp_path: Path, cells: int, jobs: int
) -> None:
    cell = resolve(Spec(model="synthetic"), machine())
    each = [Turn(RepeatedCell(cell, f"{n}", open_run(tmp_path)), 1) for n in range(cells)]
    given = RoundJobs(each, {turn.of: "t" for turn in each})
    found = [given.take("t") for _ in range(jobs)]
    assert [turn for job in found for turn in job] == each
    assert given.waiting() == []


def test_a_cell_in_work_is_requeued_a_bounded_number_of_times(tmp_path: Path) -> None:
    first, second = turns(tmp_path, resnet(clients=1), resnet(clients=2))
    jobs = RoundJobs([first, second], {first.of: "t", second.of: "t"})
    for _ in range(MOST_REQUEUES):
        assert jobs.take_back(jobs.take("t"), in_work=True) is None
    assert jobs.take_back(jobs.take("t"), in_work=True) is first
    assert jobs.lost == {first: MOST_REQUEUES + 1}
    for _ in range(MOST_REQUEUES + 2):  # it has not begun, so nothing is counted
        assert jobs.take_back(jobs.take("t"), in_work=False) is None
    assert jobs.take("t") == [second]


def test_turns_without_a_node_are_given_up(tmp_path: Path) -> None:
    given = turns(tmp_path, resnet(batch=1), resnet(batch=2))
    jobs = RoundJobs(given, {each.of: "t" for each in given})
    assert jobs.give_up("t") == given
    assert jobs.waiting() == []
