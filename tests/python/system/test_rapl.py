"""The energy counters of CPU packages: which domains count, and how they are read."""

from __future__ import annotations

from pathlib import Path

from fake_sys import domain

from gpubench.system.rapl import ABSENT, UNREADABLE, cpu_packages
from gpubench.system.telemetry import recorded

NEVER = 3600.0


def test_packages_count_and_not_their_parts_or_the_platform(tmp_path: Path) -> None:
    domain(tmp_path, "0", "package-0", 1_000_000)
    domain(tmp_path, "0:0", "core", 400_000)
    domain(tmp_path, "0:1", "dram", 300_000)
    domain(tmp_path, "1", "package-1", 2_000_000)
    domain(tmp_path, "2", "psys", 9_000_000)
    found = cpu_packages(tmp_path)
    assert [(each.name, each.energy_j()) for each in found.packages] == [
        ("package-0", 1.0),
        ("package-1", 2.0),
    ]
    assert found.unknown is None


def test_a_counter_that_begins_again_goes_on(tmp_path: Path) -> None:
    counter = domain(tmp_path, "0", "package-0", 900, range_uj=1000)
    [package] = cpu_packages(tmp_path).packages
    energies = []
    for raw_uj in (950, 100, 700, 700, 50):  # twice around
        counter.write_text(f"{raw_uj}\n")
        energies.append(package.energy_j())
    assert energies == [950e-6, 1100e-6, 1700e-6, 1700e-6, 2050e-6]


def test_a_counter_that_disappears_has_no_energy(tmp_path: Path) -> None:
    counter = domain(tmp_path, "0", "package-0", 900)
    [package] = cpu_packages(tmp_path).packages
    counter.unlink()
    assert package.energy_j() is None


def test_without_counters_the_reason_is_said(tmp_path: Path) -> None:
    assert cpu_packages(tmp_path).unknown == ABSENT
    domain(tmp_path, "0", "psys", 9_000_000)
    assert cpu_packages(tmp_path).unknown == ABSENT


def test_a_counter_that_only_root_may_read_makes_all_of_them_unknown(tmp_path: Path) -> None:
    domain(tmp_path, "0", "package-0", 900)
    unreadable = domain(tmp_path, "1", "package-1", 900)
    unreadable.unlink()
    unreadable.mkdir()  # also root cannot read a folder
    found = cpu_packages(tmp_path)
    assert found.packages == ()
    assert found.unknown == UNREADABLE
    assert "chmod a+r" in UNREADABLE


def test_readings_begin_and_end_with_the_block(tmp_path: Path) -> None:
    counter = domain(tmp_path, "0", "package-0", 1_000_000)
    packages = cpu_packages(tmp_path).packages
    with recorded([], period_s=NEVER, packages=packages) as readings:
        counter.write_text("4000000\n")
    assert [reading.energy_j for reading in readings["package-0"]] == [1.0, 4.0]
    assert readings["package-0"][0].time_ns <= readings["package-0"][1].time_ns
