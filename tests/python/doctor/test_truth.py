"""`doctor --truth`: figures of known machines, and what is concluded from them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from factories import a_cell, a_machine, failed, result

from gpubench.cells.resolve import resolve
from gpubench.cli import program as cli
from gpubench.doctor import queueing_check, same_thing, truth
from gpubench.doctor.queueing_check import QueueCheck, TheoryFigure, check_queue
from gpubench.doctor.same_thing import NULL, SMALL_MODEL, System, SystemCheck, check_system
from gpubench.doctor.truth import Comparability, conclude, examine_truth, findings_of, level
from gpubench.errors import GpubenchError
from gpubench.measure.isolated import EngineProcesses, MeasuredCell
from gpubench.results.result import Result
from gpubench.results.run_directory import CellFiles
from gpubench.spec.cell import Cell
from gpubench.spec.repetition import ONCE, Repetition
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine, this_machine

MACHINE = a_machine()
FITTING = QueueCheck(
    name="M/M/1",
    load=0.5,
    requests=5000,
    mean_ms=TheoryFigure(2.05, 2.0, (1.8, 2.2)),
    p95_ms=TheoryFigure(6.1, 6.0, (5.3, 6.8)),
    error=None,
    lag_p99_us=20.0,
)


def repeats(spread: float, drift: float = 0.0, count: int = 40) -> list[Result]:
    """Repeats that differ by `spread`. From the first to the last, figures change by `drift`."""
    rng = np.random.default_rng(3)
    found = []
    for place in range(count):
        one, two = (
            math.exp(spread * rng.standard_normal() + drift * place / count) for _ in range(2)
        )
        each = result(model="synthetic")
        each.throughput_per_second, each.latency_ms.p95 = 1000 * one, 5 * two
        each.throughput_interval = (999 * one, 1001 * one)
        each.latency_ms.p95_interval = (4.99 * two, 5.01 * two)
        found.append(each)
    return found


def checked(spread: float, drift: float = 0.0) -> SystemCheck:
    return check_system(NULL, MACHINE, lambda system, machine: repeats(spread, drift))


@pytest.mark.parametrize(
    ("half_width", "found"),
    [(0.004, 0.01), (0.01, 0.01), (0.0101, 0.02), (0.03, 0.05), (0.06, None)],
)
def test_the_level_is_the_smallest_that_is_reached(half_width: float, found: float | None) -> None:
    assert level(half_width) == found


@pytest.mark.parametrize(
    ("spread", "found", "status"), [(0.01, 0.01, "ok"), (0.04, 0.05, "ok"), (0.1, None, "warning")]
)
def test_the_spread_gives_the_conclusion(spread: float, found: float | None, status: str) -> None:
    conclusion = conclude(checked(spread))
    assert (conclusion.throughput_level, conclusion.p95_level) == (found, found)
    # t of 9 degrees of freedom is 2.26, for ten rounds.
    assert conclusion.throughput == pytest.approx(
        math.expm1(2.262 * spread / math.sqrt(10)), rel=0.2
    )
    assert conclusion.spread == pytest.approx(spread, rel=0.2)
    assert conclusion.finding.status == status
    if found is not None:
        assert f"can be compared at {found:.0%}" in conclusion.finding.found


def test_the_conclusion_names_what_cannot_be_compared() -> None:
    finding = Comparability(throughput=0.013, p95=0.2, spread=0.3).finding
    assert finding.status == "warning"
    assert "throughput can be compared at 2%, P95 cannot be compared at 5%" in finding.found


def test_independent_repeats_are_fine() -> None:
    [finding] = checked(0.02).findings
    assert (finding.check, finding.status) == ("A/A of the null system", "ok")
    assert "40 repeats" in finding.found


def test_a_machine_that_changes_slowly_has_a_remedy() -> None:
    [finding] = checked(0.01, drift=0.2).findings
    assert finding.status == "warning"
    assert "five repeats in a row hold the throughput" in finding.found
    assert "over a longer time" in (finding.remedy or "")


def test_a_few_repeats_that_differ_much_have_another_remedy() -> None:
    some = repeats(1e-6)
    for each in some[::10]:
        assert each.throughput_per_second is not None
        each.throughput_per_second *= 0.8
    [finding] = check_system(NULL, MACHINE, lambda system, machine: some).findings
    assert finding.status == "warning"
    assert "five repeats hold the throughput" in finding.found
    assert "--repeats 10" in (finding.remedy or "")


def test_the_p95_of_the_null_system_is_not_judged() -> None:
    some = repeats(0.01)
    for each in some:
        each.latency_ms.p95 = 90e-6
    some[0].latency_ms.p95 = 91e-6

    def measured(system: System, machine: Machine) -> list[Result]:
        return some

    [finding] = check_system(NULL, MACHINE, measured).findings
    assert finding.status == "ok"
    [finding] = check_system(SMALL_MODEL, MACHINE, measured).findings
    assert finding.status == "warning"


def test_too_few_repeats_are_an_error() -> None:
    with pytest.raises(GpubenchError, match="measured 16 times"):
        check_system(NULL, MACHINE, lambda system, machine: repeats(0.01, count=16))


def test_a_queue_that_fits_theory_is_ok() -> None:
    finding = FITTING.finding
    assert (finding.check, finding.status) == ("M/M/1 at load 0.5", "ok")
    assert "2.05 ms, theory 2.00 (1.80 to 2.20 by chance)" in finding.found


@pytest.mark.parametrize(
    "change",
    [
        {"mean_ms": TheoryFigure(2.3, 2.0, (1.8, 2.2))},
        {"p95_ms": TheoryFigure(7.0, 6.0, (5.3, 6.8))},
        {"error": 0.08},
    ],
)
def test_a_queue_that_does_not_fit_is_a_warning(change: dict[str, Any]) -> None:
    finding = replace(FITTING, **change).finding
    assert finding.status == "warning"
    assert "end other programs" in (finding.remedy or "")


@pytest.mark.parametrize("distribution", ["constant", "exponential"])
def test_a_queue_in_real_time(distribution: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine fits theory is not tested here: other tests run at the same time."""
    monkeypatch.setattr(queueing_check, "WARMUP_S", 0.05)
    check = check_queue(this_machine(), distribution, load=0.5, duration_s=0.3)
    assert check.requests == 150
    assert check.mean_ms.measured >= 0.5
    assert check.mean_ms.by_chance[0] < check.mean_ms.theory < check.mean_ms.by_chance[1]
    if distribution == "constant":
        assert (check.name, check.p95_ms) == ("M/D/1", None)
        # A worker is never earlier than in simulated time.
        assert check.error is not None
        assert check.error > -1e-3
    else:
        assert (check.name, check.error) == ("M/M/1", None)
        assert check.p95_ms is not None
        assert check.p95_ms.theory == pytest.approx(5.991, abs=1e-3)


def tiny(machine: Machine) -> Cell:
    spec = Spec(model="synthetic", device="cpu", service_time=0.0, warmup=0.0, requests=20)
    return resolve(spec, machine)


def test_repeats_are_in_their_order() -> None:
    machine = this_machine()
    results = same_thing.measure_again(tiny(machine), machine, 3, ONCE)
    assert [each.repeat and each.repeat.number for each in results] == [1, 2, 3]


def test_a_repeat_that_fails_ends_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = this_machine()
    measured: list[int] = []

    def fail(*arguments: object) -> MeasuredCell:
        measured.append(1)
        return MeasuredCell(failed("no memory", model="synthetic"), CellFiles(b"", None))

    monkeypatch.setattr(EngineProcesses, "measure", fail)
    cell = tiny(machine)
    with pytest.raises(GpubenchError, match="synthetic failed: no memory"):
        same_thing.measure_again(cell, machine, 2, Repetition(fresh=True))
    assert len(measured) == 1


def test_ctrl_c_ends_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*arguments: object) -> Result:
        raise KeyboardInterrupt

    machine = this_machine()
    monkeypatch.setattr(EngineProcesses, "measure", press)
    cell = tiny(machine)
    with pytest.raises(KeyboardInterrupt):
        same_thing.measure_again(cell, machine, 2, Repetition(fresh=True))


def test_the_small_model_is_one_that_gpubench_can_measure() -> None:
    import torch

    from gpubench.models.own import load

    model = load(a_cell(model=SMALL_MODEL.spec.model))
    (inputs,) = model.make_inputs(torch.Generator(), 2)
    assert model.module(inputs).shape == inputs.shape == (2, 32, 512)


Experiment = Callable[..., None]


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Replaces what takes minutes."""

    def replaced(system: Callable[..., SystemCheck], then: Exception | None = None) -> None:
        def queues(machine: Machine) -> Iterator[QueueCheck]:
            yield FITTING
            if then is not None:
                raise then

        monkeypatch.setattr("gpubench.doctor.examine", lambda machine: iter([]))
        monkeypatch.setattr(truth, "queue_checks", queues)
        monkeypatch.setattr(truth, "check_system", system)

    return replaced


def steady(system: System, machine: Machine) -> SystemCheck:
    return check_system(system, machine, lambda system, machine: repeats(0.01))


def test_what_cannot_be_measured_is_a_problem_and_the_rest_goes_on(experiment: Experiment) -> None:
    def broken(system: System, machine: Machine) -> SystemCheck:
        if system is SMALL_MODEL:
            raise GpubenchError("torch is broken; reinstall torch")
        return steady(system, machine)

    experiment(broken, then=GpubenchError("the queue hangs; wait"))
    parts = list(examine_truth(MACHINE, (NULL, SMALL_MODEL)))
    found = [(each.check, each.status) for part in parts for each in findings_of(part)]
    assert found == [
        ("M/M/1 at load 0.5", "ok"),
        ("queues", "problem"),
        ("A/A of the null system", "ok"),
        ("A/A of a small torch model", "problem"),
        ("comparisons", "warning"),
    ]


def test_the_command_shows_findings_and_tables(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment(steady)
    assert cli.main(["doctor", "--truth"]) == 0
    shown = capsys.readouterr()
    assert "takes about" in shown.err
    for text in ("M/M/1 at load 0.5: mean", "ideal repeats", "can be compared at 1%", "±0."):
        assert text in shown.out


def test_json_has_every_figure_and_is_strict(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment(steady)
    assert cli.main(["doctor", "--truth", "--json", "-"]) == 0
    text = capsys.readouterr().out
    document = json.loads(text, parse_constant=refuse)
    told = document["truth"]
    assert told["queues"][0]["mean_ms"] == {"measured": 2.05, "theory": 2, "by_chance": [1.8, 2.2]}
    assert [each["system"] for each in told["systems"]] == [
        "the null system",
        "a small torch model",
    ]
    assert set(told["systems"][0]["p95"]) == {
        "figure", "count", "repeats", "spread", "half_width", "false_differences",
        "claimed_by_single_runs", "coverage", "coverage_in_a_row",
    }  # fmt: skip
    assert told["conclusion"]["throughput_level"] == 0.01


def refuse(constant: str) -> object:
    raise AssertionError(f"{constant} is not strict JSON")


def test_without_the_flag_there_is_no_truth(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment(steady)
    assert cli.main(["doctor", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["truth"] is None


def test_ctrl_c_keeps_what_was_found(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(system: System, machine: Machine) -> SystemCheck:
        raise KeyboardInterrupt

    experiment(press)
    assert cli.main(["doctor", "--truth", "--json", "-"]) == 130
    told = json.loads(capsys.readouterr().out)["truth"]
    assert len(told["queues"]) == 1
    assert (told["systems"], told["conclusion"]) == ([], None)


def test_the_time_is_a_few_minutes() -> None:
    assert 120 < truth.seconds((NULL, SMALL_MODEL)) < 300
