"""Defaults that depend on the machine, and what a machine cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_machine import a_machine

from gpubench import _plan
from gpubench._plan import Gpu, resolve
from gpubench.errors import InputError
from gpubench.spec import make_spec

A10G = Gpu("NVIDIA A10G", (8, 6), native_bf16=True)
T4 = Gpu("Tesla T4", (7, 5), native_bf16=False)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Gpu:
    """A machine with this GPU, as torch would describe it."""
    chosen: Gpu = request.param
    monkeypatch.setattr(_plan, "_usable_gpu", lambda number: chosen)
    return chosen


def test_one_client_and_one_worker_on_a_cpu() -> None:
    spec = resolve(make_spec({"model": "bert-base"}), a_machine())
    assert (spec.device, spec.clients, spec.workers, spec.threads) == ("cpu", 1, 1, 2)
    assert (spec.seq_len, spec.duration, spec.depth) == (128, 10.0, 1)


def test_clients_are_as_many_as_workers_unless_told() -> None:
    spec = resolve(make_spec({"model": "resnet50", "workers": 2}), a_machine())
    assert (spec.clients, spec.workers, spec.threads) == (2, 2, 1)


def test_cores_are_shared_out_among_workers_and_each_has_at_least_one_thread() -> None:
    spec = resolve(make_spec({"model": "resnet50", "workers": 3}), a_machine(cores=8))
    assert spec.threads == 2
    spec = resolve(make_spec({"model": "resnet50", "workers": 9}), a_machine(cores=8))
    assert spec.threads == 1
    assert "8 cores, 9 workers, 1 intra-op threads" in _plan.threads_note(spec, 8)


def test_an_open_loop_has_no_clients() -> None:
    spec = resolve(make_spec({"model": "resnet50", "rate": 5}), a_machine())
    assert (spec.clients, spec.workers) == (None, 1)


def test_with_a_number_of_requests_there_is_no_time_limit() -> None:
    spec = resolve(make_spec({"model": "resnet50", "requests": 130}), a_machine())
    assert spec.duration is None


@pytest.mark.parametrize("gpu", [A10G], indirect=True)
def test_a_gpu_is_taken_where_there_is_one(gpu: Gpu) -> None:
    machine = a_machine(gpus=(gpu.name,))
    spec = resolve(make_spec({"model": "resnet50", "clients": 4}), machine)
    assert (spec.device, spec.workers) == ("cuda:0", 2)
    assert resolve(make_spec({"model": "resnet50", "device": "cpu"}), machine).device == "cpu"


@pytest.mark.parametrize("gpu", [T4], indirect=True)
def test_precisions_that_a_gpu_lacks_are_refused(gpu: Gpu) -> None:
    machine = a_machine(gpus=(gpu.name,))
    with pytest.raises(InputError, match="Tesla T4 has no TF32"):
        resolve(make_spec({"model": "resnet50", "precision": "tf32"}), machine)
    with pytest.raises(InputError, match=r"Tesla T4 only emulates it; use fp16"):
        resolve(make_spec({"model": "resnet50", "precision": "bf16"}), machine)
    resolve(make_spec({"model": "resnet50", "precision": "amp"}), machine)


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((7, 0), ["sm_75", "sm_80", "sm_90"], False),  # V100 on a current build
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 6), ["sm_75", "sm_80"], True),  # machine code runs on later minor versions
        ((8, 0), ["sm_75", "sm_86"], False),
        ((9, 0), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_80", "compute_90"], True),  # PTX is compiled on the spot
        ((9, 0), ["sm_90a"], True),
    ],
)
def test_which_gpus_a_torch_build_runs_on(
    capability: tuple[int, int], architectures: list[str], runs: bool
) -> None:
    assert _plan._compiled_for(capability, architectures) is runs


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"device": "cuda:0"}, "this machine has no NVIDIA device; use --device cpu or auto"),
        ({"precision": "tf32"}, "only NVIDIA GPUs from Ampere on have it"),
        ({"precision": "bf16"}, "has no avx512_bf16 or amx_bf16 and only emulates it"),
        ({"precision": "amp"}, "add --allow-emulated"),
        ({"precision": "fp16"}, "has no avx512_fp16 or amx_fp16"),
        ({"depth": 2}, "--depth"),
        ({"rate": 1e9, "duration": "1h"}, "lower --rate, --duration or --warmup"),
        ({"batch": 3, "dynamic_batch": "8:1ms"}, "MAX 8 is no multiple of the 3 samples"),
        ({"weights": "no/such/file.pt"}, "--weights no/such/file.pt: no such file"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_with_the_fix(
    settings: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        resolve(make_spec({"model": "resnet50", **settings}), a_machine())
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_emulation_is_allowed_when_asked_for_and_is_told() -> None:
    machine = a_machine()
    asked = make_spec({"model": "resnet50", "precision": "bf16", "allow_emulated": True})
    spec = resolve(asked, machine)
    assert not _plan.native_precision(spec, machine)
    native = a_machine(cpu_flags=frozenset({"amx_bf16"}))
    assert _plan.native_precision(spec, native)


def test_a_path_of_weights_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    path = str(tmp_path / "weights.pt")
    assert resolve(make_spec({"model": "resnet50", "weights": path}), a_machine()).weights == path


def test_a_gpu_that_torch_cannot_use_is_an_error_and_never_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    def no_driver() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", no_driver)
    with pytest.raises(InputError, match=r"too old .*update the NVIDIA driver.*--device cpu"):
        resolve(make_spec({"model": "resnet50"}), a_machine(gpus=("NVIDIA A10G",)))
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(InputError, match="CPU-only build"):
        resolve(make_spec({"model": "resnet50"}), a_machine(gpus=("NVIDIA A10G",)))
