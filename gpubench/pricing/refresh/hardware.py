"""The hardware of instances that price interfaces do not fully describe.

AWS states the number of vCPUs, the memory and the number of GPUs, but not their model. Azure and
Google state nothing. The bundled catalog is the first source. The tables below add general CPU
families, whose sizes follow one rule, and Google's larger GPU machines. An instance whose hardware
is not known is not written: without its accelerators, a price would look like that of a CPU.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from gpubench.pricing.catalog import bundled_catalog


@dataclass(frozen=True)
class MachineHardware:
    accelerator: str | None
    accelerator_count: int
    accelerator_memory_gib: float | None  # of one accelerator
    vcpus: int
    memory_gib: float


def bundled(provider: str) -> dict[str, MachineHardware]:
    """The hardware of a provider's instances in the bundled catalog, by name."""
    return {
        each.name: MachineHardware(
            each.accelerator,
            each.accelerator_count,
            each.accelerator_memory_gib,
            each.vcpus,
            each.memory_gib,
        )
        for each in bundled_catalog().instances
        if each.provider == provider and each.vcpus is not None and each.memory_gib is not None
    }


def family(provider: str, name: str) -> str:
    """The name of an instance without its size: instances of one family share prices per part."""
    if provider == "aws":
        return name.partition(".")[0]
    if provider == "azure":  # Standard_NC24ads_A100_v4: the first number is the size
        return re.sub(r"\d+", "#", name, count=1)
    return re.sub(r"-\d+g?(?=\+|$)", "-#", re.sub(r"\+\d+x", "+", name))


# Families without accelerators. The price list counts GPUs alone: other families may have
# accelerators that it does not state, such as Inferentia (inf1), Trainium (trn2) or Gaudi (dl1).
_AWS_WITHOUT_ACCELERATORS = re.compile(r"(a|c|d|h|hpc|i|im|is|m|r|t|x|z)\d.*|u(\d|-).*")
# General purpose, compute optimised and memory optimised families from the sixth generation on.
_AWS_CPU_FAMILY = re.compile(r"[cmr][6-9]\d*[aig]")


def aws(name: str, vcpus: int, memory_gib: float, gpus: int) -> MachineHardware | None:
    """The hardware of an EC2 instance from its row of the price list. None: not known.

    Models and memory of GPUs are those of another size of the family in the bundled catalog.
    Raises ValueError if the row contradicts the bundled catalog.
    """
    known = bundled("aws")
    if name in known:
        hardware = known[name]
        if hardware.vcpus != vcpus or (gpus and gpus != hardware.accelerator_count):
            raise ValueError(
                f"it has {vcpus} vCPUs and {gpus} GPUs in the price list, and {hardware.vcpus} and "
                f"{hardware.accelerator_count} in the bundled catalog"
            )
        return hardware
    of_name = family("aws", name)
    if gpus == 0:
        if _AWS_WITHOUT_ACCELERATORS.fullmatch(of_name) is None:
            return None
        return MachineHardware(None, 0, None, vcpus, memory_gib)
    relatives = [
        hardware
        for each, hardware in known.items()
        if family("aws", each) == of_name and hardware.accelerator_count
    ]
    if not relatives:
        return None
    model, memory = relatives[0].accelerator, relatives[0].accelerator_memory_gib
    return MachineHardware(model, gpus, memory, vcpus, memory_gib)


def is_wanted_on_aws(name: str) -> bool:
    """Whether the instance is read when no instance was asked for by name."""
    of_name = family("aws", name)
    return of_name in _aws_families() or _AWS_CPU_FAMILY.fullmatch(of_name) is not None


@cache
def _aws_families() -> frozenset[str]:
    return frozenset(family("aws", each) for each in bundled("aws"))


# Memory for each vCPU in GiB, and the sizes in vCPUs. Sources:
# https://learn.microsoft.com/azure/virtual-machines/sizes/general-purpose/dsv5-series,
# https://learn.microsoft.com/azure/virtual-machines/sizes/general-purpose/dasv5-series,
# https://learn.microsoft.com/azure/virtual-machines/sizes/compute-optimized/fsv2-series.
_AZURE_CPU = {
    "Standard_D{}s_v5": (4, (2, 4, 8, 16, 32, 48, 64, 96)),
    "Standard_D{}as_v5": (4, (2, 4, 8, 16, 32, 48, 64, 96)),
    "Standard_F{}s_v2": (2, (2, 4, 8, 16, 32, 48, 64, 72)),
}


def azure() -> dict[str, MachineHardware]:
    """The hardware of the known sizes of Azure, by name."""
    known = bundled("azure")
    for pattern, (gib, sizes) in _AZURE_CPU.items():
        for vcpus in sizes:
            known.setdefault(
                pattern.format(vcpus), MachineHardware(None, 0, None, vcpus, float(gib * vcpus))
            )
    return known


# Google's machine types beyond the bundled catalog. Sources: for those with GPUs
# https://cloud.google.com/compute/docs/accelerator-optimized-machines, which states vCPUs, memory,
# GPU memory of all 8 GPUs (640, 1,128, 1,440 GB) and local SSDs; for the others
# https://cloud.google.com/compute/docs/general-purpose-machines.
_GOOGLE_GPU = {
    "a3-megagpu-8g": MachineHardware("H100", 8, 80.0, 208, 1872.0),
    "a3-ultragpu-8g": MachineHardware("H200", 8, 141.0, 224, 2952.0),
    "a4-highgpu-8g": MachineHardware("B200", 8, 180.0, 224, 3968.0),
}
_GOOGLE_CPU = {
    "n1-standard-{}": (3.75, (1, 2, 4, 8, 16, 32, 64, 96)),
    "n2-standard-{}": (4.0, (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)),
    "c3-standard-{}": (4.0, (4, 8, 22, 44, 88, 176)),
}
_GOOGLE_ADDED = {  # accelerators that an N1 machine takes as an option
    "T4": 16.0,
    "V100": 16.0,
}
_ADDED_NAME = {"V100": "V100 16GB"}
_COMPOSED = re.compile(r"(?P<host>n1-standard-\d+)\+(?P<count>[1248])x(?P<model>T4|V100)")
_COMMON_COMPOSED = (
    "n1-standard-4+1xT4",
    "n1-standard-8+1xT4",
    "n1-standard-16+1xT4",
    "n1-standard-16+2xT4",
    "n1-standard-32+4xT4",
    "n1-standard-8+1xV100",
)


def google() -> dict[str, MachineHardware]:
    """The hardware of Google's known machine types, and of common composed ones, by name.

    Without machines with TPUs: the price list of Compute Engine does not have them.
    """
    known = bundled("gcp") | _GOOGLE_GPU
    known = {name: each for name, each in known.items() if not _has_tpus(each)}
    for pattern, (gib, sizes) in _GOOGLE_CPU.items():
        for vcpus in sizes:
            known.setdefault(
                pattern.format(vcpus), MachineHardware(None, 0, None, vcpus, gib * vcpus)
            )
    for name in _COMMON_COMPOSED:
        if (hardware := composed(name, known)) is not None:
            known[name] = hardware
    return known


def _has_tpus(hardware: MachineHardware) -> bool:
    return (hardware.accelerator or "").startswith("TPU")


def composed(name: str, known: dict[str, MachineHardware]) -> MachineHardware | None:
    """The hardware of a machine with accelerators as an option, as in n1-standard-4+1xT4.

    gpubench made up these names: Google bills the machine and the accelerators separately and has
    no name for both. None if the name has another form or the machine is not known.
    """
    parts = _COMPOSED.fullmatch(name)
    if parts is None or parts["host"] not in known:
        return None
    host, model = known[parts["host"]], parts["model"]
    return MachineHardware(
        _ADDED_NAME.get(model, model),
        int(parts["count"]),
        _GOOGLE_ADDED[model],
        host.vcpus,
        host.memory_gib,
    )
