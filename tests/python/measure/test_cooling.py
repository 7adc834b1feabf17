"""The wait until the hardware is cool, and what it leaves in the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_sys import chip

import gpubench
from gpubench.errors import GpubenchError, InputError
from gpubench.measure import cooling
from gpubench.measure.cooling import LONGEST_WAIT_S, wait_until_cool
from gpubench.measure.progress import Progress
from gpubench.system import temperature
from gpubench.system.temperature import Thermometer


class Clock:
    """Time passes only where somebody sleeps. The hardware cools by a degree a second."""

    def __init__(self, first_c: float, coldest_c: float = 0.0) -> None:
        self.seconds, self.first_c, self.coldest_c = 0.0, first_c, coldest_c
        self.sensor = Thermometer("coretemp", self.degrees)

    def degrees(self) -> float | None:
        return max(self.first_c - self.seconds, self.coldest_c)

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_it_waits_until_the_sensor_is_at_the_limit() -> None:
    clock = Clock(first_c=72.0)
    found = wait_until_cool(clock.sensor, 60.0, clock, clock.sleep)
    assert (found.sensor, found.limit_c, found.first_c) == ("coretemp", 60.0, 72.0)
    assert (found.temperature_c, found.waited_seconds) == (60.0, 12.0)


def test_cool_hardware_does_not_wait() -> None:
    clock = Clock(first_c=60.0)
    assert wait_until_cool(clock.sensor, 60.0, clock, clock.sleep).waited_seconds == 0.0


def test_hardware_that_stays_warm_is_waited_for_only_so_long() -> None:
    clock = Clock(first_c=72.0, coldest_c=65.0)
    found = wait_until_cool(clock.sensor, 60.0, clock, clock.sleep)
    assert (found.temperature_c, found.waited_seconds) == (65.0, LONGEST_WAIT_S)


def test_a_sensor_that_stops_is_an_error() -> None:
    readings: Iterator[float | None] = iter([70.0, None])
    sensor = Thermometer("coretemp", lambda: next(readings))
    with pytest.raises(GpubenchError, match=r"the sensor \(coretemp\) gives no temperature"):
        wait_until_cool(sensor, 60.0, Clock(0), lambda seconds: None)


def test_a_cell_cools_before_its_warm_up_and_the_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [sensor] = chip(tmp_path, 0, "coretemp", 58000)
    monkeypatch.setattr(temperature, "SYS", tmp_path)
    stages: list[str] = []

    class Stages(Progress):
        def stage(self, name: str) -> None:
            stages.append(name)

    settings = {"model": "synthetic", "requests": 150, "warmup": 0, "service_time": 1e-4}
    cool = gpubench.run(**settings, cool_to="60C", progress=Stages())  # type: ignore[call-overload]
    assert stages == ["cool", "measure"]
    assert cool.window.cooling.sensor == "coretemp"
    assert cool.window.cooling.temperature_c == 58.0
    assert cool.seconds.cool is not None
    assert "not-cooled" not in {reason.code for reason in cool.verdict.reasons}

    sensor.write_text("71000\n")
    monkeypatch.setattr(cooling, "LONGEST_WAIT_S", 0.0)
    warm = gpubench.run(**settings, cool_to="60C")  # type: ignore[call-overload]
    [reason] = [reason for reason in warm.verdict.reasons if reason.code == "not-cooled"]
    assert (reason.figure, reason.limit) == (71.0, 60.0)
    assert warm.throughput_per_second is not None, "it is measured in spite of that"

    sensor.unlink()
    with pytest.raises(InputError, match="--cool-to 60C: no temperature of the CPU can be read"):
        gpubench.run(**settings, cool_to="60C")  # type: ignore[call-overload]


def test_a_cell_without_a_limit_reads_no_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooling, "thermometer", lambda devices: pytest.fail("it was read"))
    result = gpubench.run(model="synthetic", requests=30, warmup=0, service_time=1e-4)
    assert result.window.cooling is None
    assert result.seconds is not None
    assert result.seconds.cool is None
