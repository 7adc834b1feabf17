"""Tests of sweep --max-usd: a sweep on this machine that must not cost more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from factories import a_cell, result

from gpubench.cli.program import main
from gpubench.measure.spending_limit import SpendingLimit
from gpubench.system.machine import this_machine

SWEEP = (
    *("sweep", "--model", "synthetic", "--service-time", "10us", "--warmup", "0"),
    *("--requests", "20", "--batch", "1,2,3"),
)


class Clock:
    """Stands for time.monotonic."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("gpubench.measure.spending_limit.time.monotonic", found)
    return found


def test_the_next_cell_is_expected_to_take_the_mean_of_those_before(clock: Clock) -> None:
    limit = SpendingLimit(usd_per_hour=36.0, max_usd=1.0)  # a cent a second
    spec = a_cell(model="synthetic", warmup=0, requests=10).spec
    for _ in range(3):
        limit.cell_begins(1, spec, None)
        clock.now_s += 30
        limit.cell_ended(result(), 30.0)
    assert limit.usd == pytest.approx(0.9)
    with pytest.raises(KeyboardInterrupt):  # 120 s would cost 1.20
        limit.cell_begins(4, spec, None)
    assert limit.reached


def test_the_first_cell_takes_at_least_its_warm_up_and_window(clock: Clock) -> None:
    limit = SpendingLimit(usd_per_hour=36.0, max_usd=0.1)
    limit.cell_begins(1, a_cell(model="synthetic", warmup=0, duration="9s").spec, None)
    with pytest.raises(KeyboardInterrupt):
        limit.cell_begins(1, a_cell(model="synthetic", warmup="2s", duration="9s").spec, None)


def test_a_sweep_ends_before_it_costs_more_and_goes_on_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = [*SWEEP, "--output", str(tmp_path / "run"), "--usd-per-hour"]
    # Any cell takes longer than this pays for.
    assert main([*sweep, "1e9", "--max-usd", "0.01"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--max-usd 0.01: ended before a cell that would probably cost more" in captured.err
    assert main([*sweep, "1", "--max-usd", "100"]) == 0
    captured = capsys.readouterr()
    assert "3 cells to measure" in captured.err
    assert "this sweep cost $" in captured.err


def test_the_price_is_that_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = replace(this_machine(), instance="c7i.xlarge")
    monkeypatch.setattr("gpubench.system.machine.this_machine", lambda: here)
    assert main([*SWEEP, "--output", str(tmp_path / "run"), "--max-usd", "10"]) == 0
    assert "at $0.178 an hour" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-usd", "0"], "--max-usd 0 is not allowed"),
        (["--max-usd", "nan"], "--max-usd nan is not allowed"),
        (["--max-usd", "1"], "add --usd-per-hour X"),
        (["--max-usd", "1", "--usd-per-hour", "much"], "--usd-per-hour: 'much' is not a number"),
        (["--max-usd", "1", "--dry-run"], "leave out --dry-run, --objective and --on"),
    ],
)
def test_bad_limits_are_one_line(
    flags: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = replace(this_machine(), instance=None)
    monkeypatch.setattr("gpubench.system.machine.this_machine", lambda: here)
    assert main([*SWEEP, "--output", str(tmp_path / "run"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
