"""gpubench: what does an inference cost, and how fast is it?

    import gpubench

    result = gpubench.run(gpubench.Spec(model="resnet50", batch=4, instance=["c7i.xlarge"]))
    print(result.throughput_per_second, result.latency_ms.p95, result.costs[0].usd_per_million)

`run` measures one cell, `sweep` a grid into a run directory, and `search` finds the highest rate of
requests that meets an objective. Names are imported on first use, so
that commands which measure nothing start without torch.
"""

from __future__ import annotations

import os

# The command's signal handlers are installed after this file, so it imports as little as it can.
TYPE_CHECKING = False  # as in typing
if TYPE_CHECKING:
    from gpubench.errors import GpubenchError, InputError
    from gpubench.measure.cell import Interrupted, run
    from gpubench.measure.search import SearchInterrupted, search
    from gpubench.measure.sweep import sweep
    from gpubench.models.own import OwnModel
    from gpubench.results.result import Result
    from gpubench.results.samples import Samples
    from gpubench.results.search_result import SearchResult
    from gpubench.spec.spec import Spec

# In a clone, this folder has the Python files alone. The compiled core is then looked for in the
# installed package, so that Python works in the root of a clone, too. core.py checks that both are
# of one version.
if not any(name.startswith("_core.") for name in os.listdir(__path__[0])):
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)

__all__ = [
    "GpubenchError",
    "InputError",
    "Interrupted",
    "OwnModel",
    "Result",
    "Samples",
    "SearchInterrupted",
    "SearchResult",
    "Spec",
    "run",
    "search",
    "sweep",
]

_HOME = {
    "GpubenchError": "gpubench.errors",
    "InputError": "gpubench.errors",
    "Interrupted": "gpubench.measure.cell",
    "OwnModel": "gpubench.models.own",
    "Result": "gpubench.results.result",
    "Samples": "gpubench.results.samples",
    "SearchInterrupted": "gpubench.measure.search",
    "SearchResult": "gpubench.results.search_result",
    "Spec": "gpubench.spec.spec",
    "run": "gpubench.measure.cell",
    "search": "gpubench.measure.search",
    "sweep": "gpubench.measure.sweep",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'gpubench' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
