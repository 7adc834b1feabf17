"""The arithmetic that a cell achieved, and its share of the peak."""

from __future__ import annotations

import pytest

from gpubench.results.result import Achieved
from gpubench.statistics.achieved import achieved

H200, A10G = "NVIDIA H200", "NVIDIA A10G"


def test_the_share_is_that_of_the_dense_peak_at_the_precision() -> None:
    figures = achieved(20e9, 10_000, "fp16", [H200])
    assert figures.flops_per_second == 200e12
    assert figures.peak_share == pytest.approx(200 / 989.5)
    assert figures.peak_source == (
        "1 x NVIDIA H200: 989.5 TFLOP/s in fp16 without sparsity (NVIDIA H200 datasheet, SXM)"
    )
    assert achieved(20e9, 1_000, "fp32", [H200]).peak_share == pytest.approx(20 / 67)


def test_the_peak_of_several_gpus_is_their_sum() -> None:
    figures = achieved(20e9, 10_000, "amp", [H200, H200, A10G])
    assert figures.peak_share == pytest.approx(200 / (2 * 989.5 + 70))
    assert figures.peak_source is not None
    assert figures.peak_source.startswith("2 x NVIDIA H200: 989.5 TFLOP/s in amp")
    assert "; 1 x NVIDIA A10G: 70 TFLOP/s in amp" in figures.peak_source


@pytest.mark.parametrize(
    ("precision", "gpus"),
    [
        ("fp16", []),  # a CPU
        ("fp16", ["Fake GPU"]),
        ("fp16", [None]),
        ("fp16", [H200, None]),
        ("fp8", [A10G]),
        ("bf16", ["Tesla T4"]),
    ],
)
def test_without_a_known_peak_there_is_no_share(precision: str, gpus: list[str | None]) -> None:
    assert achieved(2e9, 100, precision, gpus) == Achieved(flops_per_second=2e11)


@pytest.mark.parametrize(("flops", "throughput"), [(None, 10.0), (1e9, None), (None, None)])
def test_without_operations_or_throughput_there_is_no_figure(
    flops: float | None, throughput: float | None
) -> None:
    assert achieved(flops, throughput, "fp16", [H200]) == Achieved()


def test_a_step_of_training_has_three_times_the_operations_of_its_forward_pass() -> None:
    inference = achieved(1e9, 100.0, "bf16", ["NVIDIA H200"])
    training = achieved(1e9, 100.0, "bf16", ["NVIDIA H200"], trains=True)
    assert training.flops_per_second == 3e11
    assert training.peak_share == pytest.approx(3 * (inference.peak_share or 0.0))
