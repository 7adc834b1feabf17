"""The result of a search: the JSON document of `gpubench search --json`.

Absent is None. The keys are a contract, as in `gpubench.results.result`: keys may be added, but no
key is renamed without a new schema number.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gpubench.results.result import (
    SCHEMA,
    Cost,
    Environment,
    Failure,
    Interval,
    Part,
    Result,
    Verdict,
)
from gpubench.spec.spec import Spec

# One client; twice as many clients as requests in service; an open loop.
ProbeLoad = Literal["unloaded", "saturated", "open"]


class ObjectiveInfo(Part):
    """The objective: this percentile of the latency must be at most these milliseconds."""

    percentile: Literal["p90", "p95", "p99"]
    latency_ms: float


class Probe(Part):
    """One measurement of the search."""

    load: ProbeLoad
    rate_per_second: float | None = None  # in requests; None in a closed loop
    requests: int  # that count; those that never finished are included
    late: int  # of these requests: slower than the objective allows
    effective: float  # effective sample size
    near: bool = False  # whether it is near the crossing: the answer comes from these probes
    result: Result


class SearchResult(Part):
    """The highest rate that meets an objective. Attributes have the names of the JSON keys."""

    schema_: int = Field(SCHEMA, alias="schema")
    spec: Spec
    environment: Environment | None = None  # None: nothing was measured
    objective: ObjectiveInfo
    max_rate_per_second: float | None = (
        None  # in requests; None: no rate meets it, or none was found
    )
    interval: Interval | None = None  # 95%
    note: str | None = None  # why there is no rate, or no interval
    capacity_per_second: float | None = (
        None  # in requests; of a closed loop with more clients than fit
    )
    verdict: Verdict = Verdict(status="suspect")
    probes: list[Probe] = Field(default_factory=list)
    costs: list[Cost] = Field(default_factory=list)  # at the highest rate
    error: Failure | None = None

    def to_json(self) -> str:
        """Strict JSON, indented by two spaces. No NaN, no Infinity; absent values are null."""
        return self.model_dump_json(by_alias=True, indent=2)
