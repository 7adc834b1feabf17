"""The machine and the versions of the software, for a result."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from gpubench.results.result import Environment
from gpubench.spec.cell import Cell
from gpubench.system import gpus, torch_gpus
from gpubench.system.machine import Machine
from gpubench.system.neuron_devices import neuron_devices
from gpubench.system.tpus import tpus

DISTRIBUTION = "gpubench-inference"


def environment(machine: Machine, cell: Cell, imports_torch: bool = True) -> Environment:
    """The machine and the versions of the software, as the result of `cell` stores them.

    Without `imports_torch` it does not say for which version of CUDA torch was built.
    """
    cuda = driver = None
    names = list(machine.gpus)
    if not cell.on_cpu:
        driver = _driver_version()
        if cell.service is not None or not imports_torch:
            names = [gpu.name for gpu in gpus.visible_gpus()]
        else:
            import torch

            cuda = torch.version.cuda
            names = [gpu.name for gpu in torch_gpus.torch_gpus()]
    if cell.accelerator == "neuron":
        names = list(neuron_devices(machine.instance))
    if cell.accelerator == "tpu":
        names = list(tpus())
    return Environment(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        gpubench=own_version(),
        python=platform.python_version(),
        platform=machine.platform,
        torch=_version("torch"),
        torchvision=_version("torchvision"),
        transformers=_version("transformers"),
        cuda=cuda,
        driver=driver,
        cpu=machine.cpu,
        cores=machine.cores,
        gpus=names,
        instance=machine.instance,
    )


def own_version() -> str:
    """The version of gpubench."""
    return _version(DISTRIBUTION) or "source tree"


def _driver_version() -> str | None:
    """The version of the NVIDIA kernel driver; None if it is not loaded."""
    try:
        with open("/sys/module/nvidia/version") as file:
            return file.read().strip()
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
