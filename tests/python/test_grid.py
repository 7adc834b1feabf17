"""From YAML and flags to cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_machine import a_machine

from gpubench.errors import InputError
from gpubench.grid import cells, expand, override, parse_grids, read_grids

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_cells_are_all_combinations_and_neighbours_share_an_engine() -> None:
    (grid,) = parse_grids(
        {"workers": [1, 2], "batch": [1, 4], "model": ["resnet50", "bert-base"]}, "sweep"
    )
    specs = expand(grid)
    assert len(specs) == 8
    assert [(spec.model, spec.batch, spec.workers) for spec in specs[:3]] == [
        ("resnet50", 1, 1),
        ("resnet50", 1, 2),
        ("resnet50", 4, 1),
    ]


def test_instances_are_no_axis() -> None:
    (grid,) = parse_grids({"model": "resnet50", "instance": ["a", "b"]}, "sweep")
    (spec,) = expand(grid)
    assert spec.instance == ("a", "b")


def test_grids_inherit_what_stands_beside_them() -> None:
    document = {"runtime": "eager", "grids": [{"model": "resnet50"}, {"model": "bert-base"}]}
    grids = parse_grids(document, "file")
    assert [grid.settings["runtime"] for grid in grids] == ["eager", "eager"]
    assert grids[1].origin == "file, grid 2"


def test_flags_override_every_grid() -> None:
    grids = parse_grids([{"model": "resnet50", "batch": [1, 2]}, {"model": "bert-base"}], "file")
    assert [len(expand(grid)) for grid in override(grids, {"batch": 8})] == [1, 1]


def test_equal_cells_are_measured_once() -> None:
    grids = parse_grids([{"model": "resnet50", "workers": [1, 2]}, {"model": "resnet50"}], "file")
    assert len(cells(grids, a_machine()).specs) == 2


def test_cells_that_the_machine_cannot_do_are_refused_or_left_out_as_asked() -> None:
    document = {"model": "resnet50", "precision": ["fp32", "bf16"]}
    with pytest.raises(InputError, match=r"^file: --precision bf16: this CPU"):
        cells(parse_grids(document, "file"), a_machine())
    planned = cells(parse_grids(document | {"unavailable": "skip"}, "file"), a_machine())
    assert [spec.precision for spec in planned.specs] == ["fp32"]
    assert len(planned.skipped) == 1
    native = a_machine(cpu_flags=frozenset({"avx512_bf16"}))
    assert len(cells(parse_grids(document, "file"), native).specs) == 2


def test_a_grid_for_other_machines_is_checked_and_left_out() -> None:
    gpu_grid = {"model": "resnet50", "only_on": "cuda"}
    assert cells(parse_grids(gpu_grid, "file"), a_machine()).specs == []
    with pytest.raises(InputError, match="batch"):
        cells(parse_grids(gpu_grid | {"batch": 0}, "file"), a_machine())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: [resnet50", "is not valid YAML: line 1, column 17"),
        ("- just\n- words", "grid 1: expected settings"),
        ("modle: resnet50", "unknown key 'modle'; did you mean model?"),
        ("model: resnet50\nbatch: []", "batch: the list is empty"),
        ("model: resnet50\nbatch: [1, -2]", "batch: '-2' is not allowed"),
        ("model: resnet50\nonly_on: tpu", "only_on: 'tpu' is not known; choose cpu or cuda"),
        ("model: resnet50\nunavailable: maybe", "choose skip or refuse"),
        ("grids: 3", "grids: expected a list"),
        ("", "expected settings"),
        ("model: {a: 1}", "model"),
        (
            "model: resnet50\nbatch: 1\nbatch: 2",
            "line 3, column 1: 'batch' stands twice; remove one",
        ),
        ("model: resnet50\nbatch: yes", "batch: 'True' is not allowed; give a number, like 8"),
        ("model: resnet50\nrate: on", "rate: 'True' is not allowed; give a number"),
        ("model: resnet50\nbatch: 1, 2", "batch: '1, 2' is not allowed; a list is written [1, 2]"),
        ("model: resnet50,bert-base", "model: 'resnet50,bert-base' is not allowed; a list is"),
        ("model: 5", "model: '5' is not allowed; give a name"),
        ("model: resnet50\ninstance: 5", "instance: '5' is not allowed; give a name, or a list of"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refusal:
        cells(read_grids(path), a_machine())
    assert str(refusal.value).startswith(str(path))
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_grids(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_grids(tmp_path / "binary.yaml")


def test_the_quick_start_has_every_p95_stand() -> None:
    planned = cells(read_grids(EXAMPLES / "quickstart.yaml"), a_machine())
    assert [(spec.model, spec.batch, spec.workers) for spec in planned.specs] == [
        ("bert-base", 1, 1),
        ("bert-base", 1, 2),
        ("resnet50", 1, 1),
        ("resnet50", 1, 2),
        ("resnet50", 4, 1),
    ]
    assert all(spec.clients == spec.workers for spec in planned.specs)
    assert all(spec.requests == 130 for spec in planned.specs)
    assert all(spec.instance == ("c7i.xlarge",) for spec in planned.specs)
    native = a_machine(cpu_flags=frozenset({"avx512_bf16"}))
    assert len(cells(read_grids(EXAMPLES / "quickstart.yaml"), native).specs) == 10


def test_the_published_studys_grid_is_whole() -> None:
    grids = read_grids(EXAMPLES / "g5_study.yaml")
    specs = [spec for grid in grids for spec in expand(grid)]
    assert {spec.batch for spec in specs} == {32, 16, 8, 4, 1}
    assert {spec.model for spec in specs} == {"bert-base", "resnet50"}
    assert {spec.precision for spec in specs} == {"fp32", "tf32", "amp"}
    assert {spec.instance for spec in specs} == {("g5.4xlarge", "g4dn.4xlarge")}
    assert all(spec.inputs == "device" for spec in specs)
