"""Finds the highest rate that meets an objective. docs/search.md explains the method.

spec, objective -> unloaded and saturated closed loops -> open loops at rates -> crossing -> costs
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Unpack, overload

from gpubench.cells.resolve import cell_of, resolve
from gpubench.errors import InputError
from gpubench.measure.cell import Bench, Interrupted
from gpubench.measure.progress import Progress
from gpubench.pricing.cost import check_prices, search_costs
from gpubench.results.result import Failure, Result, Verdict
from gpubench.results.search_result import ObjectiveInfo, Probe, ProbeLoad, SearchResult
from gpubench.spec.cell import Cell
from gpubench.spec.objective import (
    DEFAULT_PROBES,
    DEFAULT_TOLERANCE,
    Objective,
    SearchSettings,
    parse_objective,
)
from gpubench.spec.parse import given_spec
from gpubench.spec.settings import Settings
from gpubench.spec.spec import Spec
from gpubench.statistics.crossing import (
    MOST_LOAD,
    Crossing,
    Tally,
    conclude,
    expected_load,
    expected_slope,
    locate,
    tally,
)
from gpubench.statistics.verdicts import TOO_FEW_INDEPENDENT
from gpubench.system.machine import Machine, this_machine

# The rates of the open loops: the distances from the estimated crossing, in units of the logit.
_OFFSETS = (0.0, -0.6, 0.6)
# The requests that each percentile needs (MLPerf's early stopping, as in verdicts.py).
_CLOSED_LOOP_REQUESTS = {90: 64, 95: 130, 99: 662}
_SATURATED_S = 2.0
# A probe has at least this share of the lowest rate before it: low rates give few requests.
_LEAST_STEP = 0.6
# The default window of an open loop: long enough for this many late requests if the crossing is at
# half of the capacity, and at least this many seconds.
_LATE_REQUESTS = 30
_LEAST_WINDOW_S = 10.0
_MOST_REQUESTS = 1_000_000


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C during a search. `result` holds the probes that were measured before it."""

    def __init__(self, result: SearchResult) -> None:
        super().__init__("interrupted")
        self.result = result


@overload
def search(
    spec: Spec,
    objective: str | Objective,
    tolerance: float = ...,
    probes: int = ...,
    progress: Progress | None = ...,
) -> SearchResult: ...


@overload
def search(
    *,
    objective: str | Objective,
    tolerance: float = ...,
    probes: int = ...,
    progress: Progress | None = ...,
    **settings: Unpack[Settings],
) -> SearchResult: ...


def search(
    spec: Spec | None = None,
    objective: str | Objective = "",
    tolerance: float = DEFAULT_TOLERANCE,
    probes: int = DEFAULT_PROBES,
    progress: Progress | None = None,
    **settings: Any,
) -> SearchResult:
    """Find the highest rate at which requests may arrive and still meet `objective` ("p99:10ms").

    The cell is given as a Spec or as settings: search(model="resnet50", objective="p95:200ms").

    The search ends when the 95% interval of the rate is within `tolerance` of it (0.05: 5%), or
    after `probes` open loops. If `spec` has a rate, the first open loop uses it. A measurement that
    fails ends the search, and `error` of the result is set.

    Raises InputError, before anything is loaded, if the settings cannot be searched. On Ctrl-C it
    raises SearchInterrupted, with what was measured before.
    """
    if isinstance(objective, str):
        objective = parse_objective(objective)
    SearchSettings(objective, tolerance, probes).check()
    spec = given_spec(spec, settings)
    check_spec(spec)
    check_prices(spec.instance)
    return _Search(spec, objective, progress or Progress()).run(tolerance, probes)


def check_spec(spec: Spec) -> None:
    """Raises InputError for a setting that a search cannot use."""
    if spec.clients is not None:
        raise InputError("--clients: a search chooses the number of clients; remove it")
    if spec.arrivals.startswith("trace:"):
        raise InputError(
            "--arrivals trace: every probe needs different arrivals; use poisson, constant or "
            "burst:N"
        )


def resolved(spec: Spec, machine: Machine) -> Cell:
    """The cell of a search. Its spec has the rate and the window that `spec` has.

    Raises InputError if this machine cannot measure it.
    """
    # Resolved as an open loop: all measurements then have its workers and its depth.
    cell = resolve(spec.model_copy(update={"rate": spec.rate or 1.0}), machine)
    given = {"rate": spec.rate, "requests": spec.requests, "duration": spec.duration}
    return replace(cell, spec=cell.spec.model_copy(update=given))


def find(
    tally_at: Callable[[float], Tally],
    first_rate: float,
    capacity: float,
    late_share: float,
    tolerance: float = DEFAULT_TOLERANCE,
    most_probes: int = DEFAULT_PROBES,
    located: Callable[[Crossing], None] = lambda crossing: None,
) -> Crossing:
    """Probe rates below `capacity` until the rate with `late_share` late requests is known.

    `tally_at` measures at one rate; its errors are passed on. Rates are in requests per second.
    """
    top = capacity * MOST_LOAD
    centre = min(first_rate, top)
    slope = expected_slope(centre / capacity, late_share)
    tallies: list[Tally] = []
    while True:
        rate = centre * (1 + _OFFSETS[len(tallies) % len(_OFFSETS)] / slope)
        floor = _LEAST_STEP * min((probed.rate for probed in tallies), default=0.0)
        tallies.append(tally_at(min(max(rate, floor), top)))
        crossing = locate(tallies, centre, slope, capacity, late_share)
        located(crossing)
        if len(tallies) >= most_probes or _is_known(crossing, tolerance, top):
            return crossing
        centre, slope = crossing.centre, crossing.slope


def _is_known(crossing: Crossing, tolerance: float, top: float) -> bool:
    if crossing.rate > top:  # the objective is met at every rate that may be probed
        return sum(probe.rate >= top for probe in crossing.near) >= len(_OFFSETS)
    if crossing.interval is None:
        return False
    low, high = crossing.interval
    return (high - low) / 2 <= tolerance * crossing.rate


class _Failed(Exception):
    """A measurement ended with an error. The result of the search already holds the error."""


class _Search:
    """One search: its settings, and what it has found until now."""

    def __init__(self, spec: Spec, objective: Objective, progress: Progress) -> None:
        machine = this_machine()
        cell = resolved(spec, machine)
        self._most_in_flight, self._seed = cell.most_in_flight, cell.load_seed
        self._spec = cell.spec
        self._objective = objective
        self._progress = progress
        self._bench = Bench(machine, progress)
        self._found = SearchResult(spec=self._spec, objective=objective_info(objective))

    def run(self, tolerance: float, most_probes: int) -> SearchResult:
        try:
            unloaded = self._unloaded()
            if self._is_late(unloaded):
                self._found.note = "no rate meets this: even a single client misses it"
                unloaded.near = True
                self._found.verdict = _verdict(self._found)
            else:
                self._conclude(self._find(unloaded, tolerance, most_probes))
        except _Failed:
            pass
        except KeyboardInterrupt as stop:
            self._found.error = (
                stop.result.error if isinstance(stop, Interrupted) else None
            ) or Failure(stage="measure", message="interrupted between two measurements")
            raise SearchInterrupted(self._found) from None
        return self._found

    def _find(self, unloaded: Probe, tolerance: float, most_probes: int) -> Crossing:
        allowed = self._objective.late_share
        unloaded_s = (unloaded.result.latency_ms.mean or 0.0) / 1e3
        capacity = self._capacity(unloaded_s)
        self._fix_window(capacity)
        return find(
            self._tally_at,
            self._spec.rate or self._first_rate(unloaded_s, capacity),
            capacity,
            allowed,
            tolerance,
            most_probes,
            self._progress.located,
        )

    def _first_rate(self, unloaded_s: float, capacity: float) -> float:
        waiting_s = self._objective.latency_s - unloaded_s
        return capacity * expected_load(self._objective.late_share, waiting_s, capacity)

    def _unloaded(self) -> Probe:
        requests = _CLOSED_LOOP_REQUESTS[self._objective.percent]
        return self._closed_loop("unloaded", clients=1, requests=requests)

    def _is_late(self, probe: Probe) -> bool:
        return probe.late > self._objective.late_share * probe.requests

    def _capacity(self, unloaded_s: float) -> float:
        """The throughput of a closed loop in which some requests always wait, in requests/s."""
        in_flight = self._most_in_flight
        enough = round(_SATURATED_S * in_flight / max(unloaded_s, _SATURATED_S / _MOST_REQUESTS))
        requests = max(_CLOSED_LOOP_REQUESTS[self._objective.percent], enough)
        saturated = self._closed_loop("saturated", clients=2 * in_flight, requests=requests)
        assert saturated.result.throughput_per_second is not None
        capacity = saturated.result.throughput_per_second / self._spec.batch
        self._found.capacity_per_second = capacity
        return capacity

    def _fix_window(self, capacity: float) -> None:
        """Set the window of the open loops, if the spec does not set it."""
        if self._spec.requests is not None or self._spec.duration is not None:
            return
        enough_s = _LATE_REQUESTS / self._objective.late_share / (capacity / 2)
        window_s = max(enough_s, min(_LEAST_WINDOW_S, _MOST_REQUESTS / capacity))
        self._spec = self._found.spec = self._spec.model_copy(update={"duration": window_s})

    def _closed_loop(self, load: ProbeLoad, clients: int, requests: int) -> Probe:
        return self._measure(
            load, clients=clients, rate=None, arrivals="poisson", requests=requests, duration=None
        )

    def _tally_at(self, rate: float) -> Tally:
        seed = self._seed + len(self._found.probes)
        probe = self._measure("open", rate=rate, load_seed=seed)
        return Tally(rate, probe.requests, probe.late, probe.effective)

    def _measure(self, load: ProbeLoad, **settings: Any) -> Probe:
        """Measure one probe and store it, even if the run fails or is interrupted."""
        spec = self._spec.model_copy(update=settings)
        self._progress.probe_begins(load, spec)
        try:
            result = self._bench.measure(cell_of(spec))
        except Interrupted as stop:
            self._keep(load, stop.result)
            raise
        probe = self._keep(load, result)
        if result.error is None and probe.requests == 0:
            reason = "the window has no request; raise --duration, or give --requests"
            self._found.error = Failure(stage="measure", message=reason)
        if self._found.error is not None:
            raise _Failed
        self._progress.probe_ended(probe)
        return probe

    def _keep(self, load: ProbeLoad, result: Result) -> Probe:
        late = Tally(0.0, 0, 0, 1.0)
        if result.samples is not None and result.counted is not None:
            late = tally(
                result.spec.rate or 0.0,
                result.samples.latency_ns[result.counted],
                result.requests.unfinished,
                self._objective.latency_ns,
            )
        probe = Probe(
            load=load,
            rate_per_second=result.spec.rate,
            requests=late.requests,
            late=late.late,
            effective=late.effective,
            result=result.with_samples(None, None),
        )
        self._found.environment = result.environment
        self._found.probes.append(probe)
        self._found.error = result.error
        return probe

    def _conclude(self, crossing: Crossing) -> None:
        """Set the rate, the verdict and the costs that follow from the crossing."""
        found = self._found
        assert found.capacity_per_second is not None
        answer = conclude(crossing, found.capacity_per_second, self._objective.late_share)
        found.max_rate_per_second = answer.rate
        found.interval, found.note = answer.interval, answer.note
        rates = {t.rate for t in crossing.near}
        for probe in found.probes:
            probe.near = probe.load == "open" and probe.rate_per_second in rates
        found.verdict = _verdict(found)
        found.costs = search_costs(found)


def objective_info(objective: Objective) -> ObjectiveInfo:
    return ObjectiveInfo.model_validate(
        {
            "percentile": f"p{objective.percent}",
            "latency_ms": objective.latency_s * 1e3,
        }
    )


def _verdict(found: SearchResult) -> Verdict:
    """Each reason of the probes near the crossing, once.

    The effective sample size of a single open loop is left out: the answer comes from all open
    loops together, and the search reports itself if they have too few requests.
    """
    reasons = {
        reason.code: reason
        for probe in reversed(found.probes)
        if probe.near
        for reason in probe.result.verdict.reasons
        if not (probe.load == "open" and reason.code == TOO_FEW_INDEPENDENT)
    }
    return Verdict(status="suspect" if reasons else "valid", reasons=list(reasons.values()))
