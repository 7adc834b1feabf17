"""Memory per request: how much a run adds to the process, for several batch sizes."""

from __future__ import annotations

import gc
from pathlib import Path

from common import print_table

from gpubench import core

REQUESTS = 4_000_000
LIMIT_BYTES = 64


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def main() -> None:
    rows = []
    for batch in (1, 2, 8, 32):
        runner = core.Runner([core.DelayExecutor(0)])
        runner.run(core.ClosedLoop(batch), max_batch=batch, stop_after_completions=10_000)
        gc.collect()
        before = resident_bytes()
        outcome = runner.run(
            core.ClosedLoop(batch),
            max_batch=batch,
            stop_after_completions=REQUESTS,
            capacity=REQUESTS,
        )
        per_request = (resident_bytes() - before) / outcome.completed
        in_ten_minutes = per_request * 100_000 * 600 / 1e9
        rows.append([str(batch), f"{per_request:.1f}", f"{in_ten_minutes:.2f}"])
        del outcome
        runner.close()
    columns = ["requests a batch", "bytes per request", "GB for 100,000/s in 600 s"]
    print_table(f"Memory of a run (at most {LIMIT_BYTES} bytes at batch 1)", columns, rows)


if __name__ == "__main__":
    main()
