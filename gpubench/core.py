"""The timed request queue: sources, executors, the runner and its twin in simulated time.

All times are int64 nanoseconds of the monotonic clock. The design is in docs/core.md,
that of the submodule `cuda` in docs/cuda.md.
"""

from gpubench._core import (
    ClosedLoop,
    CudaUnavailable,
    DelayExecutor,
    Executor,
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
)

__all__ = [
    "ClosedLoop",
    "CudaUnavailable",
    "DelayExecutor",
    "Executor",
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
]
