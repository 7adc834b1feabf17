"""BERT-base from Python: what do larger batches save, and what do they cost in latency?

python examples/bert_api.py
"""

from __future__ import annotations

import gpubench


def main(
    batches: tuple[int, ...] = (1, 2, 4),
    seq_len: int = 128,
    requests: int = 130,
    warmup: str | float = "2s",
) -> list[gpubench.Result]:
    """Measure each batch size and print a line for it."""
    results = []
    for batch in batches:
        result = gpubench.run(
            model="bert-base",
            batch=batch,
            seq_len=seq_len,
            requests=requests,
            warmup=warmup,
            instance=["c7i.xlarge"],
        )
        results.append(result)
        if result.error is not None:
            print(f"batch {batch}: {result.error.message}")
            continue
        cost = result.costs[0]
        print(
            f"batch {batch}: {result.throughput_per_second:.2f} inferences/s, "
            f"P95 {result.latency_ms.p95} ms, "
            f"${cost.usd_per_million:.2f} per million on {cost.instance}, {result.verdict.status}"
        )
    return results


if __name__ == "__main__":
    main()
