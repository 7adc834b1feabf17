"""`gpubench plan --rate`, `--traffic` and `--autoscale`, as a person uses them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import DRIFT, cold_result, samples
from planning_results import C7I, closed_loop, open_loop, search, written
from published_schemas import schema_problems

from gpubench.cli import program as cli
from gpubench.results.result import Stages, StageSummary
from gpubench.results.run_directory import open_run
from gpubench.results.search_result import SearchResult

PLAN = "--objective", "p95:100ms"
C7I_USD_PER_HOUR = 0.1785
MORNING = "time,rate\n8:00,40\n8:10,300\n8:20,120\n9:00,end\n"


def with_stages(found: SearchResult) -> SearchResult:
    """The probe of a search has a mean service time of 20 ms."""
    stages = Stages(
        queue=StageSummary(mean=5.0, p50=4.0, p95=9.0),
        submit=StageSummary(mean=1.0, p50=1.0, p95=1.0),
        compute=StageSummary(mean=19.0, p50=19.0, p95=20.0),
    )
    for probe in found.probes:
        probe.result.stages_ms = stages
    return found


@pytest.fixture
def searched(tmp_path: Path) -> str:
    """31/s (at least 30) and 18/s on a c7i.xlarge."""
    return written(
        tmp_path / "c7i",
        with_stages(search(31.0, (30.0, 32.0), precision="bf16", runtime="onnxruntime", workers=2)),
        search(18.0, (17.5, 18.5), workers=2),
    )


@pytest.fixture
def morning(tmp_path: Path) -> str:
    path = tmp_path / "morning.csv"
    path.write_text(MORNING)
    return str(path)


@pytest.mark.parametrize("model", ["resnet50", "my_models.bert_variants.large_sparse:make_model"])
def test_the_tables_of_a_load_fit_80_columns(
    tmp_path: Path,
    morning: str,
    model: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"model": model, "allow_code": True, "workers": 16, "batch": 128}
    run = written(tmp_path / "run", with_stages(search(31.0, (30.0, 32.0), **settings)))
    monkeypatch.setenv("COLUMNS", "80")
    prices = ("--instance", "c7i.xlarge,g4dn.12xlarge", "--allow", "other-hardware")
    for load in (("--rate", "5e5"), ("--traffic", morning, "--autoscale", "1:9")):
        delay = ("--scale-up-delay", "90s") if "--traffic" in load else ()
        assert cli.main(["plan", run, *PLAN, *prices, "--spare", "1", *load, *delay]) == 0
        # A pipe has its sentences in one line each, before the tables.
        tables = capsys.readouterr().out.split("\ncheapest at each price", 1)[1]
        assert "instances for the load" in tables
        assert max(map(len, tables.splitlines())) <= 80
        assert "…" not in tables


def planned(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The load of the JSON document, if there is one workload."""
    assert cli.main(["plan", *arguments, *PLAN, "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert schema_problems("plan", document) == []
    (load,) = document["loads"]
    assert isinstance(load, dict)
    return load


def test_a_rate_is_answered_in_a_sentence(
    searched: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", searched, *PLAN, "--rate", "5000", "--spare", "1"]) == 0
    # 5000 / 30 = 166.7, and one more.
    usd = 168 * C7I_USD_PER_HOUR * 730
    million = 168 * C7I_USD_PER_HOUR / 3600 / 5000 * 1e6
    assert capsys.readouterr().out.splitlines()[2] == (
        "For 5,000 inferences/s: 168 instances, on c7i.xlarge, each with resnet50 in bf16 with "
        "onnxruntime, batch 1, 2 workers (utilisation 99%, 100% after the loss of 1): "
        f"${usd:,.2f} a month, ${million:.2f} a million with idle time."
    )


def test_the_cheapest_fleet_may_be_another_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For 25/s one small instance is enough, whatever a million costs on a full large one."""
    large = {**C7I, "instance": "c7i.4xlarge", "cores": 16}
    url = written(
        tmp_path / "run",
        search(27.0, (26.0, 28.0), workers=1),
        search(140.0, (135.0, 145.0), workers=1, machine=large),
    )
    assert cli.main(["plan", url, *PLAN]) == 0
    assert "on c7i.4xlarge" in capsys.readouterr().out.splitlines()[0]
    assert cli.main(["plan", url, *PLAN, "--rate", "25"]) == 0
    sentence = capsys.readouterr().out.splitlines()[2]
    assert sentence.startswith("For 25.00 inferences/s: 1 instance, on c7i.xlarge")
    assert "Another setting has the lowest cost of a million" in sentence


def test_candidates_that_may_not_win_make_no_fleet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = written(
        tmp_path / "run",
        search(20.0, (19.0, 21.0)),
        search(90.0, None, workers=4, reasons=(DRIFT,)),
    )
    (fleet,) = planned(url, "--rate", "100", capsys=capsys)["fleets"]
    assert fleet["rate_per_instance"] == 19.0
    closed = written(tmp_path / "closed", closed_loop(50.0, 40.0))
    assert cli.main(["plan", closed, *PLAN, "--rate", "100"]) == 1
    sentence = capsys.readouterr().out.splitlines()[2]
    assert sentence == ("No fleet of resnet50 is planned, because no setting can be recommended.")


def test_a_load_is_simulated_with_and_without_an_autoscaler(
    searched: str, morning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    autoscaler = "--traffic", morning, "--autoscale", "2:20", "--scale-up-delay", "90s"
    load = planned(searched, *autoscaler, capsys=capsys)
    constant, scaled = load["autoscaling"]["constant"], load["autoscaling"]["scaled"]
    assert constant["instance_hours"] == 10
    assert scaled["instance_hours"] < 10
    assert scaled["inferences"] == pytest.approx(492_000, rel=0.02)
    assert sum(row["inferences"] for row in scaled["periods"]) == scaled["inferences"]
    hours = [row["mean_instances"] / 12 for row in scaled["periods"]]  # of 5 minutes
    assert sum(hours) == pytest.approx(scaled["instance_hours"])
    assert scaled["usd_per_month"] == pytest.approx(
        scaled["instance_hours"] * C7I_USD_PER_HOUR * 730
    )
    # Requests are late after the jump at 8:10, for as long as new instances start.
    late = [row["late"] for row in scaled["periods"]]
    assert late[2] > 10_000
    assert sum(late) == late[2]
    assert constant["late"] == 0


def test_the_tables_have_the_times_of_the_file(
    searched: str, morning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "--autoscale", "0:20", "--scale-up-delay", "30s", "--serverless-usd-per-hour", "0.4"
    assert (
        cli.main(["plan", searched, *PLAN, "--traffic", morning, *flags, "--format", "html"]) == 0
    )
    out = capsys.readouterr().out
    assert "constant service time of 20 ms" in out
    for text in ("8:55", "serverless", "Serverless at $0.400 an active hour", "autoscaled"):
        assert text in out


def test_a_maximum_below_what_the_peak_needs_is_said(
    searched: str, morning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "--traffic", morning, "--autoscale", "1:2", "--scale-up-delay", "30s", "--spare", "1"
    assert cli.main(["plan", searched, *PLAN, *flags]) == 0
    sentence = capsys.readouterr().out.splitlines()[2]
    assert "its MAX is 2, and the peak needs 10 instances." in sentence
    assert "with 11 all the time (1 of them spare)" in sentence


def test_a_load_without_a_request_has_no_percentile(
    searched: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "--rate", "1e-9", "--autoscale", "0:2", "--scale-up-delay", "30s"
    assert cli.main(["plan", searched, *PLAN, *flags]) == 0
    assert capsys.readouterr().out.splitlines()[2].count("no request came") == 2


def test_service_times_come_from_the_samples_nearest_to_the_target(
    tmp_path: Path, morning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = samples(400)
    departed = slow.departed_ns[0] + np.arange(400, dtype=np.int64) * 30_000_000
    slow = replace(slow, departed_ns=departed, completed_ns=departed + 30_000_000)
    url = written(tmp_path / "run", open_loop(20.0, 50.0, 60.0), measured=slow)
    other = written(tmp_path / "other", open_loop(5.0, 50.0, 60.0), measured=samples(300))
    flags = "--traffic", morning, "--autoscale", "1:40", "--scale-up-delay", "1m"
    load = planned(url, other, *flags, capsys=capsys)
    assert load["autoscaling"]["service_times"] == (
        "service times of 400 batches, measured at 20 inferences/s"
    )
    assert load["autoscaling"]["scaled"]["percentile_ms"] >= 30


def test_dynamic_batching_takes_the_times_of_each_size(
    tmp_path: Path, morning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    joined = samples(400)
    joined = replace(joined, batch=np.arange(400, dtype=np.int64) // 2)
    joined = replace(joined, completed_ns=joined.departed_ns + 1_000_000)
    url = written(
        tmp_path / "run", open_loop(20.0, 50.0, 60.0, dynamic_batch="4:5ms"), measured=joined
    )
    flags = "--traffic", morning, "--autoscale", "1:40", "--scale-up-delay", "1m"
    load = planned(url, *flags, capsys=capsys)
    assert "200 batches" in load["autoscaling"]["service_times"]
    assert 1 <= load["autoscaling"]["constant"]["percentile_ms"] <= 6.1


def test_a_measured_cold_start_is_the_time_of_a_launch(
    tmp_path: Path, morning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = written(tmp_path / "run", with_stages(search(31.0, (30.0, 32.0))))
    open_run(url).write_cold("cold-1", cold_result(machine=C7I))
    load = planned(url, "--traffic", morning, "--autoscale", "0:20", capsys=capsys)
    assert load["autoscaling"]["start_s"] == pytest.approx(4.5 + 19 / 64)


def test_csv_has_a_row_for_each_fleet(searched: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", searched, *PLAN, "--rate", "62", "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["instances"], row["instance"]) == ("3", "c7i.xlarge")
    assert float(row["utilisation"]) == pytest.approx(62 / 90)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rate", "0"], "--rate 0: give the inferences per second"),
        (["--rate", "nan"], "--rate nan"),
        (["--rate", "5", "--traffic", "x"], "--rate and --traffic are both a load"),
        (["--spare", "1"], "--spare needs a load; add --rate R or --traffic FILE"),
        (["--rate", "5", "--spare", "-1"], "--spare -1"),
        (["--autoscale", "1:2"], "--autoscale needs a load"),
        (["--rate", "5", "--target-utilisation", "0.5"], "add --autoscale MIN:MAX"),
        (["--rate", "5", "--autoscale", "5"], "--autoscale '5' is not MIN:MAX"),
        (["--rate", "5", "--autoscale", "5:2"], "--autoscale 5:2: give MIN:MAX"),
        (["--rate", "5", "--autoscale", "1:2"], "add --scale-up-delay 90s, or measure it"),
        (
            ["--rate", "5", "--autoscale", "1:2", "--target-utilisation", "70"],
            "--target-utilisation '70' is not a share",
        ),
        (
            ["--rate", "5", "--autoscale", "1:2", "--scale-up-delay", "90"],
            "--scale-up-delay: '90' has no unit",
        ),
        (
            ["--rate", "5", "--autoscale", "1:2", "--balancing", "fair"],
            "--balancing 'fair' is unknown; choose from least-requests, random, shared",
        ),
        (
            ["--rate", "5", "--autoscale", "1:2", "--serverless-usd-per-hour", "-1"],
            "--serverless-usd-per-hour -1.0 is not a price",
        ),
        (
            ["--rate", "5000", "--autoscale", "2:20", "--scale-up-delay", "90s"],
            "--autoscale 2:20: 20 instances execute at most 2,000 inferences/s",
        ),
        (["--traffic", "no-such.csv"], "--traffic no-such.csv: No such file"),
        (["--rate", "1e8"], "needs 3,333,334 instances"),
    ],
)
def test_bad_input_gets_one_line(
    searched: str, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", searched, *PLAN, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
