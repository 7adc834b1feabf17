"""Tables with steps of training, alone and beside inferences."""

from __future__ import annotations

from typing import Any

from factories import result, training_report

from gpubench.planning.compare import compare
from gpubench.report import markdown
from gpubench.report.comparison import wide_table
from gpubench.report.results import result_tables
from gpubench.report.sizes import variants
from gpubench.results.result import CpuEnergy, Result


def trained(throughput: float = 4.0, replicas: int = 1, **settings: Any) -> Result:
    """A cell of training; `settings` as in factories.result."""
    usual: dict[str, Any] = {
        "task": "train",
        "runtime": "eager",
        "optimizer": "adamw",
        "accumulate": 1,
    }
    measured = result(throughput, replicas=replicas, threads=1, **usual | settings)
    report = training_report(
        replicas=replicas, samples_per_step=replicas, loss="cross-entropy", toy_steps=3
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


def test_training_and_inferences_have_tables_of_their_own() -> None:
    cells = [trained(), result(20.0, runtime="eager")]
    texts = sorted(markdown.text([each]) for each in result_tables(cells))
    assert sorted(("inferences /s" in each, "samples /s" in each) for each in texts) == [
        (False, True),
        (True, False),
    ]


def test_a_table_of_inferences_says_nothing_of_training() -> None:
    text = table(result(20.0))
    assert "inferences /s and $/million count samples" in text
    assert "training" not in text


def test_training_does_not_stand_for_a_model_among_inferences() -> None:
    inference = result(20.0, runtime="eager")
    assert variants([trained(400.0), inference]) == [inference]


def test_a_comparison_of_steps_counts_samples() -> None:
    table = wide_table(compare([trained()], [trained(8.0)]), "a", "b")
    text = markdown.text([table])
    assert "A samples /s" in text
    assert "More is better of samples /s" in text
    assert "inferences" not in text
