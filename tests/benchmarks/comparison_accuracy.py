"""How often `gpubench compare` is right, in simulated machines whose true ratio is known.

    python tests/benchmarks/comparison_accuracy.py [--runs 20000]

Prints, for each method and machine: the share of A/A comparisons that are called different (at most
5%), the coverage of the 95% intervals, how often a true difference is found, and how often a true
difference of 2% is called "no difference larger than 2%" (at most 5%).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from simulated_comparisons import (
    MACHINES,
    Rates,
    ever_different,
    paired_rounds,
    rates,
    single_runs,
    steady,
    tables_with_a_difference,
    two_series,
)

from gpubench.statistics.comparison import LEVEL


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20_000, help="comparisons for each line")
    runs: int = parser.parse_args().runs
    rng = np.random.default_rng(1)

    print("A/A, paired rounds: called different, covered by the interval")
    for name, machine in MACHINES.items():
        for spread in (0.005, 0.02):
            for rounds in (3, 5, 10):
                made = rates(paired_rounds(rng, runs, rounds, machine, spread))
                show(f"{name}, spread {spread:.1%}, {rounds} rounds", made)
    for name, machine in MACHINES.items():
        made = rates(paired_rounds(rng, runs, 10, machine, 0.02, repeats=2))
        show(f"{name}, spread 2.0%, 10 rounds ABBA", made)

    print("A/A, 10 paired rounds of one process, spread 0.5%: called different")
    for error in (0.002, 0.005, 0.01):
        estimates = paired_rounds(rng, runs, 10, steady, 0.005, in_all_rounds=error)
        print(f"  {error:.1%} between processes: {rates(estimates).different:.1%}")

    print("A/A, spread 2%, rounds added while undecided: ever called different")
    for looks in ((5,), (5, 10), (5, 10, 20), (5, 6, 7, 8, 9, 10)):
        print(f"  after {looks} rounds: {ever_different(rng, runs, looks, 0.02):.1%}")

    print("A/A, two series: called different, covered")
    for between in (0.0, 0.01, 0.02):
        for repeats in (3, 5, 10):
            made = rates(two_series(rng, runs, repeats, 0.02, between))
            show(f"spread 2.0%, {between:.0%} between series, {repeats} repeats", made)

    print("A/A, single runs with a stated spread of 2%: called different, covered")
    for spread in (0.0, 0.01, 0.02):
        show(f"spread {spread:.0%}", rates(single_runs(rng, runs, 0.005, spread, 0.02)))

    print("A/A, single runs by the intervals inside them alone (0.5%): would be called different")
    for spread in (0.0, 0.005, 0.02):
        estimates = single_runs(rng, runs, 0.005, spread, 1e-9)
        wrong = sum(each.p_difference() <= LEVEL for each in estimates) / runs
        print(f"  spread {spread:.1%}: {wrong:.1%}")

    print("A/A, tables of 20 comparisons in 5 rounds: tables that call any different")
    estimates = paired_rounds(rng, runs, 5, steady, 0.02)
    print(f"  {tables_with_a_difference(estimates, 20):.1%}")

    print("True difference 3%, spread 2%: found")
    for repeats, order in ((1, "one measurement of each side a round"), (2, "ABBA")):
        for rounds in (5, 10, 20):
            made = rates(paired_rounds(rng, runs, rounds, steady, 0.02, 1.03, repeats), 1.03)
            print(f"  {order}, {rounds} rounds: {made.different:.1%}")

    print("True difference 2%, spread 0.5%: called 'no difference larger than 2%'")
    for rounds in (3, 5, 10):
        made = rates(paired_rounds(rng, runs, rounds, steady, 0.005, 1.02), 1.02)
        print(f"  {rounds} rounds: {made.equivalent:.1%}")

    print("No difference, 10 rounds: called 'no difference larger than 2%'")
    for spread in (0.005, 0.01, 0.02):
        made = rates(paired_rounds(rng, runs, 10, steady, spread))
        print(f"  spread {spread:.1%}: {made.equivalent:.1%}")


def show(what: str, made: Rates) -> None:
    print(f"  {what}: {made.different:.1%}, {made.covered:.1%}")


if __name__ == "__main__":
    main()
