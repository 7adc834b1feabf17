"""The timed request queue: request sources, executors, the runner, and `simulate`.

`simulate` is the runner in simulated time, and `simulate_fleet` a fleet of instances in simulated
time. All times are int64 nanoseconds of the monotonic clock. docs/core.md describes the design,
docs/cuda.md that of the submodule `cuda`.
"""

from pathlib import Path

import gpubench
from gpubench.errors import GpubenchError, first_line

try:
    import gpubench._core as _compiled
    from gpubench._core import (
        ClosedLoop,
        CudaUnavailable,
        DelayExecutor,
        Executor,
        FleetOutcome,
        LiveQueue,
        OpenLoop,
        Outcome,
        PythonExecutor,
        RequestSource,
        Runner,
        Timeline,
        abandoned_workers,
        burst_arrivals,
        constant_arrivals,
        cuda,
        exponential_service,
        now_ns,
        poisson_arrivals,
        simulate,
        simulate_fleet,
    )
except ImportError as error:
    if "subinterpreter" in str(error):  # the core refuses subinterpreters; pip would not help
        raise
    raise GpubenchError(
        f"gpubench's compiled core cannot be loaded ({first_line(error)}); in the clone, run: "
        "pip install ."
    ) from error


def _check_versions() -> None:
    """Raises GpubenchError if the core was compiled from other sources than these files.

    This can happen in a clone, whose Python files use the core of the installed package. The type
    stubs are made from the core and are on both sides, so they show whether the interfaces agree.
    """
    ours, theirs = Path(gpubench.__path__[0]), Path(_compiled.__file__).parent
    if ours == theirs or not (theirs / "_core").is_dir():
        return
    for stub in (ours / "_core").glob("*.pyi"):
        installed = theirs / "_core" / stub.name
        if not installed.is_file() or installed.read_bytes() != stub.read_bytes():
            raise GpubenchError(
                f"the compiled core in {theirs} is of another version than the Python files in "
                f"{ours}; run: pip install {ours.parent}"
            )


_check_versions()

__all__ = [
    "ClosedLoop",
    "CudaUnavailable",
    "DelayExecutor",
    "Executor",
    "FleetOutcome",
    "LiveQueue",
    "OpenLoop",
    "Outcome",
    "PythonExecutor",
    "RequestSource",
    "Runner",
    "Timeline",
    "abandoned_workers",
    "burst_arrivals",
    "constant_arrivals",
    "cuda",
    "exponential_service",
    "now_ns",
    "poisson_arrivals",
    "simulate",
    "simulate_fleet",
]
