"""What was measured: every setting, and what is known about it.

    documents ──> settings, each with its points

A *setting* is what is deployed: a model with its runtime, precision, batch size, workers and so
on, with the software and the machine that it was measured with. The load (clients, rate) and the
way of measuring (warm-up, window, seeds) are no part of it. A *point* is one thing that is known
about a setting: its latency at one rate. Pure functions: no document is changed.

All rates are inferences per second, while the rates of specs and searches are requests per second.
A request has `batch` inferences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gpubench.errors import InputError
from gpubench.planning.documents import Documents, Place
from gpubench.planning.search_repeats import combined_searches
from gpubench.pricing.cost import usd_per_million
from gpubench.results.result import OUTPUTS_DIFFER, Cost, Interval, Result, Verdict
from gpubench.results.run_directory import search_key
from gpubench.results.search_result import SearchResult
from gpubench.spec.objective import Objective
from gpubench.spec.settings import INPUTS_ARE
from gpubench.spec.spec import Spec
from gpubench.spec.workload import Workload, workload_of
from gpubench.statistics.repeats import combined, grouped

EvidenceKind = Literal["search", "open-loop", "closed-loop"]
OutputObstacle = Literal["outputs-differ", "accuracy-drop"]

# Verdict codes about the outputs. They are true of a setting at every load.
OUTPUT_CODES: dict[str, OutputObstacle] = {
    OUTPUTS_DIFFER: "outputs-differ",
    "accuracy-drop": "accuracy-drop",
    "accuracy-drop-unsure": "accuracy-drop",
}
_OF_THE_LOAD = frozenset({"clients", "rate", "arrivals"})
OF_THE_METHOD = frozenset(
    {
        *("warmup", "duration", "requests", "seed", "load_seed"),
        *("allow_emulated", "eval", "eval_metric", "max_drop"),
    }
)


@dataclass(frozen=True)
class OperatingPoint:
    """The latency of a setting at a rate, on the hardware that was measured.

    The point of a search is its answer: at its rate the percentile is the limit of its objective.
    """

    evidence: EvidenceKind
    rate_per_second: float
    interval: Interval | None  # 95%, of the rate
    latency_ms: float | None  # the percentile of the objective
    at_most_ms: float | None  # with 95% confidence, the percentile is at most this
    keeps_busy: bool  # closed loop: its clients keep all workers busy
    result: Result  # of a search: the probe nearest to its rate
    search: SearchResult | None  # the search that this is the answer of
    verdict: Verdict
    documents: tuple[Place, ...]
    is_in_an_answer: bool = False  # a search found its rate from this open loop and others


@dataclass(frozen=True)
class StoredPrice:
    """A price that was stored with a result, as the cost of another rate."""

    cost: Cost
    factor: float  # from the rate that was measured to that of the whole instance

    def at(self, rate_per_second: float, interval: Interval | None) -> Cost:
        """The cost at this rate, which is that of the hardware that was measured."""

        def usd(rate: float) -> float | None:
            return usd_per_million(self.cost.usd_per_hour, rate * self.factor)

        ends = (usd(interval[1]), usd(interval[0])) if interval and interval[0] > 0 else None
        figures = {"usd_per_million": usd(rate_per_second), "usd_per_million_interval": ends}
        return self.cost.model_copy(update=figures)


@dataclass(frozen=True)
class MeasuredSetting:
    """Everything that is known about one setting."""

    workload: Workload
    result: Result  # one of its results
    points: tuple[OperatingPoint, ...]  # that have a latency or are answers of searches
    searches: tuple[SearchResult, ...]  # for this objective, whether they found a rate or not
    failed: tuple[Result, ...]
    stored: tuple[StoredPrice, ...]  # the newest of each price
    wrong: frozenset[OutputObstacle]  # what any of its results says about its outputs


def measured_settings(documents: Documents, objective: Objective) -> list[MeasuredSetting]:
    """Every setting with what is known about it. Repeats are combined.

    Raises InputError if results of one workload have their inputs in different places, or other
    arrivals, because their latencies are then not comparable.
    """
    cells = combined_cells(documents)
    searches = searches_of(documents)
    _refuse_mixed([each.spec for each, _ in cells] + [each.spec for each, _ in searches])
    found: dict[str, _Collected] = {}
    for result, places in cells:
        found.setdefault(setting_key(result), _Collected(result)).add_result(
            result, places, objective
        )
    for search, places in searches:
        if search.probes:
            last = search.probes[-1].result
            key = setting_key(last.model_copy(update={"spec": search.spec}))
            found.setdefault(key, _Collected(last)).add_search(search, places, objective)
    return [each.measured() for each in found.values()]


def combined_cells(documents: Documents) -> list[tuple[Result, tuple[Place, ...]]]:
    """Every cell with its repeats combined, and where they are.

    Cells that train are left out: they serve no requests. Raises InputError if there are no others
    and no searches.
    """
    cells = [(place, result) for place, result in documents.cells if not result.spec.trains]
    if documents.cells and not cells and not documents.searches:
        raise InputError(
            "all cells are steps of training, which serve no requests; plan needs inferences, from "
            "gpubench sweep without task: train (gpubench report shows the price of training)"
        )
    places = {id(result): place for place, result in cells}
    return [
        (combined(repeats), tuple(places[id(each)] for each in repeats))
        for repeats in grouped(result for _, result in cells)
    ]


def searches_of(
    documents: Documents,
) -> list[tuple[SearchResult, tuple[Place, ...]]]:
    """Searches with the same name are repeats, whichever directories they are in.

    The name stands for the settings, the objective and the machine. The software must be the same.
    """
    groups: dict[str, list[tuple[Place, SearchResult]]] = {}
    for place, found in documents.searches:
        where = found.environment and found.environment.model_dump_json(exclude={"time"})
        groups.setdefault(f"{search_key(place.name)} {where}", []).append((place, found))
    return [
        (
            combined_searches((place.name, found) for place, found in group)[0],
            tuple(place for place, _ in group),
        )
        for group in groups.values()
    ]


def _refuse_mixed(specs: Iterable[Spec]) -> None:
    by_workload: dict[Workload, list[Spec]] = {}
    for spec in specs:
        by_workload.setdefault(workload_of(spec), []).append(spec)
    for workload, each in by_workload.items():
        places = list(dict.fromkeys(spec.inputs for spec in each))
        if len(places) > 1 and not each[0].synthetic:
            texts = " and ".join(INPUTS_ARE[place] for place in places)
            raise InputError(
                f"inputs of {workload.model} are {texts} in these results, which is not the same "
                f"work; choose one with --only inputs={places[0]}"
            )
        arrivals = list(dict.fromkeys(spec.arrivals for spec in each if spec.clients is None))
        if len(arrivals) > 1:
            raise InputError(
                f"{workload.model} was measured with {' and '.join(arrivals)} arrivals, which "
                f"wait differently; choose one with --only arrivals={arrivals[0]}"
            )


def deployed_settings(spec: Spec) -> dict[str, str | float | int | bool | None]:
    """The settings of a cell without its load and the way of measuring it."""
    left_out = _OF_THE_LOAD | OF_THE_METHOD
    return {name: value for name, value in spec.measured_settings().items() if name not in left_out}


def setting_key(result: Result) -> str:
    """What two documents have in common if they are about the same setting."""
    settings = deployed_settings(result.spec)
    if result.spec.device != "cpu":  # which GPUs of the machine were used does not matter
        settings["device"] = len(result.spec.devices)
    return f"{settings} {result.environment.model_dump_json(exclude={'time'})}"


def price_key(cost: Cost | None) -> str:
    """What two costs have in common if they are the same price, perhaps of different days.

    The price of owned hardware differs a little with the power that was measured.
    """
    if cost is None or cost.owned:
        return "owned" if cost else ""
    by_hand = cost.usd_per_hour if cost.instance is None else ""
    return f"{cost.instance} {cost.region} {cost.term} {by_hand}"


def whole_instance(rate_per_second: float, cost: Cost | None) -> float:
    """The rate of the whole instance, if only some of its GPUs were measured.

    The cost has the factor: it is that of all GPUs at the price of an hour of all of them.
    """
    if cost is None or not cost.extrapolated or not cost.usd_per_million:
        return rate_per_second
    return cost.usd_per_hour / 3600 / cost.usd_per_million * 1e6


class _Collected:
    """What the documents say about one setting."""

    def __init__(self, first: Result) -> None:
        self._first = first
        self._points: list[OperatingPoint] = []
        self._searches: list[SearchResult] = []
        self._failed: list[Result] = []
        self._stored: dict[str, StoredPrice] = {}
        self._wrong: set[OutputObstacle] = set()

    def measured(self) -> MeasuredSetting:
        return MeasuredSetting(
            workload_of(self._first.spec),
            self._first,
            tuple(self._points),
            tuple(self._searches),
            tuple(self._failed),
            tuple(self._stored.values()),
            frozenset(self._wrong),
        )

    def add_search(
        self, found: SearchResult, places: tuple[Place, ...], objective: Objective
    ) -> None:
        self._add_outputs(found.verdict)
        if is_for(found, objective):
            self._searches.append(found)
        rate = found.max_rate_per_second
        says_something = _same_percentile(found, objective) or is_as_strict(found, objective)
        if rate is not None and rate > 0 and found.error is None and says_something:
            batch = found.spec.batch
            interval = found.interval
            self._points.append(
                OperatingPoint(
                    evidence="search",
                    rate_per_second=rate * batch,
                    interval=interval and (interval[0] * batch, interval[1] * batch),
                    latency_ms=found.objective.latency_ms
                    if _same_percentile(found, objective)
                    else None,
                    at_most_ms=None,
                    keeps_busy=True,
                    result=nearest_probe(found, rate),
                    search=found,
                    verdict=found.verdict,
                    documents=places,
                )
            )
        for probe in found.probes:
            is_in_an_answer = probe.near and rate is not None
            self.add_result(probe.result, places, objective, is_in_an_answer)

    def _add_outputs(self, verdict: Verdict) -> None:
        codes = (reason.code for reason in verdict.reasons)
        self._wrong |= {OUTPUT_CODES[code] for code in codes if code in OUTPUT_CODES}

    def _add_prices(self, result: Result) -> None:
        rate = result.throughput_per_second
        for cost in result.costs:
            factor = 1.0
            if cost.extrapolated:
                if not rate or not cost.usd_per_million:
                    continue
                factor = whole_instance(rate, cost) / rate
            known = self._stored.setdefault(price_key(cost), StoredPrice(cost, factor))
            if (cost.price_as_of or "") > (known.cost.price_as_of or ""):
                self._stored[price_key(cost)] = StoredPrice(cost, factor)

    def add_result(
        self,
        result: Result,
        places: tuple[Place, ...],
        objective: Objective,
        is_in_an_answer: bool = False,
    ) -> None:
        self._add_prices(result)
        self._add_outputs(result.verdict)
        if result.error is not None:
            self._failed.append(result)
            return
        spec = result.spec
        rate = result.throughput_per_second
        if spec.open_loop:
            requests = result.offered_per_second if spec.rate is None else spec.rate
            rate = None if requests is None else requests * spec.batch
        if rate is None or rate <= 0:
            return
        percentile = f"p{objective.percent}"
        in_flight = (spec.workers or 1) * (spec.depth or 1)
        self._points.append(
            OperatingPoint(
                evidence="open-loop" if spec.open_loop else "closed-loop",
                rate_per_second=rate,
                interval=None if spec.open_loop else result.throughput_interval,
                latency_ms=getattr(result.latency_ms, percentile),
                at_most_ms=getattr(result.latency_ms, f"{percentile}_at_most"),
                keeps_busy=(spec.clients or 0) >= in_flight and spec.dynamic_batch is None,
                result=result,
                search=None,
                verdict=result.verdict,
                documents=places,
                is_in_an_answer=is_in_an_answer,
            )
        )


def is_for(found: SearchResult, objective: Objective) -> bool:
    """Whether a search is one for this objective."""
    limit = objective.latency_s * 1e3
    return _same_percentile(found, objective) and math.isclose(found.objective.latency_ms, limit)


def met_every_probe(found: SearchResult, objective: Objective) -> bool:
    """Whether a search found only rates that meet its objective, so that higher ones may do so."""
    near = [each for each in found.probes if each.near]
    return found.interval is None and all(
        each.late <= objective.late_share * each.requests for each in near
    )


def _same_percentile(found: SearchResult, objective: Objective) -> bool:
    return found.objective.percentile == f"p{objective.percent}"


def is_as_strict(found: SearchResult, objective: Objective) -> bool:
    """Whether a rate that meets the objective of the search meets this one, too.

    P95 is never more than P99. So P99 within 50 ms implies P95 within 50 ms or more.
    """
    limit = objective.latency_s * 1e3
    at_least_as_high = int(found.objective.percentile[1:]) >= objective.percent
    return at_least_as_high and within(found.objective.latency_ms, limit)


def within(latency_ms: float, limit_ms: float) -> bool:
    """Whether a latency meets a limit. The mean of equal latencies may be rounded upwards."""
    return latency_ms <= limit_ms or math.isclose(latency_ms, limit_ms)


def nearest_probe(found: SearchResult, rate: float) -> Result:
    """The open loop whose rate is nearest to the one found. Without one, the last probe."""
    probes = [each for each in found.probes if each.load == "open" and each.rate_per_second]
    nearest_one = min(
        probes, key=lambda each: abs((each.rate_per_second or 0.0) - rate), default=found.probes[-1]
    )
    return nearest_one.result
