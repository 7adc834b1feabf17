"""The calls of a serverless function: a part of the result of `gpubench cold --url`.

docs/serverless.md defines every figure. Absent is None, as in `gpubench.results.result`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gpubench.results.result import Failure, Part

_Milliseconds = Annotated[float, Field(ge=0)]
_Usd = Annotated[float, Field(ge=0)]
SHORTEST_STEP_MS = 1e-3


class FunctionCall(Part):
    """One call of the function, as the caller and the function saw it."""

    burst: int  # from 1; the calls of a burst belong together
    parallel: int  # calls that were sent at the same moment as this one, itself included
    time: str  # UTC, ISO 8601
    process: str | None = None  # the random name of the process that answered
    cold: bool | None = None  # whether it was the first request of that process
    connect_ms: _Milliseconds | None = None  # TCP and TLS; in no other figure
    round_trip_ms: _Milliseconds | None = None  # from sending the request to the end of the answer
    handler_ms: _Milliseconds | None = None  # in the function, from the request to the answer
    inference_ms: _Milliseconds | None = None  # mean of the inferences of this call
    # The part of the round trip that was neither in the handler nor, if the process was started
    # for this call, in that process before the handler: the network and the platform.
    outside_ms: float | None = None
    started_for_it: bool | None = None  # whether the process began after the call was sent
    error: Failure | None = None


class CallFigure(Part):
    """Milliseconds. Percentiles by nearest rank; null if there are too few calls."""

    count: int
    mean: float
    min: float
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float


class CallFigures(Part):
    """The figures of the cold calls or of the warm ones."""

    count: int  # calls without an error
    round_trip: CallFigure | None = None
    handler: CallFigure | None = None
    inference: CallFigure | None = None
    outside: CallFigure | None = None


class MemoryTimePrice(Part):
    """The price of a function: what the user stated, or absent."""

    usd_per_gb_second: _Usd  # a GB of memory is 2^30 bytes
    usd_per_million_requests: _Usd = 0.0
    # The billed time of a call is a multiple of this.
    billing_step_ms: float = Field(default=1.0, ge=SHORTEST_STEP_MS)


class FunctionCost(Part):
    """What the function costs at a price. It is computed from the handler's own clock."""

    price: MemoryTimePrice
    usd_per_call: _Usd | None  # of a warm call, on average; null: there was none
    usd_per_million: _Usd | None  # inferences, by warm calls
    usd_per_start: _Usd | None  # what a cold call costs more, on average; null: there was none


class ServerlessFunction(Part):
    """A function that was called from outside."""

    url: str  # without a query and without credentials
    inferences: int = Field(ge=1)  # requests to the engine in each call; each has `batch` samples
    # That the function may use. Null: nobody told it.
    memory_bytes: int | None = Field(default=None, gt=0)
    peak_host_bytes: int | None = None  # the largest resident memory of any process
    # Of all machines that answered. A service may run one function on several kinds.
    cpus: list[str] = Field(default_factory=list)
    calls: list[FunctionCall] = Field(default_factory=list)
    cold: CallFigures | None = None
    warm: CallFigures | None = None
    cost: FunctionCost | None = None  # null: no price was stated

    @property
    def memory_gb(self) -> float | None:
        """In units of 2^30 bytes, which price lists of functions call GB."""
        return None if self.memory_bytes is None else self.memory_bytes / 2**30
