"""Lists the problems in a run directory: one line for each cell that has a problem.

    python tests/gpu/problems.py RUN_DIRECTORY

These are cells that failed, cells that could not be captured as a CUDA graph, cells with wrong
outputs, and cells whose verdict is suspect. The last line counts them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gpubench.results.run_directory import open_run


def main() -> None:
    cells = dict(open_run(Path(sys.argv[1])).read_all().cells).values()
    failed = captured = 0
    for result in cells:
        reasons = {reason.code for reason in result.verdict.reasons}
        problems = sorted(reasons)
        if result.error is not None:
            failed += 1
            problems = [f"{result.error.stage}: {result.error.message[:300]}"]
        if result.harness.not_captured:
            problems.append(f"not captured: {result.harness.not_captured[:300]}")
        captured += result.harness.executor == "graph"
        if problems:
            print(f"{result.spec.describe()}: {'; '.join(problems)}")
    print(f"{len(cells)} cells, {failed} failed, {captured} ran as graphs")


if __name__ == "__main__":
    main()
