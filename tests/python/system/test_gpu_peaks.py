"""The peaks of GPUs: the table is complete and plausible, and names are matched exactly."""

from __future__ import annotations

import csv
from datetime import date
from importlib.resources import files

import pytest

from gpubench.system.gpu_peaks import GpuPeak, gpu_peak

NAMES = [
    row["name"]
    for row in csv.DictReader(
        files("gpubench.system").joinpath("gpu_peaks.csv").read_text().splitlines()
    )
]


def peak_of(name: str) -> GpuPeak:
    peak = gpu_peak(name)
    assert peak is not None
    return peak


def test_the_peak_of_an_h200_is_dense() -> None:
    peak = peak_of("NVIDIA H200")
    assert peak.flops_per_second == {
        "fp32": 67e12,
        "tf32": 494.5e12,
        "amp": 989.5e12,
        "fp16": 989.5e12,
        "bf16": 989.5e12,
        "int8": 1979e12,
        "fp8": 1979e12,
    }
    assert peak.memory_bytes_per_second == 4800e9


def test_a_format_that_a_gpu_does_not_have_has_no_peak() -> None:
    assert set(peak_of("Tesla T4").flops_per_second) == {"fp32", "amp", "fp16", "int8"}
    assert "fp8" not in peak_of("NVIDIA A100-SXM4-80GB").flops_per_second


def test_variants_of_a_gpu_differ() -> None:
    boards = ["NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL"]
    assert [peak_of(name).flops_per_second["bf16"] for name in boards] == [
        989.5e12,
        756.5e12,
        835.5e12,
    ]


@pytest.mark.parametrize("name", ["A100-SXM4-40GB", "nvidia a100-sxm4-40gb"])
def test_older_drivers_leave_out_the_brand(name: str) -> None:
    assert peak_of(name).name == "NVIDIA A100-SXM4-40GB"


@pytest.mark.parametrize(
    "name", [None, "", "Fake GPU", "NVIDIA H100", "NVIDIA H200 MIG 1g.18gb", "Tesla V100-SXM2-16GB"]
)
def test_a_gpu_that_is_not_in_the_table_has_no_peak(name: str | None) -> None:
    assert gpu_peak(name) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_document_and_figures_that_fit_together(name: str) -> None:
    peak = peak_of(name)
    figures = peak.flops_per_second
    assert peak.document.startswith("NVIDIA ")
    assert peak.url.startswith("https://")
    assert date.fromisoformat(peak.as_of) <= date.today()
    assert 1e11 < peak.memory_bytes_per_second < 1e13
    assert figures["fp32"] <= figures.get("tf32", figures["fp16"]) <= figures["fp16"]
    # The 8-bit formats are twice as fast as fp16. A figure with sparsity would be four times.
    for eight_bits in ("int8", "fp8"):
        if eight_bits in figures:
            assert figures[eight_bits] == pytest.approx(2 * figures["fp16"], rel=0.02)


def test_every_name_is_there_once() -> None:
    assert len(set(map(str.casefold, NAMES))) == len(NAMES) >= 14
