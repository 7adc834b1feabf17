"""`gpubench compare`: its flags, what it prints where, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from factories import result
from repeated_cells import around, repeats

from gpubench.cli import program as cli
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run


def written(folder: Path, results: Iterable[Result]) -> str:
    run = open_run(folder)
    run.check_writable()
    for number, each in enumerate(results):
        run.write(f"{number:016x}", each)
    return run.url


@pytest.fixture
def runtimes(tmp_path: Path) -> str:
    """eager, torchscript 1.2 times as fast, and compile as fast as that."""
    cells = (("eager", 100.0, 0), ("torchscript", 120.0, 3), ("compile", 120.0, 3))
    return written(
        tmp_path / "runtimes",
        (
            each
            for runtime, throughput, shift in cells
            for each in repeats(
                around(throughput, 8, shift), runtime=runtime, instance="c7i.xlarge"
            )
        ),
    )


@pytest.fixture
def single(tmp_path: Path) -> str:
    return written(tmp_path / "single", [result()])


def test_a_directory_by_a_setting_has_a_table_for_each_further_value(
    runtimes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", runtimes, "--by", "runtime"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\nB ") == 2
    assert captured.out.count("runtime=torchscript") == 2  # the default is A
    assert captured.out.index("runtime=eager") < captured.out.index("runtime=compile")


def test_json_by_a_setting_is_one_document(
    runtimes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compare", runtimes, "--by", "runtime=eager,torchscript", "--format", "json"]
    assert cli.main([*argv, "--fail-if", "throughput < -3%"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    [comparison] = document["comparisons"]
    assert (comparison["a"], comparison["b"]) == ("runtime=eager", "runtime=torchscript")
    assert comparison["pairs"][0]["throughput_per_second"]["answer"] == "faster"
    assert [gate["outcome"] for gate in document["gates"]] == ["passed"]
    assert captured.err == (
        "gpubench: no gate failed: 1 figure is certain to be within the limit\n"
    )


def test_a_certain_regression_has_exit_status_3_and_a_sentence(
    runtimes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compare", runtimes, "--by", "runtime=compile,eager", "--format", "markdown"]
    gates = ["--fail-if", "p95 > +5%", "--fail-if", "usd > +3%", "--fail-if", "usd > +50%"]
    assert cli.main([*argv, *gates]) == cli.GATE_FAILED == 3
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first == (
        "gpubench: gate failed: p95 of resnet50 eager fp32, batch 1, clients 1, workers 1 is 20% "
        "higher in B than in A (95%: at least 19%); the limit is +5%"
    )
    assert second.startswith("gpubench: gate failed: usd of resnet50 eager")
    assert "**Gates failed: 2 of 3 figures are certain to be beyond the limit.**" in captured.out


def test_what_is_not_certain_has_exit_status_0_and_is_named(
    runtimes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compare", runtimes, "--by", "runtime=compile,eager", "--fail-if", "p95 > +19.5%"]
    assert cli.main(argv) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "gpubench: no gate failed, but not everything is certain: 0 figures are certain to be "
        "within the limit; not certain: p95 of resnet50 eager fp32"
    )


def test_the_step_summary_is_appended(
    runtimes: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    argv = ["compare", runtimes, "--by", "runtime=compile,eager", "--fail-if", "p95 > +5%"]
    assert cli.main([*argv, "--step-summary"]) == cli.GATE_FAILED
    text = file.read_text()
    assert text.startswith("before\n**runtime=eager is 0.83")
    assert "| p95 \\> +5% |" in text
    assert not capsys.readouterr().out.startswith("**")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["compare", "SINGLE"], "compare needs two run directories, A and B, or one directory an"),
        (["compare", "SINGLE", "SINGLE", "--by", "batch"], "--by compares the cells of one direct"),
        (["compare", "SINGLE", "--by", "batch"], "two values or more"),
        (["compare", "SINGLE", "--by", "bach"], "did you mean batch?"),
        (["compare", "SINGLE", "--by", "instance"], "--instance-a NAME and --instance-b NAME"),
        (["compare", "SINGLE", "SINGLE", "--within", "2"], "--within '2' is not a share"),
        (["compare", "SINGLE", "SINGLE", "--spread", "x"], "--spread 'x' is not a share"),
        (["compare", "SINGLE", "SINGLE", "--fail-if", "p95>5%"], "the limit begins with +"),
        (["compare", "SINGLE", "SINGLE", "--fail-if", "p95 > +5%"], "cannot be tested with single"),
        (["compare", "SINGLE", "SINGLE", "--step-summary"], "GITHUB_STEP_SUMMARY is not set"),
    ],
)
def test_bad_input_is_one_line_before_any_table(
    argv: list[str],
    message: str,
    single: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert cli.main([single if part == "SINGLE" else part for part in argv]) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_single_runs_with_a_stated_spread_can_be_gated(
    single: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slower = written(tmp_path / "slower", [result(18.4, 180.0)])
    argv = ["compare", single, slower, "--fail-if", "p95 > +5%"]
    assert cli.main([*argv, "--spread", "2%"]) == cli.GATE_FAILED
    assert cli.main([*argv, "--spread", "30%"]) == 0
    capsys.readouterr()


def test_prices_are_compared_with_the_directory_twice(
    single: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compare", single, single, "--usd-per-hour-a", "1", "--usd-per-hour-b", "2"]
    assert cli.main([*argv, "--format", "json"]) == 0
    [pair] = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["usd_per_million"]["b_over_a"] == pytest.approx(2)
