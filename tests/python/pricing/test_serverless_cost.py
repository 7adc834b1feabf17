"""The cost of a serverless function, against bills that were worked out by hand."""

from __future__ import annotations

import pytest
from factories import environment

from gpubench.pricing.serverless import billed_s, with_function_cost
from gpubench.results.cold_result import ColdResult, ColdStart
from gpubench.results.function_calls import FunctionCall, MemoryTimePrice, ServerlessFunction
from gpubench.spec.spec import Spec

PRICE = MemoryTimePrice(usd_per_gb_second=0.00001, usd_per_million_requests=0.2)


def function(memory_bytes: int | None, batch: int = 1, inferences: int = 1) -> ColdResult:
    """Two warm calls of 40.2 and 59.9 ms, and two starts of 2 and 4 s."""
    calls = [
        FunctionCall(burst=1, parallel=1, time="", cold=cold, handler_ms=handler_ms)
        for cold, handler_ms in ((True, 70.0), (False, 40.2), (False, 59.9), (True, 80.0))
    ]
    starts = [
        ColdStart(number=number, time="", page_cache="unknown", ready_seconds=ready)
        for number, ready in ((1, 2.0), (2, 4.0))
    ]
    return ColdResult(
        spec=Spec(model="resnet50", batch=batch),
        environment=environment(),
        starts=starts,
        function=ServerlessFunction(
            url="https://f/", inferences=inferences, memory_bytes=memory_bytes, calls=calls
        ),
    )


@pytest.mark.parametrize(
    ("milliseconds", "step_ms", "seconds"),
    [(0.1, 1.0, 0.001), (1.0, 1.0, 0.001), (1.001, 1.0, 0.002), (40.2, 100.0, 0.1), (0, 1.0, 0)],
)
def test_the_billed_time_is_rounded_up(milliseconds: float, step_ms: float, seconds: float) -> None:
    price = MemoryTimePrice(usd_per_gb_second=1.0, billing_step_ms=step_ms)
    assert billed_s(milliseconds, price) == pytest.approx(seconds)


def test_a_bill_by_hand() -> None:
    """2 GB at 0.00001: 41 and 60 ms cost 0.00000082 and 0.0000012, and a request 0.0000002."""
    priced = with_function_cost(function(2 << 30, batch=4, inferences=5), PRICE).function
    assert priced is not None
    assert priced.cost is not None
    assert priced.cost.usd_per_call == pytest.approx((0.82e-6 + 1.2e-6) / 2 + 0.2e-6)
    assert priced.cost.usd_per_million == pytest.approx((1.01e-6 + 0.2e-6) / 20 * 1e6)
    assert priced.cost.usd_per_start == pytest.approx(3 * 2 * 0.00001)


def test_without_memory_or_price_there_is_no_cost() -> None:
    for result in (
        with_function_cost(function(None), PRICE),
        with_function_cost(function(1 << 30), None),
    ):
        assert result.function is not None
        assert result.function.cost is None
