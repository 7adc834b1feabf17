"""The result of a search: the JSON document of `gpubench search --json`.

Absent is None. The keys are a contract, as those of `gpubench.results.result`: more may be added,
none is renamed without a new schema number.
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

Load = Literal["unloaded", "saturated", "open"]  # one client; twice what fits; at a rate


class Promise(Part):
    """The objective: this percentile of the latency is to be within these milliseconds."""

    percentile: Literal["p90", "p95", "p99"]
    latency_ms: float


class Probe(Part):
    """One measurement of the search, whole."""

    load: Load
    rate_per_second: float | None = None  # requests; None in a closed loop
    requests: int  # that count, those that never finished with them
    late: int  # of these, over the objective's latency
    effective: float  # how many independent requests they are worth
    near: bool = False  # to the crossing: the answer comes from these
    result: Result


class SearchResult(Part):
    """The highest rate that meets an objective. Attributes carry the names of the JSON keys."""

    schema_: int = Field(SCHEMA, alias="schema")
    spec: Spec
    environment: Environment | None = None  # None: nothing was measured
    objective: Promise
    max_rate_per_second: float | None = None  # requests; None: no rate meets it, or none was found
    interval: Interval | None = None  # 95%
    note: str | None = None  # why there is no rate, or no interval
    capacity_per_second: float | None = None  # requests, in a closed loop with clients to spare
    verdict: Verdict = Verdict(status="suspect")
    probes: list[Probe] = Field(default_factory=list)
    costs: list[Cost] = Field(default_factory=list)  # at the highest rate
    error: Failure | None = None

    def to_json(self) -> str:
        """Strict JSON, two spaces of indent: no NaN, no Infinity; what is absent is null."""
        return self.model_dump_json(by_alias=True, indent=2)
