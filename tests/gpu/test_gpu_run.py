"""Tests of models with `gpubench.run`, on a real GPU."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

import gpubench
from gpubench.measure.cell import Interrupted
from gpubench.system.gpu_peaks import gpu_peak

EXAMPLES = Path(__file__).parents[2] / "examples"
BRIEF = {"device": "cuda:0", "clients": 4, "requests": 200, "warmup": 0.2}


def measured(**settings: object) -> gpubench.Result:
    return gpubench.run(gpubench.Spec.model_validate(BRIEF | settings))


def replayed(**settings: object) -> gpubench.Result:
    """A result without an error, from CUDA graphs whose outputs agree with the fp32 model."""
    result = measured(**settings)
    assert result.error is None
    assert result.harness.executor == "graph", result.harness.not_captured
    assert result.answers_agree, result.numerics
    assert result.stages_ms.compute is not None
    return result


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("precision", ["fp32", "tf32", "amp", "fp16", "bf16"])
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_a_model_is_measured_in_every_precision(model: str, precision: str) -> None:
    result = replayed(model=model, precision=precision, batch=2)
    assert result.requests.completed >= 200
    assert result.throughput_per_second is not None
    assert result.throughput_per_second > 10
    assert result.stages_ms.h2d is not None
    assert result.stages_ms.d2h is not None


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_inputs_on_the_device_are_not_copied(model: str) -> None:
    result = replayed(model=model, precision="amp", runtime="eager", inputs="device")
    assert result.stages_ms.h2d is None
    assert result.stages_ms.d2h is None


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_inputs_in_pinned_memory_are_copied_by_the_gpu_alone(model: str) -> None:
    host, pinned = (
        replayed(model=model, precision="fp16", batch=4, inputs=inputs)
        for inputs in ("host", "pinned")
    )
    assert host.stages_ms.fill is not None
    assert host.stages_ms.fill.p50 > 0
    assert pinned.stages_ms.fill is None
    for result in (host, pinned):
        assert result.stages_ms.h2d is not None
        assert result.stages_ms.d2h is not None


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_pinned_inputs_of_joined_requests_are_gathered_only_if_they_are_small(model: str) -> None:
    result = replayed(
        model=model,
        precision="fp16",
        inputs="pinned",
        clients=24,
        dynamic_batch="8:1ms",
        requests=400,
    )
    fill = result.stages_ms.fill
    assert (fill is None) == (model == "resnet50")  # 300 KB of an image, 1 KB of each token tensor


@pytest.mark.gpu(torch=True)
def test_pinned_inputs_are_measured_from_python_too(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    for dynamic_batch in (None, "8:1ms"):
        result = measured(
            model=f"{tmp_path}/waits.py:waits",
            runtime="eager",
            inputs="pinned",
            dynamic_batch=dynamic_batch,
        )
        assert result.error is None
        assert result.harness.executor == "python"
        assert result.answers_agree


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_tf32_is_on_where_it_is_asked_for_and_nowhere_else(model: str) -> None:
    from gpubench.cells.resolve import resolve
    from gpubench.measure.engine import prepare
    from gpubench.system.machine import this_machine

    errors = []
    for precision in ("fp32", "tf32", "fp32"):
        asked = gpubench.Spec(model=model, runtime="eager", precision=precision, device="cuda:0")
        numerics = prepare(resolve(asked, this_machine()), lambda stage: None).numerics
        assert numerics is not None
        assert numerics.relative_error is not None
        errors.append(numerics.relative_error)
    first, tf32, last = errors
    assert tf32 > 10 * max(first, last)


@pytest.mark.gpu(torch=True)
def test_several_workers_have_device_times_of_every_batch() -> None:
    result = replayed(model="resnet50", precision="fp16", workers=4, depth=2, clients=16)
    assert result.harness.event_clock is not None
    assert len(result.harness.event_clock) == 4
    assert result.samples is not None
    assert result.samples.device_ns is not None


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_requests_joined_by_the_queue_are_measured(model: str) -> None:
    result = replayed(
        model=model, precision="fp16", clients=24, dynamic_batch="8:1ms", requests=400
    )
    assert result.requests.completed >= 400


@pytest.mark.gpu(torch=True)
def test_the_gpu_is_watched_meanwhile() -> None:
    result = replayed(model="resnet50", precision="fp16", requests=None, duration=1)
    assert result.device is not None
    assert result.device.clocks.sm_mhz is not None
    assert result.device.power_w is not None
    assert result.device.power_w > 10
    assert result.device.memory_used_bytes is not None
    assert result.device.memory_used_bytes > 100e6


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize(
    ("runtime", "precision"),
    [("eager", "fp32"), ("eager", "amp"), ("torchscript", "fp16"), ("compile", "fp16")],
)
def test_a_model_in_channels_last_is_replayed_and_its_outputs_agree(
    runtime: str, precision: str
) -> None:
    replayed(
        model="resnet50",
        runtime=runtime,
        precision=precision,
        batch=2,
        memory_format="channels_last",
    )


NHWC = """
import torch

class Nhwc(torch.nn.Module):
    def __init__(self, waits):
        super().__init__()
        self.conv, self.waits = torch.nn.Conv2d(3, 8, 3), waits
    def forward(self, images):
        maps = self.conv(images)
        if images.is_cuda:
            for tensor in (images, self.conv.weight, maps):
                if not tensor.is_contiguous(memory_format=torch.channels_last):
                    raise ValueError(f"strides {tensor.stride()} of {tuple(tensor.shape)}")
        return maps + 0 * float(maps.max()) if self.waits else maps

def captured():
    return Nhwc(False).eval(), (torch.rand(8, 3, 32, 32),)

def called():
    return Nhwc(True).eval(), (torch.rand(8, 3, 32, 32),)
"""


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("inputs", ["host", "device"])
@pytest.mark.parametrize(("name", "executor"), [("captured", "graph"), ("called", "python")])
def test_images_weights_and_joined_requests_are_channels_last_on_the_device(
    tmp_path: Path, name: str, executor: str, inputs: str
) -> None:
    (tmp_path / "nhwc.py").write_text(NHWC)
    result = measured(
        model=f"{tmp_path}/nhwc.py:{name}",
        runtime="eager",
        memory_format="channels_last",
        inputs=inputs,
        dynamic_batch="4:1ms",
    )
    assert result.error is None
    assert result.harness.executor == executor, result.harness.not_captured
    assert result.answers_agree, result.numerics


@pytest.mark.gpu(torch=True)
def test_the_arithmetic_is_below_the_peak_of_the_gpu() -> None:
    result = replayed(model="bert-base", precision="fp16", batch=32, inputs="device")
    achieved = result.achieved
    assert achieved.flops_per_second is not None
    assert achieved.flops_per_second > 1e12
    if gpu_peak(result.environment.gpus[0]) is None:
        pytest.skip(f"the peak of {result.environment.gpus[0]} is not in the table")
    assert achieved.peak_share is not None
    assert 0.02 < achieved.peak_share < 1


@pytest.mark.gpu(torch=True)
def test_the_peak_of_the_memory_holds_the_weights() -> None:
    import torch

    result = replayed(model="bert-base", precision="fp16", batch=2)
    _, total = torch.cuda.mem_get_info(0)
    weights, peak = result.engine.artifact_bytes, result.memory.peak_device_bytes
    assert weights is not None
    assert peak is not None
    assert weights < peak <= total
    assert result.memory.peak_device_of in {"process", "device"}


WAITS = """
import torch

class Waits(torch.nn.Module):
    def forward(self, images):
        return images * float(images.abs().max())

def waits():
    return Waits(), (torch.rand(4, 3, 8, 8),)
"""


@pytest.mark.gpu(torch=True)
def test_a_model_that_waits_for_the_device_is_called_from_python_and_spoils_nothing(
    tmp_path: Path,
) -> None:
    import torch

    (tmp_path / "waits.py").write_text(WAITS)
    result = measured(model=f"{tmp_path}/waits.py:waits", runtime="eager")
    assert result.error is None
    assert result.harness.executor == "python"
    assert "captur" in (result.harness.not_captured or "")
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    replayed(model="resnet50", precision="fp16")


@pytest.mark.gpu(torch=True)
def test_too_little_memory_is_an_error_in_one_line_and_spoils_nothing() -> None:
    import torch

    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - (1 << 30), dtype=torch.uint8, device="cuda:0")
    result = measured(model="resnet50", runtime="eager", batch=256, inputs="device")
    assert result.error is not None
    assert "out of memory" in result.error.message
    assert "\n" not in result.error.message
    del taken
    torch.cuda.empty_cache()
    replayed(model="resnet50", precision="fp16")


@pytest.mark.gpu(torch=True)
def test_ctrl_c_keeps_what_was_measured() -> None:
    class PressCtrlC(gpubench.Progress):
        def stage(self, name: str) -> None:
            if name == "measure":
                threading.Timer(3, signal.raise_signal, [signal.SIGINT]).start()

    spec = BRIEF | {"model": "resnet50", "requests": None, "duration": 20}
    with pytest.raises(Interrupted) as interrupted:
        gpubench.run(gpubench.Spec.model_validate(spec), PressCtrlC())
    result = interrupted.value.result
    assert result.harness.executor == "graph", result.harness.not_captured
    assert result.requests.completed > 0
    assert result.throughput_per_second is not None


@pytest.mark.gpu(torch=True)
def test_a_detector_is_measured_from_encoded_images_to_boxes_on_every_gpu() -> None:
    result = measured(
        model=f"{EXAMPLES}/detector.py:detector_s", device="all", clients=None, requests=100
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
