"""The planner against the definitions, on small random cases."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from planning_results import closed_loop, documents, open_loop, search

from gpubench.planning.candidates import GivenPrices
from gpubench.planning.decision import FrontPoint, decide, pareto
from gpubench.planning.knee import KNEE, knee
from gpubench.results.result import Result
from gpubench.results.search_result import SearchResult
from gpubench.spec.objective import parse_objective

LIMIT_MS = 100.0
OBJECTIVE = parse_objective("p95:100ms")
USD_PER_HOUR = 0.5

# Few different values, so that equal ones are frequent.
FIGURE = st.integers(1, 6).map(float)
BATCH = st.integers(1, 4)
LATENCY = st.sampled_from((40.0, 80.0, 100.0, 120.0))


@st.composite
def _open_loops(draw: st.DrawFn) -> Result:
    return open_loop(draw(FIGURE), draw(LATENCY), draw(LATENCY), batch=draw(BATCH))


@st.composite
def _closed_loops(draw: st.DrawFn) -> Result:
    return closed_loop(draw(FIGURE), draw(LATENCY), batch=draw(BATCH))


@st.composite
def _searches(draw: st.DrawFn) -> SearchResult:
    limit_ms = draw(st.sampled_from((50.0, 100.0, 200.0)))
    return search(draw(FIGURE), limit_ms=limit_ms, batch=draw(BATCH))


FOUND = st.lists(st.one_of(_open_loops(), _closed_loops(), _searches()), min_size=1, max_size=8)


def _assume_no_repeats(found: list[Result | SearchResult]) -> None:
    """Cells with the same settings are repeats, which are combined."""
    specs = [each.spec.model_dump_json() for each in found if isinstance(each, Result)]
    assume(len(set(specs)) == len(specs))


def _best_rate_by_hand(found: list[Result | SearchResult], batch: int) -> float | None:
    """The rate of the setting with this batch size, from the table in docs/planning.md."""
    mine = [each for each in found if each.spec.batch == batch]
    searches = [each for each in mine if isinstance(each, SearchResult)]
    exact = [
        each.max_rate_per_second or 0.0 for each in searches if each.objective.latency_ms == 100
    ]
    if exact:
        return exact[0] * batch
    stricter = [
        each.max_rate_per_second or 0.0 for each in searches if each.objective.latency_ms < 100
    ]
    loops = [
        (each.spec.rate or 0.0, each.latency_ms.p95_at_most or 0.0)
        for each in mine
        if isinstance(each, Result) and each.spec.open_loop
        if (each.latency_ms.p95 or 0.0) <= LIMIT_MS
    ]
    certain = [rate for rate, at_most in loops if at_most <= LIMIT_MS]
    bounds = certain or [*stricter, *(rate for rate, _ in loops)]
    return max(bounds) * batch if bounds else None


@given(FOUND)
@settings(max_examples=40, deadline=None)
def test_the_winner_is_the_setting_with_the_highest_rate(
    found: list[Result | SearchResult],
) -> None:
    _assume_no_repeats(found)
    (decided,) = decide(documents(*found), OBJECTIVE, GivenPrices((), USD_PER_HOUR)).decisions
    exact = [
        each.spec.batch
        for each in found
        if isinstance(each, SearchResult) and each.objective.latency_ms == LIMIT_MS
    ]
    assume(len(set(exact)) == len(exact))  # which of several estimates counts: see its own test
    rates = [rate for b in range(1, 5) if (rate := _best_rate_by_hand(found, b)) is not None]
    if not rates:
        assert decided.winner is None
        return
    assert decided.winner is not None
    assert decided.winner.rate_per_second == max(rates)
    assert decided.winner.usd_per_million == USD_PER_HOUR / 3600 / max(rates) * 1e6
    others = sorted(rates, reverse=True)[1:]
    next_best = decided.next_best
    assert (next_best.rate_per_second if next_best else None) == (others[0] if others else None)


@given(FOUND)
@settings(max_examples=40, deadline=None)
def test_the_front_has_every_point_that_no_other_dominates(
    found: list[Result | SearchResult],
) -> None:
    _assume_no_repeats(found)
    (decided,) = decide(documents(*found), OBJECTIVE, GivenPrices((), USD_PER_HOUR)).decisions
    # By hand: every open loop and every search, or closed loops if there is nothing else.
    points = []
    closed = []
    for each in found:
        if isinstance(each, SearchResult):
            rate = each.max_rate_per_second or 0.0
            points.append((rate * each.spec.batch, each.objective.latency_ms))
        elif each.spec.open_loop:
            points.append(((each.spec.rate or 0.0) * each.spec.batch, each.latency_ms.p95 or 0.0))
        else:
            closed.append((each.throughput_per_second or 0.0, each.latency_ms.p95 or 0.0))
    points = points or closed
    expected = sorted(
        (rate, latency)
        for rate, latency in points
        if not any(
            other[0] >= rate and other[1] <= latency and other != (rate, latency)
            for other in points
        )
    )
    assert sorted((each.rate_per_second, each.latency_ms) for each in decided.front) == expected


@given(st.lists(st.tuples(FIGURE, FIGURE), max_size=12))
def test_pareto_keeps_ties_and_is_in_order(figures: list[tuple[float, float]]) -> None:
    points = [_FrontStandIn(*each) for each in figures]
    front = [(each.usd_per_million, each.latency_ms) for each in pareto(points, _figures)]  # type: ignore[arg-type]
    by_hand = sorted(
        mine
        for mine in figures
        if not any(o != mine and o[0] <= mine[0] and o[1] <= mine[1] for o in figures)
    )
    assert front == by_hand


class _FrontStandIn:
    def __init__(self, usd_per_million: float, latency_ms: float) -> None:
        self.usd_per_million, self.latency_ms = usd_per_million, latency_ms


def _figures(point: FrontPoint) -> tuple[float, float]:
    return point.usd_per_million, point.latency_ms


@given(st.lists(st.tuples(FIGURE, FIGURE), max_size=8, unique_by=lambda point: point[0]))
def test_the_knee_is_the_first_point_near_the_highest(points: list[tuple[float, float]]) -> None:
    index = knee(points)
    if len(points) < 3:
        assert index is None
        return
    assert index is not None
    enough = KNEE * max(y for _, y in points)
    assert points[index][1] >= enough
    assert all(y < enough for x, y in points if x < points[index][0])


def test_a_knee_over_the_batch_size() -> None:
    rates = {1: 100.0, 2: 180.0, 4: 290.0, 8: 300.0}
    cells = [closed_loop(rate, 10.0 * batch, batch=batch) for batch, rate in rates.items()]
    (found,) = decide(documents(*cells), OBJECTIVE).decisions[0].knees
    assert (found.axis, found.x, found.throughput_per_second) == ("batch", 4, 290.0)
    assert (found.highest_x, found.highest_throughput_per_second, found.count) == (8, 300.0, 4)
    assert found.is_last is False


def test_a_knee_at_the_largest_value_is_marked() -> None:
    cells = [closed_loop(100.0 * batch, 10.0, batch=batch) for batch in (1, 2, 4)]
    (found,) = decide(documents(*cells), OBJECTIVE).decisions[0].knees
    assert (found.x, found.is_last) == (4, True)


def test_the_front_has_the_answer_of_a_search_and_not_the_probes_that_it_comes_from() -> None:
    near, far = open_loop(10.0, 99.0, 110.0), open_loop(6.0, 40.0, 50.0)
    found = search(10.0, (9.0, 11.0), probes=(far, near))
    found.probes[0].near = False
    front = decide(documents(found), OBJECTIVE).decisions[0].front
    assert [(each.rate_per_second, each.latency_ms) for each in front] == [
        (10.0, 100.0),
        (6.0, 40.0),
    ]


def test_a_knee_over_workers_ignores_what_follows_from_them() -> None:
    cells = [closed_loop(rate, 20.0, workers=n) for n, rate in ((1, 50.0), (2, 98.0), (4, 100.0))]
    assert len({cell.spec.threads for cell in cells}) == 3
    (found,) = decide(documents(*cells), OBJECTIVE).decisions[0].knees
    assert (found.axis, found.x) == ("workers", 2)


def test_searches_and_cells_are_different_curves() -> None:
    found = [search(10.0 * batch, batch=batch) for batch in (1, 2)]
    cells = [closed_loop(10.0 * batch, 50.0, batch=batch) for batch in (1, 2)]
    assert decide(documents(*found, *cells), OBJECTIVE).decisions[0].knees == ()
