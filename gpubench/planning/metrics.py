"""The figures that are compared, and the words for a difference in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpubench.results.result import Cost, Interval, Result

Measured = tuple[float | None, Interval | None]  # a figure and its interval


@dataclass(frozen=True)
class Metric:
    """One figure of a result."""

    name: str  # as --fail-if calls it
    key: str  # in JSON and CSV
    noun: str  # in a sentence
    of: Callable[[Result], Measured]
    more_is_better: bool = False
    if_better: str = "faster"
    if_worse: str = "slower"
    how_to_have_it: str = "measure more requests"

    def word(self, is_higher: bool) -> str:
        """'faster' or 'slower' for a figure of B that is higher or lower than that of A."""
        return self.if_better if is_higher == self.more_is_better else self.if_worse


def chosen_cost(result: Result) -> Cost | None:
    """The price that is compared: that of the measured instance, otherwise the first one."""
    for cost in result.costs:
        if cost.measured_here:
            return cost
    return result.costs[0] if result.costs else None


def _throughput(result: Result) -> Measured:
    return result.throughput_per_second, result.throughput_interval


def _usd(result: Result) -> Measured:
    cost = chosen_cost(result)
    return (cost.usd_per_million, cost.usd_per_million_interval) if cost else (None, None)


def _percentile(name: str) -> Metric:
    key = name.replace(".", "_")

    def of(result: Result) -> Measured:
        latency = result.latency_ms
        return getattr(latency, key, None), getattr(latency, f"{key}_interval", None)

    return Metric(name, f"{key}_ms", f"{name.upper()} latency", of)


THROUGHPUT = Metric("throughput", "throughput_per_second", "throughput", _throughput, True)
P95 = _percentile("p95")
USD = Metric(
    "usd",
    "usd_per_million",
    "cost of a million",
    _usd,
    if_better="cheaper",
    if_worse="dearer",
    how_to_have_it="add --instance-a NAME and --instance-b NAME",
)
COLUMNS = (THROUGHPUT, P95, USD)  # of a table
METRICS = {
    metric.name: metric
    for metric in (
        THROUGHPUT,
        *map(_percentile, ("p50", "p90")),
        P95,
        *map(_percentile, ("p99", "p99.9")),
        USD,
    )
}
