"""Whether `sweep --objective` finds the best setting although it drops settings early.

Made-up grids of 40 settings, on simulated queues whose true answers are known. Each grid is
searched twice: with and without dropping. Prints the table of docs/search.md.

    python tests/benchmarks/pruned_sweeps.py 100
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from simulated_sweeps import TOLERANCE, compared


def main(count: int) -> None:
    found = [compared(seed) for seed in range(count)]
    further = np.array([each.lost - each.lost_in_full for each in found])
    reasons: Counter[str] = Counter()
    for each in found:
        reasons.update(each.dropped)

    def spread(values: list[float]) -> str:
        middle, high = np.percentile(values, [50, 90])
        return f"{middle:.2g} | {high:.2g} | {max(values):.2g}"

    same = sum(each.same_winner for each in found)
    close = int((further <= TOLERANCE).sum())
    searched = np.mean([each.searched for each in found])
    dropped = ", ".join(f"{amount / count:.1f} {code}" for code, amount in reasons.items())
    print(f"{count} grids of {found[0].settings} settings")
    print(f"the same winner as without dropping: {same}")
    print(f"a winner whose true rate is at most {TOLERANCE:.0%} lower: {close}")
    print(f"settings of a grid, on average: {searched:.1f} searched; dropped: {dropped}")
    print("| | median | 90% | most |")
    print("|---|---|---|---|")
    print(f"| time, in searches of the winner | {spread([f.searches for f in found])} |")
    print(f"| time, as a share of the sweep without dropping | "
          f"{spread([f.ratio_to_full for f in found])} |")  # fmt: skip
    print(f"| true rate below the true best, with dropping | {spread([f.lost for f in found])} |")
    print(f"| true rate below the true best, without | {spread([f.lost_in_full for f in found])} |")


if __name__ == "__main__":
    main(int(sys.argv[1]))
