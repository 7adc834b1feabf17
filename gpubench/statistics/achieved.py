"""The arithmetic that a cell achieved, and its share of the peak of the GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gpubench.results.result import Achieved
from gpubench.system.gpu_peaks import GpuPeak, gpu_peak

_TERA = 1e12
# Operations of a training step, relative to its forward pass: the backward pass needs two products
# of the same size for each product, one for the gradient of the inputs and one for that of the
# weights. Source: "PaLM: Scaling Language Modeling with Pathways", appendix B (model FLOPs
# utilisation, MFU).
TRAINING_FLOP_FACTOR = 3.0


def achieved(
    flops: float | None,
    throughput_per_second: float | None,
    precision: str,
    gpus: Sequence[str | None],
    *,
    trains: bool = False,
) -> Achieved:
    """Floating-point operations per second, and their share of the peak.

    `flops` are those of one inference, and `throughput_per_second` counts inferences. `gpus` has
    the name of each GPU used, None if it is unknown; it is empty on a CPU. Samples that only fill
    up a batch are no inferences, so their operations do not count. With `trains` each sample has
    TRAINING_FLOP_FACTOR times as many operations, and the share is the model FLOPs utilisation:
    what activation checkpointing computes again does not count.

    All figures are None if the operations or the throughput are unknown. The share is None on a
    CPU, and if the peak of one of the GPUs at this precision is unknown.
    """
    if flops is None or throughput_per_second is None:
        return Achieved()
    flops_per_second = flops * throughput_per_second * (TRAINING_FLOP_FACTOR if trains else 1.0)
    peaks = [
        peak for name in gpus if (peak := gpu_peak(name)) and precision in peak.flops_per_second
    ]
    if not peaks or len(peaks) < len(gpus):
        return Achieved(flops_per_second=flops_per_second)
    together = sum(peak.flops_per_second[precision] for peak in peaks)
    return Achieved(
        flops_per_second=flops_per_second,
        peak_share=flops_per_second / together,
        peak_source=_source(peaks, precision),
    )


def _source(peaks: Sequence[GpuPeak], precision: str) -> str:
    """'2 x NVIDIA H200: 989.5 TFLOP/s in fp16 without sparsity (NVIDIA H200 datasheet, SXM)'."""
    described = []
    for name, count in Counter(peak.name for peak in peaks).items():
        peak = next(peak for peak in peaks if peak.name == name)
        teraflops = peak.flops_per_second[precision] / _TERA
        described.append(
            f"{count} x {name}: {teraflops:g} TFLOP/s in {precision} without sparsity "
            f"({peak.document})"
        )
    return "; ".join(described)
