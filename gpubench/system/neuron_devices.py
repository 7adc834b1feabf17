"""The Neuron devices of this machine: the chips that its driver shows in /dev.

The driver does not say their model. It follows from the family of the instance.
"""

from __future__ import annotations

import re
from pathlib import Path

_MODELS = {"inf2": "Inferentia2", "trn1": "Trainium", "trn1n": "Trainium", "trn2": "Trainium2"}


def neuron_devices(instance: str | None = None, folder: Path = Path("/dev")) -> tuple[str, ...]:
    """The model of each device, such as "Inferentia2"; "Neuron device" if it is not known."""
    model = _MODELS.get((instance or "").partition(".")[0], "Neuron device")
    return tuple(model for path in folder.glob("neuron*") if re.fullmatch(r"neuron\d+", path.name))
