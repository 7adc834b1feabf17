"""The properties of this machine, from the kernel and the cloud provider, without torch.

Accelerators are only counted here. Whether torch can use them is checked later, when torch is
imported anyway.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import urllib.request
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gpubench.system.kernel_files import text_of

_CLOUD_TIMEOUT_S = 0.5
_ROOT = Path("/")
_UNKNOWN_MODEL = "NVIDIA device"

# CPU features with which a 16-bit format is native: arithmetic in it, not only conversion.
_NATIVE_FLAGS = {
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "fp16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int  # that this process may use, after affinity and container quota
    cpu_flags: frozenset[str]
    gpus: tuple[str, ...]  # models of the NVIDIA devices that exist, usable or not
    instance: str | None  # the cloud instance type, if the machine tells it
    platform: str

    @property
    def identity(self) -> str:
        """The name of the machine in the key of a cell. Equal machines have the same name."""
        hardware = f"{self.cores} x {self.cpu}; {', '.join(self.gpus) or 'no GPU'}"
        return f"{self.instance}; {hardware}" if self.instance else hardware

    @property
    def kind(self) -> str:
        """What `only_on` of a sweep file names: "cuda" with NVIDIA devices, otherwise "cpu"."""
        return "cuda" if self.gpus else "cpu"

    def computes_natively(self, precision: str) -> bool:
        """Whether the CPU has instructions for the 16-bit format ('bf16' or 'fp16')."""
        return bool(self.cpu_flags & _NATIVE_FLAGS[precision])


@functools.cache
def this_machine() -> Machine:
    text = text_of("/proc/cpuinfo")
    return Machine(
        cpu=_field(text, "model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        cpu_flags=frozenset((_field(text, "flags") or _field(text, "Features") or "").split()),
        gpus=nvidia_devices(),
        instance=_instance(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
    )


def usable_cores(root: Path = _ROOT) -> int:
    """Cores that this process may use: its affinity, limited by the CPU quota of a container.

    The affinity includes cpusets. A quota is rounded down, to at least 1. With more threads than
    the quota allows, each thread is stopped for a part of every period, which shows in the
    latencies. Using a fraction of a core less is the smaller error.
    """
    cores, quota = len(os.sched_getaffinity(0)), cpu_quota(root)
    return cores if quota is None else min(cores, max(1, int(quota)))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """The CPU quota of this process in cores. None if it has no quota.

    It is the smallest quota of its control group and of all groups that contain it.
    """
    quotas = [quota for folder in _cgroups("cpu", root) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _quota_of(folder: Path) -> float | None:
    """The quota of one control group, version 2 ("50000 100000") or 1 (two files, in us)."""
    quota, _, period = text_of(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota = text_of(folder / "cpu.cfs_quota_us").strip()  # -1: none
        period = text_of(folder / "cpu.cfs_period_us").strip()
    if quota.isdecimal() and period.isdecimal() and int(period):
        return int(quota) / int(period)
    return None


def _cgroups(controller: str, root: Path) -> list[Path]:
    """Folders of the control group of this process and of the groups that contain it, if visible.

    They are of both versions, because a hybrid hierarchy has some controllers in each of them.
    Sources: cgroups(7), and proc_pid_mountinfo(5) for the fields.
    """
    own = {}  # path in the hierarchy; the key says whether it is of version 2
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" or controller in controllers.split(","):
            own[controllers == ""] = PurePosixPath(path)
    folders = []
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        fields, _, kind_and_options = line.partition(" - ")
        kind, _, options = kind_and_options.partition(" ")
        is_version_2 = kind == "cgroup2"
        has_controller = kind == "cgroup" and controller in options.rpartition(" ")[2].split(",")
        if not (is_version_2 or has_controller) or is_version_2 not in own:
            continue
        _, _, _, shown, mounted, *_ = map(_unescaped, fields.split())
        group = own[is_version_2]
        # A container without its own namespace sees its group as the root of the mount.
        below = group.relative_to(shown) if group.is_relative_to(shown) else PurePosixPath()
        mount = root / mounted.lstrip("/")
        levels = [below, *below.parents] if ".." not in below.parts else [PurePosixPath()]
        folders += [mount / level for level in levels]
    return folders


def _unescaped(path: str) -> str:
    """The kernel writes a space in a path as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)


def governors(cpus: Path = Path("/sys/devices/system/cpu")) -> tuple[str, ...]:
    """The frequency governor of each core: "performance", "powersave", ...

    Empty if the kernel does not set the clocks, as in most virtual machines.
    """
    return tuple(
        text_of(file).strip() for file in sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    )


def free_memory_bytes(root: Path = _ROOT) -> int | None:
    """Free memory for a new process, limited by its control groups. None if unknown."""
    available = _field(text_of(root / "proc/meminfo"), "MemAvailable")
    if available is None:
        return None
    free = int(available.split()[0]) * 1024
    for folder in _cgroups("memory", root):
        free = min(free, _free_in(folder, free))
    return max(0, free)


def memory_limit_bytes(root: Path = _ROOT) -> int | None:
    """The memory that the container of this process may use. None: it has no limit of its own."""
    total = _field(text_of(root / "proc/meminfo"), "MemTotal")
    limits = [
        int(text)
        for folder in _cgroups("memory", root)
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := text_of(folder / name).strip()).isdecimal()
    ]
    # Version 1 writes a number larger than any memory where there is no limit.
    below = [each for each in limits if total is None or each < int(total.split()[0]) * 1024]
    return min(below, default=None)


def _free_in(folder: Path, otherwise: int) -> int:
    """Free memory in one control group, version 2 or 1. `otherwise` if it has no limit."""
    for limit_file, used_file, cached_field in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = text_of(folder / limit_file).strip(), text_of(folder / used_file).strip()
        if limit.isdecimal() and used.isdecimal():
            # The page cache of files counts as used, but it is freed when memory is needed.
            stat = text_of(folder / "memory.stat")
            cached = re.search(rf"^{cached_field} (\d+)$", stat, re.MULTILINE)
            return int(limit) - int(used) + (int(cached[1]) if cached else 0)
    return otherwise


def nvidia_devices(root: Path = Path("/")) -> tuple[str, ...]:
    """Models of the NVIDIA devices that exist, usable or not, as the kernel driver names them.

    The models are unknown without this driver: a container may have only device nodes, a machine
    without a driver has its GPUs on the PCI bus, and WSL2 has one device for all GPUs.
    """
    models = [
        _field(text_of(info), "Model") or _UNKNOWN_MODEL
        for info in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
    ]
    if models:
        return tuple(models)
    nodes = [node for node in root.glob("dev/nvidia*") if node.name[6:].isdigit()]
    count = len(nodes) or _nvidia_on_pci(root) or int(_nvidia_in_wsl(root))
    return (_UNKNOWN_MODEL,) * count


def _nvidia_on_pci(root: Path) -> int:
    """The number of display and 3D controllers with NVIDIA's vendor number."""
    return sum(
        text_of(device / "vendor").strip() == "0x10de"
        and text_of(device / "class").startswith(("0x0300", "0x0302"))
        for device in root.glob("sys/bus/pci/devices/*")
    )


def _nvidia_in_wsl(root: Path) -> bool:
    """WSL2 has /dev/dxg for GPUs of any vendor, and NVIDIA's library if its driver is installed.

    In a container, the library is in the folder of the driver package.
    Source: the CUDA on WSL user guide, and what nvidia-container-toolkit mounts.
    """
    libraries = ("lib/libcuda.so.1", "drivers/nv*/libcuda*.so*")
    return (root / "dev/dxg").exists() and any(
        True for pattern in libraries for _ in root.glob(f"usr/lib/wsl/{pattern}")
    )


def _instance() -> str | None:
    """The instance type, if the firmware or the cloud's link-local service tells it.

    AWS Nitro writes it into the firmware tables. Google Cloud and Azure answer at an address that
    exists only inside their machines, so it is asked only if the firmware names them.
    """
    dmi = Path("/sys/class/dmi/id")
    vendor, product = text_of(dmi / "sys_vendor").strip(), text_of(dmi / "product_name").strip()
    if vendor == "Amazon EC2" and re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", product):
        return product
    if vendor == "Google" or product == "Google Compute Engine":
        answer = _ask(
            "http://metadata.google.internal/computeMetadata/v1/instance/machine-type",
            {"Metadata-Flavor": "Google"},
        )
        return answer.rpartition("/")[2] or None
    if vendor == "Microsoft Corporation":
        address = "http://169.254.169.254/metadata/instance/compute/vmSize"
        return _ask(f"{address}?api-version=2021-02-01&format=text", {"Metadata": "true"}) or None
    return None


def _ask(url: str, headers: dict[str, str]) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, headers=headers)
        with opener.open(request, timeout=_CLOUD_TIMEOUT_S) as response:
            return str(response.read(256).decode(errors="replace")).strip()
    except OSError:
        return ""


def _field(text: str, name: str) -> str | None:
    """The first value of `name : value` in a table of the kernel."""
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.*?)\s*$", text, re.MULTILINE)
    return match[1] if match else None


def busy_core_seconds(
    cores: Collection[int] | None = None, lines: Iterable[str] | None = None
) -> float | None:
    """Core-seconds that all processes have used on these cores since the machine started.

    None for `cores`: on all of them. Returns None if it is unknown. Steal time is included: a core
    that the hypervisor gave to another machine was not free for the measurement either.
    """
    wanted = {"cpu"} if cores is None else {f"cpu{core}" for core in cores}
    found = []
    for line in lines if lines is not None else text_of("/proc/stat").splitlines():
        name, *ticks = line.split()
        if name in wanted:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            found.append(user + nice + system + irq + softirq + steal)
    return sum(found) / os.sysconf("SC_CLK_TCK") if len(found) == len(wanted) else None
