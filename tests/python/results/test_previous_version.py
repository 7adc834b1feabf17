"""A run directory of an older version resumes, reports and compares as it did then.

The files, and how they were made, are described in tests/data/previous_version/README.md.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import gpubench
from gpubench.cells import refuse
from gpubench.cells.resolve import resolve
from gpubench.cli.program import main
from gpubench.engines import refusals
from gpubench.engines.tensorrt import engine as tensorrt
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec
from gpubench.system import gpus, packages, torch_gpus
from gpubench.system.machine import Machine
from gpubench.system.torch_gpus import TorchGpu

PREVIOUS = Path(__file__).parents[2] / "data" / "previous_version"
# The machine whose name the cells of run/ have.
MEASURED_ON = {
    "cpu": "Example CPU @ 2.00GHz",
    "cores": 2,
    "cpu_flags": ["avx512_bf16"],
    "gpus": [],
    "instance": None,
    "platform": "Linux 6.1.0 x86_64",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run directory, by the relative path under which it was made."""
    shutil.copytree(PREVIOUS, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return Path("run")


def machine_of(described: Mapping[str, Any]) -> Machine:
    return Machine(
        cpu=described["cpu"],
        cores=described["cores"],
        cpu_flags=frozenset(described["cpu_flags"]),
        gpus=tuple(described["gpus"]),
        instance=described["instance"],
        platform=described["platform"],
    )


def test_its_sweep_measures_nothing_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubench.measure.sweep.this_machine", lambda: machine_of(MEASURED_ON))
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    results = gpubench.sweep("sweep.yaml", run, allow_code=True)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    failed = [name for name, content in before.items() if b'"error": {' in content]
    assert len(failed) == 1
    assert len(results) == len([name for name in before if name.endswith(".json")]) - len(failed)


@pytest.mark.parametrize("format_name", ["markdown", "csv", "json"])
@pytest.mark.parametrize("command", [["report", "run"], ["compare", "run", "run"]])
@pytest.mark.usefixtures("run")
def test_its_tables_are_what_they_were(
    command: list[str], format_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--format", format_name]) == 0
    captured = capsys.readouterr()
    suffix = {"markdown": "md"}.get(format_name, format_name)
    expected = (PREVIOUS / f"{command[0]}.{suffix}").read_bytes().decode()
    assert captured.out == expected
    assert captured.err == ""


def test_its_cells_have_the_keys_that_their_settings_have_now(run: Path) -> None:
    files = list(run.glob("*.json"))
    assert files
    identity = machine_of(MEASURED_ON).identity
    for file in files:
        spec = Spec(**json.loads(file.read_text())["spec"])
        assert spec.key(identity) == file.stem, spec.describe()


MACHINES = json.loads((PREVIOUS / "keys.json").read_text())
CELLS = [(number, cell) for number, each in enumerate(MACHINES) for cell in each["cells"]]


@pytest.mark.parametrize(
    ("number", "cell"), CELLS, ids=[f"{number}-{cell['key']}" for number, cell in CELLS]
)
@pytest.mark.usefixtures("run")
def test_settings_have_the_key_that_they_had(
    number: int, cell: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_of(MACHINES[number]["machine"])
    visible = tuple(TorchGpu(name, (8, 6)) for name in machine.gpus)
    # Whether this machine could run the cell plays no part in its key.
    monkeypatch.setattr(torch_gpus, "torch_gpus", lambda: visible)
    monkeypatch.setattr(gpus, "visible_gpus", lambda: machine.gpus)
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_80"])
    monkeypatch.setattr(packages, "missing", lambda *names: None)
    monkeypatch.setattr(tensorrt, "refusal", lambda spec: None)
    monkeypatch.setattr(refusals, "describe", lambda server, model: Mock(max_batch=None))
    monkeypatch.setattr(refuse, "usable_now", lambda: frozenset(range(4)))
    monkeypatch.setattr(refuse, "thermometer", lambda devices: Mock())
    assert machine.identity == MACHINES[number]["identity"]
    assert resolve(make_spec(cell["settings"]), machine).spec.key(machine.identity) == cell["key"]


def test_every_setting_is_among_those_with_a_known_key() -> None:
    assert {name for _, cell in CELLS for name in cell["settings"]} == set(Spec.model_fields)
