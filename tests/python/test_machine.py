"""Reading the kernel's tables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpubench import machine
from gpubench.machine import Machine, busy_core_seconds, nvidia_devices, usable_cores


def a_machine(**changes: object) -> Machine:
    facts: dict[str, object] = {
        "cpu": "Test CPU",
        "cores": 2,
        "cpu_flags": frozenset(),
        "gpus": (),
        "instance": None,
        "platform": "Linux",
    }
    return Machine(**(facts | changes))  # type: ignore[arg-type]


def test_this_machine_has_a_processor_and_cores() -> None:
    here = machine.this_machine()
    assert here.cores >= 1
    assert here.cpu


@pytest.mark.parametrize(
    ("quota", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 10**6)]
)
def test_a_containers_quota_limits_the_cores(tmp_path: Path, quota: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert 1 <= usable_cores(tmp_path) <= most


def test_16_bit_formats_are_native_only_with_instructions_for_them() -> None:
    assert not a_machine(cpu_flags=frozenset({"avx2", "avx512f"})).computes_natively("bf16")
    assert a_machine(cpu_flags=frozenset({"avx512_bf16"})).computes_natively("bf16")
    assert not a_machine(cpu_flags=frozenset({"avx512_bf16"})).computes_natively("fp16")
    assert a_machine(cpu_flags=frozenset({"amx_fp16"})).computes_natively("fp16")


def test_alike_machines_share_an_identity() -> None:
    assert a_machine().identity == a_machine(platform="other kernel").identity
    assert a_machine().identity != a_machine(cores=4).identity
    assert a_machine().identity != a_machine(gpus=("NVIDIA A10G",)).identity
    assert a_machine().identity != a_machine(instance="c7i.xlarge").identity


def _file(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_nvidia_devices_are_named_by_the_kernel_driver_before_anything_else(tmp_path: Path) -> None:
    assert nvidia_devices(tmp_path) == ()
    _file(tmp_path / "dev/nvidia0")
    _file(tmp_path / "dev/nvidia1")
    _file(tmp_path / "dev/nvidiactl")
    assert nvidia_devices(tmp_path) == ("NVIDIA device", "NVIDIA device")
    _file(tmp_path / "proc/driver/nvidia/gpus/0000:3b:00.0/information", "Model: \t NVIDIA A10G\n")
    assert nvidia_devices(tmp_path) == ("NVIDIA A10G",)


@pytest.mark.parametrize(
    ("vendor", "kind", "count"),
    [
        ("0x10de", "0x030000", 1),  # a display controller
        ("0x10de", "0x030200", 1),  # a 3D controller, as GPUs of data centres are
        ("0x10de", "0x040300", 0),  # the sound of a graphics card
        ("0x8086", "0x030000", 0),
    ],
)
def test_a_gpu_without_a_driver_is_there_all_the_same(
    tmp_path: Path, vendor: str, kind: str, count: int
) -> None:
    _file(tmp_path / "sys/bus/pci/devices/0000:3b:00.0/vendor", f"{vendor}\n")
    _file(tmp_path / "sys/bus/pci/devices/0000:3b:00.0/class", f"{kind}\n")
    assert len(nvidia_devices(tmp_path)) == count


@pytest.mark.parametrize("library", ["lib/libcuda.so.1", "drivers/nv_dispi.inf_1/libcuda.so.1.1"])
def test_wsl2_has_an_nvidia_device_where_its_driver_came_along(
    tmp_path: Path, library: str
) -> None:
    _file(tmp_path / "usr/lib/wsl" / library)
    assert nvidia_devices(tmp_path) == ()
    _file(tmp_path / "dev/dxg")
    assert nvidia_devices(tmp_path) == ("NVIDIA device",)
    (tmp_path / "usr/lib/wsl" / library).unlink()  # a GPU of another maker
    assert nvidia_devices(tmp_path) == ()


def test_busy_time_counts_everything_but_idling() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    line = f"cpu  {ticks} {ticks} {ticks} {5 * ticks} {7 * ticks} {ticks} {ticks} {ticks} 0 0"
    assert busy_core_seconds([line]) == pytest.approx(6.0)
    assert busy_core_seconds(["intr 5"]) is None


def test_the_instance_is_what_the_firmware_says(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"sys_vendor": "Amazon EC2\n", "product_name": "g5.4xlarge\n"}
    monkeypatch.setattr(machine, "_read", lambda path: tables.get(Path(path).name, ""))
    assert machine._instance() == "g5.4xlarge"
    tables["product_name"] = "HVM domU"  # older instances name their hypervisor instead
    assert machine._instance() is None


def test_a_cloud_is_asked_only_where_the_firmware_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"sys_vendor": "Google\n", "product_name": "Google Compute Engine\n"}
    answers = {"metadata.google.internal": "projects/1/machineTypes/g2-standard-4"}
    asked: list[str] = []

    def ask(url: str, headers: dict[str, str]) -> str:
        asked.append(url)
        return next((answer for host, answer in answers.items() if host in url), "Standard_F16s_v2")

    monkeypatch.setattr(machine, "_read", lambda path: tables.get(Path(path).name, ""))
    monkeypatch.setattr(machine, "_ask", ask)
    assert machine._instance() == "g2-standard-4"
    tables["sys_vendor"] = tables["product_name"] = "Microsoft Corporation\n"
    assert machine._instance() == "Standard_F16s_v2"
    asked.clear()
    tables["sys_vendor"] = tables["product_name"] = "QEMU\n"
    assert machine._instance() is None
    assert asked == []
