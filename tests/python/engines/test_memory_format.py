"""Tests of --memory-format: what is channels_last in each runtime, and which models are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import a_cell
from small_models import make_presets_small

import gpubench
from gpubench.engines.base import Engine, build
from gpubench.engines.memory_format import arrange, elements, of_tensor, view_like
from gpubench.measure.engine_key import engine_key
from gpubench.measure.python_workers import ModelWorker, ProcessingWorker, make_pool
from gpubench.models.base import LoadedModel, PrePostProcessing, Tensors, as_tuple, seeded
from gpubench.registry import RUNTIMES
from gpubench.results.result import Result

SUPPORTED = [name for name, runtime in RUNTIMES.items() if runtime.takes_memory_format]
NHWC, NCHW = torch.channels_last, torch.contiguous_format


@pytest.fixture(scope="module", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        yield


class Net(torch.nn.Module):
    """Returns its images, rectified, and their convolution. Both have the format of the inputs."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, 8, 3)

    def forward(self, images: torch.Tensor) -> Tensors:
        return images.relu(), self.conv(images)


def a_net(channels: int = 3) -> LoadedModel:
    torch.manual_seed(0)

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return (torch.randn(samples, channels, 6, 5, generator=generator),)

    return LoadedModel(Net(channels).eval(), "random", make_inputs)


def built(
    runtime: str, memory_format: str, channels: int = 3, **settings: Any
) -> tuple[LoadedModel, Engine, list[Tensors]]:
    """(the model, its engine, the inputs of requests of two samples)."""
    cell = a_cell(
        **{"model": "resnet50", "runtime": runtime, "memory_format": memory_format, "batch": 2},
        **settings,
    )
    model = a_net(channels)
    engine = build(model, cell)
    return model, engine, make_pool(model, engine, cell)


def weight_of(model: LoadedModel) -> torch.Tensor:
    weights = dict(model.module.named_parameters())  # a ScriptModule has no get_parameter
    return weights["conv.weight"]


def run(engine: Engine, inputs: Tensors) -> Tensors:
    with engine.thread_modes():
        return as_tuple(engine.forward(*inputs))


def test_the_runtimes_with_memory_formats() -> None:
    assert SUPPORTED == ["eager", "torchscript", "compile"]


@pytest.mark.parametrize("runtime", SUPPORTED)
def test_weights_and_inputs_are_channels_last_and_the_outputs_are_those_of_contiguous_ones(
    runtime: str,
) -> None:
    outputs = {}
    for name, expected in (("contiguous", NCHW), ("channels_last", NHWC)):
        model, engine, pool = built(runtime, name)
        assert of_tensor(weight_of(model)) == expected
        assert [of_tensor(images) for (images,) in pool] == [expected] * len(pool)
        outputs[name] = run(engine, pool[0])
        assert [of_tensor(output) for output in outputs[name]] == [expected] * 2
    for ours, theirs in zip(*outputs.values(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_weights_in_a_frozen_trace_are_channels_last() -> None:
    _, engine, _ = built("torchscript", "channels_last")
    assert isinstance(engine.forward, torch.jit.ScriptModule)
    graph: Any = engine.forward.graph
    constants = [
        node.outputsAt(0).toIValue()
        for node in graph.findAllNodes("prim::Constant")
        if node.outputsAt(0).type().kind() == "TensorType"
    ]
    assert [of_tensor(each) for each in constants if each.ndim == 4] == [NHWC]


@pytest.mark.parametrize("precision", ["amp", "bf16"])
@pytest.mark.parametrize("runtime", ["eager", "torchscript"])
def test_casts_keep_the_format(runtime: str, precision: str) -> None:
    _, engine, pool = built(runtime, "channels_last", precision=precision)
    assert [of_tensor(output) for output in run(engine, pool[0])] == [NHWC, NHWC]


@pytest.mark.parametrize("channels", [1, 3])
def test_no_request_is_compiled_again(channels: int) -> None:
    """Not even with one channel, where several strides mean the same order in memory."""
    _, engine, pool = built("compile", "channels_last", channels)
    (images,) = pool[0]
    in_arena = view_like(elements(images, NHWC).clone(), images, NHWC)
    with torch.compiler.set_stance("fail_on_recompile"):
        for request in (*pool, (in_arena,)):
            run(engine, request)


@pytest.mark.parametrize(
    "shape", [(5,), (2, 5), (2, 3, 4), (2, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 1)]
)
def test_elements_come_in_the_order_of_the_format_and_can_be_viewed_as_the_tensor(
    shape: tuple[int, ...],
) -> None:
    tensor = torch.arange(float(np.prod(shape))).view(shape)
    for memory_format in (NCHW, NHWC):
        (arranged,) = arrange((tensor,), memory_format)
        vector = elements(arranged, memory_format)
        assert vector.data_ptr() == arranged.data_ptr(), "elements were moved"
        again = view_like(vector, arranged, memory_format)
        assert torch.equal(again, tensor)
        assert again.stride() == arranged.stride()
        assert again.data_ptr() == vector.data_ptr()
    if len(shape) == 4:
        assert torch.equal(vector, tensor.permute(0, 2, 3, 1).reshape(-1))


def test_inputs_of_other_numbers_of_dimensions_stay_as_they_are() -> None:
    inputs = tuple(torch.rand(*[2] * dimensions) for dimensions in (1, 2, 3, 5))
    assert all(a is b for a, b in zip(arrange(inputs, NHWC), inputs, strict=True))


def test_integer_images_are_arranged_too() -> None:
    (images,) = arrange((torch.zeros(2, 3, 4, 5, dtype=torch.uint8),), NHWC)
    assert of_tensor(images) == NHWC


def test_contiguous_changes_no_input() -> None:
    inputs = (torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5).contiguous(memory_format=NHWC))
    assert all(a is b for a, b in zip(arrange(inputs, NCHW), inputs, strict=True))


def recorder(seen: list[torch.Tensor]) -> Engine:
    def forward(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images

    cpu = torch.device("cpu")
    return Engine(forward, cpu, torch.float32, torch.inference_mode, memory_format=NHWC)


def test_requests_that_the_queue_joins_stay_channels_last() -> None:
    seen: list[torch.Tensor] = []
    engine = recorder(seen)
    cell = a_cell(model="resnet50", memory_format="channels_last", batch=2, dynamic_batch="8:1ms")
    pool = make_pool(a_net(), engine, cell)
    ModelWorker(engine, pool, cell).run(np.array([0, 2, 3]))
    (joined,) = seen
    assert of_tensor(joined) == NHWC
    assert torch.equal(joined, torch.cat([pool[number][0] for number in (0, 2, 3)]))


def test_what_preprocess_returns_is_arranged() -> None:
    seen: list[torch.Tensor] = []
    processing = PrePostProcessing(
        lambda generator, samples: 0, lambda request: (torch.rand(1, 3, 4, 4),), lambda outputs: 0
    )
    cell = a_cell(model="resnet50", memory_format="channels_last")
    ProcessingWorker(recorder(seen), [0], processing, cell).run(np.array([0, 0]))
    assert [of_tensor(images) for images in seen] == [NHWC]


def test_cells_with_another_memory_format_do_not_share_an_engine() -> None:
    one, other = (
        a_cell(model="resnet50", memory_format=f) for f in ("contiguous", "channels_last")
    )
    assert engine_key(one) != engine_key(other)


BRIEF: dict[str, Any] = {
    "memory_format": "channels_last", "device": "cpu", "threads": 1, "requests": 4, "warmup": 0,
}  # fmt: skip


@pytest.mark.parametrize("runtime", ["eager", "torchscript"])
def test_a_preset_is_measured_and_its_outputs_agree(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_presets_small(monkeypatch)
    result = gpubench.run(
        model="resnet50", runtime=runtime, clients=4, dynamic_batch="4:1ms", **BRIEF
    )
    assert result.error is None
    assert result.answers_agree
    assert result.spec.memory_format == "channels_last"


OWN = """
import torch
class Views(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
    def forward(self, images):
        maps = self.conv(images)
        return maps.view(len(maps), -1)
def views():
    return Views(), torch.rand(4, 3, 6, 6)
def text():
    return torch.nn.Linear(8, 8), torch.rand(4, 8)
class Volumes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 2, 1)
    def forward(self, images):
        return self.conv(images.unsqueeze(1))
def volumes():
    return Volumes(), torch.rand(4, 3, 6, 6)
"""


def failure(model: str, **settings: Any) -> str:
    """The message of a cell that fails."""
    result: Result = gpubench.run(model=model, **(BRIEF | settings))
    assert result.error is not None
    assert "\n" not in result.error.message
    return result.error.message


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path / 'own.py'}"


@pytest.mark.parametrize("runtime", SUPPORTED)
def test_a_model_whose_view_fails_is_told_the_remedy(own: str, runtime: str) -> None:
    message = failure(f"{own}:views", runtime=runtime)
    assert message.startswith("--memory-format channels_last: ")
    assert message.endswith("write .reshape in the model, or use --memory-format contiguous")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text", "has no input of four dimensions (images); use --memory-format contiguous"),
        ("volumes", "has weights of five dimensions; use --memory-format contiguous"),
    ],
)
def test_a_model_without_such_a_format_is_refused_when_it_is_loaded(
    own: str, name: str, reason: str
) -> None:
    assert failure(f"{own}:{name}") == f"--memory-format channels_last: {own}:{name} {reason}"


def test_a_torchscript_file_is_converted_but_not_a_frozen_one(tmp_path: Path) -> None:
    path = str(tmp_path / "net.pt")
    script = torch.jit.trace(torch.nn.Sequential(Net().conv).eval(), torch.rand(1, 3, 6, 6))
    script.save(path)
    for runtime in ("eager", "torchscript"):
        result = gpubench.run(model=path, input_shape="3x6x6", runtime=runtime, **BRIEF)
        assert result.error is None
        assert result.answers_agree
    torch.jit.freeze(script).save(path)
    message = failure(path, input_shape="3x6x6")
    assert "has no weights of four dimensions that could be converted" in message
    assert message.endswith("or save it without torch.jit.freeze")


@pytest.mark.parametrize("runtime", ["eager", "torchscript"])
def test_the_weights_of_a_torchscript_file_are_channels_last(tmp_path: Path, runtime: str) -> None:
    from gpubench.models.base import load

    path = str(tmp_path / "net.pt")
    torch.jit.trace(Net().eval(), torch.rand(1, 3, 6, 6)).save(path)
    cell = a_cell(model=path, input_shape="3x6x6", runtime=runtime, memory_format="channels_last")
    model = load(cell)
    engine = build(model, cell)
    assert of_tensor(weight_of(model)) == NHWC
    outputs = run(engine, engine.cast(model.make_inputs(seeded(0), 2)))
    assert [of_tensor(output) for output in outputs] == [NHWC, NHWC]
