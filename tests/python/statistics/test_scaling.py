"""Scaling efficiency: which cells are partners, and what it is."""

from __future__ import annotations

from typing import Any

import pytest
from factories import result, training_report

from gpubench.results.result import Failure, Result
from gpubench.statistics.scaling import with_scaling


def trained(rate: float | None, replicas: int, **settings: Any) -> Result:
    report = training_report(replicas=replicas, samples_per_step=replicas)
    usual: dict[str, Any] = {"task": "train", "replicas": replicas, "threads": 1}
    return result(rate, **usual | settings).model_copy(update={"training": report})


def efficiencies(*results: Result) -> list[float | None]:
    found = with_scaling(results)
    return [each.training.scaling_efficiency if each.training else None for each in found]


def test_it_is_the_throughput_relative_to_that_of_one_replica_times_their_number() -> None:
    assert efficiencies(trained(10.0, 1), trained(18.0, 2)) == [None, pytest.approx(0.9)]


def test_repeats_of_one_replica_count_with_their_geometric_mean() -> None:
    found = efficiencies(trained(18.0, 2), trained(8.0, 1), trained(18.0, 1))
    assert found == [pytest.approx(18 / (2 * 12)), None, None]


@pytest.mark.parametrize(
    "settings", [{"batch": 2}, {"threads": 2}, {"optimizer": "sgd"}, {"precision": "bf16"}]
)
def test_another_setting_is_no_partner(settings: dict[str, Any]) -> None:
    assert efficiencies(trained(10.0, 1, **settings), trained(18.0, 2)) == [None, None]


def test_on_gpus_the_gpus_used_and_the_threads_may_differ() -> None:
    one = trained(10.0, 1, device="cuda:0", threads=4)
    two = trained(20.0, 2, device="cuda:0,cuda:1", threads=2)
    assert efficiencies(one, two) == [None, pytest.approx(1.0)]


def test_a_partner_that_stopped_early_is_none() -> None:
    stopped = trained(10.0, 1, error=Failure(stage="measure", message="interrupted"))
    assert efficiencies(stopped, trained(18.0, 2)) == [None, None]


def test_an_inference_and_a_failed_cell_are_left_alone() -> None:
    assert efficiencies(result(10.0), trained(None, 1), trained(18.0, 2)) == [None, None, None]
