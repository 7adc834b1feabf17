"""The command line about prices: files of one's own, lists, owned hardware, electricity."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from factories import G5, result

from gpubench.cli import prices as prices_command
from gpubench.cli import program as cli
from gpubench.cli.options import prices_option
from gpubench.pricing import bundled_catalog
from gpubench.pricing.names import Term
from gpubench.pricing.price_files import read_price_file
from gpubench.report.prices import SORTS
from gpubench.results.result import DeviceReport
from gpubench.results.run_directory import open_run


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "p.csv"
    path.write_text(
        "provider,instance,region,on_demand_usd_per_hour,spot_usd_per_hour,as_of\n"
        "aws,g5.4xlarge,eu-west-1,1.8,0.9,2026-10-01\n"
        "aws,g5.4xlarge,us-east-1,1.7,,2026-01-01\n"
    )
    return str(path)


@pytest.fixture
def run_directory(tmp_path: Path) -> str:
    """A cell on a GPU that used 3.6 J for an inference, and one on a CPU."""
    run = open_run(tmp_path / "run")
    run.check_writable()
    on_gpu = result(100.0, machine=G5)
    on_gpu.device = DeviceReport(power_w=360.0, energy_j_per_inference=3.6)
    run.write(f"{0:016x}", on_gpu)
    run.write(f"{1:016x}", result(10.0, instance="c7i.xlarge"))
    return run.url


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main([*argv]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def as_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_two_prices_of_one_instance_have_different_names_everywhere(
    run_directory: str, prices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "g5.4xlarge@us-east-1,g5.4xlarge@eu-west-1,g5.4xlarge:spot"
    argv = ["report", run_directory, "--prices", prices, "--instance", names]
    table = shown(capsys, *argv, "--format", "markdown")
    for name in ("g5.4xlarge", "g5.4xlarge eu-west-1", "g5.4xlarge eu-west-1 spot"):
        assert f"| $/million {name} " in table
    assert "$1.7/h" in table
    assert "g5.4xlarge: the price is 304 days old" in table
    rows = as_rows(shown(capsys, *argv, "--format", "csv"))[:3]
    told = ("price_name", "price_region", "price_term", "usd_per_hour", "price_is_old")
    assert [tuple(row[name] for name in told) for row in rows] == [
        ("g5.4xlarge", "us-east-1", "on-demand", "1.7", "true"),
        ("g5.4xlarge eu-west-1", "eu-west-1", "on-demand", "1.8", "false"),
        ("g5.4xlarge eu-west-1 spot", "eu-west-1", "spot", "0.9", "false"),
    ]


def test_a_comparison_says_which_price_each_side_has(
    run_directory: str, prices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compare", run_directory, run_directory, "--prices", prices]
    argv += ["--instance-a", "g5.4xlarge", "--instance-b", "g5.4xlarge:spot"]
    table = shown(capsys, *argv, "--format", "markdown")
    assert "**prices of A**: g5.4xlarge eu-west-1 $1.8/h" in table
    assert "**prices of B**: g5.4xlarge eu-west-1 spot $0.9/h" in table
    for pair in json.loads(shown(capsys, *argv, "--format", "json"))["pairs"]:
        assert pair["a_price"] == "g5.4xlarge eu-west-1"
        assert pair["b_price"] == "g5.4xlarge eu-west-1 spot"
        assert pair["usd_per_million"]["b_over_a"] == pytest.approx(0.5)


def test_the_file_holds_for_one_command_and_for_what_it_starts(
    prices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(prices).parent)
    seen: list[str] = []

    @click.command()
    @prices_option
    def command() -> None:
        seen.append(os.environ["GPUBENCH_PRICES"])

    command.main(["--prices", "p.csv"], standalone_mode=False)
    assert "GPUBENCH_PRICES" not in os.environ
    monkeypatch.setenv("GPUBENCH_PRICES", prices)
    command.main(["--prices", "p.csv"], standalone_mode=False)
    assert os.environ["GPUBENCH_PRICES"] == prices
    assert seen == [prices, f"{prices}:{prices}"]


@pytest.mark.parametrize(
    "argv",
    [
        ["report", "RUN", "--prices", "absent.csv"],
        ["compare", "RUN", "RUN", "--prices", "absent.csv"],
        ["prices", "list", "--prices", "absent.csv"],
        ["run", "--model", "synthetic", "--prices", "absent.csv"],
        ["sweep", "--model", "synthetic", "--output", "out", "--prices", "absent.csv"],
        ["search", "--model", "synthetic", "--objective", "p95:1s", "--prices", "absent.csv"],
        ["cold", "--model", "resnet50", "--prices", "absent.csv"],
        ["ab", "--prices", "absent.csv", "--", "--batch", "1", "--", "--batch", "2"],
    ],
)
def test_every_command_that_prices_reads_the_file_before_anything_starts(
    argv: list[str], run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([part.replace("RUN", run_directory) for part in argv]) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "absent.csv: these prices cannot be read: No such file or directory" in captured.err


def test_a_file_of_the_environment_that_is_wrong_ends_a_measurement_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUBENCH_PRICES", str(tmp_path / "absent.csv"))
    assert cli.main(["run", "--model", "synthetic"]) == cli.BAD_INPUT
    assert "absent.csv: these prices cannot be read" in capsys.readouterr().err


def test_hardware_of_ones_own_is_priced_and_results_stay_as_they_are(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.read_bytes() for file in Path(run_directory).iterdir()}
    argv = ["report", run_directory, "--capital-usd", "8760", "--years", "1"]
    argv += ["--usd-per-kwh", "0.25", "--watts", "500", "--pue", "2"]
    table = shown(capsys, *argv)
    assert "$/million" in table
    assert "owned $1.25/h ($8,760 over 1 year, 500 W x PUE 2 at $0.25/kWh)" in " ".join(
        table.split()
    )
    for cell in json.loads(shown(capsys, *argv, "--format", "json")):
        [cost] = cell["costs"]
        assert (cost["owned"], cost["instance"], cost["usd_per_hour"]) == (True, None, 1.25)
    assert {file: file.read_bytes() for file in Path(run_directory).iterdir()} == before


def test_a_cell_without_measured_power_asks_for_it(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["report", run_directory, "--capital-usd", "1", "--years", "1", "--usd-per-kwh", "1"]
    assert cli.main(argv) == cli.BAD_INPUT
    assert "the power of a result was not measured; add --watts" in capsys.readouterr().err


def test_electricity_and_carbon_are_in_every_format(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["report", run_directory, "--usd-per-kwh", "0.2", "--grams-co2-per-kwh", "400"]
    table = " ".join(shown(capsys, *argv, "--format", "markdown").split())
    assert "| J /inference | electricity $/million | gCO2 /million |" in table
    assert "| 3.60 | 0.200 | 400 |" in table
    assert "already contains its electricity" in table
    on_gpu, on_cpu = as_rows(shown(capsys, *argv, "--format", "csv"))
    assert on_gpu["electricity_usd_per_million_inferences"] == "0.2"
    assert on_gpu["grams_co2_per_million_inferences"] == "400.0"
    assert on_cpu["grams_co2_per_million_inferences"] == ""
    cells = json.loads(shown(capsys, *argv, "--format", "json"))
    assert [cell["electricity"] is None for cell in cells] == [False, True]


def test_a_run_without_energy_says_that_it_has_no_figures_of_electricity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(tmp_path / "cpu")
    run.check_writable()
    run.write(f"{0:016x}", result(10.0, instance="c7i.xlarge"))
    assert cli.main(["report", run.url, "--usd-per-kwh", "0.2"]) == 0
    assert "no result has energy, which only some GPUs and CPUs report" in capsys.readouterr().err


def listed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads(
        shown(capsys, "prices", "list", "--format", "json", *argv)
    )
    return document


def test_a_list_is_filtered_and_sorted(prices: str, capsys: pytest.CaptureFixture[str]) -> None:
    cheap = listed(capsys, "--provider", "aws", "--max-usd-per-hour", "0.8", "--sort", "price")
    figures = [row["on_demand_usd_per_hour"] for row in cheap]
    assert figures == sorted(figures)
    assert 0.7582 in figures
    assert max(figures) <= 0.8
    each = listed(capsys, "--region", "us-east-1", "--sort", "usd-per-gpu")
    counts = [row["accelerator_count"] for row in each]
    first_without = counts.index(0)
    assert not any(counts[first_without:])
    per_gpu = [r["on_demand_usd_per_hour"] / r["accelerator_count"] for r in each[:first_without]]
    assert per_gpu == sorted(per_gpu)
    spot = listed(capsys, "--prices", prices, "--term", "spot", "--accelerator", "A10G")
    assert [(row["instance"], row["region"]) for row in spot] == [("g5.4xlarge", "eu-west-1")]
    names = [row["instance"] for row in listed(capsys, "--sort", "name")]
    assert names == sorted(names)


def test_a_list_sorted_by_the_price_of_a_gpu_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--provider", "gcp", "--accelerator", "T4,L4", "--sort", "usd-per-gpu")
    table = shown(capsys, "prices", "list", *asked, "--term", "spot", "--format", "markdown")
    header, _, first = [line for line in table.splitlines() if line.startswith("|")][:3]
    assert "spot $/h per GPU" in header
    assert first.split().count("0.397336") == 2  # of one L4, and of the machine with one


def test_two_rows_of_one_instance_have_their_region_at_any_width(
    prices: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert "eu-west-1" in shown(capsys, "prices", "list", "--prices", prices)
    assert "us-east-1" not in shown(capsys, "prices", "list", "--provider", "aws")


def test_the_facts_of_an_instance_are_broken_between_words_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = shown(capsys, "prices", "show", "g5.xlarge")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    narrow = shown(capsys, "prices", "show", "g5.xlarge")
    assert (
        "source          AWS EC2 on-demand list\n                price, us-east-1, Linux," in narrow
    )
    assert max(map(len, narrow.splitlines())) <= 40 < max(map(len, plain.splitlines()))
    assert narrow.split() == plain.split()


def test_an_old_spot_price_is_marked_though_the_row_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh without an account keeps the spot prices that were known, with their date."""
    monkeypatch.setattr("gpubench.pricing.age.today", lambda: date(2026, 11, 27))
    path = tmp_path / "p.csv"
    path.write_text(
        "provider,instance,region,on_demand_usd_per_hour,as_of,spot_usd_per_hour,spot_as_of\n"
        "aws,g5.xlarge,us-east-1,1,2026-11-20,0.4,2026-01-01\n"
    )
    note = "the price is 330 days old"
    assert note in shown(capsys, "prices", "list", "--prices", str(path))
    assert f"spot: {note}" in shown(capsys, "prices", "show", "g5.xlarge", "--prices", str(path))


@pytest.mark.parametrize("price", ["nan", "-1", "0"])
def test_a_price_limit_that_nothing_can_meet_is_refused(
    price: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["prices", "list", "--max-usd-per-hour", price]) == 2
    assert "must be above 0" in capsys.readouterr().err


def test_a_list_as_csv_is_a_file_of_prices(
    tmp_path: Path, prices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.csv"
    shown(capsys, "prices", "list", "--output", str(copy))
    read = read_price_file(copy, bundled_catalog())
    assert [(i.name, i.on_demand_usd_per_hour, i.source, i.vcpus) for i in read] == [
        (i.name, i.on_demand_usd_per_hour, i.source, i.vcpus)
        for i in bundled_catalog().instances
        if i.known_terms()
    ]
    assert prices not in copy.read_text()


def test_rows_of_ones_own_name_their_file_and_old_prices_are_marked(
    prices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = listed(capsys, "--prices", prices, "--accelerator", "A10G")
    assert [(row["file"], row["is_old"]) for row in rows[:3]] == [
        (prices, False),
        (prices, True),
        (None, False),
    ]
    table = shown(
        capsys, *("prices", "list", "--prices", prices, "--accelerator", "A10G"), "--format", "html"
    )
    assert prices in table
    assert "the price is 304 days old" in table
    assert prices not in shown(capsys, "prices", "list")


def test_show_has_every_region_and_term_or_the_one_asked_for(
    prices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    both = shown(capsys, "prices", "show", "g5.4xlarge", "--prices", prices)
    assert [line.split()[-1] for line in both.splitlines() if line.startswith("region")] == [
        "eu-west-1",
        "us-east-1",
    ]
    assert "note            the price is 304 days old" in both
    one = shown(capsys, "prices", "show", "aws/g5.4xlarge@eu-west-1", "--prices", prices)
    assert "us-east-1" not in one
    assert "spot            $0.9/h" in one
    assert "3 years         not known" in one


def test_a_made_up_name_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "n1.csv"
    path.write_text(
        "provider,instance,region,on_demand_usd_per_hour,accelerator,accelerator_count\n"
        "gcp,n1-standard-4+1xT4,us-central1,0.5,T4,1\n"
    )
    told = shown(capsys, "prices", "show", "n1-standard-4+1xT4", "--prices", str(path))
    assert "made up by gpubench: the machine before the +" in told


@pytest.mark.parametrize("form", ["terminal", "csv", "json"])
def test_a_list_of_nothing_is_said_to_be_one(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["prices", "list", "--provider", "gcp", "--accelerator", "T4", "--format", form]
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    assert captured.err == "gpubench: warning: no instance fits all that was asked for\n"
    assert captured.out


def test_an_unknown_region_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["prices", "list", "--region", "us-east-2"]) == cli.BAD_INPUT
    assert "did you mean us-east-1" in capsys.readouterr().err


def test_the_choices_of_flags_are_those_of_the_modules() -> None:
    assert get_args(Term) == prices_command._TERMS
    assert tuple(SORTS) == prices_command._SORTS
