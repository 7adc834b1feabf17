"""`gpubench plan` as a person uses it: sentences, files, exit statuses, lines about bad input."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from factories import DRIFT, G4DN, G5, cold_result, quick_start
from planning_results import closed_loop, open_loop, search, written

import gpubench
from gpubench.cli import program as cli
from gpubench.results.result import DeviceReport
from gpubench.results.run_directory import open_run

PLAN = "--objective", "p95:100ms"


@pytest.fixture
def searched(tmp_path: Path) -> str:
    """Two searches on a c7i.xlarge whose intervals do not overlap."""
    return written(
        tmp_path / "c7i",
        search(31.0, (30.0, 32.0), precision="bf16", runtime="onnxruntime", workers=2),
        search(18.0, (17.5, 18.5), workers=2),
    )


@pytest.fixture
def quick(tmp_path: Path) -> str:
    return written(tmp_path / "quickstart", *quick_start())


def test_the_answer_is_the_first_sentence(
    searched: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", searched, *PLAN]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "Deploy resnet50 in bf16 with onnxruntime, batch 1, 2 workers, on c7i.xlarge: 31.0 "
        "inferences/s each with P95 within 100ms, $1.60 a million (1.55 to 1.65). Next best: "
        "resnet50 in fp32 with torchscript, batch 1, 2 workers, on c7i.xlarge: $2.75 a million "
        "(2.68 to 2.83), 72% more."
    )


def test_settings_whose_intervals_overlap_are_not_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = written(tmp_path, search(31.0, (29.0, 33.0)), search(30.0, (28.0, 32.0), workers=2))
    assert cli.main(["plan", url, *PLAN]) == 0
    sentence = capsys.readouterr().out.splitlines()[0]
    assert "Their intervals overlap, so these results do not tell the two apart." in sentence


def test_open_loops_give_bounds_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = written(tmp_path, open_loop(20.0, 67.0, 108.0))
    assert cli.main(["plan", url, *PLAN]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "Deploy resnet50 in fp32 with torchscript, batch 1, 1 worker, on c7i.xlarge: at least "
        "20.0 inferences/s each, with P95 67.0 ms (with 95% confidence it is at most 108 ms), at "
        "most $2.48 a million."
    )


def test_a_cheaper_setting_that_may_not_win_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = written(tmp_path, search(18.0), search(31.0, precision="bf16", reasons=(DRIFT,)))
    assert cli.main(["plan", url, *PLAN]) == 0
    sentence = capsys.readouterr().out.splitlines()[0]
    assert sentence.startswith("Deploy resnet50 in fp32")
    assert (
        "resnet50 in bf16 with torchscript, batch 1, 1 worker, on c7i.xlarge, may be cheaper ($1.60"
        " a million), but its verdict is suspect (drift)." in sentence
    )


def test_after_the_quick_start_it_says_what_is_missing(
    quick: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = cli.main(["plan", quick, "--objective", "p95:200ms", "--instance", "c7i.xlarge"])
    bert, _, resnet, *_ = capsys.readouterr().out.splitlines()
    assert status == cli.FAILED
    assert bert.startswith("Cheapest until now: bert-base in bf16 with torchscript")
    assert resnet == (
        "Cheapest until now: resnet50 in bf16 with torchscript, batch 1, 2 workers, on c7i.xlarge: "
        "at most 33.7 inferences/s each (closed loop, P95 60.9 ms), at least $1.47 a million. It "
        "cannot be recommended: only a closed loop was measured, and it was not measured on "
        "c7i.xlarge. Either accept it with --allow closed-loop,other-hardware, or run this on "
        "c7i.xlarge: gpubench search --model resnet50 --precision bf16 --workers 2 --instance "
        f"c7i.xlarge --objective p95:200ms --output {quick}"
    )


def test_the_hardware_of_a_server_is_not_that_of_the_client(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client is a c7i.xlarge. No search can say what the server is."""
    served: dict[str, Any] = {
        "runtime": "kserve",
        "device": "server",
        "server": "grpc://gpu-1:8001/resnet50",
    }
    url = written(tmp_path, open_loop(20.0, 67.0, **served, threads=None))
    setting = "resnet50 in fp32 with kserve at grpc://gpu-1:8001/resnet50, batch 1, 1 worker"
    assert cli.main(["plan", url, *PLAN, "--instance", "c7i.xlarge"]) == cli.FAILED
    sentence = capsys.readouterr().out.splitlines()[0]
    assert sentence.startswith(f"Cheapest until now: {setting}, on c7i.xlarge: at least 20.0")
    assert sentence.endswith(
        "It cannot be recommended: the server does not say whether it is a c7i.xlarge. If the "
        "server is a c7i.xlarge, add --allow other-hardware."
    )
    assert cli.main(["plan", url, *PLAN, "--usd-per-hour", "0.36"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    # 0.36 / 3600 / 20 * 1e6
    assert f"Deploy {setting}, on its server at $0.36/h: at least 20.0 inferences/s" in out
    assert "at most $5.00 a million" in out
    assert "machine server grpc://gpu-1:8001/resnet50, whose hardware is not known" in out
    arguments = ["plan", url, *PLAN, "--usd-per-hour", "0.36", "--format", "json"]
    assert cli.main(arguments) == 0
    [decision] = json.loads(capsys.readouterr().out)["decisions"]
    assert decision["candidates"][0]["measured_on"] is None


def test_what_is_allowed_can_win(quick: str, capsys: pytest.CaptureFixture[str]) -> None:
    allow = "--allow", "closed-loop,other-hardware"
    assert cli.main(["plan", quick, "--objective", "p95:200ms", *allow]) == 0
    out = capsys.readouterr().out
    assert "Deploy resnet50 in bf16" in out
    assert "You allowed that only a closed loop was measured" in out
    assert "These are different models or inputs, so their costs are not compared." in out


def test_an_objective_that_nothing_meets(quick: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", quick, "--objective", "p95:10ms"]) == cli.FAILED
    out = capsys.readouterr().out
    assert (
        "No setting of resnet50 meets P95 within 10ms. The lowest P95 that was measured is 39.4 "
        "ms, by resnet50 in bf16 with torchscript, batch 1, 1 worker, with 1 client in a closed "
        "loop."
    ) in out


def test_directories_of_several_machines_make_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    g5 = written(tmp_path / "g5", search(400.0, (390.0, 410.0), machine=G5))
    g4dn = written(tmp_path / "g4dn", search(150.0, (145.0, 155.0), machine=G4DN))
    assert cli.main(["plan", g5, g4dn, *PLAN, "--format", "json"]) == 0
    (decided,) = json.loads(capsys.readouterr().out)["decisions"]
    assert [each["measured_on"] for each in decided["candidates"]] == [
        "g5.4xlarge",
        "g4dn.4xlarge",
    ]
    assert (decided["winner"], decided["next_best"], decided["best_with_obstacles"]) == (0, 1, None)


def test_a_directory_and_its_copy_count_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [written(tmp_path / name, closed_loop(20.0, 50.0)) for name in ("one", "two")]
    allow = "--allow", "closed-loop"
    assert cli.main(["plan", *urls, f"{urls[0]}/", *PLAN, *allow, "--format", "json"]) == 0
    (decided,) = json.loads(capsys.readouterr().out)["decisions"]
    (candidate,) = decided["candidates"]
    assert len(candidate["documents"]) == 1


def test_all_shows_every_candidate_and_what_misses_the_objective(
    quick: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["plan", quick, "--objective", "p95:100ms", "--format", "markdown"]
    cli.main(argv)
    assert "Not shown: 3 more, which --all shows." in capsys.readouterr().out
    cli.main([*argv, "--all"])
    out = capsys.readouterr().out
    assert "Not shown" not in out
    assert len([line for line in out.splitlines() if line.rstrip().endswith("| missed    |")]) == 5


@pytest.mark.parametrize("form", ["terminal", "markdown", "html", "csv", "json"])
def test_every_format_has_the_winner(
    searched: str, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.out"
    argv = ["plan", searched, *PLAN, "--all", "--format", form]
    assert cli.main(argv) == 0
    printed = capsys.readouterr().out
    assert "onnxruntime" in printed
    assert cli.main([*argv, "--output", str(file)]) == 0
    assert "onnxruntime" in file.read_text()


def test_several_models_are_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row stands for a model in a runtime and precision."""
    measured = quick_start()
    for each in measured:
        each.engine.flops = 8e9 if each.spec.model == "resnet50" else 22e9
    quick = written(tmp_path / "quickstart", *measured)
    argv = ["plan", quick, "--objective", "p95:200ms", "--format", "markdown"]
    cli.main(argv)
    table = capsys.readouterr().out.partition("parameters M")[2]
    assert "bert-base" in table
    assert "resnet50" in table
    assert table.count("| resnet50") == 2  # fp32 and bf16
    cli.main([*argv, "--only", "model=resnet50"])
    assert "parameters M" not in capsys.readouterr().out
    page = tmp_path / "plan.html"
    cli.main([*argv[:-2], "--output", str(page)])
    assert "parameters M" in page.read_text()


def test_csv_has_one_row_for_each_candidate(
    searched: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", searched, *PLAN, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["wins"] for row in rows] == ["true", "false"]
    assert [float(row["rate_per_second"]) for row in rows] == [31.0, 18.0]


def test_json_goes_to_stdout_alone_or_beside_the_table(
    searched: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", searched, *PLAN, "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["objective"] == {"percentile": "p95", "latency_ms": 100.0}
    file = tmp_path / "plan.json"
    assert cli.main(["plan", searched, *PLAN, "--json", str(file)]) == 0
    assert capsys.readouterr().out.startswith("Deploy ")
    assert json.loads(file.read_text()) == document


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["plan", *PLAN], "plan needs a run directory; measure with gpubench sweep --output DIR"),
        (["plan", "RUN"], "Missing option '--objective'"),
        (["plan", "RUN", "--objective", "p95"], "write it like p99:10ms"),
        (["plan", "RUN", "--objective", "p50:10ms"], "choose from p90, p95, p99"),
        (["plan", "RUN", *PLAN, "--instance", "c7i.xlrge"], "did you mean c7i.xlarge"),
        (["plan", "RUN", *PLAN, "--usd-per-hour", "-1"], "--usd-per-hour -1.0 is not a price"),
        (["plan", "RUN", *PLAN, "--allow", "closed"], "did you mean closed-loop?"),
        (["plan", "RUN", *PLAN, "--only", "batch=9"], "--only: no cell has batch=9"),
        (["plan", "EMPTY", *PLAN], "holds no results; measure with gpubench sweep"),
        (
            ["plan", "COLD", *PLAN],
            "holds no cell and no search with a measurement; measure with gpubench sweep",
        ),
        (["plan", "nowhere", *PLAN], "nowhere is not a directory; measure with gpubench sweep"),
    ],
)
def test_bad_input_gets_one_line(
    argv: list[str],
    message: str,
    searched: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    cold = open_run(tmp_path / "cold")
    cold.check_writable()
    cold.write_cold("cold-a", cold_result())
    places = {"RUN": searched, "EMPTY": str(tmp_path / "empty"), "COLD": cold.url}
    assert cli.main([places.get(part, part) for part in argv]) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert message in line


def test_planning_changes_no_file_and_loads_neither_torch_nor_the_core(quick: str) -> None:
    def digests() -> dict[str, str]:
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(Path(quick).rglob("*"))
        }

    before = digests()
    program = (
        "import sys; from gpubench.cli.program import main; status = main(sys.argv[1:]); "
        "sys.exit(status or sum(n in sys.modules for n in ('torch', 'gpubench._core', 'numpy')))"
    )
    argv = ["plan", quick, "--objective", "p95:200ms", "--allow", "closed-loop,other-hardware"]
    argv += ["--instance", "c7i.2xlarge", "--usd-per-hour", "1"]
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests() == before


def test_electricity_is_that_of_the_winner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = open_loop(100.0, 20.0, 25.0, machine=G5)
    cell.device = DeviceReport(energy_j_per_inference=3.6)  # 1 kWh a million
    url = written(tmp_path, cell)
    argv = ["plan", url, *PLAN, "--usd-per-kwh", "0.25", "--grams-co2-per-kwh", "400"]
    assert cli.main([*argv, "--format", "json"]) == 0
    (decided,) = json.loads(capsys.readouterr().out)["decisions"]
    use = decided["candidates"][0]["electricity"]
    assert (use["usd_per_million"], use["grams_co2_per_million"]) == pytest.approx((0.25, 400))
    assert cli.main(argv) == 0
    assert "electricity" in capsys.readouterr().out


def test_plan_from_python(searched: str) -> None:
    planned = gpubench.plan(searched, "p95:100ms", usd_per_hour=0.36)
    won = planned.decisions[0].winner
    assert won is not None
    assert won.usd_per_million == pytest.approx(0.36 / 3600 / 31 * 1e6)
