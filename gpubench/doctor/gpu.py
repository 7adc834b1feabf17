"""The NVIDIA GPUs: the driver, whether torch has code for them, and their state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpubench.doctor.finding import Finding, from_error, ok, problem, warning
from gpubench.system import gpus, torch_gpus
from gpubench.system.gpu_peaks import gpu_peak
from gpubench.system.gpus import Gpu, NoCuda
from gpubench.system.machine import Machine
from gpubench.system.telemetry import (
    HEAT_OR_PROTECTION,
    Nvml,
    Sensor,
    events_named,
    find,
    load_nvml,
)

_GIB = 1 << 30


def gpu_findings(machine: Machine, has_torch: bool, nvml: Nvml | None = None) -> Iterator[Finding]:
    """`has_torch`: whether torch can be imported. Tests give `nvml`; by default it is loaded."""
    try:
        version, visible = gpus.driver_version(), gpus.visible_gpus()
    except NoCuda as error:
        if not machine.gpus and error.reason in {"no-driver", "no-device"}:
            yield ok("GPU", "no NVIDIA device; cells run on the CPU")
        else:
            yield from_error("GPU", error)
        return
    yield ok("driver", f"for CUDA up to {version // 1000}.{version % 1000 // 10}")
    # Before torch starts a process on the GPU.
    yield from _telemetry(visible, nvml or load_nvml())
    yield from map(_peak, visible)
    if has_torch:
        yield from _torch(visible)


def _peak(gpu: Gpu) -> Finding:
    """What the GPU can do at most, according to its datasheet."""
    check, peak = f"{gpu.device} peak", gpu_peak(gpu.name)
    if peak is None:
        return ok(check, f"unknown for {gpu.name}, so results have no share of the peak")
    precisions: dict[float, list[str]] = {}
    for precision, flops_per_second in peak.flops_per_second.items():
        if precision != "amp":  # computes in fp16
            precisions.setdefault(flops_per_second, []).append(precision)
    figures = [f"{flops / 1e12:g} in {', '.join(names)}" for flops, names in precisions.items()]
    bandwidth = f"memory {peak.memory_bytes_per_second / 1e9:,.0f} GB/s"
    return ok(
        check,
        f"TFLOP/s without sparsity: {'; '.join(figures)}; {bandwidth} ({peak.document})",
    )


def _torch(visible: Sequence[Gpu]) -> Iterator[Finding]:
    """Whether torch can use each GPU."""
    try:
        seen = torch_gpus.torch_gpus()
    except NoCuda as error:
        yield from_error("torch on GPUs", error)
        return
    for gpu in visible:
        major, minor = gpu.capability
        described = f"{gpu.name}, sm_{major}{minor}, {gpu.memory_bytes / _GIB:.0f} GiB"
        if gpu.number >= len(seen):
            yield problem(gpu.device, f"{described}: torch does not find it", "reinstall torch")
        elif reason := torch_gpus.unusable(seen[gpu.number]):
            found, _, remedy = reason.partition("; ")
            yield problem(gpu.device, found, remedy)
        else:
            yield ok(gpu.device, f"{described}: this torch has code for it")


def _telemetry(visible: Sequence[Gpu], nvml: Nvml | None) -> Iterator[Finding]:
    if nvml is None:
        yield warning(
            "telemetry",
            "NVML cannot be used, so power, clocks and throttling are unknown",
            "pip install nvidia-ml-py; a container needs "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
        return
    for gpu in visible:
        yield from _state(gpu, find(nvml, gpu))


def _state(gpu: Gpu, sensor: Sensor) -> Iterator[Finding]:
    """The state of the GPU, and what would disturb a measurement."""
    check, now = f"{gpu.device} state", sensor.read()
    known = [
        f"{value:.0f} {unit}"
        for value, unit in ((now.sm_clock_mhz, "MHz"), (now.power_w, "W"), (now.temperature_c, "C"))
        if value is not None
    ]
    yield ok(check, ", ".join(known) or "this GPU reports neither clocks nor power")
    if now.processes:
        yield warning(
            check,
            f"{now.processes} process(es) compute on it",
            "end them before you measure (nvidia-smi lists them)",
        )
    if now.clock_events is not None and now.clock_events & HEAT_OR_PROTECTION:
        yield warning(
            check,
            f"it is slowed down: {', '.join(events_named(now.clock_events & HEAT_OR_PROTECTION))}",
            "cool it better, or wait until it is cooler",
        )
    limits = sensor.power_limits_w()
    if limits is not None and limits[0] < limits[1]:
        yield warning(
            check,
            f"its power limit is {limits[0]:.0f} W, below the default of {limits[1]:.0f} W",
            f"sudo nvidia-smi --power-limit {limits[1]:.0f}",
        )
    if sensor.is_slice:
        yield warning(
            check,
            "it is a MIG slice: NVML reports no power for it, and prices of instances do not apply",
            "measure the whole GPU, or give the price of the slice with --usd-per-hour",
        )
