"""Whether this machine is fit for measuring: the findings and their remedies."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
from factories import a_machine
from fake_cuda import environment
from fake_nvml import FakeNvml

from gpubench import doctor
from gpubench.cli import program as cli
from gpubench.doctor.cpu import CpuState, Trial, cpu_findings
from gpubench.doctor.event_clock import judge
from gpubench.doctor.finding import Finding, ok, problem
from gpubench.doctor.gpu import gpu_findings
from gpubench.doctor.software import software_findings
from gpubench.results.result import Lag
from gpubench.system import gpus, torch_gpus
from gpubench.system.gpus import Gpu, NoCuda
from gpubench.system.torch_gpus import TorchGpu

A10G = Gpu(0, "NVIDIA A10G", (8, 6), "GPU-1", "0000:01:00.0", 24 << 30)
WITH_GPU = a_machine(gpus=("NVIDIA A10G",))
FIT = CpuState(
    machine=a_machine(cores=8),
    installed_cores=8,
    quota=None,
    governors=("performance",) * 8,
    free_memory_bytes=16 << 30,
    trial=Trial(Lag(p50=0.3, p99=30.0), other_busy_cores=0.1),
)


def statuses(findings: list[Finding]) -> dict[str, str]:
    worst = {"ok": 0, "warning": 1, "problem": 2}
    ordered = sorted(findings, key=lambda finding: worst[finding.status])
    return {finding.check: finding.status for finding in ordered}


def test_a_fit_processor_has_no_warning() -> None:
    assert set(statuses(list(cpu_findings(FIT))).values()) == {"ok"}


@pytest.mark.parametrize(
    ("state", "check", "remedy"),
    [
        (replace(FIT, quota=2.5), "cores", "--cpuset-cpus"),
        (replace(FIT, governors=("performance", "powersave")), "governor", "cpupower"),
        (replace(FIT, trial=Trial(Lag(p50=1, p99=900), 0.1)), "lag", "leave a core free"),
        (replace(FIT, trial=Trial(Lag(p50=1, p99=9), 3.0)), "load", "end them"),
        (replace(FIT, free_memory_bytes=1 << 30), "memory", "free some"),
    ],
)
def test_what_disturbs_a_measurement_is_a_warning_with_its_remedy(
    state: CpuState, check: str, remedy: str
) -> None:
    [warned] = [finding for finding in cpu_findings(state) if finding.status != "ok"]
    assert (warned.check, warned.status) == (check, "warning")
    assert remedy in (warned.remedy or "")


def test_unknown_figures_are_not_judged() -> None:
    unknown = replace(FIT, governors=(), free_memory_bytes=None, trial=Trial(None, None))
    assert set(statuses(list(cpu_findings(unknown))).values()) == {"ok"}


def modules(**found: ModuleType | SimpleNamespace | Exception) -> list[Finding]:
    def load(name: str) -> ModuleType:
        module = found[name]
        if isinstance(module, Exception):
            raise module
        return module  # type: ignore[return-value]

    return list(software_findings(load))


TORCH = SimpleNamespace(__version__="2.15.0", version=SimpleNamespace(cuda="13.2"))
OTHER = SimpleNamespace(__version__="1.0")


def test_software_that_fits_together_is_ok() -> None:
    findings = modules(torch=TORCH, torchvision=OTHER, transformers=OTHER)
    assert set(statuses(findings).values()) == {"ok"}
    assert findings[0].found == "2.15.0, for CUDA 13.2"


def test_without_torch_the_other_packages_are_not_imported() -> None:
    [finding] = modules(torch=ImportError("No module named 'torch'"))
    assert finding.status == "problem"
    assert "pip install torch" in (finding.remedy or "")


def test_a_torchvision_for_another_torch_has_its_own_remedy() -> None:
    error = RuntimeError("operator torchvision::nms does not exist")
    findings = modules(torch=TORCH, torchvision=error, transformers=ImportError("none"))
    assert statuses(findings)["torchvision"] == "problem"
    assert statuses(findings)["transformers"] == "problem"
    assert "CPU-only torchvision" in (findings[1].remedy or "")


def refuse(error: Exception) -> object:
    def raising() -> object:
        raise error

    return raising


@pytest.fixture
def gpu_machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with an A10G that the driver and torch can use."""
    import torch

    monkeypatch.setattr(gpus, "driver_version", lambda: 12080)
    monkeypatch.setattr(gpus, "visible_gpus", lambda: (A10G,))
    monkeypatch.setattr(torch_gpus, "torch_gpus", lambda: (TorchGpu("NVIDIA A10G", (8, 6)),))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80"])
    return monkeypatch


def gpu(nvml: FakeNvml | None = None) -> list[Finding]:
    return list(gpu_findings(WITH_GPU, True, nvml or FakeNvml()))


def idle() -> FakeNvml:
    nvml = FakeNvml()
    nvml.pids, nvml.events = [], 0x1
    return nvml


def test_a_usable_gpu_is_described(gpu_machine: pytest.MonkeyPatch) -> None:
    findings = gpu(idle())
    assert statuses(findings) == {
        "driver": "ok",
        "cuda:0 state": "ok",
        "cuda:0 peak": "ok",
        "cuda:0": "ok",
    }
    assert findings[0].found == "for CUDA up to 12.8"
    assert findings[-1].found.startswith("NVIDIA A10G, sm_86, 24 GiB")


def test_the_peak_of_a_gpu_is_that_of_its_datasheet(gpu_machine: pytest.MonkeyPatch) -> None:
    [peak] = [finding.found for finding in gpu(idle()) if finding.check == "cuda:0 peak"]
    assert peak == (
        "TFLOP/s without sparsity: 35 in fp32, tf32; 70 in fp16, bf16; memory 600 GB/s "
        "(NVIDIA A10G datasheet of AWS)"
    )
    other = replace(A10G, name="NVIDIA A10G MIG 1g.5gb")
    gpu_machine.setattr(gpus, "visible_gpus", lambda: (other,))
    [unknown] = [finding.found for finding in gpu(idle()) if finding.check == "cuda:0 peak"]
    assert unknown.startswith("unknown for NVIDIA A10G MIG 1g.5gb")


def test_a_machine_without_a_gpu_is_fit_and_one_whose_gpu_has_no_driver_is_not(
    gpu_machine: pytest.MonkeyPatch,
) -> None:
    error = NoCuda("no-driver", "there is no NVIDIA driver; install one")
    gpu_machine.setattr(gpus, "driver_version", refuse(error))
    assert statuses(list(gpu_findings(a_machine(), True))) == {"GPU": "ok"}
    assert gpu() == [problem("GPU", "there is no NVIDIA driver", "install one")]


@pytest.mark.parametrize("reason", ["driver-too-old", "no-device", "driver-error"])
def test_a_gpu_that_exists_and_cannot_be_used_is_a_problem(
    reason: str, gpu_machine: pytest.MonkeyPatch
) -> None:
    gpu_machine.setattr(gpus, "visible_gpus", refuse(NoCuda(reason, "it is broken; mend it")))
    assert gpu() == [problem("GPU", "it is broken", "mend it")]


def test_a_torch_that_cannot_use_the_gpu_is_a_problem(gpu_machine: pytest.MonkeyPatch) -> None:
    gpu_machine.setattr(torch_gpus, "torch_gpus", lambda: (TorchGpu("Tesla V100", (7, 0)),))
    assert statuses(gpu(idle()))["cuda:0"] == "problem"
    cpu_only = NoCuda("torch-without-cuda", "torch is a CPU-only build; install torch with CUDA")
    gpu_machine.setattr(torch_gpus, "torch_gpus", refuse(cpu_only))
    assert gpu(idle())[-1].remedy == "install torch with CUDA"


def test_what_disturbs_a_gpu_is_a_warning(gpu_machine: pytest.MonkeyPatch) -> None:
    assert statuses(gpu(FakeNvml()))["cuda:0 state"] == "warning"  # a process computes on it
    hot = idle()
    hot.events = 0x40
    assert statuses(gpu(hot))["cuda:0 state"] == "warning"
    assert any("MIG slice" in finding.found for finding in gpu(FakeNvml(mig=True)))


def row(error_ns: int, tick_ns: int = 1_000) -> SimpleNamespace:
    return SimpleNamespace(error_ns=error_ns, tick_ns=tick_ns)


def test_events_are_right_within_two_microseconds_and_the_timers_step() -> None:
    assert judge("clock", [row(100), row(-2_900)]).status == "ok"
    assert judge("clock", [row(100), row(-3_100)]).status == "warning"


@pytest.mark.parametrize(("finding", "status"), [(ok("a", "b"), 0), (problem("a", "b", "c"), 1)])
def test_the_exit_status_says_whether_there_is_a_problem(
    finding: Finding,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda machine: iter([finding]))
    assert cli.main(["doctor"]) == status
    assert "a: b" in capsys.readouterr().out
    assert cli.main(["doctor", "--json", "-"]) == status
    document = json.loads(capsys.readouterr().out)
    assert document["findings"][0]["status"] == finding.status
    assert document["event_clock"] == []


def test_gpu_without_one_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda machine: iter([]))
    missing = NoCuda("no-driver", "there is no NVIDIA driver; install one")
    monkeypatch.setattr(gpus, "visible_gpus", refuse(missing))
    assert cli.main(["doctor", "--gpu"]) == 1
    assert "install one" in capsys.readouterr().out


def test_all_checks_on_a_simulated_gpu_without_torch() -> None:
    """In a separate process, without torch and with the simulated driver."""
    code = (
        "import sys; sys.modules['torch'] = None; from gpubench.cli import program as cli; "
        "sys.exit(cli.main(['doctor', '--json', '-']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1, done.stderr  # torch is missing
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["torch"]["status"] == "problem"
    assert found["driver"]["status"] == "ok"
    assert {"cores", "governor", "lag"} <= set(found)
