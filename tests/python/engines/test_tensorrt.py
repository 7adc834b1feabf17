"""Tests that build engines with TensorRT-RTX for GPUs that are not in this machine.

Loading and executing the engines needs a GPU and is not tested here.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from factories import a_cell, another
from small_models import SEQ_LEN, SMALL, small_cell

from gpubench.cli.program import main
from gpubench.engines.onnx import export
from gpubench.engines.tensorrt import plan
from gpubench.engines.tensorrt.builder import Batches
from gpubench.errors import GpubenchError
from gpubench.measure.output_comparison import compare
from gpubench.measure.reference import make_reference
from gpubench.models.base import LoadedModel, Tensors, load
from gpubench.spec.cell import Cell

pytest.importorskip("tensorrt_rtx", reason="pip install '.[tensorrt-rtx]'")

EXAMPLES = Path(__file__).parents[3] / "examples"

GPUS = {"T4": (7, 5), "A10G": (8, 6), "L4": (8, 9)}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX files. All tests share them, since making one takes longer than most engines."""
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(autouse=True)
def own_cache(networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for kind in ("onnx", "tensorrt-int8", "tensorrt-fp8"):
        (networks / kind).mkdir(exist_ok=True)
        (cache / kind).symlink_to(networks / kind)
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(cache))


def cell_of(model: str, precision: str, batch: int = 1, runtime: str = "tensorrt-rtx") -> Cell:
    return small_cell(model, runtime, precision, batch)


@pytest.mark.parametrize(
    ("model", "gpu", "precision", "dtype"),
    [
        ("resnet", "T4", "fp16", "HALF"),
        ("resnet", "A10G", "fp32", "FLOAT"),
        ("resnet", "L4", "fp16", "HALF"),
        ("bert", "T4", "fp16", "HALF"),
        ("bert", "A10G", "fp32", "FLOAT"),
        ("bert", "L4", "bf16", "BF16"),
    ],
)
def test_an_engine_is_built_in_the_precision_of_the_export(
    model: str, gpu: str, precision: str, dtype: str
) -> None:
    made = plan.plan(SMALL[model](), cell_of(model, precision, batch=2), GPUS[gpu])
    assert made.path.stat().st_size > 100_000
    assert made.layers is not None
    assert made.layers > 10
    assert dtype in made.dtypes
    assert {output.dtype for output in made.outputs} == {dtype}
    if model == "resnet":
        assert [(put.dtype, put.shape) for put in made.inputs] == [(dtype, (-1, 3, 56, 56))]
        assert set(made.dtypes) <= {dtype, "INT64", "INT32"}  # no other formats
    else:
        assert [put.dtype for put in made.inputs] == ["INT64"] * 3
        assert [output.shape[1:] for output in made.outputs] == [(SEQ_LEN,)] * 2


def test_an_engine_is_for_one_gpu_and_is_cached() -> None:
    model, cell = SMALL["resnet"](), cell_of("resnet", "fp16")
    first, other = (plan.plan(model, cell, GPUS[gpu]) for gpu in ("T4", "L4"))
    assert first.path != other.path
    assert first.path.read_bytes() != other.path.read_bytes()
    again = plan.plan(model, cell, GPUS["T4"])
    assert (again.path, again.from_cache) == (first.path, True)
    assert not first.from_cache


def test_another_batch_is_another_engine() -> None:
    model = SMALL["resnet"]()
    plans = [plan.plan(model, cell_of("resnet", "fp16", b), GPUS["L4"]) for b in (1, 8)]
    assert plans[0].path != plans[1].path


@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_the_presets_are_built_for_three_gpus(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = [argument for gpu in GPUS for argument in ("--gpu", gpu)]
    asked = ["build", "--model", model, "--precision", "fp16", *gpus, "--json", "-"]
    assert main([*asked, "--output", str(tmp_path / "engines")]) == 0
    built = json.loads(capsys.readouterr().out)
    assert [engine["gpu"] for engine in built] == list(GPUS)
    parameters = {"resnet50": 25_557_032, "bert-base": 108_893_186}[model]
    for engine in built:
        assert Path(engine["file"]).stat().st_size == engine["bytes"]
        # Two bytes per weight. An engine may contain a layer in two layouts.
        assert 1.9 * parameters < engine["bytes"] < 4 * parameters


@pytest.mark.parametrize("model", ["resnet", "bert"])
@pytest.mark.parametrize(
    ("precision", "gpu", "dtype"),
    [("int8", "T4", "INT8"), ("int8", "A10G", "INT8"), ("fp8", "L4", "FP8")],
)
def test_a_quantised_engine_computes_other_operators_in_fp16(
    model: str, precision: str, gpu: str, dtype: str
) -> None:
    made = plan.plan(SMALL[model](), cell_of(model, precision), GPUS[gpu])
    assert {dtype, "HALF"} <= set(made.dtypes)
    assert not {"FLOAT", "BF16"} & set(made.dtypes)
    assert {output.dtype for output in made.outputs} == {"HALF"}


@pytest.mark.parametrize("model", ["resnet", "bert"])
def test_quantised_outputs_are_close_to_those_of_the_fp32_model(model: str) -> None:
    """The ONNX files from which engines are built, executed on the CPU."""
    loaded = SMALL[model]()
    reference = make_reference(loaded, seed=0, batch=4)
    assert reference.outputs is not None
    answers = {}
    for precision in ("int8", "fp8"):
        network = quantised_network(SMALL[model](), cell_of(model, precision))
        answers[precision] = [outputs_of(network, request) for request in reference.requests]
    cosines = {name: compare(each, reference.outputs).cosine or 0 for name, each in answers.items()}
    # Seven significant bits in int8, four in fp8.
    assert cosines["int8"] > 0.99
    assert cosines["fp8"] > 0.95
    assert not torch.equal(answers["int8"][0][0], answers["fp8"][0][0])


def quantised_network(model: LoadedModel, cell: Cell) -> Path:
    return plan._Source.of(model, cell).file(model, cell)


def outputs_of(network: Path, inputs: Tensors) -> Tensors:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        str(network), options, providers=["CPUExecutionProvider"]
    )
    feed = {
        put.name: (tensor.half() if tensor.is_floating_point() else tensor).numpy()
        for put, tensor in zip(session.get_inputs(), inputs, strict=True)
    }
    return tuple(torch.from_numpy(output) for output in session.run(None, feed))


def test_one_engine_for_a_range_of_batches_is_used_for_dynamic_batching() -> None:
    model, gpu = SMALL["resnet"](), GPUS["L4"]
    cell = cell_of("resnet", "fp16", batch=2)
    ranged = plan.plan(model, cell, gpu, Batches(2, 8))
    dynamic = another(cell, dynamic_batch="8:1ms")
    assert plan.plan(model, dynamic, gpu).path == ranged.path
    assert plan.plan(model, cell, gpu).path != ranged.path


def test_lists_of_settings_build_an_engine_for_each_combination(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"{EXAMPLES}/custom_model.py:classifier"
    asked = ["build", "--model", model, "--precision", "fp16,fp32", "--batch", "1,2-4,1"]
    asked += ["--gpu", "L4,A10G", "--output", str(tmp_path / "engines")]
    assert main([*asked, "--json", "-"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert [(each["precision"], each["batch"], each["gpu"]) for each in built] == [
        (precision, batch, gpu)
        for precision in ("fp16", "fp32")
        for batch in ("1", "2-4")
        for gpu in ("L4", "A10G")
    ]
    assert len({each["file"] for each in built}) == 8
    assert all(Path(each["file"]).is_file() and not each["from_cache"] for each in built)
    assert main(asked) == 0  # the same as text, with the engines from the cache
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [each["file"] for each in built]


def test_an_engine_that_was_built_ahead_is_found_on_the_machine_with_the_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tmp_path / "engines"
    asked = ["build", "--model", f"{EXAMPLES}/custom_model.py:classifier", "--precision", "fp16"]
    assert main([*asked, "--batch", "1-4", "--gpu", "L4", "--output", str(built)]) == 0
    capsys.readouterr()
    there = tmp_path / "there"
    built.rename(there)
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(there))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA L4")
    cell = a_cell(
        model=f"{EXAMPLES}/custom_model.py:classifier",
        runtime="tensorrt-rtx",
        precision="fp16",
        device="cuda:0",
        dynamic_batch="4:1ms",
    )
    made = plan.plan(load(cell), cell, GPUS["L4"])
    assert made.from_cache
    assert made.path.parent.parent == there


def test_an_engine_is_built_from_a_users_onnx_file(tmp_path: Path) -> None:
    exported, _ = export.export(SMALL["resnet"](), cell_of("resnet", "fp32"), torch.float32)
    path = tmp_path / "net.onnx"
    path.write_bytes(exported.read_bytes())
    cell = a_cell(model=str(path), runtime="tensorrt-rtx", device="cpu")
    made = plan.plan(load(cell), cell, GPUS["L4"])
    assert [(put.name, put.dtype) for put in made.inputs] == [("input_0", "FLOAT")]
    quantised = quantised_network(load(cell), another(cell, precision="int8"))
    path.write_bytes(quantised.read_bytes())  # another network under the same name
    with pytest.raises(GpubenchError, match="computes in int8 and is not converted"):
        load(cell)
    as_int8 = another(cell, precision="int8")
    again = plan.plan(load(as_int8), as_int8, GPUS["L4"])
    assert not again.from_cache
    assert "INT8" in again.dtypes


def test_a_failed_build_gives_a_one_line_error_with_its_reason() -> None:
    with pytest.raises(GpubenchError, match=r"FP32 GEMM is not supported.*use another") as failure:
        plan.plan(SMALL["resnet"](), cell_of("resnet", "fp32"), GPUS["T4"])
    assert "\n" not in str(failure.value)


def test_an_unsupported_operator_gives_a_one_line_error(tmp_path: Path) -> None:
    made = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        determinants (float[batch, 3, 3] matrices) => (float[batch] d) { d = Det(matrices) }"""
    )
    path = tmp_path / "det.onnx"
    onnx.save(made, path)
    cell = a_cell(model=str(path), runtime="tensorrt-rtx", device="cpu")
    with pytest.raises(
        GpubenchError, match=r"cannot parse .*det.onnx \(Det: UNSUPPORTED_NODE, .*\)"
    ):
        plan.plan(load(cell), cell, GPUS["L4"])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--gpu", "K80"], "--gpu K80: this GPU is not known"),
        (["--gpu", "T4", "--precision", "bf16"], "--gpu T4: GPUs of sm_75 have no bf16"),
        (["--gpu", "T4", "--precision", "tf32"], "--gpu T4: GPUs of sm_75 have no tf32"),
        (
            ["--gpu", "A10G", "--precision", "fp8"],
            "no fp8, which needs sm_89 or later; use --precision",
        ),
        (["--gpu", "H100"], "does not build for sm_90; it builds for sm_75, sm_80, sm_86, sm_89"),
        (["--gpu", "T4", "--precision", "amp"], "choose fp32 or tf32 or fp16 or bf16 or int8"),
        (["--gpu", "T4", "--batch", "8-2"], "--batch: 8-2 is no range of sizes"),
        (["--gpu", "T4", "--batch", "few"], "--batch: 'few' is no size"),
        (["--gpu", "T4", "--batch", "1-"], "--batch: '1-' is no size"),
        (["--gpu", "T4", "--batch", "1,²"], "--batch: '²' is no size"),
        (["--gpu", "T4", "--batch", "1,0"], "--batch: 0 is no range of sizes"),
        (["--gpu", "T4", "--batch", ","], "--batch: it is empty"),
        (["--gpu", "sm_8²"], "--gpu sm_8²: this GPU is not known"),
        (["--gpu", "L4", "--seq-len", "8,x"], "--seq-len"),
        (["--gpu", "T4", "--precision", "fp16,bf16"], "--gpu T4: GPUs of sm_75 have no bf16"),
        (["--gpu", "T4", "--runtime", "tensorrt"], "build on the machine that runs them"),
        (["--gpu", ","], "--gpu: names none; give one like A10G"),
        (["--gpu", "A10G", "--json", "/no/such/list.json"], "--json /no/such/list.json cannot be"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_loaded(
    flags: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--model", "resnet50", *flags, "--output", str(tmp_path / "e")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_a_folder_that_cannot_be_created_is_reported_before_an_engine_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert main(["build", "--model", "resnet50", "--gpu", "A10G", "--output", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--output {file} cannot be written: File exists; choose another folder" in line


@pytest.mark.parametrize(("name", "expected"), [("A10G", (8, 6)), ("sm_89", (8, 9))])
def test_gpus_are_known_by_name_and_by_architecture(name: str, expected: tuple[int, int]) -> None:
    assert plan.compute_capability(name) == expected
