"""M/D/1 in real time: a spinning executor of 1 ms with Poisson arrivals, and Erlang's formula.

The true waiting times on the same schedule are also known, from simulated time. Their difference
from the measured ones is the error of the harness and the machine, without the randomness of the
arrivals. The executor shows the part of the machine: it spins for 1 ms, and takes longer only if
another process took its core.
"""

from __future__ import annotations

import numpy as np
from common import print_table

from gpubench import core

SERVICE_NS = 1_000_000
SECONDS = 20


def main() -> None:
    runner = core.Runner([core.DelayExecutor(SERVICE_NS)])
    rows = []
    for load in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
        rate = load / (SERVICE_NS * 1e-9)
        due = core.poisson_arrivals(rate, int(rate * SECONDS), seed=int(load * 100))
        (measured,) = runner.run(core.OpenLoop(due), capacity=len(due)).timelines
        (simulated,) = core.simulate(core.OpenLoop(due), service_ns=SERVICE_NS).timelines
        real = measured.completed_ns - measured.scheduled_ns
        ideal = simulated.completed_ns - simulated.scheduled_ns
        stolen_ns = (measured.completed_ns - measured.submitted_ns - SERVICE_NS).sum()
        theory_ms = 1 + load / (2 * (1 - load))
        percentiles = (50, 95, 99)
        real_ms = np.percentile(real, percentiles) / 1e6
        ideal_ms = np.percentile(ideal, percentiles) / 1e6
        rows.append(
            [
                f"{load:.2f}",
                f"{real.mean() / 1e6:.3f}",
                f"{ideal.mean() / 1e6:.3f}",
                f"{theory_ms:.3f}",
                *(f"{m:.3f} ({m / e:.3f})" for m, e in zip(real_ms, ideal_ms, strict=True)),
                f"{stolen_ns / 1e6:.1f}",
            ]
        )
    columns = ["load", "mean ms", "same schedule, ideal", "M/D/1", "P50 (ratio)", "P95", "P99"]
    columns.append("stolen ms")
    print_table("M/D/1 latency in real time; ratio to simulated time", columns, rows)
    runner.close()


if __name__ == "__main__":
    main()
