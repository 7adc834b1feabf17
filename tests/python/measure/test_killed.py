"""Sweeps whose processes are killed with SIGKILL, at random moments."""

from __future__ import annotations

from pathlib import Path

from killed_sweeps import killed_sweep, moments, results, whole_sweep

# Each of these cells has a process of its own, which needs no torch.
CELLS = 4
SWEEP = ["--model", "synthetic", "--service-time", "10us", "--warmup", "0", "--requests", "2000"]
SWEEP += ["--workers", "1,2,3,4", "--fresh"]


def test_a_kill_loses_at_most_the_cell_in_work_and_the_rest_is_resumed(tmp_path: Path) -> None:
    count, seconds = whole_sweep(SWEEP, tmp_path / "whole")
    assert count == CELLS
    output = tmp_path / "run"
    for number, after_s in enumerate(moments(3, seconds, seed=1)):
        victim = "cell" if number == 1 else "command"
        outcome = killed_sweep(SWEEP, output, victim, after_s)
        assert outcome.lost <= 1, outcome
        assert outcome.changed == outcome.damaged == outcome.left == 0, outcome
        if victim == "cell" and outcome.found_victim:
            assert (outcome.failed, outcome.status) == (1, 1), "the other cells are measured"
    missing = CELLS - sum(each.error is None for each in results(output)) if output.exists() else 4
    count, _ = whole_sweep(SWEEP, output)
    assert count == missing
    assert [each.error for each in results(output)] == [None] * CELLS
