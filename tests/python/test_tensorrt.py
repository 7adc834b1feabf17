"""Engines of TensorRT-RTX, really built for GPUs that are not here, and looked into.

What needs a GPU (loading and running them) is not tested here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_models import SEQ_LEN, SMALL

from gpubench import _plan
from gpubench.cli import main
from gpubench.engines import tensorrt
from gpubench.errors import GpubenchError, InputError
from gpubench.machine import this_machine
from gpubench.models.base import load
from gpubench.spec import Spec

pytest.importorskip("tensorrt_rtx", reason="pip install '.[tensorrt-rtx]'")

GPUS = {"T4": (7, 5), "A10G": (8, 6), "L4": (8, 9)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))


def spec_of(model: str, precision: str, batch: int = 1, runtime: str = "tensorrt-rtx") -> Spec:
    return Spec(
        model="resnet50" if model == "resnet" else "bert-base",
        runtime=runtime,
        precision=precision,
        batch=batch,
        seq_len=None if model == "resnet" else SEQ_LEN,
        device="cpu",
    )


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
    made = tensorrt.plan(SMALL[model](), spec_of(model, precision, batch=2), GPUS[gpu])
    assert made.path.stat().st_size > 100_000
    assert made.layers is not None
    assert made.layers > 10
    assert dtype in made.dtypes
    assert {output.dtype for output in made.outputs} == {dtype}
    if model == "resnet":
        assert [(put.dtype, put.shape) for put in made.inputs] == [(dtype, (-1, 3, 56, 56))]
        assert set(made.dtypes) <= {dtype, "INT64", "INT32"}  # nothing in another format
    else:
        assert [put.dtype for put in made.inputs] == ["INT64"] * 3
        assert [output.shape[1:] for output in made.outputs] == [(SEQ_LEN,)] * 2


def test_an_engine_is_for_its_gpu_and_is_kept() -> None:
    model, spec = SMALL["resnet"](), spec_of("resnet", "fp16")
    first, other = (tensorrt.plan(model, spec, GPUS[gpu]) for gpu in ("T4", "L4"))
    assert first.path != other.path
    assert first.path.read_bytes() != other.path.read_bytes()
    again = tensorrt.plan(model, spec, GPUS["T4"])
    assert (again.path, again.from_cache) == (first.path, True)
    assert not first.from_cache


def test_another_batch_is_another_engine() -> None:
    model = SMALL["resnet"]()
    plans = [tensorrt.plan(model, spec_of("resnet", "fp16", b), GPUS["L4"]) for b in (1, 8)]
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
    parameters = load(Spec(model=model)).parameters
    for engine in built:
        assert Path(engine["file"]).stat().st_size == engine["bytes"]
        # Two bytes a weight; an engine for one GPU may hold a layer in two layouts.
        assert 1.9 * parameters < engine["bytes"] < 4 * parameters


def test_what_the_library_cannot_build_is_one_line_with_its_reason() -> None:
    with pytest.raises(GpubenchError, match=r"FP32 GEMM is not supported.*use another") as failure:
        tensorrt.plan(SMALL["resnet"](), spec_of("resnet", "fp32"), GPUS["T4"])
    assert "\n" not in str(failure.value)


def test_a_gpu_that_the_library_does_not_build_for_is_one_line() -> None:
    with pytest.raises(GpubenchError, match=r"does not build for SM90; it knows SM1"):
        tensorrt.plan(SMALL["resnet"](), spec_of("resnet", "fp16"), (9, 0))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--gpu", "K80"], "--gpu K80: not known"),
        (["--gpu", "T4", "--precision", "bf16"], "T4 (sm_75) has none"),
        (["--gpu", "T4", "--precision", "amp"], "choose fp32 or tf32 or fp16 or bf16"),
        (["--gpu", "T4", "--runtime", "tensorrt"], "build on the machine that runs them"),
    ],
)
def test_what_cannot_be_built_is_told_before_anything_is_loaded(
    flags: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--model", "resnet50", *flags, "--output", str(tmp_path / "e")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(("name", "expected"), [("A10G", (8, 6)), ("sm_89", (8, 9))])
def test_gpus_are_known_by_name_and_by_architecture(name: str, expected: tuple[int, int]) -> None:
    assert tensorrt.compute_capability(name) == expected


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_measuring_without_a_gpu_is_refused_with_the_way_out(runtime: str) -> None:
    asked = Spec(model="resnet50", runtime=runtime, device="cpu")
    with pytest.raises(InputError, match="runs on NVIDIA GPUs alone; gpubench build"):
        _plan.resolve(asked, this_machine())
