"""Tests of the runtime openvino: devices, streams and threads, precisions, conversion, its files.

test_runtimes.py compares its outputs with those of the fp32 model. Here iGPUs and NPUs are only
names that a substitute of OpenVINO's core gives: no test executes anything on one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch
from factories import a_cell, a_machine, another
from openvino.properties.device import Type
from small_models import SMALL, make_presets_small, small_cell

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.engines import refusals
from gpubench.engines.base import Engine, build
from gpubench.engines.openvino import devices, network
from gpubench.engines.openvino import engine as openvino_engine
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.output_check import check
from gpubench.measure.reference import make_reference
from gpubench.models.base import LoadedModel, Tensors, load, seeded
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.statistics.verdicts import outputs_differ
from gpubench.system import packages


@pytest.fixture(scope="module", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


class OtherDevices:
    """OpenVINO's core on a machine with the given devices. It compiles everything for the CPU."""

    def __init__(self, **types: Type) -> None:
        self.available_devices = [name.replace("_", ".") for name in types]
        self._types = dict(zip(self.available_devices, types.values(), strict=True))
        self._real = openvino.Core()
        self.compiled: list[tuple[str, dict[str, object]]] = []

    def get_property(self, device: str, name: str) -> object:
        if name == "DEVICE_TYPE":
            return self._types[device]
        return ["FP16", "INT8"] if device == "NPU" else ["FP32", "FP16", "INT8", "BIN"]

    def read_model(self, *arguments: Any) -> Any:
        return self._real.read_model(*arguments)

    def compile_model(self, network: Any, device: str, properties: dict[str, object]) -> Any:
        self.compiled.append((device, properties))
        return self._real.compile_model(network, "CPU", properties)


LAPTOP = {
    "CPU": Type.INTEGRATED,
    "GPU_0": Type.DISCRETE,
    "GPU_1": Type.INTEGRATED,
    "NPU": Type.INTEGRATED,
}


def on_machine_with(monkeypatch: pytest.MonkeyPatch, **types: Type) -> OtherDevices:
    core = OtherDevices(**types)
    monkeypatch.setattr(devices, "core", lambda: core)
    monkeypatch.setattr("gpubench.engines.openvino.network.core", lambda: core)
    return core


def refused(**settings: object) -> str:
    with pytest.raises(InputError) as error:
        resolve(make_spec({"model": "resnet50", "runtime": "openvino", **settings}), a_machine())
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("device", "name"), [("cpu", "CPU"), ("igpu", "GPU.1"), ("npu", "NPU")])
def test_each_device_is_the_one_that_openvino_calls_so(
    device: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_machine_with(monkeypatch, **LAPTOP)
    assert devices.name_of(a_cell(model="resnet50", runtime="openvino", device=device)) == name


def test_a_device_that_openvino_does_not_find_is_refused_with_those_that_it_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_machine_with(monkeypatch, CPU=Type.INTEGRATED, GPU=Type.DISCRETE)
    for device in ("igpu", "npu"):
        assert f"finds no {device} on this machine, only CPU, GPU; " in refused(device=device)


def test_the_precisions_are_those_that_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine_with(monkeypatch, **LAPTOP)
    assert "choose fp32 or fp16 or int8" in refused(device="igpu", precision="bf16")
    assert "choose fp16 or int8" in refused(device="npu")
    assert "remove --dynamic-batch" in refused(
        device="npu", precision="fp16", dynamic_batch="4:1ms"
    )
    cell = a_cell(model="resnet50", runtime="openvino", device="npu", precision="fp16")
    assert refusals.of_openvino(cell) is None


def test_a_gpu_of_nvidia_is_refused() -> None:
    on_cuda = a_cell(model="resnet50", runtime="openvino", device="cuda:0")
    assert "add --device cpu" in (openvino_engine.refusal(on_cuda) or "")


def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "this_machine", lambda: a_machine(cores=4))
    many = refused(workers=5, threads=2, device="cpu")
    assert "4 cores, and not 10 (5 workers with 2 threads each)" in many


def test_more_threads_than_the_cores_of_the_cell_are_refused() -> None:
    core = max(os.sched_getaffinity(0))
    assert "1 cores, and not 2" in refused(threads=2, device="cpu", cpus=str(core))


# It measures on one core in a new process, notes where the threads with work were meanwhile, and
# then measures on another core.
ON_CORES = """
import sys
from pathlib import Path
import torch
import gpubench

def work():
    threads = {}
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        threads[task.name] = int(fields[11]) + int(fields[12]), fields[36]
    return threads

class Noted(gpubench.Progress):
    def window_opens(self, opening):
        self.before = work()

    def window_closed(self):
        self.after = work()

first, second, model = sys.argv[1:]
noted = Noted()
settings = dict(model=model, runtime="openvino", threads=1, warmup=0, allow_code=True)
result = gpubench.run(cpus=first, requests=2000, progress=noted, **settings)
assert result.error is None, result.error
busy = {
    core
    for thread, (ticks, core) in noted.after.items()
    if ticks - noted.before.get(thread, (0, core))[0] > 5
}
assert busy == {first}, busy
print(gpubench.run(cpus=second, requests=5, **settings).error.message)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it needs two cores")
def test_threads_run_on_the_cores_of_the_cell(tmp_path: Path) -> None:
    model = tmp_path / "linear.py"
    model.write_text(
        "import torch\ndef model():\n    return torch.nn.Linear(1024, 1024), torch.ones(8, 1024)\n"
    )
    first, second = sorted(os.sched_getaffinity(0), reverse=True)[:2]
    done = subprocess.run(
        [sys.executable, "-P", "-c", ON_CORES, str(first), str(second), f"{model}:model"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"OpenVINO has started on other cores ({first}) in this process" in done.stdout


def test_an_accelerator_gets_the_cells_precision_and_no_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = on_machine_with(monkeypatch, **LAPTOP)
    make_presets_small(monkeypatch)
    cell = another(small_cell("resnet", "openvino"), device="igpu", warmup=0.0, requests=3)
    result = gpubench.run(cell.spec)
    assert result.error is None
    assert core.compiled == [
        ("GPU.1", {"INFERENCE_PRECISION_HINT": openvino.Type.f32, "PERFORMANCE_HINT": "LATENCY"})
    ]
    assert result.engine.intra_op_threads is None
    figures = {reason.code: reason.figure for reason in result.verdict.reasons}
    assert figures["unproven-on-gpus"] == "--device igpu"


def test_each_worker_has_a_stream_with_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    core = on_machine_with(monkeypatch, CPU=Type.INTEGRATED)
    build(SMALL["resnet"](), small_cell("resnet", "openvino"))
    ((device, properties),) = core.compiled
    assert (device, properties["NUM_STREAMS"]) == ("CPU", 1)
    cell = another(small_cell("resnet", "openvino", workers=2), threads=3)
    asked = openvino_engine.compile_properties(cell)
    assert (asked["NUM_STREAMS"], asked["INFERENCE_NUM_THREADS"]) == (2, 6)


def test_other_streams_or_threads_than_asked_for_are_an_error() -> None:
    cores = len(os.sched_getaffinity(0))
    cell = small_cell("resnet", "openvino", workers=2 * cores)
    with pytest.raises(GpubenchError, match=f"for {2 * cores} workers with 1 threads each"):
        build(SMALL["resnet"](), cell)


@pytest.mark.skipif("bf16" not in devices.precisions("CPU"), reason="this CPU has no bf16")
@pytest.mark.parametrize("model", list(SMALL))
def test_bf16_computes_in_bf16(model: str) -> None:
    numerics = outputs_checked(SMALL[model](), small_cell(model, "openvino", "bf16"))[1]
    assert outputs_differ(numerics, "bf16") is None
    assert numerics.relative_error > 1e-4  # fp32 has 1e-7


def test_a_precision_that_openvino_does_not_use_is_an_error() -> None:
    """A CPU without fp16 computes in fp32, whatever it is asked for."""
    if "fp16" in devices.precisions("CPU"):
        pytest.skip("this CPU has fp16")
    with pytest.raises(GpubenchError, match="does not compute resnet50 in fp16"):
        build(SMALL["resnet"](), small_cell("resnet", "openvino", "fp16"))


def outputs_checked(model: LoadedModel, cell: Cell) -> tuple[Engine, Any]:
    reference = make_reference(model, cell.seed, cell.batch)
    engine = build(model, cell)
    with engine.thread_modes():
        return engine, check(engine, reference, cell.precision).numerics


def test_dynamic_batching_takes_all_sizes_up_to_the_largest() -> None:
    model = SMALL["resnet"]()
    engine = build(model, another(small_cell("resnet", "openvino"), dynamic_batch="4:1ms"))
    with engine.thread_modes():
        for samples in (1, 3, 4):
            (images,) = model.make_inputs(seeded(samples), samples)
            assert torch.allclose(engine.forward(images)[0], model.module(images), atol=1e-4)


def test_outputs_of_known_shape_use_the_same_memory_again() -> None:
    model = SMALL["resnet"]()
    engine = build(model, small_cell("resnet", "openvino"))
    with engine.thread_modes():
        first, second = (engine.forward(*model.make_inputs(seeded(n), 1))[0] for n in (0, 1))
    assert first is second


def numbers(generator: torch.Generator, samples: int) -> Tensors:
    return tuple(torch.randn(samples, 16, generator=generator) for _ in range(2))


class Branch(torch.nn.Module):
    """torch.export does not export a branch that depends on the data. A trace takes one side."""

    def forward(self, x: torch.Tensor, unused: torch.Tensor) -> Tensors:
        if x.sum() > 1e9:
            return x, x
        return x + 1, (x > 0)


class Same(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Tensors:
        return x, y.reshape(-1), x + y


class Positive(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Tensors:
        return torch.nonzero(x > 0), y.double(), y.half(), y.sum()


def test_a_module_that_cannot_be_exported_is_traced_and_not_kept() -> None:
    for module in (Branch(), traced(Branch())):
        model = LoadedModel(module, "", numbers)
        for _ in range(2):
            engine, numerics = outputs_checked(model, small_cell("resnet", "openvino", batch=2))
            assert engine.from_cache is False
            assert numerics.max_abs_error == pytest.approx(0, abs=1e-6)


def traced(module: torch.nn.Module) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated but maintained
        script: torch.nn.Module = torch.jit.trace(module, numbers(seeded(0), 2))
        return script


@pytest.mark.parametrize("module", [Same(), Positive()])
def test_outputs_may_be_inputs_and_have_any_format_and_shapes_that_depend_on_the_data(
    module: torch.nn.Module,
) -> None:
    model = LoadedModel(module, "", numbers)
    engine = build(model, small_cell("resnet", "openvino", batch=2))
    with engine.thread_modes():
        for seed in range(3):
            inputs = numbers(seeded(seed), 2)
            for ours, theirs in zip(engine.forward(*inputs), model.module(*inputs), strict=True):
                assert ours.dtype == theirs.dtype
                torch.testing.assert_close(ours, theirs)


class Eigenvalues(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.linalg.eigvals((x + y).reshape(-1, 4, 4))
        return values.real


def test_an_operator_that_openvino_does_not_have_gives_one_line_with_the_fix() -> None:
    rule = r"No conversion rule found for operations: aten\.linalg_eig.*--runtime torchscript"
    with pytest.raises(GpubenchError, match=rule) as failure:
        build(LoadedModel(Eigenvalues(), "", numbers), small_cell("resnet", "openvino"))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_network_is_kept_and_a_damaged_one_is_made_again(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    cell = small_cell("bert", "openvino", precision)
    assert build(SMALL["bert"](), cell).from_cache is False
    assert build(SMALL["bert"](), another(cell, batch=2)).from_cache is True
    (entry,) = tmp_path.rglob("*.ir")
    whole = entry.read_bytes()
    for damaged in (whole[:1000], whole[len(whole) // 2 :], b""):
        entry.write_bytes(damaged)
        assert build(SMALL["bert"](), cell).from_cache is False
        assert build(SMALL["bert"](), cell).from_cache is True


def test_int8_weights_have_7_bits_on_a_cpu_that_adds_products_in_16_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    largest = []
    for flags in ({"sse2", "avx2"}, {"sse2", "avx2", "avx512_vnni"}):
        machine = a_machine(cpu_flags=frozenset(flags))
        monkeypatch.setattr("gpubench.engines.openvino.network.this_machine", lambda m=machine: m)
        engine = build(SMALL["resnet"](), small_cell("resnet", "openvino", "int8"))
        assert engine.from_cache is False
        assert "nncf" in (engine.library or "")
        newest = max(tmp_path.rglob("*.ir"), key=lambda file: file.stat().st_mtime_ns)
        read, _memory = network.read(newest)
        weights = [
            operation.data
            for operation in read.get_ops()
            if operation.get_type_name() == "Constant"
            and operation.get_element_type() == openvino.Type.i8
        ]
        largest.append(max(int(np.abs(each.astype(int)).max()) for each in weights))
    assert largest[0] <= 64
    assert largest[1] >= 127


def test_nothing_is_reported_to_the_makers_of_openvino() -> None:
    import openvino_telemetry

    before = os.environ.get("CI")
    build(LoadedModel(traced(Branch()), "", numbers), small_cell("resnet", "openvino"))
    assert openvino_telemetry.Telemetry().consent is False
    assert os.environ.get("CI") == before


def onnx_file(folder: Path, dtype: str) -> Path:
    path = folder / f"{dtype}.onnx"
    text = (
        f'<ir_version: 10, opset_import: ["" : 20]> network ({dtype}[batch, 64] x) => '
        f"({dtype}[batch, 64] y) <{dtype}[64, 64] w> {{ y = MatMul(x, w) }}"
    )
    model = onnx.parser.parse_model(text)
    weights = torch.randn(64, 64, generator=seeded(0)).numpy()
    numpy_type = onnx.helper.tensor_dtype_to_np_dtype(
        onnx.TensorProto.FLOAT if dtype == "float" else onnx.TensorProto.FLOAT16
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights.astype(numpy_type), "w"))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_users_onnx_file_is_read_as_it_is_or_quantised(tmp_path: Path, precision: str) -> None:
    path = onnx_file(tmp_path, "float")
    settings = {"model": str(path), "runtime": "openvino", "precision": precision, "device": "cpu"}
    cell = resolve(make_spec(settings | {"batch": 3}), a_machine(cores=1))
    engine, numerics = outputs_checked(load(cell), cell)
    assert outputs_differ(numerics, precision) is None
    assert (numerics.relative_error > 1e-5) is (precision == "int8")
    assert engine.artifact_bytes is not None
    assert engine.artifact_bytes >= 64 * 64 * (4 if precision == "fp32" else 1)


def test_a_users_onnx_file_needs_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = onnx_file(tmp_path, "float")
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert "pip install '.[onnxruntime]'" in refused(model=str(file), device="cpu")


def test_a_users_onnx_file_in_16_bits_is_refused(tmp_path: Path) -> None:
    path = onnx_file(tmp_path, "float16")
    refusal = refused(model=str(path), device="cpu", allow_emulated=True)
    assert "give the model in fp32" in refusal
