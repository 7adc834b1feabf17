"""What live metrics cost: the same runs without them, with them, and with a client that scrapes.

Rounds of the three alternate in one process. The client scrapes every 100 ms, 50 times as often as
Prometheus usually does, and the metrics are those of 60 cells. It runs on this machine, so its own
work is part of the cost.

    python tests/benchmarks/metrics_cost.py [ROUNDS]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from common import print_table

import gpubench
from gpubench.measure.progress import Progress

ROUNDS = 10
PERIOD_S = 0.1
WITHOUT, IDLE, SCRAPED = "without metrics", "nobody scrapes", f"scraped every {PERIOD_S:g} s"
SCRAPER = """
import sys, time, urllib.request
due = time.monotonic()
while True:
    with urllib.request.urlopen(sys.argv[1]) as answer:
        size = len(answer.read())
    print(size, flush=True)
    due += float(sys.argv[2])
    time.sleep(max(0, due - time.monotonic()))
"""
CASES: dict[str, dict[str, object]] = {
    "null system, 1 client": {"service_time": 0, "requests": 1_000_000},
    "open loop, 1,000/s": {"service_time": "200us", "rate": 1000, "duration": "2s"},
}


@contextmanager
def scraper(url: str) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", SCRAPER, url, str(PERIOD_S)], stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        client.stdout.readline()  # the first scrape
        try:
            yield
        finally:
            client.kill()
            scrapes = client.stdout.read().split()
    assert scrapes, "nobody scraped"


def spec(settings: dict[str, object]) -> gpubench.Spec:
    return gpubench.Spec.model_validate({"model": "synthetic", "warmup": "300ms"} | settings)


def figures(settings: dict[str, object], progress: Progress | None) -> tuple[float, float]:
    """Requests per second, and the P99 of the lag in microseconds."""
    result = gpubench.run(spec(settings), progress)
    assert result.throughput_per_second is not None
    assert result.harness.lag_us is not None
    return result.throughput_per_second, result.harness.lag_us.p99


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    rows = []
    with gpubench.Metrics(0) as metrics:
        assert metrics.url is not None
        small = gpubench.run(spec({"service_time": "10us", "requests": 1000}))
        for batch in range(1, 61):
            named = {"spec": small.spec.model_copy(update={"batch": batch})}
            metrics.measured(small.model_copy(update=named))
        for name, settings in CASES.items():
            found: dict[str, list[tuple[float, float]]] = {WITHOUT: [], IDLE: [], SCRAPED: []}
            for number in range(rounds):
                arms = list(found)
                for arm in arms[number % 3 :] + arms[: number % 3]:
                    if arm == SCRAPED:
                        with scraper(metrics.url):
                            measured = figures(settings, metrics)
                    else:
                        measured = figures(settings, metrics if arm == IDLE else None)
                    found[arm].append(measured)
            base = np.array(found[WITHOUT])
            for arm in (IDLE, SCRAPED):
                low, median, high = np.percentile(np.array(found[arm]) / base, [25, 50, 75], axis=0)
                rows.append(
                    [
                        f"{name}; {arm}",
                        *(f"{median[i]:.3f} ({low[i]:.3f} to {high[i]:.3f})" for i in (0, 1)),
                        f"{np.median(base[:, 1]):.1f}",
                    ]
                )
    print_table(
        f"with metrics / without, median (quartiles) of {rounds} rounds",
        ("case", "throughput", "lag P99", "lag P99 without, us"),
        rows,
    )


if __name__ == "__main__":
    main()
