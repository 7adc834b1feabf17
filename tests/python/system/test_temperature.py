"""Which sensors are the CPU's or a GPU's, and what they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_nvml import FakeNvml
from fake_sys import chip, zone

from gpubench.system import temperature
from gpubench.system.gpus import Gpu
from gpubench.system.temperature import Thermometer, cpu_thermometer, gpu_thermometer, thermometer


def read(sensor: Thermometer | None) -> float | None:
    assert sensor is not None
    return sensor.hottest_c()


def test_the_hottest_input_of_the_chip_counts(tmp_path: Path) -> None:
    chip(tmp_path, 0, "nvme", 85000)
    inputs = chip(tmp_path, 1, "coretemp", 51000, 57500, 49000)
    sensor = cpu_thermometer(tmp_path)
    assert sensor is not None
    assert (sensor.name, read(sensor)) == ("coretemp", 57.5)
    inputs[2].write_text("61000\n")
    assert read(sensor) == 61.0


@pytest.mark.parametrize("kind", ["x86_pkg_temp", "cpu-thermal", "CPU-therm", "soc_thermal"])
def test_a_board_without_such_a_chip_has_a_zone_of_the_cpu(tmp_path: Path, kind: str) -> None:
    zone(tmp_path, 0, "acpitz", 27800)
    zone(tmp_path, 1, kind, 48200)
    sensor = cpu_thermometer(tmp_path)
    assert sensor is not None
    assert (sensor.name, read(sensor)) == (kind, 48.2)


def test_a_chip_is_read_and_not_the_zone_of_the_same_cpu(tmp_path: Path) -> None:
    chip(tmp_path, 0, "k10temp", 40000)
    zone(tmp_path, 0, "x86_pkg_temp", 90000)
    assert read(cpu_thermometer(tmp_path)) == 40.0


def test_a_sensor_that_never_answers_is_left_out(tmp_path: Path) -> None:
    chip(tmp_path, 0, "coretemp", 40000, "")
    assert read(cpu_thermometer(tmp_path)) == 40.0
    chip(tmp_path, 0, "coretemp", "", "")
    zone(tmp_path, 0, "cpu-thermal", 33000)
    assert read(cpu_thermometer(tmp_path)) == 33.0


def test_a_sensor_that_stops_gives_no_temperature(tmp_path: Path) -> None:
    inputs = chip(tmp_path, 0, "coretemp", 40000, 50000)
    sensor = cpu_thermometer(tmp_path)
    inputs[1].unlink()
    assert read(sensor) is None


def test_other_sensors_are_not_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temperature, "SYS", tmp_path)
    assert thermometer(("cpu",)) is None
    chip(tmp_path, 0, "nvme", 40000)
    zone(tmp_path, 0, "acpitz", 27800)
    assert thermometer(("cpu",)) is None


def test_gpus_are_read_through_nvml_and_each_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(0, "NVIDIA A10G", (8, 6), "GPU-1", "0000:01:00.0", 1)
    found = [gpu]
    monkeypatch.setattr(temperature, "gpus_of", lambda devices: tuple(found))
    sensor = gpu_thermometer(("cuda:0",), FakeNvml())
    assert sensor is not None
    assert sensor.name == "NVML: cuda:0"
    assert read(sensor) == FakeNvml().nvmlDeviceGetTemperature("board", 0)
    assert gpu_thermometer(("cuda:0",), FakeNvml(fails="nvmlDeviceGetTemperature")) is None
    assert gpu_thermometer(("cuda:0", "cuda:1"), FakeNvml()) is None
    assert gpu_thermometer(("cuda:0",), None) is None
