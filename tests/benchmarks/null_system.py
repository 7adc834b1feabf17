"""Requests per second with a model that does nothing: the cost of the harness itself.

Short runs of the runner, started from Python, alternate with short runs of a bare loop
(bare_loops.cpp), so both have the same state of the machine. The medians are compared.
"""

from __future__ import annotations

from statistics import median

from common import BareLoops, print_table

from gpubench import core

REQUESTS = 500_000
SLICES = 41


def throughput(runner: core.Runner, clients: int) -> float:
    outcome = runner.run(
        core.ClosedLoop(clients), stop_after_completions=REQUESTS, capacity=REQUESTS + clients
    )
    return outcome.completed / (outcome.end_ns - outcome.start_ns) * 1e9


def main() -> None:
    bare_loops = BareLoops()
    rows = []
    for clients, workers, target in ((1, 1, "0.7 of bare"), (8, 2, "4 M/s"), (8, 1, "")):
        runner = core.Runner([core.DelayExecutor(0) for _ in range(workers)])
        bare, harness = [], []
        for _ in range(SLICES):
            bare.append(bare_loops.throughput(REQUESTS))
            harness.append(throughput(runner, clients))
        runner.close()
        ratios = [h / b for h, b in zip(harness, bare, strict=True)]
        rows.append(
            [
                f"{clients} clients, {workers} workers",
                f"{median(harness) / 1e6:.2f}",
                f"{max(harness) / 1e6:.2f}",
                f"{median(bare) / 1e6:.2f}",
                f"{median(ratios):.2f}",
                target,
            ]
        )
    columns = ["null system", "median M/s", "best M/s", "bare loop M/s", "ratio", "target"]
    print_table("Requests per second of the harness alone", columns, rows)


if __name__ == "__main__":
    main()
