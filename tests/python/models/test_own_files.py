"""Users' own functions and TorchScript files: their names, formats and neighbours."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from factories import a_cell, as_cell

import gpubench
from gpubench.errors import InputError
from gpubench.models.base import load, seeded
from gpubench.spec.parse import make_spec

BRIEF = {"requests": 3, "warmup": 0, "threads": 1, "device": "cpu"}

LINEAR = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), torch.randn(3, 4)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))


def measured(**settings: object) -> gpubench.Result:
    return gpubench.run(make_spec(BRIEF | settings))


def failure(**settings: object) -> str:
    result = measured(**settings)
    assert result.error is not None
    assert "\n" not in result.error.message
    return result.error.message


def script(path: Path, module: torch.nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated but maintained
        torch.jit.script(module).save(str(path))
    return path


def linear() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).eval()


@pytest.mark.parametrize("name", ["profile", "queue", "random", "json", "onnx", "select"])
def test_a_file_may_be_called_like_a_module_of_python(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(
        "import dataclasses, pickle, neighbour\n"
        "@dataclasses.dataclass\nclass Sizes:\n    width: 'int' = 4\n" + LINEAR + "\n"
        "pickle.loads(pickle.dumps(Sizes()))\n"
        "assert neighbour.WIDTH == 4\n"
    )
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n")
    assert load(a_cell(model=f"{path}:make")).parameters == 20
    assert not hasattr(importlib.import_module(name), "make")  # Python's own, or the package


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "net.py" for folder in ("a", "b")]
    for path, width in zip(paths, (4, 6), strict=True):
        path.parent.mkdir()
        path.write_text(LINEAR.replace("4", str(width)))
    assert [load(a_cell(model=f"{path}:make")).parameters for path in paths] == [20, 42]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("no.such.module:make", "there is no module no; run gpubench where it can be imported"),
        ("json.no_such:make", "there is no module json.no_such"),
        ("json.decoder.inner:make", "json.decoder is a module and not a package"),
        ("here:absent", "has no function absent; did you mean present?"),
        ("here.py:absent", "here.py has no function absent; did you mean present?"),
        ("broken.py:make", "broken.py is not valid Python"),
    ],
)
def test_a_function_that_is_not_there_is_found_without_torch(
    tmp_path: Path, model: str, expected: str
) -> None:
    (tmp_path / "here.py").write_text("raise SystemExit('was executed')\ndef present(): ...\n")
    (tmp_path / "broken.py").write_text("def make(:\n")
    program = (
        "import sys\nfrom gpubench.cli.program import main\n"
        f"status = main(['run', '--model', {model!r}])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_names_that_cannot_be_told_without_running_are_left_to_loading(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text(LINEAR + "globals()['other'] = make\nif True:\n    third = make\n")
    for name in ("other", "third"):
        assert load(as_cell(make_spec({"model": f"{path}:{name}"}))).parameters == 20
        assert measured(model=f"{path}:{name}", runtime="eager").error is None


@pytest.mark.parametrize("runtime", ["torchscript", "eager"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ts", ".jit", ".PT"])
def test_torchscript_is_known_by_its_ends_and_runs_in_both_runtimes(
    tmp_path: Path, runtime: str, suffix: str
) -> None:
    path = script(tmp_path / f"net{suffix}", linear())
    result = measured(model=str(path), input_shape="4", runtime=runtime)
    assert result.error is None, result.error
    assert result.numerics is not None
    assert result.numerics.relative_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("5", "(1x5 and 4x4)"), ("4:int64", "same dtype"), ("4+4", "expected at most")],
)
@pytest.mark.parametrize("runtime", ["torchscript", "eager"])
def test_what_does_not_fit_torchscript_is_said_by_torch(
    tmp_path: Path, shape: str, expected: str, runtime: str
) -> None:
    path = script(tmp_path / "net.pt", linear())
    message = failure(model=str(path), input_shape=shape, runtime=runtime)
    assert expected.replace("1x5", "16x5") in message or expected in message


@pytest.mark.parametrize("runtime", ["torchscript", "eager"])
def test_a_function_may_give_a_scripted_module(tmp_path: Path, runtime: str) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        LINEAR + "def scripted():\n    m, x = make()\n    return torch.jit.script(m), x\n"
    )
    assert measured(model=f"{path}:scripted", runtime=runtime).error is None
    for other in ("compile", "onnxruntime"):
        assert "gives TorchScript" in failure(model=f"{path}:scripted", runtime=other)


def test_a_single_number_and_other_formats_reach_torchscript(tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
            assert rate.dim() == 0
            assert mask.dtype == torch.uint8
            return x * mask * rate

    path = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.randn(2, 4), torch.ones(2, 4, dtype=torch.uint8), torch.tensor(3)
        torch.jit.trace(Scaled(), example).save(str(path))
    settings = {"model": str(path), "input_shape": "4+4:uint8=1+scalar:int64=3"}
    assert measured(**settings, batch=2).error is None
    x, mask, rate = load(as_cell(make_spec(settings))).make_inputs(seeded(0), 2)
    assert (mask.dtype, mask.unique().tolist(), rate.item()) == (torch.uint8, [1], 3)
    assert x.shape == (2, 4)


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (lambda: linear().state_dict(), "it is a state dict, which has weights and no model"),
        (linear, "it is a pickled module (torch.save) and not TorchScript"),
    ],
)
def test_what_torch_save_writes_is_named_before_torch_is_loaded(
    tmp_path: Path, saved: object, expected: str
) -> None:
    path = tmp_path / "net.pt"
    torch.save(saved(), path)  # type: ignore[operator]
    with pytest.raises(InputError) as refusal:
        measured(model=str(path), input_shape="4")
    assert expected in str(refusal.value)
    assert "FILE.py:function" in str(refusal.value)


def test_other_files_are_no_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match="is not a TorchScript file"):
        measured(model=str(path), input_shape="4")
    torch.export.save(torch.export.export(linear(), (torch.randn(2, 4),)), tmp_path / "e.pt")
    with pytest.raises(InputError, match="it is an exported program"):
        measured(model=str(tmp_path / "e.pt"), input_shape="4")


HALF = (
    LINEAR + "def half():\n    m, x = make()\n    return m.half(), x.half()\n"
    "def function():\n    return (lambda x: x), torch.randn(3, 4)\n"
    "def kind():\n    return torch.nn.ReLU, torch.randn(3, 4)\n"
    "def double():\n    m, x = make()\n    return m.double(), x.double()\n"
)


def test_a_model_in_16_bits_is_measured_so_or_converted_as_the_user_says(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(HALF)
    model = f"{path}:half"
    assert "has weights in fp16; add --precision fp16" in failure(model=model)
    for precision in ("fp16", "fp32"):
        result = measured(model=model, precision=precision, allow_emulated=True)
        assert result.error is None, result.error
        assert result.numerics is not None
        assert result.numerics.relative_error is not None
        assert result.numerics.relative_error < 1e-2
    halves = script(tmp_path / "half.pt", linear().half())
    settings = {"model": str(halves), "input_shape": "4", "allow_emulated": True}
    assert "has weights in fp16" in failure(**settings)
    for runtime in ("torchscript", "eager"):
        result = measured(**settings, precision="fp16", runtime=runtime)
        assert result.error is None, result.error


@pytest.mark.parametrize("runtime", ["eager", "torchscript", "onnxruntime"])
def test_a_function_may_take_bytes(tmp_path: Path, runtime: str) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\nclass Scaled(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.linear = torch.nn.Linear(4, 2)\n"
        "    def forward(self, x):\n        return self.linear(x.float() / 255)\n"
        "def make():\n    return Scaled(), torch.randint(0, 255, (9, 4), dtype=torch.uint8)\n"
    )
    result = measured(model=f"{path}:make", runtime=runtime, batch=2)
    assert result.error is None, result.error


def test_a_model_in_float64_is_measured_in_the_precision_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(HALF)
    assert measured(model=f"{path}:double").error is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("function", "a function in place of a module"), ("kind", "the class ReLU, and no object")],
)
def test_what_is_no_module_is_one_line(tmp_path: Path, name: str, expected: str) -> None:
    path = tmp_path / "net.py"
    path.write_text(HALF)
    assert expected in failure(model=f"{path}:{name}")


def test_no_question_of_a_library_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "asks.py"
    path.write_text(
        LINEAR + "def asks():\n    assert input('run it? ') == 'y'\n    return make()\n"
    )
    monkeypatch.setattr("sys.stdin", (tmp_path / "answers").open("w+"))
    assert "asked a question on standard input" in failure(model=f"{path}:asks")
