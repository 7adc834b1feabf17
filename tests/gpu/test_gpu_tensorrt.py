"""TensorRT's runtimes through `gpubench.run`, where their libraries are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

import gpubench
from gpubench.engines.tensorrt.library import LIBRARIES

BRIEF = {"device": "cuda:0", "clients": 4, "requests": 200, "warmup": 0.2}


@pytest.fixture(params=LIBRARIES)
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(LIBRARIES[name], reason=f"pip install '.[{name}]'")
    return name


def measured(**settings: object) -> gpubench.Result:
    return gpubench.run(gpubench.Spec.model_validate(BRIEF | settings))


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_answers_are_right_and_replayed_as_graphs(runtime: str, model: str, precision: str) -> None:
    result = measured(model=model, runtime=runtime, precision=precision, batch=2)
    assert result.error is None
    assert result.answers_agree
    assert result.harness.executor == "graph", result.harness.not_captured


@pytest.mark.gpu(torch=True)
def test_one_engine_serves_the_batches_that_the_queue_forms(runtime: str) -> None:
    result = measured(model="resnet50", runtime=runtime, precision="fp16", dynamic_batch="8:1ms")
    assert result.error is None
    assert result.answers_agree
    assert result.harness.executor == "graph", result.harness.not_captured


@pytest.mark.gpu(torch=True)
def test_an_engine_file_is_measured_without_the_model(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path))
    named = measured(model="resnet50", runtime=runtime, precision="fp16")
    assert named.error is None
    (path,) = tmp_path.glob(f"{runtime}/*.plan")
    result = measured(model=str(path), runtime=runtime, precision="fp16")
    assert result.error is None
    assert result.numerics is None
    assert result.harness.executor == "graph", result.harness.not_captured
