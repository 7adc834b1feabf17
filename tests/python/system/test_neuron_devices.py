"""Tests of finding Neuron devices, in a folder that stands for /dev."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpubench.system.neuron_devices import neuron_devices


@pytest.mark.parametrize(
    ("instance", "model"),
    [
        ("inf2.24xlarge", "Inferentia2"),
        ("trn1.2xlarge", "Trainium"),
        ("trn9.large", "Neuron device"),
        (None, "Neuron device"),
    ],
)
def test_each_device_has_the_model_of_the_family(
    tmp_path: Path, instance: str | None, model: str
) -> None:
    assert neuron_devices(instance, tmp_path) == ()
    for name in ("neuron0", "neuron11", "neuron_ctl", "null"):
        (tmp_path / name).touch()
    assert neuron_devices(instance, tmp_path) == (model, model)
