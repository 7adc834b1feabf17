"""Comparison with MLPerf LoadGen (`pip install mlcommons-loadgen`), both called from Python.

Both run the null system, with one client in a closed loop and with Poisson arrivals. The latency of
a system that does nothing is the lag of the harness. Rounds alternate, and the medians of the
rounds are compared.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from statistics import median
from typing import Literal

import mlperf_loadgen as loadgen
import numpy as np
from common import print_table

from gpubench import core

ROUNDS = 5
SECONDS = 2


def run_loadgen(scenario: object, rate: float | None) -> str:
    """The text of LoadGen's summary."""

    def complete_at_once(samples: list[loadgen.QuerySample]) -> None:
        loadgen.QuerySamplesComplete(
            [loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in samples]
        )

    settings = loadgen.TestSettings()
    settings.scenario = scenario
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = settings.max_duration_ms = SECONDS * 1000
    if rate is None:
        settings.single_stream_expected_latency_ns = 1000
    else:
        settings.server_target_qps = rate
        settings.min_query_count = int(rate * SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        output = loadgen.LogOutputSettings()
        output.outdir = folder
        output.copy_summary_to_stdout = False
        log = loadgen.LogSettings()
        log.log_output = output
        log.enable_trace = False
        system = loadgen.ConstructSUT(complete_at_once, lambda: None)
        samples = loadgen.ConstructQSL(1024, 1024, lambda _: None, lambda _: None)
        loadgen.StartTestWithLogSettings(system, samples, settings, log)
        loadgen.DestroyQSL(samples)
        loadgen.DestroySUT(system)
        return (Path(folder) / "mlperf_log_summary.txt").read_text()


def figure(summary: str, name: str) -> float:
    found = re.search(rf"^\s*{re.escape(name)}\s*: ([0-9.e+]+)", summary, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"'{name}' is not in LoadGen's summary:\n{summary}")
    return float(found[1])


def gpubench_lag_us(rate: float, seed: int, wait: Literal["spin", "block"]) -> tuple[float, float]:
    due = core.poisson_arrivals(rate, int(rate * SECONDS), seed)
    runner = core.Runner([core.DelayExecutor(0)], wait=wait)
    (timeline,) = runner.run(core.OpenLoop(due), capacity=len(due)).timelines
    runner.close()
    p50, p99 = np.percentile(timeline.completed_ns - timeline.scheduled_ns, [50, 99]) / 1e3
    return float(p50), float(p99)


def gpubench_throughput() -> float:
    runner = core.Runner([core.DelayExecutor(0)])
    outcome = runner.run(core.ClosedLoop(1), stop_after_completions=3_000_000, capacity=3_000_000)
    runner.close()
    return outcome.completed / (outcome.end_ns - outcome.start_ns) * 1e9


def main() -> None:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(gpubench_throughput())
        summary = run_loadgen(loadgen.TestScenario.SingleStream, None)
        theirs.append(figure(summary, "QPS w/o loadgen overhead"))
    rows = [
        [
            "null system, 1 client, requests/s",
            f"{median(ours):,.0f}",
            f"{median(theirs):,.0f}",
            f"{median(ours) / median(theirs):.1f}",
        ]
    ]
    for rate in (1_000.0, 20_000.0):
        lags: dict[str, list[tuple[float, float]]] = {"spin": [], "block": [], "loadgen": []}
        for seed in range(ROUNDS):
            lags["spin"].append(gpubench_lag_us(rate, seed, "spin"))
            lags["block"].append(gpubench_lag_us(rate, seed, "block"))
            summary = run_loadgen(loadgen.TestScenario.Server, rate)
            p50, p99 = (figure(summary, f"{p}.00 percentile latency (ns)") / 1e3 for p in (50, 99))
            lags["loadgen"].append((p50, p99))
        medians = {name: np.median(values, axis=0) for name, values in lags.items()}
        for wait in ("spin", "block"):
            rows.append(
                [
                    f"Poisson {rate:,.0f}/s, {wait}: lag P50 / P99 us",
                    "{:.2f} / {:.1f}".format(*medians[wait]),
                    "{:.1f} / {:.1f}".format(*medians["loadgen"]),
                    "{:.3f} / {:.3f}".format(*(medians[wait] / medians["loadgen"])),
                ]
            )
    print_table("gpubench and LoadGen", ["case", "gpubench", "LoadGen", "ratio"], rows)


if __name__ == "__main__":
    main()
