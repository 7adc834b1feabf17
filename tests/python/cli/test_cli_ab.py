"""`gpubench ab`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from repeated_cells import around, repeats

from gpubench.cli import ab
from gpubench.cli import program as cli
from gpubench.measure import two_sides
from gpubench.measure.two_sides import MeasuredSides
from gpubench.report.side_names import side_names
from gpubench.results.result import Stages, StageSummary
from gpubench.spec.parse import make_spec
from gpubench.spec.repetition import Repetition

BOTH = ["--model", "synthetic", "--warmup", "0", "--requests", "20", "--service-time", "10us"]
SIDES = ["--", "--batch", "1", "--", "--batch", "2"]


def test_it_measures_both_sides_and_the_directories_hold_the_same_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    common = [*BOTH, "--rounds", "3", "--same-process", "--output", str(output)]
    assert cli.main(["ab", *common, *SIDES]) == 0
    shown = capsys.readouterr()
    throughput, latency, empty, *_ = shown.out.splitlines()
    assert re.search(r"batch 2 is \S+ times as fast as batch 1 \(95%: \S+ to \S+\)", throughput)
    assert "the P95 latency of batch 2 is" in latency
    assert empty == ""
    assert "compared   in 3 paired rounds" in shown.out
    assert "measure with --fresh (ab: without --same-process)" in " ".join(shown.out.split())
    assert "12 repeats to measure\n3 rounds of 4 measurements: how long that takes" in shown.err

    assert cli.main(["ab", *common, "--json", "-", "--quiet", *SIDES]) == 0
    again = capsys.readouterr()
    assert again.err.startswith(f"nothing was measured: {output} has these rounds already")
    assert cli.main(["compare", str(output / "a"), str(output / "b"), "--format", "json"]) == 0
    document = json.loads(again.out)
    assert (document["a"], document["b"]) == ("batch 1", "batch 2")
    assert document["pairs"] == json.loads(capsys.readouterr().out)["pairs"]


def test_two_sweep_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file, batch in zip(files, (1, 2), strict=True):
        file.write_text(f"model: synthetic\nservice_time: 10us\nbatch: {batch}\nwarmup: 1h\n")
    flags = ["--warmup", "0", "--requests", "20", "--rounds", "3", "--same-process", "--json", "-"]
    assert cli.main(["ab", *map(str, files), *flags]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["a"], document["b"]) == ("batch 1", "batch 2")
    files[1].write_text("model: synthetic\nbatch: [1, 2]\n")
    assert cli.main(["ab", *map(str, files), *flags]) == 2
    assert f"{files[1]} has 2 cells for this machine" in capsys.readouterr().err
    files[1].write_text("model: planted.py:f\n")
    assert cli.main(["ab", *map(str, files), *flags]) == 2
    assert "add --allow-code" in capsys.readouterr().err


def measured(
    monkeypatch: pytest.MonkeyPatch,
    b: Sequence[float | None],
    rounds: int = 5,
    interrupted: bool = False,
) -> None:
    """The command measures nothing. A has about 100 inferences per second, and B those of `b`."""
    found = MeasuredSides(
        repeats(around(100.0, 5), usd_per_hour=1.0),
        repeats(b, runtime="compile", usd_per_hour=1.0),
        rounds,
        interrupted,
    )
    monkeypatch.setattr(two_sides, "measure_two_sides", lambda *_, **__: found)


RUNTIMES = ["--model", "resnet50", "--", "--", "--runtime", "compile"]


@pytest.mark.parametrize(
    ("throughput", "throughput_text", "latency_text"),
    [
        (
            150.0,
            "compile is 1.50 times as fast as torchscript (95%: 1.46 to 1.54), $1.85 against "
            "$2.78 a million.",
            "the P95 latency of compile is 0.667 times that of torchscript (95%: 0.651 to 0.684), "
            "6.67 ms against 10.0 ms.",
        ),
        (
            100.0,
            "no difference larger than 5%: compile is",
            "no difference larger than 5%: the P95",
        ),
        (104.0, "undecided: compile is", "undecided: the P95 latency of compile is"),
    ],
)
def test_the_answer_comes_first(
    throughput: float,
    throughput_text: str,
    latency_text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured(monkeypatch, around(throughput, 5, shift=3, percent=3.0 if throughput == 104 else 1.0))
    assert cli.main(["ab", "--within", "5%", *RUNTIMES]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(throughput_text)
    assert second.startswith(latency_text)
    if throughput == 104:
        assert re.search(r" a million; \d+ more rounds would probably decide\.$", first)
        assert re.search(r"ms against 10\.0 ms; \d+ more rounds would probably decide\.$", second)


@pytest.mark.parametrize(
    ("gate", "status", "expected"),
    [
        ("throughput < -5%", 3, "in B than in A"),
        ("throughput < -40%", 0, "no gate failed: 1 figure is certain to be within the limit"),
        ("p99.9 > +5%", 1, "--fail-if 'p99.9 > +5%': no pair of cells has this figure"),
    ],
)
def test_gates(
    gate: str,
    status: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured(monkeypatch, around(80.0, 5, shift=3))
    assert cli.main(["ab", "--fail-if", gate, *RUNTIMES]) == status
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.out.startswith("compile is 0.")  # also if a gate cannot be tested


def test_json_and_markdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch, around(150.0, 5, shift=3))
    file = tmp_path / "ab.json"
    flags = ["--format", "markdown", "--json", str(file), "--fail-if", "p95 > +5%"]
    assert cli.main(["ab", *flags, *RUNTIMES]) == 0
    assert capsys.readouterr().out.startswith("**compile is 1.50 times as fast as torchscript")
    document = json.loads(file.read_text())
    assert (document["a"], document["b"]) == ("torchscript", "compile")
    assert document["pairs"][0]["p95_ms"]["answer"] == "faster"
    assert document["gates"][0]["outcome"] == "passed"


def test_a_side_that_failed_is_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch, [None] * 2)
    assert cli.main(["ab", *RUNTIMES]) == 1
    assert capsys.readouterr().out.startswith("no verdict: compile has no throughput.\n")
    measured(monkeypatch, [*around(150.0, 4, shift=3), None])
    assert cli.main(["ab", *RUNTIMES]) == 1
    assert capsys.readouterr().out.startswith("compile is 1.49 times")


def test_a_stage_of_one_side_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only measuring tells which stages a model has. What was measured is shown."""
    stage = StageSummary(mean=1.0, p50=1.0, p95=1.0)
    a, b = (
        [
            each.model_copy(update={"stages_ms": Stages(compute=stage, preprocess=preprocess)})
            for each in repeats(around(100.0, 5), runtime=runtime)
        ]
        for runtime, preprocess in (("torchscript", stage), ("compile", None))
    )
    found = MeasuredSides(a, b, rounds=5)
    monkeypatch.setattr(two_sides, "measure_two_sides", lambda *_, **__: found)
    warning = "warning: only A has the stage preprocess, so the two sides are not the same work"
    for force in ([], ["--force"]):
        assert cli.main(["ab", *force, *RUNTIMES]) == 0
        shown = capsys.readouterr()
        assert "times as fast as" in shown.out
        assert (warning in shown.err) is not bool(force)


@pytest.mark.parametrize(("rounds", "is_shown"), [(4, True), (2, False)])
def test_ctrl_c_shows_the_answer_so_far(
    rounds: int,
    is_shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured(monkeypatch, around(150.0, 5, shift=3), rounds, interrupted=True)
    assert cli.main(["ab", "--output", "here", *RUNTIMES]) == 130
    shown = capsys.readouterr()
    assert shown.out.partition(" (")[0] == (
        "compile is 1.50 times as fast as torchscript" if is_shown else ""
    )
    assert f"stopped after {rounds} complete rounds; what was measured is in here. The" in shown.err
    assert shown.err.endswith("gpubench: interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "this command line has none; write -- before the flags of A"),
        (["--", "--batch", "2"], "this command line has 1"),
        (["--", "--", "--batch", "2", "--", "--batch", "4"], "this command line has 3"),
        (["a.yaml"], "ab needs two sweep files, A and B; see gpubench ab --help"),
        (["a.yaml", "b.yaml", "c.yaml"], "got unexpected extra arguments"),
        (["no.yaml", "b.yaml"], "no.yaml cannot be read"),
        (["--", "--runtim", "eager", "--"], "A: unknown flag --runtim; did you mean --runtime"),
        (["--", "--", "--batch", "0"], "B: --batch: '0' is not allowed"),
        (["--", "--", "--batch"], "B: Option '--batch' requires an argument"),
        (["--", "x", "--"], "A: Got unexpected extra argument (x)"),
        (["--device", "cpu", "--", "--", "--inputs", "pinned"], "B: --inputs pinned: only GPUs"),
        (["--", "--rate", "5", "--"], "A is measured in an open loop and B in a closed loop"),
        (["--rounds", "2", "--", "--"], "--rounds 2 is not allowed: an answer needs 3 rounds"),
        (["--within", "2", "--", "--"], "--within '2' is not a share"),
        (["--fail-if", "p95 > 5%", "--", "--"], "the limit begins with +"),
        (["--fail-if", "usd > +5%", "--", "--"], "a side has no price; add --instance NAME"),
        (["--json", "x.csv", "--", "--"], "--json x.csv: the file will be JSON"),
        (["--output", "", "--", "--"], "--output: it is empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ab", *BOTH, *arguments]) == 2
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_progress_says_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for fresh in (True, False):
        progress = ab._Progress(False, Repetition(20, fresh=fresh))
        progress.rounds_planned(2, 10, 480.0)
    progress.rounds_ended(10, 10, [])
    progress.rounds_ended(1, 10, [])
    about = "10 rounds of 4 measurements: about 8 min 0 s of warm-up and measured runs, and "
    assert capsys.readouterr().err.splitlines() == [
        f"{about}starting processes, loading and building",
        f"{about}loading and building",
        "ended after 1 of 10 rounds: each measurement of a side failed",
    ]


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ({}, {}, ("A", "B")),
        ({}, {"runtime": "compile"}, ("torchscript", "compile")),
        ({"batch": 1, "precision": "bf16"}, {"batch": 8}, ("bf16 batch 1", "fp32 batch 8")),
        ({"batch": 1}, {"batch": 8, "seed": 3, "depth": 2}, ("A", "B")),
        ({}, {"warmup": "500ms"}, ("warmup 2s", "warmup 500ms")),
        ({"weights": "hub:" + "x" * 40}, {}, ("A", "B")),
    ],
    ids=str,
)
def test_sides_have_the_names_of_what_differs(
    a: dict[str, object], b: dict[str, object], names: tuple[str, str]
) -> None:
    spec_a, spec_b = (make_spec({"model": "resnet50", **side}) for side in (a, b))
    assert side_names(spec_a, spec_b, spec_a, spec_b) == names
