"""The published tables as run directories: what `compare` and `report` say about them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from gpubench.cli.program import main
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "published_studies.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("published")
    runpy.run_path(str(ROOT / "examples" / "published_study.py"))["main"](str(written))
    return written


def results(folder: Path) -> list[Result]:
    return [result for _, result in open_run(folder).read_all().cells]


def compared(a: Path, b: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["compare", str(a), str(b), "--format", "json"]) == 0
    pairs: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["pairs"]
    return pairs


def test_every_document_says_that_nothing_was_measured(folder: Path) -> None:
    found = [each for run in folder.glob("*/*") for each in results(run)]
    assert len(found) == 32 + 12 + 4
    for each in found:
        assert each.verdict.status == "suspect"
        assert [reason.code for reason in each.verdict.reasons] == ["published-figures"]
        assert each.requests.completed == 0


def test_only_the_study_that_prints_the_instance_names_one(folder: Path) -> None:
    instances = {
        run.parent.name: {each.environment.instance for each in results(run)}
        for run in sorted(folder.glob("*/*"))
    }
    assert instances == {
        "bert_large": {None},
        "g5_vs_g4dn": {"g5.4xlarge"},
        "yolov5": {None},
    }


def test_compare_has_the_true_ratios_of_the_study(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = folder / "g5_vs_g4dn"
    pairs = compared(runs / "g5.4xlarge", runs / "g4dn.4xlarge", capsys)
    assert len(pairs) == 16
    ratios = {
        tuple(pair["cell"].split(", ")[:2]): pair["usd_per_million"]["b_over_a"] for pair in pairs
    }
    first = ratios["bert-base torchscript fp32", "batch 32"]
    assert first == pytest.approx(3.48, abs=5e-3)
    assert sorted(key for key, ratio in ratios.items() if ratio < 1) == [
        ("bert-base torchscript amp", "batch 1"),
        ("resnet50 torchscript amp", "batch 1"),
        ("resnet50 torchscript fp32", "batch 1"),
    ]
    of_large_batches = [ratio for (_, batch), ratio in ratios.items() if batch != "batch 1"]
    assert (min(of_large_batches), max(of_large_batches)) == pytest.approx((1.33, 3.48), abs=5e-3)


@pytest.mark.parametrize(
    ("only", "answer"),
    [
        (
            [],
            "amp, batch 8, on g5.4xlarge: at most 1,419/s each, at least $0.318 a million",
        ),
        (
            ["--only", "batch=1"],
            "amp, batch 1, on g4dn.4xlarge: at most 180/s each, at least $1.86 a million",
        ),
    ],
)
def test_plan_gives_the_answers_on_the_page(
    folder: Path, capsys: pytest.CaptureFixture[str], only: list[str], answer: str
) -> None:
    runs = [str(folder / "g5_vs_g4dn" / name) for name in ("g5.4xlarge", "g4dn.4xlarge")]
    allowed = ["--allow", "suspect,closed-loop"]
    capsys.readouterr()
    assert main(["plan", *runs, "--objective", "p95:8ms", *allowed, *only, "--json", "-"]) == 0
    plan = json.loads(capsys.readouterr().out)
    [found] = [each for each in plan["decisions"] if each["workload"]["model"] == "resnet50"]
    best = found["candidates"][found["winner"]]
    assert answer == (
        f"{best['settings']['precision']}, batch {best['settings']['batch']}, on "
        f"{best['cost']['instance']}: at most {best['rate_per_second']:,.0f}/s each, at least "
        f"${best['cost']['usd_per_million']:.3g} a million"
    )
    assert answer in PAGE.read_text()


def test_plan_recommends_no_published_figure_unless_it_is_allowed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(folder / "g5_vs_g4dn" / name) for name in ("g5.4xlarge", "g4dn.4xlarge")]
    capsys.readouterr()
    assert main(["plan", *runs, "--objective", "p95:8ms", "--json", "-"]) == 1
    plan = json.loads(capsys.readouterr().out)
    assert [each["winner"] for each in plan["decisions"]] == [None, None]


def test_bert_large_has_costs_and_no_latency(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = folder / "bert_large"
    pairs = compared(runs / "g5.xlarge", runs / "g4dn.xlarge", capsys)
    ratios = [pair["usd_per_million"]["b_over_a"] for pair in pairs]
    assert (min(ratios), max(ratios)) == pytest.approx((1.21, 2.00), abs=5e-3)
    assert all(pair["p95_ms"]["b_over_a"] is None for pair in pairs)


def test_the_latency_of_yolov5_is_the_sum_of_its_stages(folder: Path) -> None:
    by_model = {each.spec.model: each for each in results(folder / "yolov5" / "g5.xlarge")}
    smallest, largest = by_model["yolov5:yolov5s"], by_model["yolov5:yolov5x"]
    assert smallest.latency_ms.mean == pytest.approx(8.3)
    assert smallest.throughput_per_second == pytest.approx(1000 / 8.3)
    assert smallest.latency_ms.p95 is None
    costs = [each.costs[0].usd_per_million or 0.0 for each in (smallest, largest)]
    assert costs[1] / costs[0] == pytest.approx(15.9 / 8.3)


def test_report_shows_the_sizes_of_yolov5(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(folder / "yolov5" / "g5.xlarge")
    assert main(["report", run, "--format", "markdown"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| yolov5:")]
    assert len(rows) == 8  # the cells, and the models
    assert "16.5" in rows[4]  # GFLOP of the smallest, which is first


def test_the_page_has_the_table_that_the_command_prints(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = folder / "g5_vs_g4dn"
    sides = [str(runs / name) for name in ("g5.4xlarge", "g4dn.4xlarge")]
    capsys.readouterr()
    assert main(["compare", *sides, "--format", "markdown"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == 18
    assert "\n".join(table) in PAGE.read_text()
