"""Tests of own models: code, files, folders, pre- and postprocessing, and permission for code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import a_cell
from small_models import SMALL

import gpubench
from gpubench.cells.grid import read_grids
from gpubench.cli.program import main
from gpubench.engines.onnx import export
from gpubench.errors import InputError
from gpubench.measure import engine
from gpubench.models.base import load, seeded
from gpubench.registry import model_entry
from gpubench.spec.parse import make_spec
from gpubench.spec.settings import Inputs
from gpubench.spec.spec import Spec

EXAMPLES = Path(__file__).parents[3] / "examples"

BRIEF = {"requests": 4, "warmup": 0, "threads": 1, "device": "cpu"}

TWO_LAYERS = """
import torch
def make():
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()), torch.randn(3, 8)
def strings():
    class Strings(torch.nn.Module):
        def forward(self, x):
            return {"logits": x, "name": "a word"}
    return Strings(), torch.randn(3, 8)
def nothing():
    return 5
def lists():
    module, example = make()
    return module, [example]
def arrays():
    return make()[0], torch.randn(3, 8).numpy()
def unlike():
    return make()[0], (torch.randn(3, 8), torch.randn(2, 8))
def empty():
    return make()[0], ()
def leaves():
    raise SystemExit("no such device")
def talks():
    print("a word")
    return make()
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "two_layers.py"
    path.write_text(TWO_LAYERS)
    monkeypatch.chdir(tmp_path)
    return path


def measured(**settings: object) -> gpubench.Result:
    return gpubench.run(Spec.model_validate(BRIEF | settings))


@pytest.mark.parametrize("runtime", ["eager", "torchscript", "onnxruntime"])
def test_a_function_returns_a_module_and_example_inputs(code: Path, runtime: str) -> None:
    result = measured(model=f"{code}:make", runtime=runtime, batch=2)
    assert result.error is None
    assert result.engine.parameters == 72
    assert result.numerics is not None
    assert result.numerics.cosine == pytest.approx(1, abs=1e-5)


def test_a_module_of_the_current_folder_is_found_by_name(code: Path) -> None:
    assert load(a_cell(model="two_layers:make")).parameters == 72


def test_samples_made_from_examples_differ_and_come_from_the_seed(code: Path) -> None:
    model = load(a_cell(model=f"{code}:make"))
    (inputs,) = model.make_inputs(seeded(1), 8)
    assert len(torch.unique(inputs, dim=0)) == 8
    assert torch.equal(inputs, model.make_inputs(seeded(1), 8)[0])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("strings", "the model returns a value of type str; wrap it"),
        ("nothing", "nothing returned int; it must return"),
        ("arrays", "its example inputs must be one tensor or a tuple of tensors"),
        ("unlike", "all with the same number of samples in the first dimension"),
        ("empty", "its example inputs must be one tensor"),
        ("leaves", "SystemExit: no such device"),
    ],
)
def test_what_cannot_be_measured_is_a_failed_cell_with_a_one_line_error(
    code: Path, function: str, expected: str
) -> None:
    result = measured(model=f"{code}:{function}")
    assert result.error is not None
    assert result.error.stage == "load"
    assert expected in result.error.message


def test_example_inputs_may_be_a_list(code: Path) -> None:
    assert measured(model=f"{code}:lists").error is None


def test_the_output_of_a_model_does_not_mix_with_the_result(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--requests", "4", "--warmup", "0", "--device", "cpu", "--json", "-"]
    assert main(["run", "--model", f"{code}:talks", *flags]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["error"] is None
    assert "a word" in said.err


def test_a_torchscript_file_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.trace(SMALL["resnet"]().module, torch.randn(1, 3, 56, 56)).save(str(path))
    result = measured(model=str(path), input_shape="3x56x56", batch=2)
    assert result.error is None
    assert result.engine.weights == "local: net.pt"
    with pytest.raises(InputError, match="runs with torchscript or eager"):
        make_spec({"model": str(path), "runtime": "onnxruntime"})


def test_an_onnx_file_is_measured(tmp_path: Path) -> None:
    exported, _ = export.export(SMALL["resnet"](), a_cell(model="resnet50"), torch.float32)
    path = tmp_path / "net.onnx"
    path.write_bytes(exported.read_bytes())
    result = measured(model=str(path), runtime="onnxruntime", batch=2)
    assert result.error is None
    assert result.numerics is not None
    assert result.numerics.cosine == pytest.approx(1, abs=1e-6)
    quantised = measured(model=str(path), runtime="onnxruntime", precision="int8")
    assert quantised.error is None
    assert quantised.answers_agree


def test_a_hugging_face_folder_may_have_any_architecture(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    tiny = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    original = BertForSequenceClassification(tiny).eval()
    original.save_pretrained(tmp_path / "tiny")
    folder = f"{tmp_path}/tiny/"
    model = load(a_cell(model=folder, weights="pretrained", seq_len=8))
    ids, mask = model.make_inputs(seeded(1), 2)
    with torch.inference_mode():
        assert torch.equal(model.module(ids, mask)[0], original(ids, mask).logits)
    result = measured(model=folder, seq_len=8)
    assert result.error is None
    assert result.engine.weights == "random (seed 0)"


def test_the_example_of_a_custom_model_runs() -> None:
    result = measured(model=f"{EXAMPLES}/custom_model.py:classifier", batch=8)
    assert result.error is None
    assert result.numerics is not None
    assert result.numerics.top1_agreement == 1


def test_decoding_and_suppression_of_a_detector_are_separate_stages(tmp_path: Path) -> None:
    small = tmp_path / "small.py"  # the sizes of the example take seconds
    small.write_text(
        f"import runpy\nexample = runpy.run_path({str(EXAMPLES / 'detector.py')!r})\n"
        "def make(): return example['detector'](example['Network'](1 / 3, 1 / 8), size=64)\n"
    )
    result = measured(model=f"{small}:make")
    assert result.error is None, result.error
    stages = result.stages_ms
    assert stages.preprocess is not None
    assert stages.compute is not None
    assert stages.postprocess is not None
    assert stages.preprocess.mean > 0
    assert stages.postprocess.mean > 0
    samples = result.samples
    assert samples is not None
    assert samples.around_ns is not None
    inside = samples.completed_ns - samples.submitted_ns
    assert (samples.around_ns.sum(axis=1) <= inside).all()
    parts = sum(
        stage.mean
        for stage in (stages.queue, stages.batching, stages.submit, stages.preprocess,
                      stages.compute, stages.postprocess)
        if stage is not None
    )  # fmt: skip
    assert parts == pytest.approx(result.latency_ms.mean)


@pytest.mark.parametrize("inputs", ["device", "pinned"])
def test_inputs_must_be_on_the_host_if_preprocess_makes_them(
    monkeypatch: pytest.MonkeyPatch, inputs: Inputs
) -> None:
    def too_late(*_: object) -> None:
        raise AssertionError("built before it was refused")

    monkeypatch.setattr(engine, "build", too_late)
    # A cell on a CPU is refused before, since only GPUs copy from pinned memory.
    monkeypatch.setattr("gpubench.cells.refuse._refuse_on_cpu", lambda cell, machine: None)
    result = measured(model=f"{EXAMPLES}/detector.py:detector_s", inputs=inputs)
    assert result.error is not None
    assert result.error.stage == "load"
    assert "use --inputs host" in result.error.message
    assert "\n" not in result.error.message


def test_times_of_pre_and_postprocessing_are_stored_with_the_samples(code: Path) -> None:
    from dataclasses import replace

    from gpubench.results.parquet import from_parquet, to_parquet

    samples = measured(model=f"{code}:make").samples
    assert samples is not None
    around = np.arange(2 * len(samples)).reshape(-1, 2)
    kept = from_parquet(to_parquet(replace(samples, around_ns=around)), "here")
    assert kept.around_ns is not None
    assert np.array_equal(kept.around_ns, around)


def test_code_that_a_sweep_file_names_needs_allow_code(
    code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps({"model": ["resnet50", f"{code}:make"]} | BRIEF))
    assert main(["sweep", str(file), "--output", str(tmp_path / "out")]) == 2
    assert "add --allow-code" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert read_grids(file, allow_code=True)
    on_the_line = ["sweep", "--model", f"{code}:make", "--requests", "2", "--warmup", "0s"]
    assert main([*on_the_line, "--output", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("name", "runs_code"),
    [
        ("mine:make", True),
        ("a/mine.py:make", True),
        ("net.pt", True),
        ("net.plan", True),
        ("net.onnx", False),
        ("hub:org/name", False),
        ("folder/", False),
        ("resnet50", False),
    ],
)
def test_the_kind_of_a_model_follows_from_its_name(name: str, runs_code: bool) -> None:
    known = model_entry(name)
    assert known is not None
    assert known.runs_code is runs_code


def test_a_misspelt_preset_is_not_taken_for_an_own_model() -> None:
    assert model_entry("resnet5") is None
