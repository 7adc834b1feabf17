"""What an inference computes, and which settings can replace each other."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from gpubench.spec.spec import Spec


@dataclass(frozen=True)
class Workload:
    """What an inference computes. Costs are compared only within one workload."""

    model: str
    weights: str
    seq_len: int | None
    input_shape: str | None
    dim: str | None
    inputs_file: str | None
    service_time: float | None  # seconds
    service_dist: str | None


def workload_of(spec: Spec) -> Workload:
    return Workload(
        spec.model,
        spec.weights,
        spec.seq_len,
        spec.input_shape,
        spec.dim,
        spec.inputs_file,
        spec.service_time,
        spec.service_dist,
    )


def competition(spec: Spec) -> Hashable:
    """What settings have in common whose rates a sweep with an objective compares.

    They have the same workload, and so do their requests: they are all inferences or all steps of
    training, they come in the same way, and their inputs start in the same place.
    """
    return workload_of(spec), spec.task, spec.seed, spec.inputs, spec.arrivals
