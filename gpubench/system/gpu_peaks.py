"""The peak arithmetic and memory bandwidth of NVIDIA GPUs, as their datasheets give them.

`gpu_peaks.csv` is the whole data set: one row for each name that the driver gives to a GPU. The
arithmetic is dense: datasheets that give a figure "with sparsity" are halved. It is that of the
tensor cores, except for fp32, which only the other cores compute. An empty field is a format that
the GPU does not have, or a figure that could not be checked. Where two revisions of a datasheet
differ, the newer one is used. The figures were compared with public quotations of the documents.

Some GPUs are absent on purpose. The page of the RTX PRO 6000 Blackwell does not say whether its
figures are with sparsity. A MIG slice has another name than its board, and only a part of its peak.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_TERA, _GIGA = 1e12, 1e9

# The column of each precision. Autocast computes the products in fp16 on a GPU.
_COLUMNS = {
    "fp32": "fp32_tflops",
    "tf32": "tf32_tflops",
    "amp": "fp16_tflops",
    "fp16": "fp16_tflops",
    "bf16": "bf16_tflops",
    "int8": "int8_tops",
    "fp8": "fp8_tflops",
}


@dataclass(frozen=True)
class GpuPeak:
    """What one GPU can do at most, according to its datasheet."""

    name: str  # as the driver gives it
    flops_per_second: Mapping[str, float]  # dense, by precision; absent: not known
    memory_bytes_per_second: float
    document: str
    url: str
    as_of: str  # the date on which the figures were looked up, ISO 8601


def gpu_peak(name: str | None) -> GpuPeak | None:
    """The peak of the GPU with this name, as NVML, the driver and torch give it.

    None if the GPU is not in the table. The name must be the same: an H100 PCIe is not an H100 SXM.
    """
    return None if name is None else _table().get(_normalised(name))


@cache
def _table() -> dict[str, GpuPeak]:
    text = files("gpubench.system").joinpath("gpu_peaks.csv").read_text(encoding="utf-8")
    peaks = [_peak(row) for row in csv.DictReader(text.splitlines())]
    return {_normalised(peak.name): peak for peak in peaks}


def _peak(row: Mapping[str, str]) -> GpuPeak:
    return GpuPeak(
        name=row["name"],
        flops_per_second={
            precision: float(row[column]) * _TERA
            for precision, column in _COLUMNS.items()
            if row[column]
        },
        memory_bytes_per_second=float(row["memory_gb_per_second"]) * _GIGA,
        document=row["document"],
        url=row["url"],
        as_of=row["as_of"],
    )


def _normalised(name: str) -> str:
    """The name without the brand: older drivers say "A100-SXM4-40GB" and "Tesla T4"."""
    return name.casefold().removeprefix("nvidia ").removeprefix("tesla ")
