"""What `kill -9` at random moments costs a sweep with isolated engines.

    python -P tests/benchmarks/kill_moments.py --moments 50

Each moment kills the command or, in turn, the process that measures. The same command then goes on
in the same directory, and begins with a new one when all cells are measured. It prints for each
victim how many cells were lost, and how many documents were changed or damaged: both must be 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from killed_sweeps import Victim, killed_sweep, moments, results, whole_sweep

MODELS = """
import torch

def one():
    return torch.nn.Linear(64, 64), torch.randn(1, 64)

def two():
    return torch.nn.Linear(32, 64), torch.randn(1, 32)
"""
CLIENTS = "1,2,3,4"
CELLS = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _kills(Path(folder), asked.moments, asked.seed)


def _kills(folder: Path, count: int, seed: int) -> int:
    file = folder / "models.py"
    file.write_text(MODELS)
    sweep = ["--model", f"{file}:one,{file}:two", "--clients", CLIENTS, "--runtime", "eager"]
    sweep += ["--device", "cpu", "--warmup", "0.2s", "--duration", "0.5s", "--isolate"]
    measured, seconds = whole_sweep(sweep, folder / "whole")
    print(f"without a kill: {measured} cells in {seconds:.1f} s")
    outcomes: Counter[tuple[str, str]] = Counter()
    directories, wrong = 1, 0
    for number, after_s in enumerate(moments(count, seconds, seed)):
        output = folder / str(directories)
        victim: Victim = get_args(Victim)[number % 2]
        killed = killed_sweep(sweep, output, victim, after_s)
        print(f"{number + 1}: {victim} after {after_s:.2f} s: {killed}", flush=True)
        kind = "killed" if killed.found_victim else "found nobody to kill"
        outcomes[victim, f"{kind}, cells lost: {killed.lost}"] += 1
        wrong += killed.changed + killed.damaged + killed.left
        found = results(output) if any(output.glob("*.json")) else []
        if sum(each.error is None for each in found) == CELLS:
            directories += 1
    missing = CELLS
    if any((output := folder / str(directories)).glob("*.json")):
        missing -= sum(each.error is None for each in results(output))
    resumed, _ = whole_sweep(sweep, output)
    for (name, text), times in sorted(outcomes.items()):
        print(f"{name}: {text}: {times} times")
    print(f"documents changed or damaged, and processes left behind: {wrong}")
    print(f"{directories} directories; at the end {missing} cells were missing, {resumed} measured")
    complete = [each.error for each in results(output)] == [None] * CELLS
    return 0 if wrong == 0 and resumed == missing and complete else 1


if __name__ == "__main__":
    sys.exit(main())
