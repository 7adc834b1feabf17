"""Comparisons of repeats: which are paired, and what is answered."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from factories import G4DN, G5, LAPTOP, failed, result
from golden import assert_golden
from repeated_cells import around, repeats

from gpubench.errors import InputError
from gpubench.planning.axis import sides
from gpubench.planning.compare import Comparison, compare, compare_each
from gpubench.planning.gates import apply_gates, parse_gate
from gpubench.report import terminal
from gpubench.report.comparison import tall_table, wide_table
from gpubench.report.comparison_files import csv_text, json_text
from gpubench.report.comparison_sentences import headline, how_compared, sentence
from gpubench.report.comparison_summary import summary
from gpubench.results.result import Result

PRICED: dict[str, Any] = {"instance": "c7i.xlarge"}


def two_runtimes(ratio: float, count: int = 5, **settings: Any) -> Comparison:
    """eager against torchscript, in rounds of one series."""
    return compare(
        repeats(around(100, count), runtime="eager", **settings),
        repeats(around(100 * ratio, count, shift=3), runtime="torchscript", **settings),
    )


def test_repeats_of_a_cell_are_one_pair() -> None:
    [pair] = two_runtimes(1.2).pairs
    assert pair.a.repeats is not None
    assert (pair.a.repeats.count, len(pair.a_repeats), len(pair.b_repeats)) == (5, 5, 5)
    assert pair.throughput_per_second.a == pytest.approx(100, rel=0.01)


def test_faster_slower_cheaper_and_dearer() -> None:
    [pair] = two_runtimes(1.2, **PRICED).pairs
    figures = pair.throughput_per_second, pair.p95_ms, pair.usd_per_million
    assert [figure.answer for figure in figures] == ["faster", "faster", "cheaper"]
    assert all(figure.is_significant for figure in figures)
    [pair] = two_runtimes(0.8, **PRICED).pairs
    figures = pair.throughput_per_second, pair.p95_ms, pair.usd_per_million
    assert [figure.answer for figure in figures] == ["slower", "slower", "dearer"]


def test_the_ratio_has_an_interval_and_the_cost_that_of_the_throughput() -> None:
    [pair] = two_runtimes(1.2, **PRICED).pairs
    assert pair.throughput_per_second.b_over_a_interval is not None
    assert pair.usd_per_million.b_over_a_interval is not None
    low, high = pair.throughput_per_second.b_over_a_interval
    assert low < 1.2 < high
    assert pair.usd_per_million.b_over_a_interval == pytest.approx((1 / high, 1 / low))


def test_rounds_that_shake_both_sides_cancel() -> None:
    shaken = [1.0, 1.5, 0.7, 1.2, 0.9]
    a = [x * s for x, s in zip(around(100), shaken, strict=True)]
    b = [x * s for x, s in zip(around(103, shift=3), shaken, strict=True)]
    paired = compare(repeats(a, runtime="eager"), repeats(b, runtime="torchscript"))
    apart = compare(repeats(a, "one", runtime="eager"), repeats(b, "two", runtime="torchscript"))
    estimates = [each.pairs[0].throughput_per_second.estimate for each in (paired, apart)]
    assert estimates[0] is not None
    assert estimates[1] is not None
    assert (estimates[0].method, estimates[1].method) == ("paired", "series")
    assert estimates[0].standard_error < estimates[1].standard_error / 10


def test_no_difference_larger_than_the_margin() -> None:
    comparison = two_runtimes(1.0, 8)
    figure = comparison.pairs[0].throughput_per_second
    assert (figure.answer, figure.is_significant) == ("equivalent", False)
    assert "within 2%" in terminal.text([wide_table(comparison, "A", "B")])


def test_undecided_says_how_many_more_rounds_would_decide() -> None:
    comparison = two_runtimes(1.02)
    figure = comparison.pairs[0].throughput_per_second
    assert (figure.answer, figure.is_significant) == ("undecided", False)
    assert figure.tested is not None
    shown = terminal.text([wide_table(comparison, "A", "B")])
    assert f"undecided: {figure.tested.more_rounds} more rounds would probably decide" in shown


def test_two_series_are_widened_by_a_spread() -> None:
    a, b = repeats(around(100), "one"), repeats(around(104, shift=3), "two")
    figure = compare(a, b).pairs[0].throughput_per_second
    assert (figure.answer, figure.estimate and figure.estimate.method) == ("undecided", "series")
    assert compare(a, b, spread=0.001).pairs[0].throughput_per_second.answer == "faster"
    assert "from two series, with a spread of 2% between" in how_compared(compare(a, b))
    shown = terminal.text([wide_table(compare(a, b), "A", "B")])
    assert "measure both sides in one sweep, or with gpubench ab" in shown


def test_single_runs_have_a_verdict_only_with_a_stated_spread() -> None:
    a, b = [result(100, 10)], [result(150, 6)]
    figure = compare(a, b).pairs[0].throughput_per_second
    assert (figure.answer, figure.is_significant, figure.b_over_a) == (None, None, 1.5)
    assert figure.no_verdict is not None
    assert figure.no_verdict.startswith("single runs: no verdict; measure with --repeats 3")
    stated = compare(a, b, spread="2%")
    assert stated.pairs[0].throughput_per_second.answer == "faster"
    assert how_compared(stated) == "single runs, with the stated spread of 2% between runs"
    without = [result(150, 6, relative_interval=None)]
    none = compare(a, without, spread=0.02).pairs[0].throughput_per_second
    assert none.answer is None
    assert "a side has no interval" in (none.no_verdict or "")


def test_two_repeats_are_too_few() -> None:
    figure = two_runtimes(1.5, 2).pairs[0].throughput_per_second
    assert (figure.no_verdict or "").startswith("2 repeats: no verdict")


def test_both_ends_of_a_wide_interval_are_shown() -> None:
    a = repeats([100.0, 100.0, 100.0], runtime="eager")
    b = repeats([260.0, 500.0, 1000.0], runtime="torchscript")
    shown = terminal.text([tall_table(compare(a, b), "A", "B")])
    assert "5.07 (0.950 to 27.0)" in shown  # exp(mean ± 4.303 * spread / sqrt(3))


def test_a_figure_that_few_of_the_repeats_have_is_not_mended_by_repeats() -> None:
    a, b = repeats(around(100), runtime="eager"), repeats(around(120), runtime="torchscript")
    for each in b[:-2]:
        each.latency_ms.p95 = None
    figure = compare(a, b).pairs[0].p95_ms
    assert figure.no_verdict == (
        f"only 2 of {len(b)} repeats with this figure: no verdict; measure more requests"
    )


def test_a_round_in_which_a_side_failed_drops_out_and_is_named() -> None:
    a = repeats(around(100), runtime="eager")
    b = repeats([120.0, None, 121.0, None, 119.0], runtime="torchscript")
    comparison = compare(a, b)
    [pair] = comparison.pairs
    assert pair.throughput_per_second.estimate is not None
    assert pair.throughput_per_second.estimate.rounds == 3
    note = "2 of 5 rounds could not be paired: failed in B"
    assert pair.rounds.note == note
    assert note in terminal.text([wide_table(comparison, "A", "B")])


def test_the_ratio_is_that_of_the_paired_rounds() -> None:
    """Means over different rounds would contain what the machine did in the others."""
    a = repeats([100.0, 100.0, 100.0, 10.0], runtime="eager")
    b = repeats([120.0, 121.0, 119.0, None], runtime="torchscript")
    assert compare(a, b).pairs[0].throughput_per_second.b_over_a == pytest.approx(1.2, abs=0.01)


def test_rounds_that_only_one_side_has_are_named() -> None:
    a = repeats(around(100, 4), runtime="eager", rounds=[1, 2, 3, 4])
    b = repeats(around(120, 4), runtime="torchscript", rounds=[2, 3, 4, 5])
    [pair] = compare(a, b).pairs
    expected = "2 of 5 rounds could not be paired: not measured in B and not measured in A"
    assert pair.rounds.note == expected


def test_series_without_a_common_round_have_no_such_note() -> None:
    [pair] = compare(repeats(around(100), "one"), repeats(around(120), "two")).pairs
    assert pair.rounds.note is None


def test_several_repeats_of_a_side_in_a_round_count_as_one_round() -> None:
    """ABBA: two repeats of each side in a round."""
    in_rounds = [1, 1, 2, 2, 3, 3]
    a = repeats(around(100, 6), runtime="eager", rounds=in_rounds)
    b = repeats(around(120, 6), runtime="torchscript", rounds=in_rounds)
    estimate = compare(a, b).pairs[0].throughput_per_second.estimate
    assert estimate is not None
    assert (estimate.method, estimate.rounds, estimate.dof) == ("paired", 3, 2)


def test_repeats_priced_by_hand_are_compared_at_one_price() -> None:
    a = repeats(around(100), runtime="eager", instance=("c7i.xlarge", "g5.xlarge"))
    b = repeats(around(100), runtime="torchscript", instance="c7a.4xlarge")
    [pair] = compare(a, b).pairs
    assert {len(each.costs) for each in pair.a_repeats} == {1}
    assert pair.usd_per_million.estimate is not None
    assert pair.usd_per_million.estimate.standard_error == pytest.approx(0, abs=1e-12)


def test_answers_are_corrected_for_the_pairs_of_all_comparisons() -> None:
    results = [
        each
        for runtime, shift in (("eager", 0), ("torchscript", 2), ("compile", 4))
        for batch in (1, 4)
        for each in repeats(around(100, shift=shift), runtime=runtime, batch=batch)
    ]
    _, (a, *others) = sides(results, "runtime=eager,torchscript,compile")
    made = compare_each(a.results, [other.results for other in others])
    assert [each.corrected_for for each in made] == [4, 4]
    assert "corrected for 4 comparisons" in how_compared(made[0])


def test_repeats_that_share_a_process_are_remarked() -> None:
    for fresh in (False, True):
        shown = terminal.text([wide_table(two_runtimes(1.2, fresh=fresh), "A", "B")])
        assert ("measure with --fresh" in shown) is not fresh


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("runtime", ["runtime=torchscript", "runtime=eager", "runtime=compile"]),
        ("runtime=compile,eager", ["runtime=compile", "runtime=eager"]),
        ("batch", ["batch=1", "batch=4"]),
        ("batch=4,1.0", ["batch=4", "batch=1"]),
        ("seq-len=none,64", ["seq_len=none", "seq_len=64"]),
        ("warmup=2s,500ms", ["warmup=2.0", "warmup=0.5"]),
    ],
)
def test_a_directory_is_divided_by_a_setting(by: str, names: list[str]) -> None:
    results = [result(runtime=runtime) for runtime in ("eager", "torchscript", "compile")]
    results += [result(batch=4), result(model="bert-base", seq_len=64), result(warmup="500ms")]
    setting, made = sides(results, by)
    assert [side.name for side in made] == names
    assert {side.name.partition("=")[0] for side in made} == {setting}


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("runtme", "--by: unknown setting 'runtme'; did you mean runtime?"),
        ("instance", "--by: a price is not a setting .* --instance-a NAME and --instance-b NAME"),
        ("usd-per-hour", "--by: a price is not a setting"),
        ("precision", "--by precision: two values or more .* the cells have precision=fp32"),
        ("runtime=eager", "--by runtime=eager: two values or more"),
        ("runtime=eager,compil", "no cell has runtime=compil; the cells have torchscript, eager"),
        ("warmup=1", "no cell has warmup=1; the cells have 2.0"),
    ],
)
def test_a_setting_that_cannot_be_compared_is_one_line(by: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sides([result(runtime="eager"), result(runtime="torchscript")], by)


def test_settings_of_the_method_can_be_compared_too() -> None:
    cells = [
        each
        for wait in ("spin", "yield")
        for seed in (0, 1)
        for each in repeats(around(100), wait=wait, seed=seed)
    ]
    _, (a, b) = sides(cells, "wait")
    pairs = compare(a.results, b.results).pairs
    assert [(pair.a.spec.seed, pair.b.spec.seed) for pair in pairs] == [(0, 0), (1, 1)]


def test_two_machines_in_one_directory_are_compared_each_with_itself() -> None:
    cells = [
        each
        for runtime in ("eager", "torchscript")
        for machine in (G5, G4DN)
        for each in repeats(around(100), runtime=runtime, machine=machine)
    ]
    _, (a, b) = sides(cells, "runtime")
    pairs = compare(a.results, b.results).pairs
    assert len(pairs) == 2
    assert all(p.a.environment.instance == p.b.environment.instance for p in pairs)


def test_a_closed_and_an_open_loop_are_compared_only_when_forced() -> None:
    a, b = [result()], [result(rate=10.0)]
    with pytest.raises(InputError, match=r"A is measured in a closed loop and B in an open.*--fo"):
        compare(a, b)
    assert len(compare(a, b, force=True).pairs) == 1


def test_one_side_with_preprocessing_is_compared_only_when_forced() -> None:
    with_stage, without = (
        result().model_copy(
            update={
                "stages_ms": result().stages_ms.model_validate(
                    {"compute": stage, "preprocess": stage if has else None}
                )
            }
        )
        for has in (True, False)
        for stage in [{"mean": 1, "p50": 1, "p95": 1}]
    )
    with pytest.raises(InputError, match="only A has the stage preprocess"):
        compare([with_stage], [without])
    assert len(compare([with_stage], [without], force=True).pairs) == 1


@pytest.mark.parametrize("name", ["within", "spread"])
def test_shares_are_checked(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} '2' is not a share between 0 and 1"):
        compare([result()], [result()], **{name: 2})  # type: ignore[arg-type]


def test_a_side_without_results_is_refused() -> None:
    with pytest.raises(InputError, match="holds no results"):
        compare([], [result()])


# Gates


def gates(*texts: str, against: Comparison) -> list[tuple[str, str]]:
    made = apply_gates([parse_gate(text) for text in texts], [against])
    return [(each.gate.text, each.outcome) for each in made]


def test_a_gate_fails_if_the_regression_is_certain() -> None:
    slower = two_runtimes(0.9, 8, **PRICED)
    assert gates("p95 > +5%", "usd > +3%", "throughput < -5%", against=slower) == [
        ("p95 > +5%", "failed"),
        ("usd > +3%", "failed"),
        ("throughput < -5%", "failed"),
    ]
    assert gates("p95 > +20%", "throughput < -20%", against=slower) == [
        ("p95 > +20%", "passed"),
        ("throughput < -20%", "passed"),
    ]
    assert gates("p95 > +11%", against=slower) == [("p95 > +11%", "uncertain")]


def test_gates_know_all_percentiles() -> None:
    a = repeats(around(100), runtime="eager")
    b = repeats(around(80, shift=3), runtime="torchscript")
    for each in (*a, *b):
        each.latency_ms.p99_9 = each.latency_ms.p99
    comparison = compare(a, b)
    for name in ("p50", "p90", "p99", "p99.9"):
        assert gates(f"{name} > +0.05", against=comparison) == [(f"{name} > +5%", "failed")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p95", "is not FIGURE > LIMIT or FIGURE < LIMIT; write it like 'p95 > \\+5%'"),
        ("p59 > +5%", "unknown figure 'p59'; did you mean p99 or p95"),
        ("p95 < -5%", "could fail although B is not worse: less of p95 is better; write p95 > \\+"),
        ("throughput > +5%", "more of throughput is better; write throughput < -"),
        ("p95 > 5%", "the limit begins with \\+"),
        ("p95 > -5%", "the limit begins with \\+"),
        ("p95 > +5", "'5' is not a share between 0 and 1; write it like 2%"),
        ("p95 > +0%", "is not a share"),
        ("p95 > +fast", "is not a share"),
    ],
)
def test_a_gate_that_makes_no_sense_is_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"--fail-if '.*{message}"):
        parse_gate(text)


def test_gates_are_corrected_for_their_number() -> None:
    # Alone it fails: its p-value is between 1% and 5%.
    comparison = two_runtimes(0.925, 5)
    [alone] = apply_gates([parse_gate("throughput < -5%")], [comparison])
    assert alone.outcome == "failed"
    assert alone.p_value is not None
    many = [parse_gate(f"throughput < -{limit}%") for limit in (5, 20, 21, 22, 23)]
    with_others = apply_gates(many, [comparison])
    assert with_others[0].p_value == pytest.approx(5 * alone.p_value)
    assert with_others[0].outcome == "uncertain"


@pytest.mark.parametrize(
    ("comparison", "gate", "message"),
    [
        (lambda: compare([result()], [result()]), "p95 > +5%", "cannot be tested with single runs"),
        (lambda: two_runtimes(1.0, 2), "p95 > +5%", "cannot be tested with 2 repeats"),
        (lambda: two_runtimes(1.0), "usd > +5%", "no pair .* add --instance-a NAME and --inst"),
        (lambda: two_runtimes(1.0), "p99.9 > +5%", "no pair of cells has this figure on both"),
    ],
)
def test_a_gate_that_can_never_decide_is_refused(comparison: Any, gate: str, message: str) -> None:
    with pytest.raises(InputError, match=f"--fail-if '{gate.replace('+', '[+]')}'.*{message}"):
        apply_gates([parse_gate(gate)], [comparison()])


def regressions() -> Comparison:
    """Slower, the same, undecided, and a cell that failed on one side."""

    def cells(runtime: str, slowdown: float, shift: int) -> list[Result]:
        settings: dict[str, Any] = {"runtime": runtime, "machine": LAPTOP, **PRICED}
        made = repeats(around(100 * slowdown, 8, shift), batch=1, **settings)
        made += repeats(around(200, 8, shift), batch=2, **settings)
        made += repeats(around(300 * slowdown**0.3, 5, shift, percent=3), batch=4, **settings)
        last = repeats(around(400, 5, shift), batch=8, **settings)
        return [*made, *(last if slowdown == 1 else [failed(batch=8, **settings)])]

    return compare(cells("eager", 1, 0), cells("torchscript", 0.88, 3))


def test_every_gate_and_cell_is_in_the_summary() -> None:
    comparison = regressions()
    tested = apply_gates([parse_gate("p95 > +5%"), parse_gate("usd > +3%")], [comparison])
    outcomes = [each.outcome for each in tested if each.gate.text == "p95 > +5%"]
    assert sorted(outcomes) == ["failed", "passed", "uncertain", "untested"]
    names = ("results/before", "results/after")
    assert_golden("compare_gates.md", summary([(comparison, *names)], tested))
    assert_golden("compare_repeats_80.txt", terminal.text([tall_table(comparison, *names)], 80))


def test_one_sentence_for_one_pair() -> None:
    [pair] = two_runtimes(1.62, **PRICED).pairs
    said = sentence(pair, 0.02, "eager", "torchscript")
    assert said == (
        "torchscript is 1.62 times as fast as eager (95%: 1.58 to 1.66), "
        "$0.306 against $0.496 a million"
    )
    [pair] = two_runtimes(1.0, 8).pairs
    assert sentence(pair, 0.02, "A", "B").startswith("no difference larger than 2%: B is 1.00")
    [pair] = two_runtimes(1.02).pairs
    assert sentence(pair, 0.02, "A", "B").startswith("undecided: B is 1.02 times as fast as A (95")
    [pair] = compare([result()], [result()]).pairs
    assert sentence(pair, 0.02, "A", "B").startswith("no verdict: B is 1.00 times as fast as A, f")
    [pair] = compare([result()], [failed()]).pairs
    assert sentence(pair, 0.02, "A", "B") == "no verdict: B has no throughput"


def test_the_headline_counts_the_answers() -> None:
    assert headline(regressions(), "A", "B").startswith(
        "B compared with A: throughput: slower in 1, within 2% in 1, undecided in 1 of 4 cells; "
    )


def test_files_have_the_answers_and_the_p_values() -> None:
    comparison = regressions()
    tested = apply_gates([parse_gate("p95 > +5%")], [comparison])
    document = json.loads(json_text([(comparison, "A", "B")], tested))
    first = document["pairs"][0]["throughput_per_second"]
    assert (first["answer"], first["method"], first["rounds"]) == ("slower", "paired", 8)
    assert first["p_difference"] <= first["p_difference_corrected"] < 0.05 < first["p_equivalence"]
    assert first["b_over_a_interval"][0] < first["b_over_a"] < first["b_over_a_interval"][1]
    assert document["pairs"][2]["p95_ms"]["more_rounds"] > 0
    assert [gate["outcome"] for gate in document["gates"]] == [each.outcome for each in tested]
    assert document["gates"][-1]["reason"] == "failed in B"
    row = next(csv.DictReader(io.StringIO(csv_text([comparison]))))
    assert row["throughput_per_second_answer"] == "slower"
    assert float(row["throughput_per_second_b_over_a_low"]) == first["b_over_a_interval"][0]
    listed = json.loads(json_text([(comparison, "A", "B")] * 2, by="runtime"))
    assert (listed["by"], len(listed["comparisons"])) == ("runtime", 2)
