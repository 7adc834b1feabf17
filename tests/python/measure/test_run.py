"""Tests of `gpubench.run`: one cell from the spec to the result, in this process."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import a_cell, another, as_cell
from small_models import make_presets_small

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.engines.base import Engine, build
from gpubench.measure import python_workers
from gpubench.measure.assemble import Attempt, assemble
from gpubench.measure.cell import Bench
from gpubench.measure.environment import environment
from gpubench.measure.executors import synthetic_executors
from gpubench.measure.run import measured_run
from gpubench.models.base import LoadedModel, Tensors, load
from gpubench.results.result import EngineInfo, Memory
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.statistics.windows import counted_samples
from gpubench.system.gpus import Gpu
from gpubench.system.machine import this_machine
from gpubench.system.telemetry import Reading

TINY = {"model": "distilbert", "seq_len": 8, "warmup": 0, "requests": 20}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    make_presets_small(monkeypatch)


def a_spec(**settings: object) -> Spec:
    return Spec.model_validate(TINY | settings)


def test_a_result_describes_the_cell_and_the_machine() -> None:
    result = gpubench.run(a_spec(batch=2, usd_per_hour=3.6))
    assert result.error is None
    assert result.requests.completed == 20
    assert result.throughput_per_second is not None
    assert result.throughput_per_second == pytest.approx(2 * 20 / (result.window.seconds or 0))
    latency = result.latency_ms
    assert latency.min is not None
    assert latency.p95 is not None
    assert latency.max is not None
    assert latency.min <= latency.p95 <= latency.max
    assert result.engine.parameters == load(as_cell(result.spec)).parameters
    assert result.engine.flops is not None
    flops_per_second = result.engine.flops * result.throughput_per_second
    assert result.achieved.flops_per_second == pytest.approx(flops_per_second)
    assert result.achieved.peak_share is None  # the peak of a CPU is not known
    peak, while_built = result.memory.peak_host_bytes, result.engine.build_peak_host_bytes
    assert (peak is None) == bool(result.memory.peak_host_note)
    assert peak is None or peak > 50 << 20  # torch alone is larger
    assert (peak is None) == (while_built is None)
    assert result.memory.peak_device_bytes is None
    assert result.engine.artifact_bytes is not None
    assert result.engine.artifact_bytes > 4 * (result.engine.parameters or 0)  # and buffers
    assert result.engine.weights == "random (seed 0)"
    assert result.engine.first_inference_seconds is not None
    assert result.environment.cores == this_machine().cores
    assert result.harness.executor == "python"
    assert result.costs[0].usd_per_million == pytest.approx(1000 / result.throughput_per_second)
    assert "too-few-samples" in {reason.code for reason in result.verdict.reasons}
    assert result.samples is not None
    assert len(result.samples) >= 20
    assert json.loads(result.to_json())["requests"]["completed"] == 20


def test_stages_add_up_to_the_latency_to_the_nanosecond() -> None:
    samples = gpubench.run(a_spec(workers=2, clients=3)).samples
    assert samples is not None
    queue = np.maximum(0, samples.opened_ns - samples.scheduled_ns)
    batching = samples.departed_ns - np.maximum(samples.scheduled_ns, samples.opened_ns)
    submit = samples.submitted_ns - samples.departed_ns
    compute = samples.completed_ns - samples.submitted_ns
    assert np.array_equal(queue + batching + submit + compute, samples.latency_ns)


@pytest.mark.parametrize("load", [{"clients": 2}, {"rate": 5_000, "arrivals": "poisson"}])
def test_the_document_says_which_samples_count_and_which_was_the_slowest(
    load: dict[str, object],
) -> None:
    settings = {"model": "synthetic", "service_time": "10us", "warmup": 0, "requests": 50, **load}
    result = gpubench.run(Spec.model_validate(settings))
    assert result.samples is not None
    assert result.counted is not None
    counted, unfinished = counted_samples(result.samples, result.window.counted)
    assert np.array_equal(counted, result.counted)
    assert unfinished == 0
    worst = result.latency_ms.worst
    assert worst is not None
    assert worst.latency_ms == result.latency_ms.max
    assert counted[worst.request]
    assert result.samples.latency_ns[worst.request] / 1e6 == worst.latency_ms


def test_every_worker_has_its_share_of_the_cores_and_separate_modes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    seen: dict[int, tuple[int, bool]] = {}
    forward = python_workers.ModelWorker.run

    def spying(worker: python_workers.ModelWorker, ids: np.ndarray) -> None:
        seen[threading.get_ident()] = (torch.get_num_threads(), torch.is_inference_mode_enabled())
        forward(worker, ids)

    monkeypatch.setattr(python_workers.ModelWorker, "run", spying)
    result = gpubench.run(a_spec(workers=2, threads=1))
    assert result.error is None
    assert set(seen.values()) == {(1, True)}
    assert len(seen) == 2
    assert threading.get_ident() not in seen
    assert "2 workers, 1 intra-op threads" in (result.engine.threads_note or "")


def test_requests_are_distinct_and_come_from_the_seed() -> None:
    from gpubench.measure.engine import prepare

    cell = resolve(a_spec(batch=2), this_machine())
    pools = [prepare(cell, lambda stage: None).engines["cpu"].pool for _ in range(2)]
    first = [request[0] for request in pools[0]]
    assert len(first) == 64
    assert len({tuple(ids.flatten().tolist()) for ids in first}) == 64
    assert all((a == b).all() for a, b in zip(first, [r[0] for r in pools[1]], strict=True))


def test_the_result_of_a_cell_that_cannot_be_loaded_has_the_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = gpubench.run(a_spec(weights=str(tmp_path / "empty")))
    assert result.error is not None
    assert result.error.stage == "load"
    assert "\n" not in result.error.message
    assert result.throughput_per_second is None
    assert result.verdict.status == "suspect"


def test_the_result_of_a_cell_that_runs_out_of_memory_has_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out_of_memory(worker: python_workers.ModelWorker, ids: np.ndarray) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate")

    monkeypatch.setattr(python_workers.ModelWorker, "run", out_of_memory)
    result = gpubench.run(a_spec())
    assert result.error is not None
    assert "can't allocate" in result.error.message


def test_a_result_says_that_its_precision_is_emulated() -> None:
    if this_machine().computes_natively("bf16"):
        pytest.skip("this processor computes bf16 natively, so nothing is emulated")
    result = gpubench.run(a_spec(precision="bf16", allow_emulated=True))
    assert result.error is None
    assert not result.engine.native_precision


def test_neighbouring_cells_share_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[int] = []

    def counting(model: LoadedModel, cell: Cell) -> object:
        builds.append(cell.batch)
        return build(model, cell)

    monkeypatch.setattr("gpubench.measure.engine.build", counting)
    machine = this_machine()
    bench = Bench(machine)
    for settings in ({"workers": 1}, {"workers": 2}, {"batch": 2}):
        assert bench.measure(resolve(a_spec(**settings), machine)).error is None
    assert builds == [1, 2]
    assert not bench.has_hung_batch


@pytest.mark.parametrize("compiles_for_each_batch", [True, False])
def test_compilations_are_counted_from_the_window_on(
    compiles_for_each_batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiling(model: LoadedModel, cell: Cell) -> Engine:
        engine, calls = build(model, cell), [0]

        def forward(*inputs: torch.Tensor) -> torch.Tensor | Tensors:
            calls[0] += compiles_for_each_batch
            return engine.forward(*inputs)

        return replace(engine, forward=forward, compilations=lambda: 7 + calls[0])

    monkeypatch.setattr("gpubench.measure.engine.build", compiling)
    result = gpubench.run(a_spec())
    assert result.samples is not None
    assert result.window.compilations == (len(result.samples) if compiles_for_each_batch else 0)
    codes = {reason.code for reason in result.verdict.reasons}
    assert ("recompiled" in codes) == compiles_for_each_batch


def test_an_engine_that_counts_no_compilations_has_no_figure() -> None:
    assert gpubench.run(a_spec()).window.compilations is None


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"device": "cuda:0"}, None),
        ({"device": "cuda:0,cuda:1"}, "2 GPUs"),
        ({"device": "cuda:0", "runtime": "onnxruntime"}, "--runtime onnxruntime"),
        ({"device": "cuda:0", "runtime": "compile", "precision": "int8"}, "--precision int8"),
        ({"runtime": "onnxruntime", "precision": "int8"}, None),
    ],
)
def test_a_result_names_what_was_never_run_on_a_real_gpu(
    settings: dict[str, str], part: str | None
) -> None:
    machine = this_machine()
    cell = resolve(Spec(model="synthetic", requests=20, warmup=0), machine)
    run = measured_run(cell, synthetic_executors(cell))
    measured = a_cell(model="bert-base", **settings)  # the samples stand for its own
    reasons = assemble(measured, environment(machine, cell), Attempt(run=run)).verdict.reasons
    figures = {reason.code: reason.figure for reason in reasons}
    assert figures.get("unproven-on-gpus") == part


def test_the_peak_on_the_device_is_that_of_the_gpus_that_the_workers_used() -> None:
    machine = this_machine()
    cell = resolve(Spec(model="synthetic", requests=20, warmup=0), machine)
    run = measured_run(cell, synthetic_executors(cell))
    here = environment(machine, cell)
    readings = {"cuda:0": [Reading(0, memory_used_bytes=5)], "cuda:1": [Reading(0)]}
    run = replace(run, readings=readings, peak_host_bytes=7)
    assert assemble(cell, here, Attempt(run=run)).memory == Memory(peak_host_bytes=7)
    on_gpu = assemble(another(cell, device="cuda:0"), here, Attempt(run=run)).memory
    assert on_gpu == Memory(peak_host_bytes=7, peak_device_bytes=5, peak_device_of="device")


def test_the_share_of_the_peak_is_that_of_the_gpus_that_the_workers_used() -> None:
    machine = this_machine()
    cell = resolve(Spec(model="synthetic", requests=20, warmup=0), machine)
    run = measured_run(cell, synthetic_executors(cell))
    here = environment(machine, cell)

    def share(names: dict[int, str], device: str, workers: int = 2) -> float | None:
        gpus = tuple(Gpu(n, name, (9, 0), "", "", 80 << 30) for n, name in names.items())
        attempt = Attempt(engine=EngineInfo(flops=1e6), run=replace(run, gpus=gpus))
        on_gpus = another(cell, device=device, workers=workers, depth=1, clients=workers)
        achieved = assemble(on_gpus, here, attempt).achieved
        assert achieved.flops_per_second is not None
        return achieved.peak_share and achieved.peak_share * 67e12 / achieved.flops_per_second

    h200s = {0: "NVIDIA H200", 1: "NVIDIA H200"}
    assert share(h200s, "cuda:1") == pytest.approx(1)
    assert share(h200s, "cuda:0,cuda:1") == pytest.approx(1 / 2)
    assert share({0: "NVIDIA H200"}, "cuda:0,cuda:1") is None
    assert share({0: "NVIDIA H200", 1: "Fake GPU"}, "cuda:0,cuda:1") is None
