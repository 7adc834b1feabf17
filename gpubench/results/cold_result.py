"""The result of `gpubench cold`: how long a configuration takes to start, in fresh processes.

Absent is None. The keys are a contract, as in `gpubench.results.result`: keys may be added, but no
key is renamed without a new schema number. docs/cold.md defines every stage.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gpubench.displayed import Displayed
from gpubench.results.function_calls import ServerlessFunction
from gpubench.results.result import (
    SCHEMA,
    EngineInfo,
    Environment,
    Failure,
    Part,
    parse_document,
)
from gpubench.spec.spec import Spec

PageCache = Literal["warm", "cold"]
BuildCache = Literal["keep", "empty"]
NOT_DROPPED = "not dropped"
UNKNOWN = "unknown"  # of the first start, and of a function: what was in memory is not known


class StartSeconds(Part):
    """The stages of a start, in seconds and in their order. None: there was no such stage."""

    interpreter: float | None = None  # from the fork in the parent to the first line of Python code
    imports: float | None = None
    weights: float | None = None
    device: float | None = None  # None on a CPU, and where the runtime does it while it builds
    build: float | None = None  # or reading the engine from the cache
    first_inference: float | None = None
    settling: float | None = None  # until the service time has settled

    def ready(self) -> float | None:
        """The sum up to the end of the first inference; None if the start did not get there."""
        if self.first_inference is None:
            return None
        return sum(value for name, value in self.stages().items() if name != "settling")

    def total(self) -> float | None:
        """The sum of all stages; None if the service time has not settled."""
        return None if self.settling is None else sum(self.stages().values())

    def stages(self) -> dict[str, float]:
        """The stages that there were, by name, in their order."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if value is not None}


class ColdStart(Part):
    """One start, in a process of its own."""

    number: int  # from 1; 0: the first start, which no figure contains
    time: str  # UTC, ISO 8601
    page_cache: str  # "warm", "cold", "not dropped: " and the reason; or "unknown"
    seconds: StartSeconds = StartSeconds()
    # The sum of the stages up to the first inference.
    ready_seconds: float | None = Field(default=None, ge=0)
    total_seconds: float | None = None  # the sum of all stages; None: it has not settled
    excluded_seconds: float | None = None  # what gpubench did meanwhile, in no stage
    settled_after: int | None = None  # inferences, the first one included
    settled_note: str | None = None  # why it is null
    from_cache: bool | None = None  # null: the runtime keeps nothing
    read_bytes: int | None = None  # that the process made the kernel read from storage
    peak_host_bytes: int | None = None  # resident memory, from the end of the imports on
    error: Failure | None = None

    @property
    def state(self) -> str:
        """The state of the page cache before the start, without a reason."""
        return self.page_cache.partition(":")[0]


class ColdFigure(Part):
    """Seconds. Percentiles by nearest rank; null if there are too few starts."""

    count: int
    min: float
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    max: float


class StartCost(Part):
    """The price of one cold start on one instance."""

    instance: str | None  # None: the price comes from --usd-per-hour, or the hardware is owned
    region: str | None = None
    term: Literal["on-demand", "spot", "1-year", "3-year"] = "on-demand"
    owned: bool = False  # the price comes from --capital-usd
    measured_here: bool | None  # whether this instance was measured; None: unknown
    usd_per_hour: float
    usd_per_start: float
    price_as_of: str | None = None
    price_source: str | None = None
    hardware_note: str | None = None  # how the priced hardware differs from the measured


class ColdFigures(Part):
    """The figures of the starts with the same state of the page cache."""

    page_cache: str  # "warm", "cold" or "not dropped"
    count: int  # starts without an error
    failed: int = 0
    seconds: dict[str, ColdFigure] = Field(default_factory=dict)  # by stage, as in StartSeconds
    ready: ColdFigure | None = None
    total: ColdFigure | None = None
    billed_seconds: float | None = None  # P50 of `ready`, and the image; null: there is no P50
    costs: list[StartCost] = Field(default_factory=list)


class ContainerImage(Part):
    """The pull of a container image. It is computed from what the user states, not measured."""

    bytes: float
    bytes_per_second: float
    seconds: float  # bytes / bytes_per_second


class ColdResult(Displayed, Part):
    """The starts of one configuration. Attributes have the names of the JSON keys."""

    schema_: int = Field(SCHEMA, alias="schema")
    kind: Literal["cold"] = "cold"
    spec: Spec
    environment: Environment
    build_cache: BuildCache = "keep"  # "empty": every start had an empty cache and built its engine
    engine: EngineInfo = EngineInfo()  # as the first start describes it
    first_start: ColdStart | None = None  # it fills the caches, and is in no figure
    starts: list[ColdStart] = Field(default_factory=list)
    image: ContainerImage | None = None  # None: its size was not told
    # Of a serverless function that was called from outside: its starts are those of its processes.
    function: ServerlessFunction | None = None
    figures: list[ColdFigures] = Field(default_factory=list)  # one for each state of the page cache
    error: Failure | None = None  # of the first start; then no other start was tried

    def to_json(self) -> str:
        """Strict JSON, indented by two spaces. No NaN, no Infinity; absent values are null."""
        return self.model_dump_json(by_alias=True, indent=2)


def parse_cold(text: str, origin: str) -> ColdResult:
    """Read a document of cold starts. Raises what `parse_document` raises."""
    return parse_document(ColdResult, text, origin)
