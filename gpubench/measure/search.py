"""Finds the highest rate that meets an objective. docs/search.md explains the method.

spec, objective -> unloaded and saturated closed loops -> open loops at rates -> crossing -> costs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack, overload

from gpubench.cells.resolve import cell_of, resolve
from gpubench.errors import InputError
from gpubench.measure.cell import Bench, Interrupted
from gpubench.measure.progress import Progress
from gpubench.pricing.cost import check_prices, search_costs
from gpubench.results.result import INTERRUPTED, Failure, Result, Verdict
from gpubench.results.search_result import ObjectiveInfo, Probe, ProbeLoad, Pruned, SearchResult
from gpubench.spec.cell import Cell
from gpubench.spec.objective import (
    DEFAULT_PROBES,
    DEFAULT_TOLERANCE,
    Objective,
    SearchSettings,
    parse_objective,
)
from gpubench.spec.parse import given_spec, shows_settings
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
from gpubench.statistics.pruning import Best, Loser, by_capacity, by_probes, is_slowed
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
_LONGEST_WARMUP_S = 60.0  # of --warmup auto


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


@shows_settings
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
    objective = parse_objective(objective)
    SearchSettings(objective, tolerance, probes).check()
    spec = given_spec(spec, settings)
    check_spec(spec)
    check_prices(spec.instance)
    machine, progress = this_machine(), progress or Progress()
    search = StagedSearch(resolved(spec, machine), objective, progress, Bench(machine, progress))
    search.screen()
    search.locate(tolerance, probes)
    return search.found


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
    if spec.trains:
        raise InputError(
            "--task train: steps of training follow one another, so there is no rate to search; "
            "use gpubench train"
        )
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
    earlier: Sequence[Tally] = (),
    give_up: Callable[[Sequence[Tally], Crossing], bool] = lambda tallies, crossing: False,
) -> Crossing:
    """Probe rates below `capacity` until the rate with `late_share` late requests is known.

    `tally_at` measures at one rate; its errors are passed on. Rates are in requests per second.
    `earlier` are probes that were measured before. It also ends when `give_up` says so.
    """
    top = capacity * MOST_LOAD
    centre = min(first_rate, top)
    slope = expected_slope(centre / capacity, late_share)
    tallies = list(earlier)
    while True:
        if tallies:
            crossing = locate(tallies, centre, slope, capacity, late_share)
            located(crossing)
            known = len(tallies) >= most_probes or _is_known(crossing, tolerance, top)
            if known or give_up(tallies, crossing):
                return crossing
            centre, slope = crossing.centre, crossing.slope
        rate = centre * (1 + _OFFSETS[len(tallies) % len(_OFFSETS)] / slope)
        floor = _LEAST_STEP * min((probed.rate for probed in tallies), default=0.0)
        tallies.append(tally_at(min(max(rate, floor), top)))


def _is_known(crossing: Crossing, tolerance: float, top: float) -> bool:
    if crossing.rate > top:  # the objective is met at every rate that may be probed
        return sum(probe.rate >= top for probe in crossing.near) >= len(_OFFSETS)
    if crossing.interval is None:
        return False
    low, high = crossing.interval
    return (high - low) / 2 <= tolerance * crossing.rate


class _Failed(Exception):
    """A measurement ended with an error. The result of the search already holds the error."""


class StagedSearch:
    """One search, in two stages: what `found` holds until now, and what comes next.

    `screen` measures the closed loops, `locate` the open ones. A stage that fails sets the error of
    `found`, and the next one then does nothing. On Ctrl-C both raise SearchInterrupted.
    """

    def __init__(
        self,
        cell: Cell,
        objective: Objective,
        progress: Progress,
        bench: Bench,
        earlier: Sequence[Probe] = (),
    ) -> None:
        """`cell` is what `resolved` returned.

        `earlier` are probes of the same search that were measured before, and are not repeated.
        """
        self._most_in_flight, self._seed = cell.most_in_flight, cell.load_seed
        self._cell, self._spec = cell, cell.spec
        self._objective = objective
        self._progress = progress
        self._bench = bench
        self.found = SearchResult(spec=self._spec, objective=objective_info(objective))
        self.measured = 0  # probes that this search measured
        for probe in earlier:
            self.found.probes.append(probe.model_copy(update={"near": False}))
            self.found.environment = probe.result.environment

    @property
    def ended(self) -> bool:
        """Whether the closed loops have failed, or answer the question already."""
        return self.found.error is not None or self.found.note is not None

    @property
    def is_screened(self) -> bool:
        """Whether `screen` has nothing left to measure."""
        return self.ended or {"unloaded", "saturated"} <= {p.load for p in self.found.probes}

    @property
    def opened(self) -> int:
        """The number of open loops until now."""
        return len(self._open_loops())

    @property
    def probe_s(self) -> float:
        """About the longest time of the warm-up and the window of an open loop."""
        spec = self.found.spec
        window_s = spec.duration or (spec.requests or 0) / self.expected_rate
        return window_s + (_LONGEST_WARMUP_S if isinstance(spec.warmup, str) else spec.warmup)

    @property
    def capacity(self) -> float:
        """Requests per second of the saturated loop, which `screen` has measured."""
        assert self.found.capacity_per_second is not None
        return self.found.capacity_per_second

    @property
    def expected_rate(self) -> float:
        """The rate that theory expects for the crossing, in requests per second."""
        unloaded = self._closed("unloaded")
        assert unloaded is not None
        waiting_s = self._objective.latency_s - (unloaded.result.latency_ms.mean or 0.0) / 1e3
        load = expected_load(self._objective.late_share, waiting_s, self.capacity)
        return self.capacity * load

    def screen(self) -> None:
        """Measure one client, and then the capacity if one client meets the objective."""
        self._guarded(self._screen)

    def locate(self, tolerance: float, most_probes: int, best: Best | None = None) -> None:
        """Measure open loops and conclude. It ends as soon as it cannot beat `best`."""
        if not self.ended:
            self._guarded(lambda: self._locate(tolerance, most_probes, best))

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except _Failed:
            pass
        except KeyboardInterrupt as stop:
            self.found.error = (
                stop.result.error if isinstance(stop, Interrupted) else None
            ) or Failure(stage="measure", message=f"{INTERRUPTED} between two measurements")
            raise SearchInterrupted(self.found) from None

    def _screen(self) -> None:
        unloaded = self._closed("unloaded") or self._unloaded()
        if self._is_late(unloaded):
            self.found.note = "no rate meets this: even a single client misses it"
            unloaded.near = True
            self.found.verdict = _verdict(self.found)
            return
        unloaded_s = (unloaded.result.latency_ms.mean or 0.0) / 1e3
        saturated = self._closed("saturated") or self._saturated(unloaded_s)
        assert saturated.result.throughput_per_second is not None
        capacity = saturated.result.throughput_per_second / self._spec.batch
        self.found.capacity_per_second = capacity
        self._fix_window(capacity)

    def _locate(self, tolerance: float, most_probes: int, best: Best | None) -> None:
        if best is not None and self._lacks_capacity(best):
            return
        first_rate = self._spec.rate or self.expected_rate
        if best is not None:  # the rate to beat decides soonest, unless more is expected
            first_rate = max(first_rate, best.to_beat() / self._spec.batch)
        late_share = self._objective.late_share

        def cannot_win(tallies: Sequence[Tally], crossing: Crossing) -> bool:
            if best is None or any(is_slowed(p.result.verdict) for p in self._open_loops()):
                return False
            loser = by_probes(tallies, crossing, late_share, self._spec.batch, best)
            if loser is not None:
                self._drop(loser, best)
            return loser is not None

        crossing = find(
            self._tally_at,
            first_rate,
            self.capacity,
            late_share,
            tolerance,
            most_probes,
            self._progress.located,
            [_tally_of(probe) for probe in self._open_loops()],
            cannot_win,
        )
        self._conclude(crossing)

    def _lacks_capacity(self, best: Best) -> bool:
        saturated = self._closed("saturated")
        if saturated is None or is_slowed(saturated.result.verdict):
            return False
        loser = by_capacity(saturated.result.throughput_interval, best)
        if loser is not None:
            self._drop(loser, best)
            saturated.near = True
            self.found.verdict = _verdict(self.found)
        return loser is not None

    def _drop(self, loser: Loser, best: Best) -> None:
        batch = self._spec.batch
        self.found.pruned = Pruned(
            reason=loser.reason,
            figure=loser.figure / batch,
            limit=loser.limit / batch,
            best=best.name,
        )

    def _closed(self, load: ProbeLoad) -> Probe | None:
        return next((probe for probe in self.found.probes if probe.load == load), None)

    def _open_loops(self) -> list[Probe]:
        return [probe for probe in self.found.probes if probe.load == "open"]

    def _unloaded(self) -> Probe:
        requests = _CLOSED_LOOP_REQUESTS[self._objective.percent]
        return self._closed_loop("unloaded", clients=1, requests=requests)

    def _is_late(self, probe: Probe) -> bool:
        return probe.late > self._objective.late_share * probe.requests

    def _saturated(self, unloaded_s: float) -> Probe:
        """A closed loop in which some requests always wait. Its throughput is the capacity."""
        in_flight = self._most_in_flight
        enough = round(_SATURATED_S * in_flight / max(unloaded_s, _SATURATED_S / _MOST_REQUESTS))
        requests = max(_CLOSED_LOOP_REQUESTS[self._objective.percent], enough)
        return self._closed_loop("saturated", clients=2 * in_flight, requests=requests)

    def _fix_window(self, capacity: float) -> None:
        """Set the window of the open loops, if the spec does not set it."""
        if self._spec.requests is not None or self._spec.duration is not None:
            return
        enough_s = _LATE_REQUESTS / self._objective.late_share / (capacity / 2)
        window_s = max(enough_s, min(_LEAST_WINDOW_S, _MOST_REQUESTS / capacity))
        self._spec = self.found.spec = self._spec.model_copy(update={"duration": window_s})

    def _closed_loop(self, load: ProbeLoad, clients: int, requests: int) -> Probe:
        return self._measure(
            load, clients=clients, rate=None, arrivals="poisson", requests=requests, duration=None
        )

    def _tally_at(self, rate: float) -> Tally:
        seed = self._seed + len(self.found.probes)
        return _tally_of(self._measure("open", rate=rate, load_seed=seed))

    def _measure(self, load: ProbeLoad, **settings: Any) -> Probe:
        """Measure one probe and store it, even if the run fails or is interrupted."""
        self.measured += 1
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
            self.found.error = Failure(stage="measure", message=reason)
        if self.found.error is not None:
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
        self.found.environment = result.environment
        self.found.probes.append(probe)
        self.found.error = result.error
        return probe

    def _conclude(self, crossing: Crossing) -> None:
        """Set the verdict and, unless the setting was dropped, the rate and the costs."""
        found = self.found
        rates = {t.rate for t in crossing.near}
        for probe in found.probes:
            probe.near = probe.load == "open" and probe.rate_per_second in rates
        found.verdict = _verdict(found)
        if found.pruned is not None:
            return
        answer = conclude(crossing, self.capacity, self._objective.late_share)
        found.max_rate_per_second = answer.rate
        found.interval, found.note = answer.interval, answer.note
        found.costs = search_costs(found)


def _tally_of(probe: Probe) -> Tally:
    return Tally(probe.rate_per_second or 0.0, probe.requests, probe.late, probe.effective)


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
