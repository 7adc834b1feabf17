"""What a serverless function costs, from the memory that it has and the time that it works.

    usd_per_call = billed seconds * GB of memory * usd_per_gb_second
                   + usd_per_million_requests / 1e6

The billed time of a call is the time in its handler, rounded up to a multiple of the billing step.
A cold call is also billed for the start of its process. AWS Lambda bills it since August 2025 for
all kinds of packages, and did so for container images before ("AWS Lambda standardizes billing for
INIT Phase", AWS Compute Blog). Prices are what the user states; none is built in. Pure functions.
"""

from __future__ import annotations

import math

from gpubench.errors import InputError
from gpubench.results.cold_result import ColdResult
from gpubench.results.function_calls import FunctionCost, MemoryTimePrice, ServerlessFunction

_MOST_USD = 1e6  # of a GB-second, or of a million requests


def stated_price(
    usd_per_gb_second: float | None, usd_per_million_requests: float | None
) -> MemoryTimePrice | None:
    """The price that the flags state; None: they state none. Raises InputError."""
    stated = {
        "--usd-per-gb-second": usd_per_gb_second,
        "--usd-per-million-requests": usd_per_million_requests,
    }
    for flag, value in stated.items():
        if value is not None and not 0 <= value <= _MOST_USD:
            raise InputError(f"{flag} {value} is not a price; write US dollars, like 0.2")
    if usd_per_gb_second is None:
        if usd_per_million_requests is not None:
            raise InputError("--usd-per-million-requests: add --usd-per-gb-second X")
        return None
    return MemoryTimePrice(
        usd_per_gb_second=usd_per_gb_second,
        usd_per_million_requests=usd_per_million_requests or 0.0,
    )


def billed_s(milliseconds: float, price: MemoryTimePrice) -> float:
    """The seconds that are billed for so many milliseconds."""
    step_ms = price.billing_step_ms
    # A time of exactly n steps is n steps, whatever the last bit of the quotient.
    return math.ceil(milliseconds / step_ms * (1 - 1e-12)) * step_ms / 1e3


def with_function_cost(result: ColdResult, price: MemoryTimePrice | None) -> ColdResult:
    """The result with the cost of its function at `price`; without one, at the stored price.

    It is unchanged if there is no function, no price, or if nobody told the memory.
    """
    function = result.function
    if function is None:
        return result
    price = price or (function.cost.price if function.cost else None)
    if price is None or function.memory_gb is None:
        return result
    cost = _cost(result, function, function.memory_gb, price)
    update = {"function": function.model_copy(update={"cost": cost})}
    return result.model_copy(update=update)


def _cost(
    result: ColdResult, function: ServerlessFunction, memory_gb: float, price: MemoryTimePrice
) -> FunctionCost:
    usd_per_second = memory_gb * price.usd_per_gb_second
    warm = [
        billed_s(call.handler_ms, price) * usd_per_second + price.usd_per_million_requests / 1e6
        for call in function.calls
        if call.cold is False and call.handler_ms is not None
    ]
    starts = [
        billed_s(start.ready_seconds * 1e3, price) * usd_per_second
        for start in result.starts
        if start.ready_seconds is not None
    ]
    usd_per_call = sum(warm) / len(warm) if warm else None
    per_call = function.inferences * result.spec.batch
    return FunctionCost(
        price=price,
        usd_per_call=usd_per_call,
        usd_per_million=None if usd_per_call is None else usd_per_call / per_call * 1e6,
        usd_per_start=sum(starts) / len(starts) if starts else None,
    )
