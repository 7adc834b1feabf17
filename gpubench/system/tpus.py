"""The TPUs of this machine, as the kernel lists them on the PCI bus."""

from __future__ import annotations

from pathlib import Path

_GOOGLE = "0x1ae0"
# Source: torch_xla/_internal/tpu.py. Google's network cards have the same vendor and other numbers.
_MODELS = {
    "0x0027": "TPU v2 or v3",
    "0x005e": "TPU v4",
    "0x0062": "TPU v5p",
    "0x0063": "TPU v5e",
    "0x006f": "TPU v6e",
    "0x0076": "TPU7x",
}


def tpus(devices: Path = Path("/sys/bus/pci/devices")) -> tuple[str, ...]:
    """The model of each TPU chip of this machine, such as "TPU v5e"; empty if it has none."""
    found = []
    for device in sorted(devices.glob("*")):
        if _number(device / "vendor") == _GOOGLE:
            found.append(_MODELS.get(_number(device / "device"), ""))
    return tuple(filter(None, found))


def _number(file: Path) -> str:
    try:
        return file.read_text().strip().lower()
    except OSError:
        return ""
