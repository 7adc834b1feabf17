"""Cells with figures as a sweep would find them, for tests and benchmarks of the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from factories import DRIFT, TOO_FEW, WRONG_ANSWERS
from planning_results import closed_loop, open_loop

from gpubench.results.result import CountedRows, Reason, Result

REASONS: dict[int, tuple[Reason, ...]] = {
    3: (DRIFT,),
    5: (TOO_FEW,),
    7: (WRONG_ANSWERS, DRIFT),
    33: (TOO_FEW,),
}
COUNTED = CountedRows(stamp="scheduled_ns", from_ns=10**15, to_ns=10**15 + 10**9)
SPEED = {"torchscript": 20.0, "onnxruntime": 26.0, "compile": 31.0}


def sweep(count: int) -> list[Result]:
    """The first `count` cells of a grid. A load of None is a closed loop."""
    settings: Iterable[tuple[str, str, str, int, int, float | None]]
    if count <= 40:
        settings = itertools.product(
            ("resnet50",), ("fp32", "bf16"), SPEED, (1, 2, 4, 8), (1,), (None, 0.8)
        )
    else:
        settings = itertools.product(
            ("resnet50", "bert-base", "distilbert"),
            *(("fp32", "bf16"), SPEED, (1, 2, 4, 8, 16, 32), (1, 2), (None, 0.3, 0.6, 0.8, 0.9)),
        )
    cells = []
    for number, (model, precision, runtime, batch, workers, load) in enumerate(settings):
        most = SPEED[runtime] * (1.6 if precision == "bf16" else 1) * (1 + math.log2(batch) / 10)
        alone_ms = batch / most * 1e3
        given = {
            **{"model": model, "runtime": runtime, "precision": precision, "batch": batch},
            **{"workers": workers, "reasons": REASONS.get(number % 40, ())},
        }
        if load is None:
            cells.append(closed_loop(most * workers**0.4, alone_ms * workers, **given))
        else:
            p95_ms = alone_ms * (1 + load / (1 - load) / workers)
            cells.append(open_loop(most / batch * load, p95_ms, 1.1 * p95_ms, **given))
        cells[-1].window.counted = COUNTED
        if len(cells) == count:
            break
    return cells
