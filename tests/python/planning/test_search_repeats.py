"""Several searches for the same rate, combined."""

from __future__ import annotations

import math

import factories
import pytest

from gpubench.planning.search_repeats import combined_search, combined_searches
from gpubench.results.result import Failure, Repeat, Verdict
from gpubench.results.search_result import ObjectiveInfo, Probe, SearchResult


def search(
    rate: float | None, number: int = 1, error: str | None = None, drifts: bool = False
) -> SearchResult:
    result = factories.result(batch=2, usd_per_hour=3.6)
    reasons = [factories.DRIFT] if drifts else []
    return SearchResult(
        spec=result.spec,
        environment=result.environment,
        repeat=Repeat(number=number, of=3, round=number, series="s", process=f"p{number}"),
        objective=ObjectiveInfo(percentile="p99", latency_ms=10.0),
        max_rate_per_second=rate,
        interval=None if rate is None else (rate * 0.98, rate * 1.02),
        note="no rate meets this: even a single client misses it" if rate is None else None,
        verdict=Verdict(status="suspect" if drifts else "valid", reasons=reasons),
        probes=[Probe(load="open", requests=10, late=0, effective=10.0, result=result)],
        error=Failure(stage="measure", message=error) if error else None,
    )


def test_the_rate_is_the_geometric_mean_and_the_wider_interval_counts() -> None:
    found = combined_search([search(rate, n) for n, rate in enumerate((90.0, 100.0, 120.0), 1)])
    rate = (90 * 100 * 120) ** (1 / 3)
    assert found.max_rate_per_second == pytest.approx(rate)
    assert found.repeats is not None
    info = found.repeats.max_rate_per_second
    assert info is not None
    assert (found.repeats.count, found.repeats.processes, info.count) == (3, 3, 3)
    assert info.interval_inside is not None
    assert info.interval_inside[1] / info.interval_inside[0] == pytest.approx(1.02 / 0.98)
    assert found.interval == info.interval
    assert info.spread == pytest.approx(0.1455, abs=0.001)
    assert found.costs[0].usd_per_million == pytest.approx(1000 / rate / 2)
    assert found.verdict.status == "valid"


def test_two_searches_have_the_interval_of_one() -> None:
    found = combined_search([search(90.0, 1), search(100.0, 2)])
    assert found.interval is not None
    assert math.log(found.interval[1] / found.interval[0]) == pytest.approx(math.log(1.02 / 0.98))


def test_what_failed_and_what_found_no_rate_is_said() -> None:
    repeats = [search(100.0, 1, drifts=True), search(None, 2), search(None, 3, error="it failed")]
    found = combined_search(repeats)
    assert found.max_rate_per_second == pytest.approx(100.0)
    assert found.note == "in 1 of 2 repeats no rate meets this"
    failed, drift = found.verdict.reasons
    assert (failed.code, failed.figure) == ("repeats-failed", 1)
    assert (drift.code, drift.in_repeats) == ("drift", 1)
    none = combined_search(repeats[1:])
    assert none.max_rate_per_second is None
    assert none.repeats is not None
    assert (none.repeats.count, none.repeats.failed, none.repeats.without_rate) == (0, 1, 1)


def test_documents_of_one_search_are_found_by_their_names() -> None:
    one, two = "search-0123456789abcdef", "search-fedcba9876543210"
    documents = [(one, search(90.0)), (f"{one}-2", search(100.0, 2)), (two, search(50.0))]
    assert [found.max_rate_per_second for found in combined_searches(documents)] == [
        pytest.approx(math.sqrt(9000)),
        50.0,
    ]
