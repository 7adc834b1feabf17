"""The line of another library's error that says why."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from gpubench.errors import MOST_CHARACTERS, reason_in, reason_of


def raised_by(function: Callable[[], object]) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011, of whatever kind
        function()
    return reason_of(caught.value)


def test_torchscript_says_why_in_its_last_line() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated but maintained
        script = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(4, 2)))
    assert "(2x5 and 4x2)" in raised_by(lambda: script(torch.ones(2, 5)))
    assert "missing value for argument" in raised_by(script)


def test_onnx_runtime_says_why_behind_its_status_and_in_further_lines() -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    text = (
        '<ir_version: 10, opset_import: ["": 20]> g (float[4, 3] x, int64[n] s) => (float[a, b] y)'
    )
    model = onnx.parser.parse_model(text + "{ y = Reshape(x, s) }").SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def run(*shape: int) -> str:
        wanted = {"x": np.zeros(shape, np.float32), "s": np.array([5, 7])}
        return raised_by(lambda: session.run(None, wanted))

    assert "index: 1 Got: 9 Expected: 3" in run(4, 9)
    reason = run(4, 3)
    assert reason.startswith("The input tensor cannot be reshaped")
    assert "in a Reshape node" in reason
    assert "onnxruntime_src" not in reason


class NoRule(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.linalg.eigvals(x)
        return values.real


def test_openvino_says_why_after_places_in_its_source_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    monkeypatch.setenv("CI", "true")  # it then reports the conversion to nobody
    program = torch.export.export(NoRule(), (torch.ones(2, 2),))
    reason = raised_by(lambda: openvino.convert_model(program))
    assert reason == "No conversion rule found for operations: aten.linalg_eig.default"
    (damaged := tmp_path / "net.onnx").write_bytes(b"half a file")
    reason = raised_by(lambda: openvino.Core().read_model(damaged))
    assert reason.startswith("Unable to read the model")


def test_the_loader_of_weights_says_why_behind_a_colon() -> None:
    assert 'Missing key(s) in state_dict: "weight"' in raised_by(
        lambda: torch.nn.Linear(2, 2).load_state_dict({})
    )


def test_an_error_that_says_nothing_is_named_and_a_long_one_keeps_both_ends() -> None:
    assert reason_of(KeyError()) == "KeyError"
    assert reason_in(" ") == ""
    long = reason_in("begins " + "x" * 90_000 + " ends")
    assert long.startswith("begins")
    assert long.endswith("ends")
    assert len(long) <= MOST_CHARACTERS
