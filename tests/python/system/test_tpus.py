"""TPUs on the PCI bus."""

from __future__ import annotations

from pathlib import Path

from gpubench.system.tpus import tpus


def add_device(bus: Path, address: str, vendor: str, device: str) -> None:
    folder = bus / address
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "device").write_text(f"{device}\n")


def test_tpus_are_found_beside_other_devices_of_google_and_of_others(tmp_path: Path) -> None:
    add_device(tmp_path, "0000:00:04.0", "0x1ae0", "0x0042")  # a network card
    add_device(tmp_path, "0000:00:05.0", "0x1ae0", "0x0063")
    add_device(tmp_path, "0000:00:06.0", "0x1ae0", "0x0063")
    add_device(tmp_path, "0000:00:07.0", "0x10de", "0x0063")
    (tmp_path / "0000:00:08.0").mkdir()  # without files
    assert tpus(tmp_path) == ("TPU v5e", "TPU v5e")


def test_a_machine_without_a_pci_bus_has_no_tpus(tmp_path: Path) -> None:
    assert tpus(tmp_path / "none") == ()
