"""The search in real time, on a queue whose answer is known: M/D/1 of 1 ms, P99 within 10 ms.

Several searches with different seeds, each as a user would run it. The true answer, 773.5 requests
per second, comes from Erlang's formula (tests/python/simulated_searches.py). A search takes one to
three minutes.

    python tests/benchmarks/search_md1.py [SEARCHES]
"""

from __future__ import annotations

import sys
import time

from common import print_table

import gpubench

TRUTH_PER_SECOND = 773.5


def main(searches: int) -> None:
    rows = []
    for number in range(searches):
        began = time.monotonic()
        spec = gpubench.Spec(model="synthetic", service_time=1e-3, seed=1000 * number)
        found = gpubench.search(spec, "p99:10ms")
        low, high = found.interval or (float("nan"), float("nan"))
        rate = found.max_rate_per_second or float("nan")
        rows.append(
            [
                str(spec.seed),
                f"{rate:.1f}",
                f"{rate / TRUTH_PER_SECOND:.3f}",
                f"{low:.0f} to {high:.0f}",
                str(sum(probe.load == "open" for probe in found.probes)),
                f"{time.monotonic() - began:.0f}",
                ", ".join(reason.code for reason in found.verdict.reasons) or "valid",
            ]
        )
    columns = ["seed", "rate /s", "over the truth", "95% interval", "probes", "seconds", "verdict"]
    print_table(f"M/D/1, P99 within 10 ms: {TRUTH_PER_SECOND}/s is true", columns, rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
