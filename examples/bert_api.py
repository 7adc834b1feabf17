"""BERT-base from Python: what do larger batches save, and what do they cost in latency?

python examples/bert_api.py
"""

from __future__ import annotations

import gpubench


def main(batches: tuple[int, ...] = (1, 2, 4), **settings: object) -> list[gpubench.Result]:
    """Measure each batch size and print a line for it; `settings` are those of gpubench.Spec."""
    shared = {"model": "bert-base", "requests": 130, "instance": ["c7i.xlarge"]} | settings
    results = []
    for batch in batches:
        result = gpubench.run(gpubench.Spec.model_validate(shared | {"batch": batch}))
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
