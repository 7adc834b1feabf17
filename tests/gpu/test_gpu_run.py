"""Models through `gpubench.run`, as users call it."""

from __future__ import annotations

from pathlib import Path

import pytest

import gpubench

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("inputs", ["device", "host"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "amp"])
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_a_model_is_measured(model: str, precision: str, inputs: str) -> None:
    settings = {"model": model, "precision": precision, "inputs": inputs, "batch": 2}
    spec = gpubench.Spec(**settings, device="cuda:0", clients=4, requests=200, warmup=0.2)
    result = gpubench.run(spec)
    assert result.error is None
    assert result.requests.completed >= 200
    assert result.throughput_per_second is not None
    assert result.throughput_per_second > 10
    assert result.harness.executor == "graph", "see harness.not_captured in the result"
    assert result.stages_ms.compute is not None
    assert (result.stages_ms.h2d is not None) == (inputs == "host")


@pytest.mark.gpu(torch=True)
def test_requests_joined_by_the_queue_are_measured() -> None:
    result = gpubench.run(
        gpubench.Spec(
            model="resnet50",
            precision="fp16",
            device="cuda:0",
            clients=16,
            dynamic_batch="8:1ms",
            requests=400,
            warmup=0.2,
        )
    )
    assert result.error is None
    assert result.requests.completed >= 400


@pytest.mark.gpu(torch=True)
def test_a_detector_is_measured_from_encoded_images_to_boxes_on_every_gpu() -> None:
    result = gpubench.run(
        gpubench.Spec(
            model=f"{EXAMPLES}/detector.py:detector", device="all", requests=100, warmup=0.2
        )
    )
    assert result.error is None
    assert result.requests.completed >= 100
    assert result.harness.executor == "python"
    assert "preprocess" in (result.harness.not_captured or "")
    assert result.numerics is not None
    assert result.numerics.cosine == pytest.approx(1, abs=1e-3)
    stages = result.stages_ms
    assert stages.preprocess is not None
    assert stages.compute is not None
    assert stages.postprocess is not None
    assert stages.preprocess.mean > 0
    assert stages.postprocess.mean > 0
    assert (stages.h2d, stages.d2h) == (None, None)


@pytest.mark.gpu
def test_the_synthetic_model_takes_its_service_time() -> None:
    spec = gpubench.Spec(
        model="synthetic", device="cuda:0", workers=1, clients=1, service_time=1e-3, requests=200
    )
    result = gpubench.run(spec)
    assert result.error is None
    assert result.stages_ms.compute is not None
    assert result.stages_ms.compute.p50 == pytest.approx(1.0, abs=0.05)
