"""The lag of Poisson arrivals, compared with a bare loop that waits in the same way.

Rounds of the runner and of the bare loop (bare_loops.cpp) alternate on the same schedules. The
model takes no time, so the harness and the machine cause all the time from due to departed.
"""

from __future__ import annotations

import time
from typing import Literal

import numpy as np
from common import BareLoops, print_table
from numpy.typing import NDArray

from gpubench import core

ROUNDS = 12
ROUND_SECONDS = 1.5
SPIN_NS = 120_000  # as in the runner


def harness_lag_ns(
    runner: core.Runner, due_ns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], float]:
    """Lag of every request, and CPU cores in use."""
    outcome = runner.run(core.OpenLoop(due_ns), capacity=len(due_ns))
    lags = [t.departed_ns - t.scheduled_ns for t in outcome.timelines]
    return np.concatenate(lags), outcome.cpu_seconds / ((outcome.end_ns - outcome.start_ns) * 1e-9)


def main() -> None:
    bare_loops = BareLoops()
    rows = []
    waits: tuple[Literal["spin", "yield", "block"], ...] = ("spin", "yield", "block")
    for wait in waits:
        for rate in (1_000.0, 20_000.0):
            for workers in (1, 2):
                runner = core.Runner([core.DelayExecutor(0) for _ in range(workers)], wait=wait)
                bare, harness, cores, bare_cpu, bare_wall = [], [], [], 0.0, 0.0
                for seed in range(ROUNDS):
                    due = core.poisson_arrivals(rate, int(rate * ROUND_SECONDS), seed)
                    cpu, wall = time.process_time(), time.perf_counter()
                    bare.append(bare_loops.lag_ns(due, 0 if wait == "block" else SPIN_NS))
                    bare_cpu += time.process_time() - cpu
                    bare_wall += time.perf_counter() - wall
                    lag, busy = harness_lag_ns(runner, due)
                    harness.append(lag)
                    cores.append(busy)
                runner.close()
                ours = np.percentile(np.concatenate(harness), [50, 99]) / 1e3
                # The speed of the machine changes from second to second, so rounds are compared.
                ratio = np.median(
                    [
                        np.percentile(h, 99) / np.percentile(b, 99)
                        for h, b in zip(harness, bare, strict=True)
                    ]
                )
                theirs = np.percentile(np.concatenate(bare), [50, 99]) / 1e3
                rows.append(
                    [
                        f"{wait}, {rate:,.0f}/s, {workers} workers",
                        f"{ours[0]:.2f} / {ours[1]:.1f}",
                        f"{theirs[0]:.2f} / {theirs[1]:.1f}",
                        f"{ratio:.2f}",
                        f"{np.mean(cores):.2f}",
                        f"{bare_cpu / bare_wall:.2f}",
                        "30 / 120 us" if wait == "block" else "1 us, ratio 1.2",
                    ]
                )
    columns = [
        "Poisson arrivals",
        "lag P50 / P99 us",
        "bare P50 / P99 us",
        "P99 ratio",
        "cores",
        "bare cores",
        "target",
    ]
    print_table("Lag of departures", columns, rows)


if __name__ == "__main__":
    main()
