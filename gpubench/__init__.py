"""gpubench: what does an inference cost, and how fast is it?

    import gpubench

    result = gpubench.run(model="resnet50", batch=4, instance=["c7i.xlarge"])
    print(result.throughput_per_second, result.latency_ms.p95, result.costs[0].usd_per_million)

    found = gpubench.search(model="resnet50", objective="p95:200ms")
    print(found.max_rate_per_second, found.interval)

run      measures one cell and returns a Result.
search   finds the highest rate of requests that meets an objective, and returns a SearchResult.
sweep    measures a grid of cells into a run directory, and returns their Results.
search_grid  finds the setting of a grid that serves the most within an objective.
combine  makes one Result of the repeats of each cell, with intervals from between the repeats.
load     reads run directories into Results: tables, charts, data frames.
report   writes what was measured into a file: HTML, Markdown, CSV, JSON, Parquet.
compare  pairs the matching cells of two sides, and says which side is faster and cheaper.
plan     says which of the settings in run directories is cheapest within an objective.
ab       measures two settings in turn, and returns the pair of them.
Spec     the settings of a cell. run and search also take these settings directly.
Progress is told how a run, a search or a sweep goes; override what you want to hear of.
Metrics  is a Progress that serves metrics for Prometheus.
core     the queue, the workers and the clock, written in C++.

`help(gpubench.Spec)` and `gpubench run --help` explain every setting. Settings that are not valid,
or not possible on this machine, raise InputError: one line that says what to change.
"""

from __future__ import annotations

import os

# In a clone, this folder has the Python files alone. The compiled core is then looked for in the
# installed package, so that Python works in the root of a clone, too. core.py checks that both are
# of one version.
if not any(name.startswith("_core.") for name in os.listdir(__path__[0])):
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)

# The command's signal handlers are installed after this file, so it imports as little as it can.
# Names are imported on first use: commands which measure nothing start without torch.
# __init__.pyi has the same names for type checkers and editors.
_HOME = {
    "GpubenchError": "gpubench.errors",
    "InputError": "gpubench.errors",
    "Interrupted": "gpubench.measure.cell",
    "Metrics": "gpubench.monitor.metrics",
    "OwnModel": "gpubench.models.own",
    "Progress": "gpubench.measure.progress",
    "Result": "gpubench.results.result",
    "Results": "gpubench.loaded",
    "Samples": "gpubench.results.samples",
    "SearchInterrupted": "gpubench.measure.search",
    "SearchResult": "gpubench.results.search_result",
    "Settings": "gpubench.spec.settings",
    "Spec": "gpubench.spec.spec",
    "ab": "gpubench.in_turn",
    "combine": "gpubench.statistics.repeats",
    "compare": "gpubench.planning.compare",
    "load": "gpubench.loaded",
    "plan": "gpubench.planning.decision",
    "run": "gpubench.measure.cell",
    "search": "gpubench.measure.search",
    "search_grid": "gpubench.measure.search_sweep",
    "sweep": "gpubench.measure.sweep",
}
_MODULES = ("core", "report")  # report is a module that can be called

__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"gpubench.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gpubench' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
