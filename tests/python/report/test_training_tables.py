"""Tables with steps of training, alone and beside inferences."""

from __future__ import annotations

from typing import Any

import pytest
from factories import result

from gpubench.report import markdown
from gpubench.report.results import result_tables
from gpubench.report.sizes import variants
from gpubench.report.summary import cell_lines
from gpubench.results.result import CpuEnergy, Failure, Result, TrainingReport
from gpubench.statistics.scaling import with_scaling


def trained(throughput: float = 4.0, replicas: int = 1, **settings: Any) -> Result:
    """A cell of training; `settings` as in factories.result."""
    usual: dict[str, Any] = {
        "task": "train",
        "runtime": "eager",
        "optimizer": "adamw",
        "accumulate": 1,
    }
    measured = result(throughput, replicas=replicas, threads=1, **usual | settings)
    report = TrainingReport(
        optimizer="adamw",
        replicas=replicas,
        samples_per_step=replicas,
        loss="cross-entropy",
        toy_steps=3,
        toy_first_loss=3.0,
        toy_last_loss=2.0,
        parameters_changed=True,
        trains=True,
        flop_factor=3.0,
    )
    return measured.model_copy(update={"training": report})


def table(*cells: Result) -> str:
    return markdown.text(result_tables(cells))


def test_the_throughput_of_training_counts_samples_in_its_column_and_in_the_legend() -> None:
    energy = CpuEnergy(power_w=12.0, energy_j=36.0, energy_j_per_inference=3.0, packages=1)
    text = table(trained().model_copy(update={"cpu_energy": energy}))
    assert "| J /sample |" in text
    assert "samples /s and $/million count samples, not requests; ± is the 95% interval" in text
    assert "A request of training is an optimiser step on the samples of all replicas" in text
    assert "inferences /s" not in text


def test_a_table_of_inferences_says_nothing_of_training() -> None:
    text = table(result(20.0))
    assert "inferences /s and $/million count samples" in text
    assert "training" not in text


def test_training_does_not_stand_for_a_model_among_inferences() -> None:
    inference = result(20.0, runtime="eager")
    assert variants([trained(400.0), inference]) == [inference]


def test_training_competes_with_no_inference_and_is_not_deployed() -> None:
    cells = [result(20.0, 90.0, runtime="eager"), trained(99.0)]
    counts, where, plan, page = cell_lines(cells, "run")
    assert counts == "2 cells: 2 valid, 0 suspect, 0 failed"
    assert plan == "what to deploy: gpubench plan run --objective p95:100ms"
    assert cell_lines([trained()], "run") == [where, page]


def test_scaling_is_relative_to_one_replica_that_did_not_fail() -> None:
    stopped = trained(40.0, error=Failure(stage="measure", message="interrupted"))
    for one, share in ((trained(4.0), 0.75), (stopped, None)):
        _, two = with_scaling([one, trained(6.0, replicas=2)])
        assert two.training is not None
        assert two.training.scaling_efficiency == pytest.approx(share)
