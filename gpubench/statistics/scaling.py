"""Scaling efficiency: what several replicas achieve, relative to as many times one of them.

    throughput of N replicas / (N * throughput of one replica)

Each replica has the same batch in both (weak scaling). A cell with one replica is the other's
partner if it was measured on the same machine with the same software, and differs in nothing but
the number of replicas and, on GPUs, in the GPUs used. On a CPU the threads of a replica must be the
same too, so without --threads one replica has all cores and is no partner.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from gpubench.results.result import Result


def with_scaling(results: Sequence[Result]) -> list[Result]:
    """The results, in their order, with the scaling efficiency of those that have a partner.

    Repeats of the partner count with their geometric mean, without those that failed.
    """
    alone: defaultdict[Hashable, list[float]] = defaultdict(list)
    for result in results:
        training, rate = result.training, result.throughput_per_second
        if training is not None and training.replicas == 1 and rate and result.error is None:
            alone[_key(result)].append(math.log(rate))
    return [_with_scaling(result, alone.get(_key(result))) for result in results]


def _with_scaling(result: Result, alone: list[float] | None) -> Result:
    training, rate = result.training, result.throughput_per_second
    if training is None or training.replicas == 1 or rate is None or alone is None:
        return result
    one = math.exp(sum(alone) / len(alone))
    found = training.model_copy(update={"scaling_efficiency": rate / (training.replicas * one)})
    return result.model_copy(update={"training": found})


def _key(result: Result) -> Hashable:
    """Equal for results that may differ in the number of replicas, and in nothing else."""
    free = {"replicas"} if result.spec.device == "cpu" else {"replicas", "device", "threads"}
    settings = {k: v for k, v in result.spec.measured_settings().items() if k not in free}
    environment = result.environment.model_dump_json(exclude={"time"})
    return environment, result.spec.device == "cpu", repr(sorted(settings.items()))
