"""ONNX files as people have them: free dimensions, fixed batches, single numbers, all formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from factories import a_cell, as_cell

import gpubench
from gpubench.cli.program import main
from gpubench.errors import InputError
from gpubench.models.base import load, seeded
from gpubench.models.onnx_signature import request, signature
from gpubench.spec.dtypes import DTYPES, Dtype
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec

BRIEF = {"requests": 3, "warmup": 0, "threads": 1, "device": "cpu"}


def onnx_file(folder: Path, graph: str, name: str = "net.onnx") -> Path:
    path = folder / name
    text = f'<ir_version: 10, opset_import: ["" : 20]> network {graph}'
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def measured(**settings: object) -> gpubench.Result:
    return gpubench.run(make_spec(BRIEF | settings))


def shapes_of(path: Path, **settings: object) -> list[tuple[int, ...]]:
    """Of a request of 3 samples."""
    cell = a_cell(model=str(path), **settings)
    return [put.shape(3) for put in request(signature(path), cell).inputs]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("float[batch, 4] x", [(3, 4)]),
        ("float[N, 4] x", [(3, 4)]),
        ("float[rows, 4] x", [(3, 4)]),
        ("float[unk__7, 4] x, float[unk__8, 2] y", [(3, 4), (3, 2)]),
        ("float[batch_size, 4] x, float[2, batch_size, 8] state", [(3, 4), (2, 3, 8)]),
        ("float[20, batch] x", [(20, 3)]),
        ("float[batch, 4] x, float[1, 7] constant", [(3, 4), (1, 7)]),
    ],
)
def test_the_batch_is_found_by_its_name_or_is_the_first_free_dimension(
    tmp_path: Path, inputs: str, expected: list[tuple[int, ...]]
) -> None:
    path = onnx_file(tmp_path, f"({inputs}) => (float[a, b] z) {{ z = Relu(x) }}")
    assert shapes_of(path) == expected


@pytest.mark.parametrize(
    ("inputs", "settings", "expected"),
    [
        ("float[batch, time, 4] x", {"dim": "time=50"}, [(3, 50, 4)]),
        ("float[batch, time, mels] x", {"dim": {"mels": 8, "time": 5}}, [(3, 5, 8)]),
        ("float[time, 4] x", {"dim": "time=50"}, [(50, 4)]),
        ("float[batch, time, 4] x", {"input_shape": "50x4"}, [(3, 50, 4)]),
        ("float[batch, 4] x, int64 rate", {"input_shape": "4+scalar=16000"}, [(3, 4), ()]),
        ("float[atoms, 3] x", {"input_shape": "9x3"}, [(9, 3)]),
    ],
)
def test_other_free_dimensions_get_their_sizes_from_the_user(
    tmp_path: Path,
    inputs: str,
    settings: dict[str, object],
    expected: list[tuple[int, ...]],
) -> None:
    path = onnx_file(tmp_path, f"({inputs}) => (float[a, b] z) {{ z = Relu(x) }}")
    assert shapes_of(path, **settings) == expected


def test_a_state_without_names_has_its_batch_where_the_file_leaves_it_free(tmp_path: Path) -> None:
    path = onnx_file(
        tmp_path, "(float[N, 4] x, float[2, N, 8] state) => (float[a, b] z) {z=Relu(x)}"
    )
    model = onnx.load(path)
    for put in model.graph.input:
        for dim in put.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.Clear()
    onnx.save(model, path)
    assert shapes_of(path, input_shape="4+2x8") == [(3, 4), (2, 3, 8)]


@pytest.mark.parametrize(
    ("inputs", "settings", "expected"),
    [
        (
            "float[batch, time, mels] x",
            {},
            "--dim: net.onnx leaves time and mels free; give a size, like --dim time=50+mels=50",
        ),
        ("float[batch, time, 4] x", {"dim": "tim=5"}, "no free dimension tim; its free dim"),
        (
            "float[batch, 4] x, int64 rate",
            {},
            "write --input-shape 4+scalar=VALUE (VALUE: a",
        ),
        ("float[4, 3] x", {}, "has a fixed batch of 4 (it takes x float32 [4, 3]); use --batch 4"),
        ("float[4, 3] x", {}, "or --input-shape 4x3 where that is one sample"),
        ("float[1, 3] x", {"batch": 2}, "has a fixed batch of 1"),
        (
            "float[batch, 3] x",
            {"input_shape": "4"},
            "4 does not fit the input x float32",
        ),
        ("float[batch, 3] x", {"input_shape": "3+3"}, "it has 2 inputs, and net.onnx takes 1"),
        ("float[batch, 3] x", {"input_shape": "3:int64"}, "int64 for an input that is x float32"),
        ("float[batch, 3] x", {"precision": "fp16"}, "computes in fp32 and is run as it is"),
        ("string[batch] x", {}, "its input x is of the type string"),
        ("seq(float[2]) x", {}, "its input x is of the type sequence"),
        ("float[2, batch] x", {"dynamic_batch": "8:1ms"}, "cannot be joined"),
    ],
)
def test_what_does_not_fit_the_file_is_one_line_before_torch_is_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inputs: str,
    settings: dict[str, object],
    expected: str,
) -> None:
    onnx_file(tmp_path, f"({inputs}) => (float[a, b] z) {{ z = Relu(x) }}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpubench.measure.cell.Bench.measure", None)  # nothing may get that far
    with pytest.raises(InputError) as refusal:
        measured(model="net.onnx", **settings)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_a_file_of_each_format_is_measured(tmp_path: Path, dtype: Dtype) -> None:
    name = {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
    graph = f"({name}[batch, 4] x) => ({name}[batch, 4] y) {{ y = Identity(x) }}"
    path = onnx_file(tmp_path, graph)
    result = measured(model=str(path), batch=2, allow_emulated=True)
    assert result.error is None
    model = load(as_cell(make_spec({"model": str(path), "precision": result.spec.precision})))
    (x,) = model.make_inputs(seeded(1), 2)
    assert str(x.dtype) == f"torch.{dtype.name}"
    assert torch.equal(model.module(x)[0], x)


def test_several_formats_in_one_file_stay_as_they_are(tmp_path: Path) -> None:
    path = onnx_file(
        tmp_path,
        "(float16[batch, 4] x, double[batch, 4] y, uint8[batch, 4] z) => (double[batch, 4] s)"
        "{ a = Cast<to=11>(x) b = Cast<to=11>(z) c = Add(a, y) s = Add(b, c) }",
    )
    result = measured(model=str(path), allow_emulated=True)
    assert result.error is None
    assert result.numerics is not None
    assert result.numerics.max_abs_error == 0


@pytest.mark.parametrize(
    ("graph", "settings"),
    [
        (
            "(float[4, batch] x) => (float[batch, 4] y) { y = Transpose<perm=[1, 0]>(x) }",
            {"batch": 3},
        ),
        ("(float[4, 3] x) => (float[4, 3] y) { y = Relu(x) }", {"batch": 4}),
        (
            "(float[batch, time] x, float[2, batch, 8] h, int64 rate) => (float[2, batch, 8] g)"
            "{ r = Cast<to=1>(rate) g = Mul(h, r) }",
            {"input_shape": "16+2x8+scalar=3", "batch": 2},
        ),
        # the file says another rank than the output has
        ("(float[2, 4] x) => (float[a, b, c] y) { y = Relu(x) }", {"batch": 2}),
    ],
)
def test_outputs_may_have_any_shape(
    tmp_path: Path, graph: str, settings: dict[str, object]
) -> None:
    path = onnx_file(tmp_path, graph)
    result = measured(model=str(path), **settings)
    assert result.error is None, result.error


def test_outputs_of_a_size_that_depends_on_the_data_are_those_of_each_request(
    tmp_path: Path,
) -> None:
    from gpubench.engines.base import build

    path = onnx_file(
        tmp_path, "(float[batch, 2] x) => (int64[2, n] y) { a = Relu(x) y = NonZero(a) }"
    )
    cell = a_cell(model=str(path))
    engine = build(load(cell), cell)
    with engine.thread_modes():
        for row, found in [([1.0, 1.0], 2), ([-1.0, 1.0], 1), ([-1.0, -1.0], 0), ([1.0, 1.0], 2)]:
            (output,) = engine.forward(torch.tensor([row]))
            assert output.shape == (2, found)


def test_outputs_of_known_shape_are_written_where_they_were_before(tmp_path: Path) -> None:
    """So that nothing is allocated while a batch runs."""
    from gpubench.engines.base import build

    path = onnx_file(tmp_path, "(float[batch, 4] x) => (float[batch, 4] y) { y = Relu(x) }")
    cell = a_cell(model=str(path))
    engine = build(load(cell), cell)
    with engine.thread_modes():
        (first,) = engine.forward(torch.ones(1, 4))
        places = {engine.forward(torch.ones(1, 4))[0].data_ptr() for _ in range(3)}
        assert len(places) == 1
        assert torch.equal(first, torch.ones(1, 4))
        assert torch.equal(engine.forward(torch.full((2, 4), 3.0))[0], torch.full((2, 4), 3.0))


def test_what_is_no_tensor_among_the_outputs_is_computed_and_not_compared(tmp_path: Path) -> None:
    path = onnx_file(
        tmp_path,
        "(float[batch, 4] x) => (float[batch, 4] y, seq(float[batch, 2]) z)"
        "{ y = Relu(x) z = SplitToSequence<axis=1>(x, two) }",
    )
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2), "two"))
    onnx.save(model, path)
    assert measured(model=str(path)).error is None


def test_real_inputs_come_from_a_file(tmp_path: Path) -> None:
    path = onnx_file(
        tmp_path,
        "(float[batch, time] x, int64[batch, 1] ids, int64 rate) => (float[batch, time] y)"
        "{ r = Cast<to=1>(rate) y = Mul(x, r) }",
    )
    arrays = tmp_path / "real.npz"
    rows = np.arange(12.0).reshape(4, 3)
    np.savez(arrays, x=rows, rate=np.array(16000))
    settings = {"model": str(path), "inputs_file": str(arrays)}
    model = load(as_cell(make_spec(settings)))
    x, ids, rate = model.make_inputs(seeded(1), 4)
    assert x.dtype == torch.float32
    assert sorted(x[:, 0].tolist()) == [0, 3, 6, 9]  # each once before any comes again
    assert set(ids.unique().tolist()) <= {0, 1}  # random, since it is not in the file
    assert rate == 16000
    assert measured(**settings).error is None


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"z": np.zeros((2, 3))}, "net.onnx has no input z; its inputs are x"),
        ({"x": np.zeros((2, 4), np.float32)}, "x has the shape [2, 4], and the model takes x"),
        ({"x": np.zeros((2, 3), np.int64)}, "x is of int64, and the model takes float32"),
        ({"x": np.array(["a"])}, "x in real.npz is <U1"),
        ({"x": np.zeros((0, 3))}, "give arrays that are not empty"),
        ({}, "real.npz has no arrays"),
    ],
)
def test_a_file_of_other_inputs_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrays: dict[str, np.ndarray],
    expected: str,
) -> None:
    onnx_file(tmp_path, "(float[batch, 3] x) => (float[batch, 3] y) { y = Relu(x) }")
    monkeypatch.chdir(tmp_path)
    np.savez("real.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^--inputs-file: ") as refusal:
        measured(model="net.onnx", inputs_file="real.npz")
    assert expected in str(refusal.value)


def test_a_pickle_in_an_inputs_file_is_not_read(tmp_path: Path) -> None:
    path = onnx_file(tmp_path, "(float[batch, 3] x) => (float[batch, 3] y) { y = Relu(x) }")
    np.savez(tmp_path / "evil.npz", x=np.array([Path("/")], dtype=object))
    with pytest.raises(InputError, match="is not a file of arrays"):
        measured(model=str(path), inputs_file=str(tmp_path / "evil.npz"))
    with pytest.raises(InputError, match="there is no such file"):
        measured(model=str(path), inputs_file=str(tmp_path / "absent.npz"))


def test_an_fp16_file_runs_on_a_cpu_as_the_line_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = onnx_file(
        tmp_path,
        "(float16[batch, 2] x) => (float16[batch, 2] y) <float16[2, 2] w = {1, 0, 0, 1}>"
        "{ y = MatMul(x, w) }",
    )
    command = ["run", "--model", str(path), "--requests", "2", "--warmup", "0", "--device", "cpu"]
    assert main([*command, "--precision", "fp32"]) == 2
    assert "computes in fp16 and is run as it is; use --precision fp16" in capsys.readouterr().err
    if main(command) == 2:  # a CPU without fp16
        assert "add --allow-emulated" in capsys.readouterr().err
    assert main([*command, "--allow-emulated"]) == 0


def test_the_runtime_fits_the_file_where_none_is_given() -> None:
    assert make_spec({"model": "a/NET.ONNX"}).runtime == "onnxruntime"
    assert make_spec({"model": "net.plan", "precision": "fp16"}).runtime == "tensorrt"
    assert make_spec({"model": "net.pt", "input_shape": "3"}).runtime == "torchscript"
    assert Spec(model="resnet50").runtime == "torchscript"
    with pytest.raises(InputError, match=r"net\.onnx runs with onnxruntime or tensorrt"):
        make_spec({"model": "net.onnx", "runtime": "torchscript"})


def test_the_runtime_of_a_file_is_part_of_its_key_and_permissions_are_not() -> None:
    """Cells measured before, when the runtime had to be named, are found again."""
    named = make_spec({"model": "net.onnx", "runtime": "onnxruntime"})
    assert make_spec({"model": "net.onnx"}).key("machine") == named.key("machine")
    allowed = make_spec({"model": "net.onnx", "allow_code": True})
    assert allowed.key("machine") == named.key("machine")
    assert make_spec({"model": "net.onnx", "dim": "t=5"}).key("machine") != named.key("machine")


def test_sizes_of_dimensions_are_the_same_setting_however_they_are_written() -> None:
    written = make_spec({"model": "net.onnx", "dim": "time=5+mels=8"})
    assert written.dim == "mels=8+time=5"
    assert make_spec({"model": "net.onnx", "dim": {"time": 5, "mels": 8}}) == written
    assert make_spec({"model": "net.onnx", "dim": "time=5, mels=8"}) == written


def test_a_sweep_takes_sizes_of_a_dimension_as_an_axis(tmp_path: Path) -> None:
    path = onnx_file(tmp_path, "(float[batch, time] x) => (float[batch, time] y) { y = Relu(x) }")
    command = ["sweep", "--model", str(path), "--dim", "time=4,time=8", "--requests", "2"]
    assert main([*command, "--warmup", "0s", "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*.json"))) == 2
