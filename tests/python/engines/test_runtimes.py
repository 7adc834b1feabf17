"""Tests of every runtime for CPUs, with several batch sizes and precisions.

Outputs are right, engines that take long to build are cached, and refusals are one line.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from factories import a_cell, a_machine, another
from onnx import numpy_helper
from small_models import SMALL, make_presets_small, small_cell

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.engines import (
    aotinductor,
    eager,
    linear_int8,
)
from gpubench.engines.base import Engine, build
from gpubench.engines.onnx import export
from gpubench.errors import GpubenchError, InputError
from gpubench.measure import cuda_graphs
from gpubench.measure.engine import DeviceEngine, Prepared
from gpubench.measure.engine_key import engine_key
from gpubench.measure.output_check import check
from gpubench.measure.python_workers import ModelWorker, make_pool
from gpubench.measure.reference import Reference, make_reference
from gpubench.models.base import LoadedModel, Tensors, load, seeded
from gpubench.registry import MODELS, RUNTIMES
from gpubench.results.result import Numerics
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.statistics.verdicts import outputs_differ
from gpubench.system import packages


@pytest.fixture(scope="module", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiling takes long: what one test has compiled, the next may take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def checked(model: LoadedModel, cell: Cell) -> tuple[Engine, Numerics]:
    reference = make_reference(model, cell.seed, cell.batch)
    engine = build(model, cell)
    return engine, numerics_of(engine, reference, cell.precision)


def numerics_of(engine: Engine, reference: Reference, precision: str = "fp32") -> Numerics:
    with engine.thread_modes():
        numerics = check(engine, reference, precision).numerics
    assert numerics is not None
    return numerics


CASES = [
    ("eager", "fp32", 1),
    ("eager", "amp", 3),
    ("torchscript", "fp32", 1),
    ("torchscript", "amp", 3),
    ("compile", "fp32", 1),
    ("compile", "amp", 3),
    ("aotinductor", "fp32", 1),
    ("aotinductor", "amp", 3),
    ("onnxruntime", "fp32", 1),
    ("onnxruntime", "fp32", 3),
    ("onnxruntime", "int8", 1),
    ("onnxruntime", "int8", 3),
    ("openvino", "fp32", 1),
    ("openvino", "fp32", 3),
    ("openvino", "int8", 1),
    ("openvino", "int8", 3),
]


@pytest.mark.parametrize(("runtime", "precision", "batch"), CASES)
@pytest.mark.parametrize("model", list(SMALL))
def test_outputs_are_right(model: str, runtime: str, precision: str, batch: int) -> None:
    loaded = SMALL[model]()
    weights = sum(parameter.nbytes for parameter in loaded.module.parameters())
    engine, numerics = checked(loaded, small_cell(model, runtime, precision, batch))
    # About the weights at least: int8 has a quarter of them, and 16-bit formats a half.
    assert engine.artifact_bytes is not None
    assert engine.artifact_bytes > (0.2 if precision == "int8" else 0.49) * weights
    assert outputs_differ(numerics, precision) is None
    assert numerics.cosine is not None
    assert numerics.cosine > (1 - 1e-6 if precision == "fp32" else 0.98)


@pytest.mark.parametrize(("runtime", "batch"), [("compile", 1), ("compile", 3), ("aotinductor", 1)])
def test_linear_layers_in_int8_give_right_outputs(runtime: str, batch: int) -> None:
    engine, numerics = checked(SMALL["bert"](), small_cell("bert", runtime, "int8", batch))
    assert outputs_differ(numerics, "int8") is None
    assert (numerics.cosine or 0) > 0.999
    assert (numerics.relative_error or 0) > 1e-4  # fp32 has 1e-7
    assert "torchao" in (engine.library or "")


@pytest.mark.parametrize("runtime", ["compile", "aotinductor"])
def test_int8_is_refused_if_most_operations_are_not_in_linear_layers(runtime: str) -> None:
    refused = r"resnet50 has 0% of its operations in linear layers.*--runtime onnxruntime"
    with pytest.raises(GpubenchError, match=refused):
        build(SMALL["resnet"](), small_cell("resnet", runtime, "int8"))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "synthetic"])
def test_int8_for_linear_layers_is_refused_for_the_convolutional_presets(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_presets_small(monkeypatch)
    model = load(a_cell(model=name))
    share = linear_int8.linear_share(model.module, model.make_inputs(seeded(1), 1))
    assert MODELS[name].convolutional is (share < 0.5)


def test_only_large_linear_layers_are_quantised() -> None:
    """Not the layer of the two logits, which is narrow, and not the products of attention."""
    model = SMALL["bert"]()
    inputs = model.make_inputs(seeded(1), 1)
    assert 0.9 < linear_int8.linear_share(model.module, inputs) < 0.95
    linear_int8.quantise(model.module, inputs, small_cell("bert", "compile", "int8"))
    narrow = {
        name
        for name, layer in model.module.named_modules()
        if isinstance(layer, torch.nn.Linear) and type(layer.weight.data) is torch.Tensor
    }
    assert narrow == {"model.qa_outputs"}


def eight_numbers(generator: torch.Generator, samples: int) -> Tensors:
    return (torch.rand(samples, 8, generator=generator),)


def test_many_engines_of_one_kind_are_compiled_with_their_different_weights() -> None:
    """There are more engines than torch.compile stores versions of one function."""
    models = [
        LoadedModel(torch.nn.Linear(8, 8).eval(), "random", eight_numbers)
        for _ in range(torch._dynamo.config.recompile_limit + 2)
    ]
    cell = small_cell("resnet", "compile")
    references = [make_reference(model, cell.seed, 1) for model in models]
    engines = [build(model, cell) for model in models]
    for engine, reference in zip(engines, references, strict=True):
        with engine.thread_modes():
            numerics = check(engine, reference, "fp32").numerics
        assert numerics is not None
        assert numerics.max_abs_error == pytest.approx(0, abs=1e-6)


def test_compiled_weights_stay_constants_after_other_compilations() -> None:
    model = SMALL["resnet"]()
    cell = small_cell("resnet", "compile")
    reference = make_reference(model, cell.seed, cell.batch)
    engine = build(model, cell)
    build(LoadedModel(torch.nn.Linear(8, 8).eval(), "random", eight_numbers), cell)
    for convolution in (m for m in model.module.modules() if isinstance(m, torch.nn.Conv2d)):
        convolution.weight.data.zero_()
    assert numerics_of(engine, reference).cosine == pytest.approx(1, abs=1e-6)


def test_a_capture_uses_the_number_of_threads_of_the_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TorchInductor compiles for a number of threads, and again if that number changes."""
    cell = another(small_cell("bert", "eager"), device="cuda:0", threads=3)
    seen: list[int] = []

    def capture(*_: object) -> SimpleNamespace:
        seen.append(torch.get_num_threads())
        return SimpleNamespace(executors=lambda takes_turns: [None] * cell.workers)

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    places = {"cuda:0": DeviceEngine(build(SMALL["bert"](), small_cell("bert", "eager")), [])}
    threads = torch.get_num_threads()
    Prepared(places, "random", None, None, 0, 0, 0, None).graph_executors(cell)
    assert seen == [3]
    assert torch.get_num_threads() == threads


def test_the_cases_contain_every_runtime_for_cpus() -> None:
    # On GPUs, on a server, functions of JAX (test_jax.py), on NeuronCores (test_neuron.py), in
    # test_executorch.py, and in an environment of its own (tests/xla).
    elsewhere = {"tensorrt", "tensorrt-rtx", "kserve", "jax", "neuron", "executorch", "xla"}
    assert {runtime for runtime, _, _ in CASES} == set(RUNTIMES) - elsewhere


def test_the_second_build_comes_from_the_cache_and_a_damaged_entry_is_made_again(
    own_cache: Path,
) -> None:
    cell = small_cell("bert", "onnxruntime")
    assert checked(SMALL["bert"](), cell)[0].from_cache is False
    assert checked(SMALL["bert"](), cell)[0].from_cache is True
    (entry,) = own_cache.rglob("*.onnx")
    entry.write_bytes(entry.read_bytes()[:1000])
    engine, numerics = checked(SMALL["bert"](), cell)
    assert engine.from_cache is False
    assert numerics.cosine == pytest.approx(1, abs=1e-6)


def test_a_compiled_package_is_cached_and_a_damaged_one_is_not_loaded(tmp_path: Path) -> None:
    cell = small_cell("bert", "aotinductor")
    build(SMALL["bert"](), cell)
    engine, _ = checked(SMALL["bert"](), cell)
    assert engine.from_cache is True
    assert "freezing" in (engine.library or "")
    assert engine.for_graph is not None
    assert engine.for_graph() is engine.for_graph()  # the weights are loaded once for all graphs
    inputs = SMALL["bert"]().make_inputs(seeded(0), 1)
    for ours, theirs in zip(engine.for_graph()(*inputs), engine.forward(*inputs), strict=True):
        assert torch.equal(ours, theirs)
    damaged = tmp_path / "damaged.pt2"
    damaged.write_bytes(b"half a file")
    assert aotinductor._load(damaged, cell) is None
    assert not damaged.exists()  # the next build makes it again


def test_one_onnx_export_is_used_for_every_batch_size(own_cache: Path) -> None:
    model = SMALL["resnet"]()
    for batch in (1, 4):
        export.export(model, small_cell("resnet", "onnxruntime", batch=batch), torch.float32)
    assert len(list(own_cache.rglob("*.onnx"))) == 1


@pytest.mark.parametrize(
    ("flags", "reduces"),
    [
        ({"sse2", "avx2"}, True),
        ({"sse2", "avx2", "avx512f", "avx512_vnni"}, False),
        ({"sse2", "avx2", "avx_vnni"}, False),
        ({"asimd", "asimddp"}, False),
    ],
)
def test_int8_weights_have_7_bits_where_the_cpu_adds_products_in_16_bits(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, flags: set[str], reduces: bool
) -> None:
    machine = a_machine(cpu_flags=frozenset(flags))
    monkeypatch.setattr("gpubench.engines.onnx.quantise.this_machine", lambda: machine)
    monkeypatch.setattr("gpubench.engines.onnxruntime.this_machine", lambda: machine)
    build(SMALL["bert"](), small_cell("bert", "onnxruntime", precision="int8"))
    largest = max(
        int(np.abs(numpy_helper.to_array(constant).astype(np.int32)).max())
        for file in own_cache.rglob("onnxruntime-int8*/*.onnx")
        for constant in onnx.load(file).graph.initializer
        if constant.data_type == onnx.TensorProto.INT8 and constant.dims
    )
    assert (largest <= 64) == reduces


@pytest.mark.parametrize("runtime", ["compile", "aotinductor", "onnxruntime", "openvino"])
def test_several_workers_run_at_the_same_time_and_get_the_right_outputs(runtime: str) -> None:
    model = SMALL["bert"]()
    cell = small_cell("bert", runtime, workers=2)
    engine = build(model, cell)
    if runtime == "compile":
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    pool = make_pool(model, engine, cell)
    with torch.inference_mode():
        expected = [model.module(*request)[0] for request in pool]
    wrong: list[int] = []

    class Comparing(ModelWorker):
        def run(self, ids: np.ndarray) -> None:
            start, _ = engine.forward(*pool[int(ids[0])])
            if not torch.allclose(start, expected[int(ids[0])], atol=1e-5):
                wrong.append(int(ids[0]))

    done: list[bool] = []

    def work(first: int) -> None:
        worker = Comparing(engine, pool, cell)
        worker.open()
        for number in range(first, len(pool), 2):
            worker.run(np.array([number]))
        worker.close()
        done.append(True)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (done, wrong) == ([True, True], [])
    if runtime == "compile":  # no worker has compiled again
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


def test_onnxruntime_takes_other_batch_sizes_for_dynamic_batching() -> None:
    model = SMALL["resnet"]()
    (images,) = model.make_inputs(seeded(1), 5)
    engine = build(model, small_cell("resnet", "onnxruntime"))
    with engine.thread_modes():
        (logits,) = engine.forward(images)
        assert torch.allclose(logits, model.module(images), atol=1e-4)


def test_cells_with_other_workers_do_not_share_an_engine_compiled_for_workers() -> None:
    for runtime in set(RUNTIMES) - {"kserve"}:  # it needs a server
        one, two = (small_cell("bert", runtime, workers=workers) for workers in (1, 2))
        shared = engine_key(one) == engine_key(two)
        assert shared is (not RUNTIMES[runtime].compiled_for_workers)


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [
        ("compile", "fp32"),
        ("compile", "int8"),
        ("aotinductor", "fp32"),
        ("onnxruntime", "fp32"),
        ("openvino", "fp32"),
    ],
)
def test_the_workers_of_the_core_can_run_an_engine(
    runtime: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not threads of Python: each call has a new Python thread state."""
    make_presets_small(monkeypatch)
    cell = small_cell("bert", runtime, precision, workers=2)
    asked = another(cell, requests=20, warmup=0.0)
    result = gpubench.run(asked.spec)
    assert result.error is None
    assert result.requests.completed == 20
    assert result.engine.library is not None


class Eigenvalues(torch.nn.Module):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.linalg.eigvals(ids.float().reshape(-1, 4, 4))
        return values.real  # ONNX has no such operator


def test_an_operator_that_onnx_does_not_have_gives_a_one_line_error_with_the_fix() -> None:
    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return (torch.randn(samples, 16, generator=generator),)

    with pytest.raises(GpubenchError, match="cannot be exported to ONNX") as failure:
        build(LoadedModel(Eigenvalues(), "", make_inputs), small_cell("resnet", "onnxruntime"))
    assert "\n" not in str(failure.value)
    assert "--runtime torchscript" in str(failure.value)


@pytest.mark.parametrize(
    ("package", "extra", "settings"),
    [
        ("onnx", "onnxruntime", {"runtime": "onnxruntime"}),
        ("torchao", "torchao", {"runtime": "compile", "precision": "int8"}),
        ("nncf", "openvino", {"runtime": "openvino", "precision": "int8"}),
    ],
)
def test_the_error_names_a_missing_package_and_its_extra(
    package: str, extra: str, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == package else True)
    asked = make_spec({"model": "bert-base", **settings})
    missing = rf"{package} is not installed.*pip install '.\[{extra}\]'"
    with pytest.raises(InputError, match=missing):
        resolve(asked, a_machine())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"runtime": "torchscript", "precision": "int8"}, "or bf16, or --runtime onnxruntime"),
        ({"runtime": "onnxruntime", "precision": "amp", "allow_emulated": True}, "fp32 or int8"),
        ({"runtime": "compile", "precision": "int8"}, "only for linear layers, and resnet50 has"),
        ({"runtime": "aotinductor", "precision": "int8"}, "use --runtime onnxruntime"),
        ({"runtime": "compile", "dynamic_batch": "8:1ms"}, "compiled for one batch size"),
        ({"runtime": "aotinductor", "dynamic_batch": "8:1ms"}, "remove --dynamic-batch"),
    ],
)
def test_cells_that_a_runtime_cannot_execute_are_refused_with_the_fix(
    settings: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        resolve(make_spec({"model": "resnet50", **settings}), a_machine())
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "device", "others"),
    [
        ("bert-base", "cpu", ", or --runtime onnxruntime or compile or aotinductor"),
        ("bert-base", "cuda:0", ", or --runtime tensorrt or compile or aotinductor"),
        ("resnet50", "cpu", ", or --runtime onnxruntime"),
        ("resnet50", "cuda:0,cuda:1", ", or --runtime tensorrt"),
        ("net.pt", "cpu", ""),  # needs only torch
    ],
)
def test_a_refusal_of_int8_names_the_runtimes_that_have_it(
    model: str, device: str, others: str
) -> None:
    shape = "3x2" if model == "net.pt" else None
    asked = a_cell(model=model, device=device, runtime="eager", precision="int8", input_shape=shape)
    floats = "fp32 or amp or fp16 or bf16" if device == "cpu" else "fp32 or tf32 or amp or fp16 or"
    refusal = eager.refusal(asked) or ""
    assert refusal.startswith(f"it has no int8 on this device; choose {floats}")
    assert refusal.endswith("bf16" + others)


def test_a_refusal_of_int8_for_linear_layers_names_a_runtime_on_the_same_device() -> None:
    for device, runtime in [("cpu", "onnxruntime"), ("cuda:0", "tensorrt")]:
        asked = a_cell(model="resnet50", device=device, runtime="compile", precision="int8")
        assert (linear_int8.refusal(asked) or "").endswith(f"use --runtime {runtime}")
