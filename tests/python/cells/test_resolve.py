"""Tests of `resolve`: defaults that depend on the machine, and cells that it cannot measure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from factories import a_machine

from gpubench.cells import refuse
from gpubench.cells.devices import native_precision
from gpubench.cells.resolve import resolve
from gpubench.errors import InputError
from gpubench.spec.cell import BatchLimits, Cell, ClosedLoad, OpenLoad
from gpubench.spec.parse import make_spec
from gpubench.system import gpus, torch_gpus
from gpubench.system.gpus import NoCuda
from gpubench.system.machine import Machine
from gpubench.system.torch_gpus import TorchGpu

V100 = TorchGpu("Tesla V100-SXM2-16GB", (7, 0))
T4 = TorchGpu("Tesla T4", (7, 5))
A10G = TorchGpu("NVIDIA A10G", (8, 6))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Machine:
    """A machine with these GPUs, described as by a torch build for sm_75 and newer."""
    import torch

    gpus: tuple[TorchGpu, ...] = request.param
    monkeypatch.setattr(torch_gpus, "torch_gpus", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    return a_machine(gpus=tuple(gpu.name for gpu in gpus), cores=16)


def resolved(machine: Machine, **settings: object) -> Cell:
    return resolve(make_spec({"model": "resnet50", **settings}), machine)


def test_one_client_and_one_worker_on_a_cpu() -> None:
    cell = resolve(make_spec({"model": "bert-base"}), a_machine())
    assert (cell.devices, cell.workers, cell.threads) == (("cpu",), 1, 2)
    assert cell.load == ClosedLoad(clients=1, requests=None, duration_s=10.0)
    assert (cell.seq_len, cell.depth, cell.batch_limits) == (128, 1, BatchLimits(1, 1, 0))
    written = cell.spec
    assert (written.device, written.clients, written.workers, written.threads) == ("cpu", 1, 1, 2)
    assert (written.seq_len, written.duration, written.depth) == (128, 10.0, 1)


def test_the_default_number_of_clients_is_the_number_of_workers() -> None:
    cell = resolve(make_spec({"model": "resnet50", "workers": 2}), a_machine())
    assert cell.load == ClosedLoad(clients=2, requests=None, duration_s=10.0)
    assert (cell.spec.clients, cell.workers, cell.threads) == (2, 2, 1)


def test_cores_are_divided_among_workers_and_each_has_at_least_one_thread() -> None:
    cell = resolve(make_spec({"model": "resnet50", "workers": 3}), a_machine(cores=8))
    assert cell.threads == 2
    cell = resolve(make_spec({"model": "resnet50", "workers": 9}), a_machine(cores=8))
    assert cell.threads == 1


def test_an_open_loop_has_no_clients() -> None:
    cell = resolve(make_spec({"model": "resnet50", "rate": 5}), a_machine())
    assert cell.load == OpenLoad("poisson", 5.0, burst=1, settling=10, requests=50)
    assert (cell.spec.clients, cell.workers) == (None, 1)


def test_with_a_number_of_requests_there_is_no_time_limit() -> None:
    cell = resolve(make_spec({"model": "resnet50", "requests": 130}), a_machine())
    assert cell.load == ClosedLoad(clients=1, requests=130, duration_s=None)


@pytest.mark.parametrize("machine", [(A10G,)], indirect=True)
def test_a_gpu_is_used_if_there_is_one(machine: Machine) -> None:
    assert resolved(machine).device == "cuda:0"
    assert resolved(machine, device="cpu").device == "cpu"


@pytest.mark.parametrize("machine", [(A10G, A10G, A10G)], indirect=True)
def test_device_all_names_every_gpu_and_each_has_the_same_number_of_workers(
    machine: Machine,
) -> None:
    cell = resolved(machine, device="all", rate=100)
    assert cell.devices == ("cuda:0", "cuda:1", "cuda:2")
    assert cell.worker_devices == ("cuda:0", "cuda:1", "cuda:2") * 2
    assert resolved(machine, device="cuda:2,cuda:0").devices == ("cuda:2", "cuda:0")
    assert resolved(machine, device="cuda:1").worker_devices == ("cuda:1",)
    assert make_spec(cell.spec.model_dump()) == cell.spec  # a result file is read back like this


@pytest.mark.parametrize("machine", [(A10G,)], indirect=True)
def test_device_all_on_one_gpu_is_the_same_cell_as_that_gpu(machine: Machine) -> None:
    assert resolved(machine, device="all") == resolved(machine, device="cuda:0")


@pytest.mark.parametrize("machine", [(A10G, A10G)], indirect=True)
@pytest.mark.parametrize(
    ("settings", "clients", "workers", "depth"),
    [
        ({}, 2, 2, 1),  # a client has one request in flight, so no second batch can form
        ({"clients": 3}, 3, 2, 2),
        ({"clients": 4}, 4, 4, 1),
        ({"clients": 9}, 9, 4, 2),
        ({"rate": 50}, None, 4, 2),
        ({"workers": 2, "clients": 8, "dynamic_batch": "4:1ms"}, 8, 2, 1),
        ({"workers": 2, "clients": 9, "dynamic_batch": "4:1ms"}, 9, 2, 2),
        ({"clients": 9, "depth": 1}, 9, 4, 1),
        ({"workers": 6}, 6, 6, 1),
    ],
)
def test_defaults_keep_every_gpu_busy_if_there_are_enough_clients(
    machine: Machine, settings: dict[str, object], clients: int | None, workers: int, depth: int
) -> None:
    cell = resolved(machine, device="all", **settings)
    assert (cell.spec.clients, cell.workers, cell.depth) == (clients, workers, depth)


@pytest.mark.parametrize("machine", [(A10G, A10G)], indirect=True)
def test_training_has_a_replica_on_each_gpu_and_one_worker(machine: Machine) -> None:
    cell = resolved(machine, device="all", task="train", batch=4)
    assert (cell.devices, cell.replicas, cell.workers) == (("cuda:0", "cuda:1"), 2, 1)
    assert cell.samples_per_request == 8
    assert resolved(machine, task="train").replicas == 1


@pytest.mark.parametrize("machine", [(A10G, T4, V100)], indirect=True)
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"device": "cuda:3"}, "--device cuda:3: this machine has cuda:0 to cuda:2"),
        ({"device": "cuda:2"}, "Tesla V100-SXM2-16GB (sm_70) is not among the architectures"),
        ({"device": "all"}, "V100"),
        ({"device": "cuda:1", "precision": "tf32"}, "Tesla T4 has no TF32"),
        ({"device": "cuda:1", "precision": "bf16"}, "Tesla T4 only emulates it; use fp16"),
        (
            {"device": "cuda:0,cuda:1", "workers": 3},
            "2 GPUs cannot have the same number of workers; use 2 or 4",
        ),
        (
            {"device": "cuda:0,cuda:1", "workers": 1},
            "2 GPUs cannot have the same number of workers; use 2",
        ),
        ({"device": "cuda:0,cuda:1", "clients": 1}, "--clients 1: too few to keep 2 GPUs busy"),
        (
            {"device": "cuda:0,cuda:1", "task": "train", "replicas": 3},
            "--replicas 3: on GPUs each replica has a GPU of its own, and --device cuda:0,cuda:1 "
            "names 2",
        ),
    ],
)
def test_what_these_gpus_cannot_measure_is_refused_with_the_fix(
    machine: Machine, settings: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        resolved(machine, **settings)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("machine", [(T4,)], indirect=True)
def test_emulation_on_a_gpu_needs_allow_emulated_and_is_reported(machine: Machine) -> None:
    assert native_precision(resolved(machine, precision="amp"), machine)
    emulated = resolved(machine, precision="bf16", allow_emulated=True)
    assert not native_precision(emulated, machine)


@pytest.mark.parametrize("machine", [(TorchGpu("NVIDIA H200", (9, 0)),)], indirect=True)
def test_a_gpu_that_only_the_driver_shows_can_be_chosen(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "visible_gpus", lambda: ("a GPU",))
    assert resolved(a_machine(), device="cuda:0").device == "cuda:0"


def test_the_synthetic_model_uses_a_gpu_only_if_chosen_and_needs_only_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_driver() -> tuple[()]:
        raise NoCuda("no-driver", "there is no NVIDIA driver; install one")

    machine = a_machine(gpus=("NVIDIA A10G",))
    monkeypatch.setattr(gpus, "visible_gpus", no_driver)
    assert resolved(machine, model="synthetic").device == "cpu"
    with pytest.raises(InputError, match="there is no NVIDIA driver"):
        resolved(machine, model="synthetic", device="cuda:0")
    monkeypatch.setattr(gpus, "visible_gpus", lambda: ("a GPU", "another"))
    assert resolved(a_machine(), model="synthetic", device="all").devices == ("cuda:0", "cuda:1")


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((7, 0), ["sm_75", "sm_80", "sm_90"], False),  # V100 on a current build
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 6), ["sm_75", "sm_80"], True),  # machine code runs on later minor versions
        ((8, 0), ["sm_75", "sm_86"], False),
        ((9, 0), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_80", "compute_90"], True),  # the driver compiles PTX for the GPU
        ((9, 0), ["sm_90a"], True),
    ],
)
def test_which_gpus_a_torch_build_supports(
    capability: tuple[int, int], architectures: list[str], runs: bool
) -> None:
    assert torch_gpus.compiled_for(capability, architectures) is runs


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"device": "cuda:0"}, "this machine has no NVIDIA device; use --device cpu or auto"),
        ({"precision": "tf32"}, "only NVIDIA GPUs from Ampere on have it"),
        ({"precision": "bf16"}, "has no avx512_bf16 or amx_bf16 and only emulates it"),
        ({"precision": "amp"}, "add --allow-emulated"),
        ({"precision": "fp16"}, "has no avx512_fp16 or amx_fp16"),
        (
            {"depth": 2},
            "--depth 2: only workers of NVIDIA GPUs have several batches in",
        ),
        ({"inputs": "pinned"}, "--inputs pinned: only GPUs copy from pinned memory; use --inputs"),
        ({"device": "all"}, "--device all: this machine has no NVIDIA device"),
        (
            {"model": "bert-base", "memory_format": "channels_last"},
            "--memory-format channels_last: it is for models that take images, and bert-base takes",
        ),
        ({"model": "synthetic", "memory_format": "channels_last"}, "synthetic takes none; remove"),
        (
            {"runtime": "onnxruntime", "memory_format": "channels_last"},
            "onnxruntime chooses the memory format itself; choose --runtime eager or torchscript",
        ),
        ({"rate": 1e9, "duration": "1h"}, "lower --rate, --duration or --warmup"),
        (
            {"batch": 3, "dynamic_batch": "8:1ms"},
            "MAX is 8, which is not a multiple of the 3 samples",
        ),
        ({"weights": "no/such/file.pt"}, "--weights no/such/file.pt: no such file"),
        ({"arrivals": "trace:no/such"}, "trace:no/such: No such file or directory; each line"),
        ({"arrivals": "trace:/dev/null"}, "it is a device; give a regular file; each line"),
        ({"model": "no/such.py:net"}, "--model no/such.py:net: there is no no/such.py; give the"),
        ({"model": "no/net.pt", "input_shape": "3x2"}, "there is no no/net.pt"),
        ({"model": "no/net.onnx", "runtime": "onnxruntime"}, "there is no no/net.onnx"),
        ({"model": "no/such/"}, "there is no no/such/"),
    ],
)
def test_what_this_machine_cannot_measure_is_refused_with_the_fix(
    settings: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        resolve(make_spec({"model": "resnet50", **settings}), a_machine())
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_emulation_needs_allow_emulated_and_is_reported() -> None:
    machine = a_machine()
    asked = make_spec({"model": "resnet50", "precision": "bf16", "allow_emulated": True})
    cell = resolve(asked, machine)
    assert not native_precision(cell, machine)
    native = a_machine(cpu_flags=frozenset({"amx_bf16"}))
    assert native_precision(cell, native)


def test_a_path_of_weights_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    path = str(tmp_path / "weights.pt")
    assert resolve(make_spec({"model": "resnet50", "weights": path}), a_machine()).weights == path


def test_a_gpu_that_torch_cannot_use_is_an_error_and_the_cpu_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    def no_driver() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    def none_visible() -> None:
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", no_driver)
    with pytest.raises(InputError, match=r"too old .*install an NVIDIA driver.*--device cpu"):
        resolve(make_spec({"model": "resnet50"}), a_machine(gpus=("NVIDIA A10G",)))
    monkeypatch.setattr(torch.cuda, "init", none_visible)
    with pytest.raises(InputError, match=r"shows none to this process; check CUDA_VISIBLE_DEV"):
        resolve(make_spec({"model": "resnet50"}), a_machine(gpus=("NVIDIA A10G",)))
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(InputError, match="CPU-only build"):
        resolve(make_spec({"model": "resnet50"}), a_machine(gpus=("NVIDIA A10G",)))


REFUSED_AT_ONCE = [
    ["run", "--model", "resnet50", "--precision", "fp8"],
    ["run", "--model", "resnet50", "--precision", "int8"],
    ["run", "--model", "bert-base", "--precision", "fp8", "--runtime", "onnxruntime"],
    ["run", "--model", "resnet50", "--precision", "int8", "--runtime", "compile"],
    ["run", "--model", "resnet50", "--runtime", "tensorrt"],
    ["run", "--model", "resnet50", "--runtime", "tensorrt-rtx", "--precision", "fp16"],
    ["run", "--model", "resnet50", "--precision", "tf32"],
    ["run", "--model", "bert-base", "--memory-format", "channels_last"],
    ["run", "--model", "resnet50", "--runtime", "tensorrt", "--memory-format", "channels_last"],
    ["search", "--model", "resnet50", "--precision", "fp8", "--objective", "p95:1ms"],
    ["sweep", "--model", "resnet50", "--precision", "fp8", "--output", "run"],
    ["build", "--model", "resnet50", "--gpu", "T5", "--output", "engines"],
    ["build", "--model", "resnet50", "--gpu", "T4", "--precision", "amp", "--output", "engines"],
    ["build", "--model", "reset50", "--gpu", "T4", "--output", "engines"],
    ["build", "--model", "no.onnx", "--gpu", "T4", "--output", "engines"],
    ["build", "--model", "resnet50", "--gpu", "T4", "--batch", "0", "--output", "engines"],
    ["report", ""],
    ["compare", "a", "b"],
]

ASK = """
import sys
from gpubench.cli.program import main
for number, arguments in enumerate(eval(sys.argv[1])):
    status = main(arguments)
    print(number, status, "torch" in sys.modules, flush=True)
"""


def test_refusals_that_do_not_need_torch_do_not_import_it(tmp_path: Path) -> None:
    asked = [
        [*each, "--device", "cpu"] if each[0] in {"run", "search", "sweep"} else each
        for each in REFUSED_AT_ONCE
    ]
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK, repr(asked)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines() == [f"{number} 2 False" for number in range(len(asked))]
    assert len(done.stderr.splitlines()) == len(asked), done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "pipe.onnx", "runtime": "onnxruntime"},
        {"model": "resnet50", "weights": "pipe.pth"},
    ],
)
def test_a_pipe_is_refused_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.onnx")
    os.mkfifo("pipe.pth")
    with pytest.raises(InputError, match=r"pipe.\w+ is not a regular file; give a"):
        resolve(make_spec(settings), a_machine())


def test_the_cores_of_a_cell_decide_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refuse, "usable_now", lambda: frozenset(range(8)))
    machine = a_machine(cores=8)
    assert resolved(machine, cpus="0-3").threads == 4
    assert resolved(machine, cpus="0-3", workers=2).threads == 2
    assert resolved(machine, cpus="0-1", threads=1).threads == 1
    quota = a_machine(cores=2)  # a container that may use two cores, on any of eight
    assert resolved(quota, cpus="0-3").threads == 2
    assert resolved(machine, cpus="2,0").cpus == (0, 2)
    assert resolved(machine).cpus is None


def test_cores_that_this_process_may_not_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refuse, "usable_now", lambda: frozenset({0, 1, 4}))
    with pytest.raises(InputError) as refused:
        resolved(a_machine(cores=3), cpus="0-3")
    assert str(refused.value) == (
        "--cpus 0-3: this process may not run on 2-3, only on 0-1,4; choose from these"
    )


def test_a_temperature_that_nobody_can_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refuse, "thermometer", lambda devices: None)
    with pytest.raises(InputError, match="--cool-to 60C: no temperature of the CPU can be read"):
        resolved(a_machine(), cool_to="60C")
    with pytest.raises(InputError, match="--cool-to: the temperature of the server cannot be read"):
        resolved(
            a_machine(), cool_to="60C", model="kserve:m", server="grpc://h:1", input_shape="3x2"
        )
