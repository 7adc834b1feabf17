"""What a server counted, in the form of Triton's extension for statistics.

The counters hold everything since the server started, so a window is the difference of two
readings. Source: "Statistics Extension" in Triton's documentation,
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_statistics.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gpubench.results.result import ServerStatistics


@dataclass(frozen=True)
class ServerCounters:
    """Counts and nanoseconds, summed over all versions of a model that the server reports."""

    requests: int  # that succeeded
    executions: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int

    def __sub__(self, earlier: ServerCounters) -> ServerCounters:
        names = [each.name for each in fields(self)]
        return ServerCounters(**{n: getattr(self, n) - getattr(earlier, n) for n in names})


def read(model_stats: Sequence[Mapping[str, Any]]) -> ServerCounters:
    """The counters of an answer. Raises ValueError or TypeError if it has another form."""

    def total(part: str, figure: str) -> int:
        parts = ((each.get("inference_stats") or {}).get(part) or {} for each in model_stats)
        return sum(int(each.get(figure) or 0) for each in parts)

    return ServerCounters(
        requests=total("success", "count"),
        executions=sum(int(each.get("execution_count") or 0) for each in model_stats),
        queue_ns=total("queue", "ns"),
        compute_input_ns=total("compute_input", "ns"),
        compute_infer_ns=total("compute_infer", "ns"),
        compute_output_ns=total("compute_output", "ns"),
    )


def in_window(window: ServerCounters) -> ServerStatistics | None:
    """Means for each request of a window; None if the server counted no request."""
    if window.requests <= 0:
        return None

    def mean_ms(total_ns: int) -> float:
        return total_ns / window.requests / 1e6

    return ServerStatistics(
        requests=window.requests,
        executions=window.executions,
        queue_ms=mean_ms(window.queue_ns),
        compute_input_ms=mean_ms(window.compute_input_ns),
        compute_infer_ms=mean_ms(window.compute_infer_ns),
        compute_output_ms=mean_ms(window.compute_output_ns),
    )
