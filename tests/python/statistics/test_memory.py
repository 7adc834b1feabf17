"""The largest memory of a cell, from what the kernel and NVML report."""

from __future__ import annotations

from gpubench.results.result import Memory
from gpubench.statistics.memory import memory
from gpubench.system.telemetry import Reading

GIB = 1 << 30


def reading(used: int | None = None, own: int | None = None) -> Reading:
    return Reading(time_ns=0, memory_used_bytes=used, process_memory_bytes=own)


def test_a_cpu_has_only_the_peak_of_the_host() -> None:
    assert memory(3 * GIB, None, [], {}) == Memory(peak_host_bytes=3 * GIB)
    assert memory(None, "why", [], {}) == Memory(peak_host_note="why")


def test_the_peak_is_the_largest_reading_of_the_fullest_gpu() -> None:
    readings = {
        "cuda:0": [reading(9 * GIB, 2 * GIB), reading(9 * GIB, 4 * GIB)],
        "cuda:1": [reading(9 * GIB, 3 * GIB), reading(9 * GIB, None)],
        "cuda:2": [reading(9 * GIB, 8 * GIB)],  # not used
    }
    figures = memory(GIB, None, ["cuda:0", "cuda:1"], readings)
    assert figures.peak_device_bytes == 4 * GIB
    assert figures.peak_device_of == "process"


def test_if_this_process_is_unknown_on_one_gpu_all_processes_count_on_each() -> None:
    readings = {
        "cuda:0": [reading(5 * GIB, 2 * GIB)],
        "cuda:1": [reading(3 * GIB), reading(4 * GIB)],
    }
    figures = memory(GIB, None, ["cuda:0", "cuda:1"], readings)
    assert figures.peak_device_bytes == 5 * GIB
    assert figures.peak_device_of == "device"


def test_an_unknown_gpu_makes_the_peak_unknown() -> None:
    readings = {"cuda:0": [reading(5 * GIB)], "cuda:1": [reading()]}
    for known in (readings, {"cuda:0": [reading(5 * GIB)]}, {}):
        figures = memory(GIB, None, ["cuda:0", "cuda:1"], known)
        assert figures == Memory(peak_host_bytes=GIB)
