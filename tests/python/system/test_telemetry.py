"""The state of GPUs during a measurement: read, summarised, and absent if not reported."""

from __future__ import annotations

import os
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from fake_nvml import FakeNvml

from gpubench.results.result import DeviceReport, GpuReadings, GpuReport
from gpubench.results.samples import Samples
from gpubench.statistics import ClosedLoopRule, analyse
from gpubench.statistics.gpus import MOST_READINGS, device_report, evenly_chosen
from gpubench.system.gpus import Gpu
from gpubench.system.telemetry import CLOCK_EVENTS, Nvml, Reading, find, load_nvml, recorded

S = 1_000_000_000
GPU = Gpu(0, "NVIDIA A10G", (8, 6), "GPU-1", "0000:01:00.0", 24 << 30)
NEVER = 1e6  # seconds between two readings: the first and the last remain

# The figures that are absent without each function of NVML.
NEEDS = {
    "nvmlDeviceGetClockInfo": {"sm_clock_mhz", "memory_clock_mhz"},
    "nvmlDeviceGetCurrentClocksEventReasons": {"clock_events"},
    "nvmlDeviceGetPowerUsage": {"power_w"},
    "nvmlDeviceGetTotalEnergyConsumption": {"energy_j"},
    "nvmlDeviceGetTemperature": {"temperature_c"},
    "nvmlDeviceGetUtilizationRates": {"utilization_percent"},
    "nvmlDeviceGetMemoryInfo": {"memory_used_bytes"},
    "nvmlDeviceGetComputeRunningProcesses": {"processes", "process_memory_bytes"},
}


def absent(reading: Reading) -> set[str]:
    return {field.name for field in fields(reading) if getattr(reading, field.name) is None}


def test_a_reading_has_the_units_of_its_names() -> None:
    reading = replace(find(FakeNvml(), GPU).read(), time_ns=0)
    assert reading == Reading(0, 1410, 6251, 0x4, 120.0, 5001.0, 61, 97, 2 << 30, 1, 1 << 30)


@pytest.mark.parametrize("function", NEEDS)
def test_without_a_function_only_its_own_figures_are_absent(function: str) -> None:
    assert absent(find(FakeNvml(fails=function), GPU).read()) == NEEDS[function]


def test_clock_events_have_an_older_name_in_older_drivers() -> None:
    nvml = FakeNvml(fails="nvmlDeviceGetCurrentClocksEventReasons")
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x20  # type: ignore[method-assign]
    assert find(nvml, GPU).read().clock_events == 0x20


def test_a_gpu_is_found_by_uuid_or_by_its_bus_address() -> None:
    moved = replace(GPU, pci_bus_id="0000:02:00.0")
    assert find(FakeNvml(), moved).read().power_w == 120.0
    unnamed = replace(GPU, uuid="GPU-unknown")
    assert find(FakeNvml(), unnamed).read().power_w == 120.0
    unknown = replace(moved, uuid="GPU-unknown")
    assert absent(find(FakeNvml(), unknown).read()) == {f.name for f in fields(Reading)} - {
        "time_ns"
    }


def test_a_mig_slice_has_clocks_of_its_board_memory_of_its_own_and_no_power() -> None:
    sensor = find(FakeNvml(mig=True), GPU)
    assert sensor.is_slice
    assert absent(sensor.read()) == {"power_w", "energy_j", "utilization_percent"}
    assert sensor.read().memory_used_bytes == 1 << 30


def test_only_the_clocks_of_the_board_are_known_of_an_unknown_slice() -> None:
    sensor = find(FakeNvml(mig=True), replace(GPU, uuid="GPU-unknown"))
    assert sensor.read().sm_clock_mhz == 1410
    assert {"power_w", "memory_used_bytes", "processes"} <= absent(sensor.read())


def test_readings_begin_and_end_with_the_block_and_the_library_is_closed() -> None:
    nvml = FakeNvml()
    with recorded([GPU], nvml, NEVER) as readings:
        assert len(readings["cuda:0"]) == 1
    assert len(readings["cuda:0"]) == 2
    assert nvml.shut_down


def test_an_error_in_the_block_passes_and_its_readings_stay() -> None:
    with pytest.raises(KeyboardInterrupt), recorded([GPU], FakeNvml(), NEVER) as readings:
        raise KeyboardInterrupt
    assert len(readings["cuda:0"]) == 2


def test_a_cell_on_the_cpu_asks_for_nothing() -> None:
    with recorded([], FakeNvml(fails="nvmlInit")) as readings:
        assert readings == {}


def test_without_the_package_or_the_library_there_are_no_readings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fails="nvmlInit"))
    assert load_nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert load_nvml() is None
    with recorded([GPU]) as readings:
        assert readings == {}


def test_names_and_bits_are_those_of_the_real_library() -> None:
    pynvml = pytest.importorskip("pynvml")
    for name in vars(Nvml):
        if name.startswith("nvml"):
            assert callable(getattr(pynvml, name)), name
    assert pynvml.nvmlClocksEventReasonSwPowerCap in CLOCK_EVENTS
    assert CLOCK_EVENTS[pynvml.nvmlClocksEventReasonHwThermalSlowdown] == "hardware-heat"
    assert CLOCK_EVENTS[pynvml.nvmlClocksEventReasonSwThermalSlowdown] == "heat"
    assert CLOCK_EVENTS[pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown] == "power-brake"


# Figures of a cell: two workers, one request a second each, for ten seconds.


def two_workers(seconds: int = 11) -> Samples:
    completed = np.repeat(np.arange(1, seconds + 1) * S, 2)
    worker = np.tile([0, 1], seconds)
    departed = completed - S
    return Samples(
        scheduled_ns=departed,
        opened_ns=departed,
        departed_ns=departed,
        submitted_ns=departed,
        completed_ns=completed,
        worker=worker.astype(np.int32),
        batch=np.arange(2 * seconds),
        id=worker.astype(np.int64),
    )


def report(
    readings: dict[str, list[Reading]], devices: tuple[str, ...] = ("cuda:0", "cuda:1")
) -> DeviceReport:
    """Window: 1 s to 11 s, 20 requests of 4 inferences."""
    return device_report(devices, analyse(two_workers(), ClosedLoopRule(2)), 4, readings, (GPU,))


def test_each_gpu_has_the_throughput_of_its_workers() -> None:
    both = report({})
    assert [gpu.throughput_per_second for gpu in both.gpus] == [4.0, 4.0]
    assert [gpu.workers for gpu in both.gpus] == [[0], [1]]
    assert (both.gpus[0].name, both.gpus[1].name) == ("NVIDIA A10G", None)
    [one] = report({}, ("cuda:0", "cuda:0")).gpus
    assert (one.workers, one.throughput_per_second) == ([0, 1], 8.0)


def test_without_readings_every_figure_is_null_and_never_zero() -> None:
    told = report({}).model_dump(exclude={"gpus", "clocks"})
    assert set(told.values()) == {None}


def test_energy_is_that_of_the_counter_over_the_window_and_of_all_gpus() -> None:
    readings = {
        "cuda:0": [Reading(t * S, energy_j=1e6 + 100 * t, power_w=1.0) for t in range(2, 11)],
        "cuda:1": [Reading(t * S, power_w=50.0) for t in range(2, 11)],
    }
    both = report(readings)
    assert [gpu.energy_from for gpu in both.gpus] == ["counter", "power"]
    assert both.power_w == pytest.approx(150)
    assert both.energy_j == pytest.approx(1500)
    assert both.energy_j_per_inference == pytest.approx(1500 / 80)
    del readings["cuda:1"]
    assert report(readings).energy_j_per_inference is None  # one GPU's share is not the whole


def two_meters(counted_w: float, read_w: float, period_s: float = 0.2) -> DeviceReport:
    """A GPU whose counter and whose power readings say this, read from 2 s to 10 s."""
    times = [2 + period_s * number for number in range(int(8 / period_s) + 1)]
    readings = [
        Reading(int(t * S), energy_j=1e6 + counted_w * t, power_w=read_w + (-1) ** n)
        for n, t in enumerate(times)
    ]
    return report({"cuda:0": readings}, ("cuda:0", "cuda:0"))


@pytest.mark.parametrize("read_w", [92.0, 100.0, 108.0])
def test_two_meters_that_agree_within_10_percent_give_the_energy_of_the_counter(
    read_w: float,
) -> None:
    [gpu] = two_meters(100.0, read_w).gpus
    assert (gpu.energy_from, gpu.energy_note) == ("counter", None)
    assert gpu.energy_j == pytest.approx(1000)
    assert gpu.energy_disagreement == pytest.approx(read_w / 100 - 1, abs=0.001)


@pytest.mark.parametrize(("read_w", "times"), [(80.0, "0.80"), (150.0, "1.50")])
def test_two_meters_that_contradict_each_other_give_no_energy_and_the_reason(
    read_w: float, times: str
) -> None:
    both = two_meters(100.0, read_w)
    [gpu] = both.gpus
    assert (gpu.power_w, gpu.energy_j, gpu.energy_j_per_inference, gpu.energy_from) == (None,) * 4
    assert (both.power_w, both.energy_j, both.energy_j_per_inference) == (None,) * 3
    assert gpu.energy_note is not None
    assert f"add up to {times} times the energy of the counter" in gpu.energy_note


def test_few_readings_are_no_check_and_that_is_said() -> None:
    [gpu] = two_meters(100.0, 150.0, period_s=1.0).gpus
    assert gpu.energy_j == pytest.approx(1000)
    assert gpu.energy_disagreement is None
    assert gpu.energy_note == "not checked: 9 power readings in 8.0 s; 10 in 5 s are needed"


def test_a_gpu_with_one_meter_says_that_it_was_not_checked() -> None:
    counter = [Reading((2 + t) * S, energy_j=1e6 + 100 * t) for t in range(9)]
    power = [Reading((2 + t) * S, power_w=50.0) for t in range(9)]
    both = report({"cuda:0": counter, "cuda:1": power})
    assert [gpu.energy_note for gpu in both.gpus] == [
        "not checked: there are no power readings",
        "not checked: the energy counter reports nothing",
    ]


def test_the_readings_of_a_board_are_checked_as_they_come() -> None:
    nvml = FakeNvml()  # 120 W, and 1 J more at each reading
    sensor = find(nvml, GPU)
    readings = [replace(sensor.read(), time_ns=(2 + t) * S) for t in range(10)]
    [gpu] = report({"cuda:0": readings}, ("cuda:0", "cuda:0")).gpus
    assert gpu.energy_j is None
    assert gpu.energy_disagreement == pytest.approx(119)


@pytest.mark.parametrize("counter", [[7.0, 7.0], [7.0, 3.0], [7.0]])
def test_a_counter_that_does_not_rise_is_not_used(counter: list[float]) -> None:
    readings = [Reading((2 + i) * S, energy_j=j, power_w=50.0) for i, j in enumerate(counter)]
    [gpu] = report({"cuda:0": readings}, ("cuda:0", "cuda:0")).gpus
    assert (gpu.energy_from, gpu.power_w) == ("power", 50.0)


def test_what_happened_outside_of_the_window_does_not_count() -> None:
    idle = Reading(S // 2, sm_clock_mhz=210, clock_events=0x40, processes=9)
    busy = Reading(5 * S, sm_clock_mhz=1410, clock_events=0x4, processes=1)
    [gpu] = report({"cuda:0": [idle, busy, replace(idle, time_ns=12 * S)]}, ("cuda:0",) * 2).gpus
    assert gpu.clocks.sm_mhz is not None
    assert gpu.clocks.sm_mhz.min == 1410
    assert (gpu.throttled, gpu.other_processes) == (False, 0)


def test_the_readings_in_the_window_are_kept_with_their_times_in_it() -> None:
    sensor = find(FakeNvml(), GPU)
    board = [replace(sensor.read(), time_ns=t * S // 2) for t in (1, 2, 5, 22, 23)]
    slice_ = replace(find(FakeNvml(mig=True), GPU).read(), time_ns=3 * S)
    both = report({"cuda:0": board, "cuda:1": [slice_]})
    assert [gpu.readings for gpu in both.gpus] == [
        GpuReadings(
            seconds=[0.0, 1.5, 10.0], sm_clock_mhz=[1410] * 3, power_w=[120.0] * 3, total=3
        ),
        GpuReadings(seconds=[2.0], sm_clock_mhz=[1410], power_w=[None], total=1),
    ]


def test_what_has_no_clock_and_no_power_is_no_reading() -> None:
    hot, absent = Reading(2 * S, temperature_c=60), Reading(3 * S, power_w=50.0)
    one, other = report({"cuda:0": [hot], "cuda:1": [hot, absent]}).gpus
    assert one.readings is None
    assert other.readings is not None
    assert other.readings.sm_clock_mhz == [None]


def test_of_many_readings_some_are_kept_from_the_first_to_the_last() -> None:
    many = [Reading(S + n * S // 100, sm_clock_mhz=1000 + n) for n in range(1001)]
    [gpu] = report({"cuda:0": many}, ("cuda:0", "cuda:0")).gpus
    assert gpu.readings is not None
    assert (gpu.readings.total, len(gpu.readings.seconds)) == (1001, MOST_READINGS)
    assert (gpu.readings.seconds[0], gpu.readings.seconds[-1]) == (0.0, 10.0)
    steps = set(np.diff(np.array(gpu.readings.sm_clock_mhz, float)))
    assert steps == {5.0, 6.0}
    assert gpu.clocks.sm_mhz is not None
    assert gpu.clocks.sm_mhz.mean == 1500  # of all


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8])
def test_few_items_are_all_chosen(count: int) -> None:
    chosen = evenly_chosen(range(count), 3)
    assert chosen == list(range(count)) if count <= 3 else [0, (count - 1) // 2, count - 1]


def test_a_document_without_readings_is_read_and_lists_of_other_lengths_are_not() -> None:
    assert GpuReport.model_validate_json('{"device": "cuda:0"}').readings is None
    with pytest.raises(ValueError, match="different lengths"):
        GpuReadings(seconds=[0.0, 1.0], sm_clock_mhz=[1410], power_w=[None, None], total=2)


def test_heat_and_protection_count_as_throttling_and_the_power_limit_does_not() -> None:
    events = [0x4, 0x4 | 0x20, 0x1, 0x0]
    readings = [Reading((2 + i) * S, clock_events=bits) for i, bits in enumerate(events)]
    both = report({"cuda:0": readings, "cuda:1": [Reading(2 * S, clock_events=0)]})
    assert both.gpus[0].clock_events == {"power-cap": 0.5, "heat": 0.25}
    assert both.gpus[1].clock_events == {}
    assert (both.throttled, both.throttled_share) == (True, 0.25)


def test_a_list_of_processes_contains_this_one_under_any_number() -> None:
    nvml = FakeNvml()
    nvml.pids = [1, 2, 2]
    assert find(nvml, GPU).read().processes == 2
    nvml.pids = []  # a container hides this process too, so nothing is known
    assert find(nvml, GPU).read().processes is None


def test_the_memory_of_this_process_is_known_by_its_number_or_if_it_is_the_only_one() -> None:
    nvml = FakeNvml()
    nvml.pids = [1]
    assert find(nvml, GPU).read().process_memory_bytes == 1 << 30
    nvml.pids = [1, os.getpid()]
    assert find(nvml, GPU).read().process_memory_bytes == 1 << 30
    for nvml.pids in ([1, 2], []):
        assert find(nvml, GPU).read().process_memory_bytes is None
    nvml.pids, nvml.process_bytes = [1], None  # the driver does not tell it
    assert find(nvml, GPU).read().process_memory_bytes is None
