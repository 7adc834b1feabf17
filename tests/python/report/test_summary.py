"""Tests of the last lines of a command that measures."""

from __future__ import annotations

from factories import TOO_FEW, failed, result
from planning_results import open_loop, search

from gpubench.pricing.cost import reprice_search
from gpubench.report.summary import cell_lines, search_lines, sweep_lines


def test_the_fastest_and_the_cheapest_valid_closed_loops_are_named() -> None:
    lines = cell_lines(
        [
            result(10.0, 100.0, instance="c7i.xlarge"),
            result(20.0, 90.0, instance="g5.xlarge", batch=2),
            result(99.0, 90.0, batch=4, reasons=(TOO_FEW,)),
            failed(batch=8),
        ],
        "my run",
    )
    assert lines == [
        "4 cells: 2 valid, 1 suspect, 1 failed",
        "fastest valid closed loop: resnet50 torchscript fp32, batch 2, clients 1, workers 1: "
        "20.0 ±0.4/s, P95 90.0 ms",
        "cheapest valid closed loop: resnet50 torchscript fp32, batch 1, clients 1, workers 1: "
        "10.0 ±0.2/s, P95 100 ms, $4.96 a million on c7i.xlarge",
        "the results are in my run",
        "what to deploy: gpubench plan 'my run' --objective p95:100ms",
        "a page of all: gpubench report 'my run' --output page.html",
    ]


def test_one_that_is_both_has_one_line() -> None:
    cells = [result(rate, 50.0, batch=n, usd_per_hour=3.6) for n, rate in ((1, 10.0), (2, 20.0))]
    _, best = cell_lines(cells, None)
    assert best.startswith("fastest and cheapest valid closed loop: resnet50")
    assert best.endswith("batch 2, clients 1, workers 1: 20.0 ±0.4/s, P95 50.0 ms, "
                         "$50.00 a million at $3.6/h")  # fmt: skip


def test_without_a_valid_cell_the_notes_are_named_and_the_objective_is_one_that_half_meet() -> None:
    cells = [result(9.0, 3.0 * 3**n, reasons=(TOO_FEW,), workers=n + 1) for n in range(3)]
    counts, _, deploy, _ = cell_lines([*cells, failed()], "run")
    assert counts == (
        "4 cells: 0 valid, 3 suspect, 1 failed; the notes of the table say why and what to do"
    )
    assert deploy == "what to deploy: gpubench plan run --objective p95:10ms"
    assert "--objective p95:100ms" in cell_lines([failed()], "run")[1]  # nothing is known


def test_open_loops_are_not_compared_and_a_single_cell_has_only_its_directory() -> None:
    assert len(cell_lines([open_loop(9.0, 50.0, 60.0), open_loop(12.0, 60.0, 70.0)], None)) == 1
    assert cell_lines([result()], None) == []
    assert cell_lines([result()], "run")[0] == "the results are in run"


def test_a_search_says_what_it_found_and_its_objective_is_in_the_next_command() -> None:
    found = search(9.0, (8.0, 10.0), instance=("c7i.xlarge",))
    lines = search_lines(reprice_search(found, ("c7i.xlarge",), None), "run")
    assert lines[0].startswith("P95 within 100ms holds up to 9.0 ±1.0 requests/s: $")
    assert lines[2] == "what to deploy: gpubench plan run --objective p95:100ms"
    assert search_lines(search(None), None) == []
    assert sweep_lines([search(9.0)], "run") == search_lines(search(None), "run")
    assert sweep_lines([], "run") == []


def test_steps_of_training_are_no_rivals_of_inferences_and_are_not_deployed() -> None:
    steps = [result(rate, 50.0, task="train", batch=batch) for rate, batch in ((9.0, 1), (12.0, 2))]
    _, best, place, page = cell_lines(steps, "run")
    assert best.startswith("fastest valid closed loop: resnet50 train eager fp32, batch 2, adamw")
    assert (place, page.startswith("a page of all")) == ("the results are in run", True)
    mixed = cell_lines([*steps, result(99.0, 5.0)], "run")
    assert any("train eager" in line for line in mixed)
    assert any(line.startswith("what to deploy") for line in mixed)
