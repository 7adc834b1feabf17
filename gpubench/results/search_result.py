"""The result of a search: the JSON document of `gpubench search --json`.

Absent is None. The keys are a contract, as in `gpubench.results.result`: keys may be added, but no
key is renamed without a new schema number.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from gpubench.displayed import Displayed
from gpubench.errors import InputError
from gpubench.files.untrusted import parse_json
from gpubench.results.result import (
    SCHEMA,
    Cost,
    Environment,
    Failure,
    Interval,
    Part,
    Repeat,
    RepeatedFigure,
    Result,
    Verdict,
)
from gpubench.spec.spec import Spec

# One client; twice as many clients as requests in service; an open loop.
ProbeLoad = Literal["unloaded", "saturated", "open"]
# Why a sweep with an objective did not search a setting to the end: see docs/search.md.
PruneReason = Literal["capacity", "late", "crossing"]


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


class SearchRepeats(Part):
    """What several repeats of a search say together. It is computed, and no file holds it."""

    count: int  # that found a rate
    failed: int = 0
    without_rate: int = 0  # that found that no rate meets the objective
    processes: int
    max_rate_per_second: RepeatedFigure | None = None


class Pruned(Part):
    """Why a sweep did not search this setting to the end. Rates are in requests per second."""

    reason: PruneReason
    figure: float  # for certain, no rate above this one meets the objective
    limit: float  # the rate to beat: that of another setting, less the error of the comparison
    best: str  # that setting, in words


class SearchResult(Displayed, Part):
    """The highest rate that meets an objective. Attributes have the names of the JSON keys."""

    schema_: int = Field(SCHEMA, alias="schema")
    spec: Spec
    environment: Environment | None = None  # None: nothing was measured
    repeat: Repeat | None = None  # None: the document is in no run directory
    repeats: SearchRepeats | None = None  # None: this is a single search
    objective: ObjectiveInfo
    max_rate_per_second: float | None = (
        None  # in requests; None: no rate meets it, or none was found
    )
    interval: Interval | None = None  # 95%
    note: str | None = None  # why there is no rate, or no interval
    capacity_per_second: float | None = (
        None  # in requests; of a closed loop with more clients than fit
    )
    pruned: Pruned | None = None  # None: it was searched to the end, or it failed
    verdict: Verdict = Verdict(status="suspect")
    probes: list[Probe] = Field(default_factory=list)
    costs: list[Cost] = Field(default_factory=list)  # at the highest rate
    error: Failure | None = None

    def to_json(self) -> str:
        """Strict JSON, indented by two spaces. No NaN, no Infinity; absent values are null."""
        return self.model_dump_json(by_alias=True, indent=2)


def parse_search(text: str, origin: str) -> SearchResult:
    """Read the document of a search.

    Raises InputError, which names `origin`, if it is not one that this version reads.
    """
    try:
        parse_json(text, origin)
        found = SearchResult.model_validate_json(text)
    except InputError as error:
        raise InputError(f"{error}; search again or remove the file") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise InputError(
            f"{origin} is not the result of a search: {place}: {first['msg']}; search again or "
            "remove the file"
        ) from None
    if found.schema_ != SCHEMA:
        raise InputError(
            f"{origin} has schema {found.schema_}, and this gpubench reads {SCHEMA}; read it with "
            "the version that wrote it"
        )
    return found
