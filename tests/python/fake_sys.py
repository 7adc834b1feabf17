"""A folder like /sys, with sensors and energy counters that a test sets."""

from __future__ import annotations

from pathlib import Path


def write(file: Path, text: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")
    return file


def chip(sys: Path, number: int, name: str, *millidegrees: object) -> list[Path]:
    """The inputs of a hwmon chip."""
    folder = sys / f"class/hwmon/hwmon{number}"
    write(folder / "name", name)
    return [write(folder / f"temp{n}_input", each) for n, each in enumerate(millidegrees, 1)]


def zone(sys: Path, number: int, kind: str, millidegrees: object) -> Path:
    """The temperature of a thermal zone."""
    folder = sys / f"class/thermal/thermal_zone{number}"
    write(folder / "type", kind)
    return write(folder / "temp", millidegrees)


def domain(sys: Path, place: str, name: str, energy_uj: int, range_uj: int = 1_000_000_000) -> Path:
    """The counter of a RAPL domain; `place` is "0", or "0:1" for a part of it."""
    folder = sys / f"class/powercap/intel-rapl:{place}"
    write(folder / "name", name)
    write(folder / "max_energy_range_uj", range_uj)
    return write(folder / "energy_uj", energy_uj)
