"""The HTML page: what is on it, without a browser."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from factories import DRIFT, WRONG_ANSWERS, failed, quick_start, result
from page_tree import of_class, page_data, page_tree, text
from planning_results import closed_loop, documents, open_loop, search, written

from gpubench.cli.program import BAD_INPUT, main
from gpubench.planning.decision import decide
from gpubench.planning.documents import Documents
from gpubench.pricing.cost import reprice
from gpubench.report.charts.chart import Chart, ChartSet, Json, Row
from gpubench.report.page.advice import advice_steps
from gpubench.report.page.page import page
from gpubench.report.page.run_page import page_facts, run_page
from gpubench.report.plan_sentences import decision_sentence
from gpubench.report.results import result_tables
from gpubench.results.result import Failure, Result
from gpubench.spec.objective import Objective, parse_objective

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m\u202e=1+1 {{ 7 * 7 }} \"'"


def parsed(results: list[Result]) -> Element:
    return page_tree(page("results/x", result_tables(results)))


def run_tree(found: Documents, objective: str | None = None) -> Element:
    results = [each for _, each in found.cells]
    limit = parse_objective(objective) if objective else None
    return page_tree(run_page("run", found, results, result_tables(results), objective=limit))


# Tables


def test_every_result_has_its_row_and_every_table_its_caption() -> None:
    cells = [*quick_start(), failed(batch=64)]
    [table] = parsed(cells).iter("table")
    [caption] = table.iter("caption")
    assert text(caption).startswith("machine: 2 cores of Intel(R) Xeon(R)")
    rows = [[text(cell) for cell in row] for row in table.findall("tbody/tr")]
    [shown] = result_tables(cells)
    assert len(rows) == len(cells)
    assert [row[0] for row in rows] == [row[0].text for row in shown.rows]
    assert {len(row) for row in rows} == {len(shown.columns)}


def test_settings_of_all_cells_are_above_the_table() -> None:
    tree = parsed(quick_start())
    facts = dict(zip(map(text, tree.iter("dt")), map(text, tree.iter("dd")), strict=True))
    assert set(facts) == {"software", "all cells", "prices"}
    assert "c7i.xlarge $0.1785/h" in facts["prices"]


def test_a_verdict_unfolds_to_its_reasons_and_remedies() -> None:
    tree = parsed([*quick_start(), result(reasons=(DRIFT, WRONG_ANSWERS), batch=8)])
    [verdict] = tree.iter("details")
    assert text(next(verdict.iter("summary"))) == "suspect"
    drift, wrong = (text(item) for item in verdict.iter("li"))
    assert DRIFT.remedy in drift
    assert WRONG_ANSWERS.remedy in wrong


def test_every_mark_leads_to_its_note() -> None:
    tree = parsed([*quick_start(), result(reasons=(WRONG_ANSWERS,), batch=8)])
    links = {link.attrib["href"] for link in tree.iter("a")}
    notes = {f"#{item.attrib['id']}" for item in tree.iter("li") if "id" in item.attrib}
    assert links
    assert links <= notes


def test_figures_stand_to_the_right_and_a_verdict_has_its_colour() -> None:
    cells = [result(), result(batch=2, reasons=(WRONG_ANSWERS,)), failed(batch=4)]
    tree = parsed([reprice(each, ("c7i.xlarge",), None) for each in cells])
    [table] = tree.iter("table")
    classes = [cell.get("class") for row in table.findall("tbody/tr") for cell in row[-2:]]
    assert classes == ["right", "valid", "right", "suspect", "right", "failed"]


# The answer


def test_the_answer_is_that_of_the_plan_for_every_objective_of_the_slider() -> None:
    found = documents(
        search(31.0, (30.0, 32.0), runtime="onnxruntime"),
        open_loop(12.0, 20.0, 22.0),
        open_loop(18.0, 60.0, 70.0),
        closed_loop(50.0, 300.0, runtime="compile"),
    )
    made = advice_steps(found)
    assert len(made.steps) > 4
    winners = set()
    for step in made.steps:
        plan = decide(found, Objective(95, step.limit_ms / 1e3))
        assert [each.sentence for each in step.answers] == [
            decision_sentence(each, plan) for each in plan.decisions
        ]
        winners.add(step.answers[0].setting)
    assert len(winners) > 1


def test_the_slider_has_every_limit_where_the_cheapest_setting_changes() -> None:
    rates = range(1, 12)
    found = documents(*(open_loop(10.0 * n, 7.31 * n, 7.4 * n, batch=n) for n in rates))
    made = advice_steps(found)
    at = {step.limit_ms: step.answers[0] for step in made.steps}
    for n in rates:
        size = 0.1 if 7.31 * n < 10 else 1
        limit = next(each for each in at if math.isclose(each, math.ceil(7.31 * n / size) * size))
        assert f"batch {n}," in at[limit].setting
    assert made.steps[0].answers[0].standing == "no answer"
    assert len(made.steps) <= 40


def test_hundreds_of_settings_have_at_most_forty_objectives() -> None:
    found = documents(*(open_loop(5.0 * n, 3.7 * n, 3.8 * n, batch=n) for n in range(1, 200)))
    made = advice_steps(found, Objective(95, 0.0371))
    assert len(made.steps) == 40
    assert made.steps[made.chosen].text == "P95 within 37.1ms"
    limits = [step.limit_ms for step in made.steps]
    assert limits == sorted(limits)


def test_without_an_objective_the_page_says_which_one_it_shows() -> None:
    cells = [
        open_loop(10.0, latency, latency, batch=b) for b, latency in ((1, 8), (2, 31), (4, 900))
    ]
    made = advice_steps(documents(*cells))
    assert made.steps[made.chosen].text == "P95 within 50ms"
    assert "half of the settings" in made.remark
    made = advice_steps(documents(*cells, search(31.0, percentile="p99", limit_ms=70.0)))
    assert made.steps[made.chosen].text == "P99 within 70ms"
    assert "searches" in made.remark
    assert advice_steps(documents(*cells), Objective(95, 0.2)).remark == ""


def test_the_figures_of_the_answer_say_which_of_them_are_bounds() -> None:
    [card] = of_class(run_tree(documents(open_loop(20.0, 60.0, 70.0)), "p95:100ms"), "answer")
    assert dict(zip(map(text, card.iter("dt")), map(text, card.iter("dd")), strict=True)) == {
        "inferences /s": "≥ 20.0",
        "P95 ms": "60.0",
        "$/million": "≤ 2.48",
        "verdict": "valid",
    }
    assert "recommended" in card.get("class", "").split()


def test_a_closed_loop_is_not_recommended_and_the_page_says_what_to_run() -> None:
    [card] = of_class(run_tree(documents(closed_loop(20.0, 60.0)), "p95:100ms"), "answer")
    assert [text(each) for each in of_class(card, "standing")] == ["not recommended"]
    assert "gpubench search --model resnet50" in text(card)


def test_results_that_allow_no_answer_have_a_page_that_says_why() -> None:
    tree = run_tree(documents(closed_loop(20.0, 60.0), closed_loop(20.0, 60.0, inputs="device")))
    assert of_class(tree, "answer") == []
    assert "What to deploy is not known: inputs of resnet50" in text(tree)
    assert list(tree.iter("table"))


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([failed("CUDA out of memory")], "failed; the last one with: CUDA out of memory"),
        ([result(20.0, None)], "is not known, because too few requests"),
        ([result(20.0, 60.0)], "no price is known: add --instance NAME"),
    ],
    ids=["only failures", "no latency", "no cost"],
)
def test_incomplete_results_still_have_an_answer(cells: list[Result], sentence: str) -> None:
    tree = run_tree(documents(*cells))
    assert sentence in text(tree)
    assert list(tree.iter("table"))


def test_below_the_title_are_day_machine_and_price_or_how_many() -> None:
    cells = quick_start()
    assert page_facts(cells) == [
        "2026-11-21",
        "2 cores of Intel(R) Xeon(R) Processor @ 2.10GHz · no GPU",
        "c7i.xlarge $0.1785/h as of 2026-07-20",
    ]
    several = [
        result(time=f"2026-11-2{n}T10:00:00Z", machine={"cpu": f"cpu {n}", "cores": 1})
        for n in range(5)
    ]
    assert page_facts(several) == ["2026-11-20 to 2026-11-24", "5 machines"]
    assert page_facts([]) == []


# Everything from a result is data


def hostile_chart() -> ChartSet:
    rows: list[Row] = [{"label": HOSTILE, "x": 1.0}]
    spec: dict[str, Json] = {
        "data": {"name": "points"},
        "mark": "point",
        "encoding": {"x": {"field": "x"}},
    }
    return ChartSet(
        (Chart("c", HOSTILE, HOSTILE, spec, ("points",), (HOSTILE,)),), {"points": rows}
    )


def test_markup_in_a_text_stays_text() -> None:
    cells = [result(None, None, error=Failure(stage="load", message=HOSTILE), weights=HOSTILE)]
    made = page(HOSTILE, result_tables(cells), facts=[HOSTILE], charts=hostile_chart())
    assert not list(page_tree(made).iter("img"))
    assert "alert(1)>" not in made
    assert "\x1b" not in made
    assert "\u202e" not in made
    assert "49" not in re.sub("[0-9]{3,}", "", text(page_tree(made)))  # no template was run
    title = text(next(page_tree(made).iter("h1")))
    assert title == HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    [rows] = page_data(made)["charts"]["tables"].values()
    assert rows == [{"label": title, "x": 1.0}]


def test_the_page_can_make_no_request_and_runs_no_script_but_its_own() -> None:
    made = page("x", result_tables(quick_start()), charts=hostile_chart())
    [policy] = [
        meta.attrib["content"]
        for meta in page_tree(made).iter("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    assert "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", made, flags=re.DOTALL)
    assert len(scripts) == made.count("<script>") == made.count("</script>") - 1 == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    for node in page_tree(made).iter():
        assert not {"src", "onclick", "onload"} & node.attrib.keys()
        assert node.get("href", "#").startswith("#")


def test_a_page_without_charts_contains_no_vega() -> None:
    made = page("x", result_tables(quick_start()))
    assert "vegaEmbed=" not in made
    assert "Charts" not in text(page_tree(made))
    assert len(made) < 60_000


# The command


def test_the_page_has_the_title_and_the_objective_that_were_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = written(tmp_path / "run", open_loop(20.0, 60.0, 70.0), open_loop(30.0, 90.0, 95.0))
    file = tmp_path / "page.html"
    flags = ["--title", "For <us>", "--objective", "p95:80ms", "--output", str(file)]
    assert main(["report", run, *flags]) == 0
    tree = page_tree(file.read_text())
    assert text(next(tree.iter("h1"))) == "For <us>"
    assert text(next(tree.iter("output"))) == "P95 within 80ms"
    assert "No objective was given" not in text(tree)
    assert main(["report", run, "--title", "x"]) == BAD_INPUT
    assert "--title is for the page" in capsys.readouterr().err
    assert main(["report", run, "--output", str(file), "--objective", "p50:1s"]) == BAD_INPUT
    assert "choose from p90, p95, p99" in capsys.readouterr().err


def test_prices_that_are_asked_for_are_those_of_the_answer_too(tmp_path: Path) -> None:
    run = written(tmp_path / "run", open_loop(20.0, 60.0, 70.0))
    file = tmp_path / "page.html"
    assert main(["report", run, "--usd-per-hour", "7.2", "--output", str(file)]) == 0
    [card] = of_class(page_tree(file.read_text()), "answer")
    assert "at most $100.00 a million" in text(card)


def test_a_comparison_has_its_answer_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = written(tmp_path / "a", open_loop(20.0, 60.0))
    b = written(tmp_path / "b", open_loop(20.0, 30.0))
    assert main(["compare", a, b, "--format", "html"]) == 0
    tree = page_tree(capsys.readouterr().out)
    assert "no verdict" in text(of_class(tree, "answers")[0])
    assert "What to deploy" not in text(tree)
    assert list(tree.iter("table"))
