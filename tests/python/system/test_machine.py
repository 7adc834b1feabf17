"""The properties of the machine, read from the tables of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from factories import a_machine

from gpubench.system import machine
from gpubench.system.machine import (
    busy_core_seconds,
    cpu_quota,
    free_memory_bytes,
    nvidia_devices,
    usable_cores,
)


def test_this_machine_has_a_processor_and_cores() -> None:
    here = machine.this_machine()
    assert here.cores >= 1
    assert here.cpu


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


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_CPU = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_SETS = "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
HYBRID = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


def _groups(root: Path, own: str, mounts: str, **files: str) -> Path:
    """A tree of /proc and /sys in which control groups have these files ('a__b' is a/b)."""
    _file(root / "proc/self/cgroup", own)
    _file(root / "proc/self/mountinfo", "23 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts)
    for place, text in files.items():
        _file(root / "sys/fs/cgroup" / place.replace("__", "/"), text)
    return root


def _v1(folder: str, quota_us: int, period_us: int = 100_000) -> dict[str, str]:
    return {
        f"{folder}__cpu.cfs_quota_us": f"{quota_us}\n",
        f"{folder}__cpu.cfs_period_us": f"{period_us}\n",
    }


def test_a_quota_is_that_of_the_processs_own_group(tmp_path: Path) -> None:
    files = {"pod__job__cpu.max": "150000 100000\n", "other__cpu.max": "10000 100000\n"}
    assert cpu_quota(_groups(tmp_path, "0::/pod/job\n", V2, **files)) == 1.5


@pytest.mark.parametrize("smallest", ["pod", "pod__job", "pod__job__step"])
def test_of_nested_quotas_the_smallest_counts(tmp_path: Path, smallest: str) -> None:
    files = {
        f"{group}__cpu.max": "800000 100000" for group in ("pod", "pod__job", "pod__job__step")
    }
    files[f"{smallest}__cpu.max"] = "250000 100000"
    assert cpu_quota(_groups(tmp_path, "0::/pod/job/step\n", V2, **files)) == 2.5


def test_a_container_with_a_namespace_of_its_own_has_its_quota_at_the_root(tmp_path: Path) -> None:
    files = {"cpu.max": "100000 100000"}
    assert cpu_quota(_groups(tmp_path, "0::/\n", V2, **files)) == 1.0
    # A process that was moved out of the namespace's root sees its group above it.
    assert cpu_quota(_groups(tmp_path, "0::/../other\n", V2, **files)) == 1.0


@pytest.mark.parametrize(("quota_us", "expected"), [(100_000, 1.0), (350_000, 3.5), (-1, None)])
def test_version_1_has_its_quota_in_two_files(
    tmp_path: Path, quota_us: int, expected: float | None
) -> None:
    own = "4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n0::/\n"
    files = _v1("cpu,cpuacct__docker__abc", quota_us) | _v1("cpu,cpuacct", -1)
    assert cpu_quota(_groups(tmp_path, own, V1_CPU + V1_SETS, **files)) == expected


def test_version_1_in_a_container_is_mounted_from_its_group_on(tmp_path: Path) -> None:
    mount = V1_CPU.replace("0:30 / /", "0:30 /docker/abc /")
    files = _v1("cpu,cpuacct", 100_000) | _v1("cpu,cpuacct__inner", 300_000)
    own = "4:cpu,cpuacct:/docker/abc/inner\n"
    assert cpu_quota(_groups(tmp_path, own, mount, **files)) == 1.0


def test_a_hybrid_hierarchy_has_quotas_in_both_versions(tmp_path: Path) -> None:
    own = "4:cpu,cpuacct:/a\n0::/b\n"
    files = _v1("cpu,cpuacct__a", 300_000) | {"unified__b__cpu.max": "200000 100000"}
    assert cpu_quota(_groups(tmp_path, own, V1_CPU + HYBRID, **files)) == 2.0


def test_where_a_hierarchy_is_mounted_comes_from_the_kernel(tmp_path: Path) -> None:
    mount = V2.replace("/sys/fs/cgroup", "/my\\040groups")
    _file(tmp_path / "my groups/pod/cpu.max", "200000 100000")
    assert cpu_quota(_groups(tmp_path, "0::/pod\n", mount)) == 2.0


@pytest.mark.parametrize("text", ["max 100000", "", "100000", "² 100000", "100000 0"])
def test_without_a_quota_there_is_none(tmp_path: Path, text: str) -> None:
    assert cpu_quota(_groups(tmp_path, "0::/\n", V2, **{"cpu.max": text})) is None
    assert cpu_quota(tmp_path / "nothing") is None


@pytest.mark.parametrize(("quota", "most"), [("50000 100000", 1), ("190000 100000", 1)])
def test_a_quota_is_rounded_down_to_cores_and_leaves_one(
    tmp_path: Path, quota: str, most: int
) -> None:
    assert usable_cores(_groups(tmp_path, "0::/\n", V2, **{"cpu.max": quota})) == most
    assert usable_cores(tmp_path / "nothing") == len(os.sched_getaffinity(0))


def test_free_memory_is_that_of_the_group_that_has_least(tmp_path: Path) -> None:
    _file(tmp_path / "proc/meminfo", "MemAvailable:   16000000 kB\n")
    assert free_memory_bytes(tmp_path) == 16_000_000 * 1024
    memory = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    files = {
        "memory__pod__memory.limit_in_bytes": "8000000",
        "memory__pod__memory.usage_in_bytes": "3000000",
        "memory__pod__memory.stat": "total_inactive_file 1000000\n",
        "memory__memory.limit_in_bytes": "9223372036854771712",
        "memory__memory.usage_in_bytes": "12000000",
        "unified__memory.max": "7000000",
        "unified__memory.current": "5000000",
    }
    own = "4:memory:/pod\n"
    assert free_memory_bytes(_groups(tmp_path, own, memory + HYBRID, **files)) == 6_000_000
    own += "0::/\n"
    assert free_memory_bytes(_groups(tmp_path, own, memory + HYBRID, **files)) == 2_000_000


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
def test_a_gpu_without_a_driver_is_found(
    tmp_path: Path, vendor: str, kind: str, count: int
) -> None:
    _file(tmp_path / "sys/bus/pci/devices/0000:3b:00.0/vendor", f"{vendor}\n")
    _file(tmp_path / "sys/bus/pci/devices/0000:3b:00.0/class", f"{kind}\n")
    assert len(nvidia_devices(tmp_path)) == count


@pytest.mark.parametrize("library", ["lib/libcuda.so.1", "drivers/nv_dispi.inf_1/libcuda.so.1.1"])
def test_wsl2_has_an_nvidia_device_if_its_driver_is_installed(tmp_path: Path, library: str) -> None:
    _file(tmp_path / "usr/lib/wsl" / library)
    assert nvidia_devices(tmp_path) == ()
    _file(tmp_path / "dev/dxg")
    assert nvidia_devices(tmp_path) == ("NVIDIA device",)
    (tmp_path / "usr/lib/wsl" / library).unlink()  # a GPU of another maker
    assert nvidia_devices(tmp_path) == ()


def test_busy_time_counts_everything_except_idle_time() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    line = f"cpu  {ticks} {ticks} {ticks} {5 * ticks} {7 * ticks} {ticks} {ticks} {ticks} 0 0"
    assert busy_core_seconds(lines=[line]) == pytest.approx(6.0)
    assert busy_core_seconds(lines=["intr 5"]) is None


def test_busy_time_of_some_cores_does_not_count_the_others() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    lines = [f"cpu{core} {core * ticks} 0 0 0 0 0 0 0 0 0" for core in (1, 2, 12)]
    assert busy_core_seconds({1, 12}, lines) == pytest.approx(13.0)
    assert busy_core_seconds({1, 3}, lines) is None  # a container may show other cores


def test_the_instance_is_what_the_firmware_says(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"sys_vendor": "Amazon EC2\n", "product_name": "g5.4xlarge\n"}
    monkeypatch.setattr(machine, "text_of", lambda path: tables.get(Path(path).name, ""))
    assert machine._instance() == "g5.4xlarge"
    tables["product_name"] = "HVM domU"  # older instances name their hypervisor instead
    assert machine._instance() is None


def test_a_cloud_is_asked_only_if_the_firmware_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"sys_vendor": "Google\n", "product_name": "Google Compute Engine\n"}
    answers = {"metadata.google.internal": "projects/1/machineTypes/g2-standard-4"}
    asked: list[str] = []

    def ask(url: str, headers: dict[str, str]) -> str:
        asked.append(url)
        return next((answer for host, answer in answers.items() if host in url), "Standard_F16s_v2")

    monkeypatch.setattr(machine, "text_of", lambda path: tables.get(Path(path).name, ""))
    monkeypatch.setattr(machine, "_ask", ask)
    assert machine._instance() == "g2-standard-4"
    tables["sys_vendor"] = tables["product_name"] = "Microsoft Corporation\n"
    assert machine._instance() == "Standard_F16s_v2"
    asked.clear()
    tables["sys_vendor"] = tables["product_name"] = "QEMU\n"
    assert machine._instance() is None
    assert asked == []
