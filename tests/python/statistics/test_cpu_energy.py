"""The energy of CPU packages in a window, and where it appears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import result
from fake_sys import domain

import gpubench
from gpubench.pricing.cost import costs
from gpubench.pricing.energy import with_electricity
from gpubench.pricing.owned import Electricity, Owned
from gpubench.report.csv import result_fields
from gpubench.report.results import result_tables
from gpubench.results.result import CpuEnergy, Result
from gpubench.results.samples import Samples
from gpubench.statistics import Analysis, ClosedLoopRule, analyse
from gpubench.statistics.cpu_energy import cpu_energy
from gpubench.system import rapl
from gpubench.system.rapl import ABSENT, Package, Packages
from gpubench.system.telemetry import Reading, Readings

SECOND = 1_000_000_000


def analysed() -> Analysis:
    """A client that is served once a second, for 11 s. The window opens after the first request."""
    completed = np.arange(1, 12) * SECOND
    departed = completed - SECOND
    samples = Samples(
        scheduled_ns=departed,
        opened_ns=departed,
        departed_ns=departed,
        submitted_ns=departed,
        completed_ns=completed,
        worker=np.zeros(11, np.int32),
        batch=np.arange(11),
        id=np.zeros(11, np.int64),
    )
    return analyse(
        samples, ClosedLoopRule(clients=1), inferences_per_request=1, max_batch=1, max_delay_ns=0
    )


def packages(count: int) -> Packages:
    return Packages(tuple(Package(f"package-{n}", Path("none"), 1, 0) for n in range(count)))


def steady(watts: float, start_j: float = 5.0) -> list[Reading]:
    """A reading each half second, from long before the window until long after it."""
    return [Reading(round(t * SECOND), energy_j=start_j + watts * t) for t in np.arange(0, 20, 0.5)]


def test_the_energy_is_that_of_the_window_and_of_all_packages() -> None:
    analysis = analysed()
    assert analysis.window_seconds is not None
    readings: Readings = {"package-0": steady(20.0), "package-1": steady(5.0, start_j=1e6)}
    found = cpu_energy(analysis, 4, readings, packages(2))
    assert found.power_w == pytest.approx(25.0)
    assert (found.packages, found.note) == (2, None)
    assert found.energy_j == pytest.approx(25.0 * analysis.window_seconds)
    # One request a second, of four inferences each.
    assert found.energy_j_per_inference == pytest.approx(25.0 / 4)


def test_readings_outside_of_the_window_do_not_count() -> None:
    busy_before = [Reading(0, energy_j=0.0), *steady(20.0, start_j=1e5)[4:]]
    found = cpu_energy(analysed(), 1, {"package-0": busy_before}, packages(1))
    assert found.power_w == pytest.approx(20.0)


@pytest.mark.parametrize(
    "second",
    [
        steady(20.0)[3:4],  # one reading in the window
        [Reading(reading.time_ns, energy_j=5.0) for reading in steady(20.0)],  # it stands still
        [Reading(reading.time_ns) for reading in steady(20.0)],  # it cannot be read any more
    ],
)
def test_the_energy_is_unknown_if_that_of_one_package_is(second: list[Reading]) -> None:
    readings: Readings = {"package-0": steady(20.0), "package-1": second}
    found = cpu_energy(analysed(), 1, readings, packages(2))
    assert found.power_w is found.energy_j is found.energy_j_per_inference is None
    assert found.note is not None
    assert "energy counter" in found.note


def test_the_reason_why_there_are_no_counters_is_the_note() -> None:
    assert cpu_energy(analysed(), 1, {}, Packages(unknown=ABSENT)) == CpuEnergy(note=ABSENT)


def test_a_run_on_the_cpu_has_the_energy_that_the_kernel_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rapl, "SYS", tmp_path)
    without = gpubench.run(model="synthetic", requests=30, warmup=0, service_time=1e-4)
    assert without.cpu_energy is not None
    assert without.cpu_energy.note == ABSENT
    domain(tmp_path, "0", "package-0", 10)
    with_counter = gpubench.run(model="synthetic", requests=30, warmup=0, service_time=1e-4)
    assert with_counter.cpu_energy is not None
    assert with_counter.cpu_energy.packages == 1


def measured(power_w: float | None = 12.0, joules: float | None = 0.36) -> Result:
    found = result(100.0, cpus="0-1")
    found.cpu_energy = CpuEnergy(power_w=power_w, energy_j_per_inference=joules, packages=1)
    found.harness.cpus = "0-1"
    return found


def test_tables_and_csv_show_it() -> None:
    [table] = result_tables([measured()])
    titles = [column.title for column in table.columns]
    row = dict(zip(titles, (cell.text for cell in table.rows[0]), strict=True))
    assert (row["CPU W"], row["J /inference"]) == ("12.0", "0.360")
    assert "GPU W" not in titles
    assert any("counters of RAPL" in remark for remark in table.remarks)
    fields = result_fields(measured(), None)
    assert fields["cpu_energy_joules_per_inference"] == 0.36
    assert (fields["cpu_power_watts"], fields["cpus"]) == (12.0, "0-1")
    assert fields["gpu_energy_joules_per_inference"] is None


def test_electricity_is_computed_from_it() -> None:
    use = with_electricity(measured(joules=3.6), Electricity(0.2, 400.0, 1.5)).electricity
    assert use is not None
    assert use.kwh_per_million == pytest.approx(1.5)
    assert use.usd_per_million == pytest.approx(0.3)
    assert use.grams_co2_per_million == pytest.approx(600.0)
    [table] = result_tables([with_electricity(measured(), Electricity(0.2, 400.0))])
    assert any("the energy of the CPU packages alone" in remark for remark in table.remarks)
    assert with_electricity(measured(joules=None), Electricity(0.2)).electricity is None


def test_owned_hardware_has_the_power_that_was_measured() -> None:
    box = Owned(8760.0, 1.0, usd_per_kwh=0.25)
    [cost] = costs(measured(power_w=400.0), owned=box)
    assert cost.usd_per_hour == pytest.approx(1.1)
    assert cost.price_source is not None
    assert "400 W (CPU packages, measured)" in cost.price_source
