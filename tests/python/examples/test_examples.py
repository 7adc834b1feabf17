"""The examples run as they stand, on smaller models."""

from __future__ import annotations

import runpy
import shlex
from pathlib import Path

import onnxruntime
import pytest
import torch
import yaml
from small_models import make_presets_small

import gpubench
from gpubench.cells.grid import cells, read_grids
from gpubench.cells.resolve import resolve
from gpubench.cli.program import program
from gpubench.models.base import as_tuple, load
from gpubench.planning.gates import parse_gate
from gpubench.system.machine import this_machine

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", ["quickstart.yaml", "g5_study.yaml", "edge.yaml", "training.yaml"])
def test_sweep_files_can_be_planned_here(name: str) -> None:
    """The quick start's smoke run, with a few requests a cell, is part of CI."""
    assert cells(read_grids(EXAMPLES / name), this_machine()).cells


def test_the_python_example_measures_every_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path))
    make_presets_small(monkeypatch)
    main = runpy.run_path(str(EXAMPLES / "bert_api.py"))["main"]
    main(batches=(1, 2), seq_len=8, requests=20, warmup=0)
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["batch 1", "batch 2"]
    assert all("per million on c7i.xlarge" in line for line in printed)


def test_the_classifier_is_right_on_its_own_samples() -> None:
    result = gpubench.run(
        model=f"{EXAMPLES / 'eval_function.py'}:classifier",
        eval=f"{EXAMPLES / 'eval_function.py'}:samples",
        runtime="eager",
        device="cpu",
        requests=1,
        warmup=0,
    )
    assert result.error is None
    assert result.accuracy is not None
    assert (result.accuracy.samples, result.accuracy.drop) == (1000, 0.0)
    assert result.accuracy.value > 0.999


def gpubench_commands(workflow: Path) -> list[list[str]]:
    """The arguments of every `gpubench` command in the steps of a workflow."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    lines = [line for script in scripts for line in script.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line) for line in lines]
    return [arguments for program, *arguments in words if program == "gpubench"]


def test_the_commands_of_the_workflow_have_flags_that_exist() -> None:
    (measure, gate) = gpubench_commands(EXAMPLES / "github_action.yml")
    parsed = []
    for line in (measure, gate):
        group = program.make_context("gpubench", [*line])
        name, command, arguments = program.resolve_command(group, line)
        assert command is not None
        parsed.append(command.make_context(name, arguments, parent=group).params)
    swept, compared = parsed
    assert (swept["repeats"], swept["fresh"]) == (10, True)
    assert [parse_gate(text).text for text in compared["fail_if"]] == list(compared["fail_if"])
    assert compared["by"] == f"model={swept['model']}"  # base is A, and head is B
    assert compared["a"] == swept["output"]


def test_the_repository_for_triton_has_the_model_and_its_configuration(tmp_path: Path) -> None:
    """onnxruntime takes the place of Triton's backend, and gives the outputs of the fp32 model."""
    write = runpy.run_path(str(EXAMPLES / "triton_repository.py"))["write"]
    model = f"{EXAMPLES / 'eval_function.py'}:classifier"
    folder = write(model, "net", 4, tmp_path)
    assert (folder / "config.pbtxt").read_text().splitlines()[:3] == [
        'name: "net"',
        'backend: "onnxruntime"',
        "max_batch_size: 4",
    ]
    cell = resolve(gpubench.Spec(model=model, device="cpu"), this_machine())
    loaded = load(cell)
    inputs = loaded.make_inputs(torch.Generator().manual_seed(0), 3)
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    names = [each.name for each in session.get_inputs()]
    arrays = dict(zip(names, (each.numpy() for each in inputs), strict=True))
    expected = as_tuple(loaded.module(*inputs))
    for output, reference in zip(session.run(None, arrays), expected, strict=True):
        assert torch.from_numpy(output).allclose(reference, atol=1e-5)
