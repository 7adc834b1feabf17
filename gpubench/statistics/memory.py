"""The largest memory that a cell had in use, on the host and on its GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpubench.results.result import Memory
from gpubench.system.telemetry import Reading, Readings


def memory(
    peak_host_bytes: int | None,
    peak_host_note: str | None,
    devices: Sequence[str],
    readings: Readings,
) -> Memory:
    """The peaks of a measured run.

    `devices` are the GPUs used; there are none on a CPU. The peak of the device is that of the GPU
    on which it is largest. It is the memory of this process if NVML tells it for each of the GPUs,
    otherwise the memory in use by all processes together. None if that is unknown as well.
    """
    of_process = _largest(devices, readings, lambda r: r.process_memory_bytes)
    peak_device = of_process or _largest(devices, readings, lambda r: r.memory_used_bytes)
    return Memory(
        peak_host_bytes=peak_host_bytes,
        peak_host_note=peak_host_note,
        peak_device_bytes=peak_device,
        peak_device_of=None if peak_device is None else "process" if of_process else "device",
    )


def _largest(
    devices: Sequence[str], readings: Readings, figure: Callable[[Reading], int | None]
) -> int | None:
    """The largest figure of all devices; None if it is unknown for one of them."""
    peaks = []
    for device in devices:
        known = [value for r in readings.get(device, ()) if (value := figure(r)) is not None]
        if not known:
            return None
        peaks.append(max(known))
    return max(peaks, default=None)
