"""Comparison: which cells are pairs, and what is reported about their figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from factories import DRIFT, G4DN, G5, LAPTOP, WRONG_ANSWERS, failed, quick_start, result
from golden import assert_golden

from gpubench.errors import InputError
from gpubench.planning.compare import Comparison, Figure, compare
from gpubench.report import markdown, terminal
from gpubench.report.comparison import tall_table, wide_table
from gpubench.report.comparison_files import csv_text, json_text
from gpubench.report.table import Table
from gpubench.results.result import Numerics, Result

STUDY = [  # model, batch, precision, throughput on g5 and g4dn, P95 on g5 and g4dn
    ("bert-base", 32, "full", 723, 154, 44, 208),
    ("bert-base", 32, "mixed", 870, 410, 37, 79),
    ("bert-base", 1, "full", 160, 116, 6, 9),
    ("resnet50", 1, "full", 202, 164, 5, 6),
]


FORMATS = ("contiguous", "channels_last")


def study(side: str) -> list[Result]:
    """Rows of the published study: TF32 on the A10G, fp32 on the T4, which has no TF32."""
    on_g5 = side == "g5"
    return [
        result(
            g5 if on_g5 else g4dn,
            g5_ms if on_g5 else g4dn_ms,
            model=model,
            batch=batch,
            precision="amp" if precision == "mixed" else "tf32" if on_g5 else "fp32",
            inputs="device",
            machine=G5 if on_g5 else G4DN,
        )
        for model, batch, precision, g5, g4dn, g5_ms, g4dn_ms in STUDY
    ]


def doubtful() -> tuple[list[Result], list[Result]]:
    """Cells on only one side, a failed and a suspect one, and an insignificant difference."""
    a = [*study("g5"), result(888, 18, batch=16, precision="tf32", inputs="device", machine=G5)]
    b = [
        *study("g4dn"),
        result(340, 24, batch=8, precision="fp32", inputs="device", machine=G4DN),
    ]
    b[2] = result(158, 6.1, model="bert-base", inputs="device", machine=G4DN, reasons=(DRIFT,))
    b[3] = failed("CUDA out of memory", inputs="device", machine=G4DN)
    return a, b


def test_the_true_ratio_of_the_published_studys_first_row() -> None:
    first = compare(study("g5"), study("g4dn")).pairs
    by_name = {pair.a.spec.describe(): pair for pair in first}
    pair = by_name["bert-base torchscript tf32, batch 32, clients 1, workers 1"]
    assert pair.usd_per_million.b_over_a == pytest.approx(3.48, abs=5e-3)


def test_tf32_matches_fp32_and_a_note_says_so() -> None:
    comparison = compare(study("g5"), study("g4dn"))
    assert len(comparison.pairs) == len(STUDY)
    told = {pair.a.spec.precision: pair.differences for pair in comparison.pairs}
    [difference] = told["tf32"]
    assert (difference.setting, difference.a, difference.b) == ("precision", "tf32", "fp32")
    assert told["amp"] == ()


def test_fp32_matches_fp32_if_both_have_it() -> None:
    a = [result(precision=precision, machine=G5) for precision in ("tf32", "fp32")]
    b = [result(precision="fp32", machine=G4DN)]
    comparison = compare(a, b)
    assert [pair.a.spec.precision for pair in comparison.pairs] == ["fp32"]
    assert [cell.spec.precision for cell in comparison.only_a] == ["tf32"]


@pytest.mark.parametrize(
    ("in_a", "in_b"),
    [
        ({"batch": 1}, {"batch": 4}),
        ({"model": "bert-base", "seq_len": 128}, {"model": "bert-base", "seq_len": 384}),
        ({"weights": "random"}, {"weights": "pretrained"}),
        ({"clients": 1}, {"clients": 2}),
        ({"rate": 10.0}, {"rate": 20.0}),
        ({"precision": "fp32"}, {"precision": "amp"}),
    ],
)
def test_cells_of_other_settings_do_not_match(in_a: dict[str, Any], in_b: dict[str, Any]) -> None:
    a = [result(runtime="eager"), result(runtime="eager", workers=2, **in_a)]
    b = [result(runtime="eager"), result(runtime="eager", workers=2, **in_b)]
    comparison = compare(a, b)
    assert len(comparison.pairs) == len(comparison.only_a) == len(comparison.only_b) == 1


def test_a_setting_that_differs_in_all_cells_is_compared_and_listed_once() -> None:
    a = [result(runtime="eager", batch=batch) for batch in (1, 4)]
    b = [result(runtime="torchscript", batch=batch) for batch in (1, 4)]
    comparison = compare(a, b)
    assert [(pair.a.spec.batch, pair.b.spec.batch) for pair in comparison.pairs] == [(1, 1), (4, 4)]
    [difference] = comparison.shared_differences
    assert (difference.setting, difference.a, difference.b) == ("runtime", "eager", "torchscript")


def test_memory_formats_are_compared_like_runtimes() -> None:
    a, b = ([result(batch=batch, memory_format=f) for batch in (1, 4)] for f in FORMATS)
    comparison = compare(a, b)
    assert len(comparison.pairs) == 2
    [difference] = comparison.shared_differences
    assert (difference.a, difference.b) == FORMATS
    facts = dict(wide_table(comparison, "a", "b").facts)
    assert facts["differ in"] == "memory format (A contiguous, B channels_last)"
    others = compare([a[0], a[1]], [a[0], b[1]])  # not in all cells: another measurement
    assert len(others.pairs) == len(others.only_a) == len(others.only_b) == 1
    assert "fp32 channels_last, batch 4" in others.only_b[0].spec.describe()


def test_a_longer_measurement_still_matches_and_is_reported() -> None:
    comparison = compare([result(requests=130)], [result(requests=1000, wait="yield")])
    assert {difference.setting for difference in comparison.shared_differences} == {
        "requests",
        "wait",
    }


def test_machines_are_matched_with_themselves_first() -> None:
    both = [result(18.0), result(941.0, machine=G5)]
    comparison = compare(both, list(reversed(both)))
    assert [pair.throughput_per_second.b_over_a for pair in comparison.pairs] == [1.0, 1.0]


def test_the_device_and_the_threads_of_another_machine_are_no_difference() -> None:
    [pair] = compare([result()], [result(machine=G5)]).pairs
    assert pair.differences == ()


def test_two_machines_on_one_side_are_ambiguous() -> None:
    with pytest.raises(InputError, match="A has 2 and B has 1 cells like 'resnet50"):
        compare([result(), result(machine=G5)], [result(machine=G4DN)])


def test_nothing_in_common_is_explained() -> None:
    a = [result(batch=1), result(batch=2, workers=2)]
    b = [result(batch=4), result(batch=8, workers=2)]
    with pytest.raises(InputError, match="no cell of A matches one of B"):
        compare(a, b)


def test_inputs_in_different_places_are_compared_only_when_forced() -> None:
    a, b = [result(inputs="device")], [result(inputs="host")]
    with pytest.raises(InputError, match=r"on the device in A and on the host in B.*--force"):
        compare(a, b)
    [difference] = compare(a, b, force=True).shared_differences
    assert difference.setting == "inputs"


def test_inputs_in_pinned_memory_are_another_place() -> None:
    a = [result(inputs="pinned")]
    with pytest.raises(InputError, match="in pinned memory in A and on the host in B"):
        compare(a, [result(inputs="host")])
    with pytest.raises(InputError, match="in pinned memory in A and on the device in B"):
        compare(a, [result(inputs="device")])
    assert not compare(a, a).shared_differences


def test_inputs_in_the_same_place_are_preferred() -> None:
    a = [result(inputs="device"), result(inputs="host")]
    comparison = compare(a, [result(inputs="host")])
    assert [pair.a.spec.inputs for pair in comparison.pairs] == ["host"]


def test_ratios_are_of_the_figures_as_measured() -> None:
    assert Figure(0.624, 2.17).b_over_a == 2.17 / 0.624
    assert Figure(None, 1.0).b_over_a is None
    assert Figure(1.0, None).b_over_a is None
    assert Figure(0.0, 1.0).b_over_a is None


def test_each_side_is_compared_at_the_instance_it_was_measured_on() -> None:
    both = ("g5.4xlarge", "g4dn.4xlarge")
    [pair] = compare(
        [result(723, machine=G5, instance=both)], [result(154, machine=G4DN, instance=both)]
    ).pairs
    assert pair.usd_per_million.b_over_a == pytest.approx((1.204 / 154) / (1.624 / 723))


def test_a_side_without_a_price_has_no_ratio_and_the_table_says_how_to_get_one() -> None:
    comparison = compare([result(instance="c7i.xlarge")], [result()])
    figure = comparison.pairs[0].usd_per_million
    assert (figure.a is None, figure.b, figure.b_over_a) == (False, None, None)
    assert "--instance-b" in terminal.text([wide_table(comparison, "A", "B")])


def test_cells_of_one_side_are_listed() -> None:
    shown = terminal.text([wide_table(compare(*doubtful()), "a", "b")])
    assert "Only in A: resnet50 torchscript tf32, batch 16, clients 1, workers 1" in shown
    assert "Only in B: resnet50 torchscript fp32, batch 8, clients 1, workers 1" in shown


def won_with_wrong_answers() -> Comparison:
    """Two pairs. B is faster in both, in one of them with wrong outputs."""
    a = [result(18.0, batch=batch, instance="c7i.xlarge", numerics=Numerics()) for batch in (1, 4)]
    b = [
        result(
            54.0, batch=batch, precision="int8", runtime="onnxruntime", instance="c7i.xlarge",
            numerics=Numerics(cosine=0.5 if reasons else 0.999), reasons=reasons,
        )
        for batch, reasons in ((1, ()), (4, (WRONG_ANSWERS,)))
    ]  # fmt: skip
    return compare(a, b)


@pytest.mark.parametrize("table", [wide_table, tall_table])
def test_every_figure_of_wrong_answers_is_marked_and_so_are_its_ratios(
    table: Callable[[Comparison, str, str], Table],
) -> None:
    made = table(won_with_wrong_answers(), "A", "B")
    (note,) = (note for note in made.notes if "wrong answers" in note.text)
    assert note.text == "B, wrong answers: the outputs differ from the fp32 reference"
    marked = [cell for row in made.rows for cell in row if note.mark in cell.marks]
    assert len(marked) == 6  # of throughput, P95 and cost: B and B/A
    assert {cell.text for cell in marked if "±" not in cell.text} >= {"3.00", "1.00", "0.333"}


def test_files_say_of_both_sides_whether_their_answers_agree() -> None:
    comparison = won_with_wrong_answers()
    agree = [("true", "true")] * 2 + [("true", "false")] * 2
    rows = list(csv.DictReader(io.StringIO(csv_text([comparison]))))
    assert [(row["a_answers_agree"], row["b_answers_agree"]) for row in rows] == agree
    pairs = json.loads(json_text([(comparison, "A", "B")]))["pairs"]
    assert [pair["a_answers_agree"] for pair in pairs] == [True, True]
    assert [pair["b_answers_agree"] for pair in pairs] == [True, False]


def test_the_tables() -> None:
    comparison = compare(*doubtful())
    names = ("runs/g5", "runs/g4dn")
    assert_golden("compare_140.txt", terminal.text([wide_table(comparison, *names)], 140))
    assert_golden("compare_80.txt", terminal.text([tall_table(comparison, *names)], 80))
    assert_golden("compare.md", markdown.text([wide_table(comparison, *names)]))


def test_different_software_is_listed_for_each_side() -> None:
    newer = quick_start()
    for cell in newer:
        cell.environment.torch = "2.16.0"
    facts = dict(wide_table(compare(quick_start(), newer), "A", "B").facts)
    assert "2.15.0" in facts["software A"]
    assert "2.16.0" in facts["software B"]


def test_csv_has_a_row_for_each_side_and_the_ratios_on_both() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text([compare(*doubtful())]))))
    assert [row["side"] for row in rows] == ["A", "B"] * 4 + ["A", "B"]
    assert rows[0]["pair"] == rows[1]["pair"] == "1"
    assert rows[-1]["pair"] == ""
    assert rows[-1]["throughput_per_second_b_over_a"] == ""
    ratio = float(rows[1]["throughput_inferences_per_second"]) / float(
        rows[0]["throughput_inferences_per_second"]
    )
    assert float(rows[0]["throughput_per_second_b_over_a"]) == ratio


def test_json_is_strict_and_absent_is_null() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = json_text([(compare(*doubtful()), "runs/g5", "runs/g4dn")])
    document = json.loads(text, parse_constant=refuse)
    assert (document["a"], document["b"]) == ("runs/g5", "runs/g4dn")
    failed_pair = document["pairs"][-1]
    assert failed_pair["throughput_per_second"]["b"] is None
    assert failed_pair["throughput_per_second"]["b_over_a"] is None
    assert len(document["only_a"]) == len(document["only_b"]) == 1


def test_single_runs_have_ratios_and_no_verdict() -> None:
    comparison = compare(quick_start(machine=LAPTOP), quick_start(machine=LAPTOP))
    assert len(comparison.pairs) == 9
    for pair in comparison.pairs:
        assert pair.throughput_per_second.b_over_a == 1.0
        assert pair.throughput_per_second.is_significant is None
        assert pair.throughput_per_second.answer is None
        assert pair.differences == ()
    shown = terminal.text([wide_table(comparison, "A", "B")])
    assert "single runs: no verdict; measure with --repeats 3 or more, or gpubench ab" in shown
