"""Sweeps with an objective over made-up settings, on simulated queues whose true answers are known.

A landscape is a grid of batch sizes, workers and variants (runtimes, precisions). Each setting is a
queue: M/D/1, or M/M/c with a service time for each batch. The tests use a few landscapes,
tests/benchmarks/pruned_sweeps.py uses many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from queueing import erlang_c, md1_waiting_distribution
from scipy import optimize

from gpubench import core
from gpubench.measure.collect import collect
from gpubench.measure.search import find
from gpubench.results.result import Interval
from gpubench.results.search_result import PruneReason
from gpubench.statistics.crossing import Crossing, Tally, conclude, expected_load, tally
from gpubench.statistics.pruning import Best, Loser, best_of, by_capacity, by_probes

PERCENT, LATE = 95, 0.05
TOLERANCE = 0.05
UNLOADED_REQUESTS, SATURATED_S = 130, 2.0  # those of a search
WINDOW_S, LATE_REQUESTS = 10.0, 30
RUN_SPREAD = 0.02  # standard deviation of the service time between two runs


@dataclass(frozen=True)
class Made:
    """One setting. Rates are in requests per second, unless their name says inferences."""

    number: int
    batch: int
    workers: int
    service_s: float  # mean time of a request
    exponential: bool  # else constant, with one worker
    latency_s: float  # the objective: P95 within this time

    @property
    def capacity(self) -> float:
        return self.workers / self.service_s

    def late_share(self, load: float) -> float:
        """The true share of late requests at this load."""
        limit = self.latency_s / self.service_s
        if limit <= 1 and not self.exponential:
            return 1.0
        if not self.exponential:
            return 1 - md1_waiting_distribution(load)(limit - 1)
        waits, surplus = erlang_c(load, self.workers), self.workers * (1 - load)
        service = math.exp(-limit)
        if abs(surplus - 1) < 1e-6:
            return service * (1 + waits * limit)
        delayed = (surplus * service - math.exp(-surplus * limit)) / (surplus - 1)
        return (1 - waits) * service + waits * delayed

    @property
    def truth(self) -> float:
        """The highest rate in inferences per second; 0 if there is none."""
        low, high = 1e-3, 0.98
        if self.late_share(low) > LATE:
            return 0.0
        load = high
        if self.late_share(high) > LATE:
            load = float(optimize.brentq(lambda x: self.late_share(x) - LATE, low, high))
        return load * self.capacity * self.batch


def landscape(seed: int, variants: int = 4) -> list[Made]:
    """Forty settings: 5 batch sizes, 2 numbers of workers, 4 variants."""
    random = Random(seed)
    fixed_s, each_s = random.uniform(2e-3, 10e-3), random.uniform(0.5e-3, 4e-3)
    contention = random.uniform(0.3, 0.95)  # how much a second worker slows down the first
    factors = [1.0, *(random.uniform(0.4, 1.3) for _ in range(variants - 1))]
    bent = random.uniform(0.75, 1.05)  # exponent of the batch
    latency_s = random.uniform(3, 20) * (fixed_s + each_s)
    exponential = random.random() < 0.5
    made: list[Made] = []
    for batch in (1, 2, 4, 8, 16):
        for workers in (1, 2):
            for factor in factors:
                slower = 1 + contention * (workers - 1)
                service_s = (fixed_s + each_s * batch**bent) * factor * slower
                is_exponential = exponential or workers > 1
                made.append(Made(len(made), batch, workers, service_s, is_exponential, latency_s))
    return made


@dataclass
class Measured:
    """What one sweep found out about a setting, and how many seconds its windows took."""

    setting: Made
    seconds: float
    capacity: float = 0.0
    capacity_interval: Interval | None = None
    expected: float = 0.0  # inferences per second
    rate: float | None = None  # inferences per second
    interval: Interval | None = None
    near: int = 0
    dropped: PruneReason | None = None
    misses: bool = False  # even a single client misses the objective


def screened(setting: Made, random: np.random.Generator) -> Measured:
    """One client, and a closed loop that is always busy."""
    run = math.exp(random.normal(0, RUN_SPREAD))
    mean_s = setting.service_s * run

    def services(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return random.exponential(mean_s, count) if setting.exponential else np.full(count, mean_s)

    unloaded = services(UNLOADED_REQUESTS)
    found = Measured(setting, float(unloaded.sum()))
    if float((unloaded > setting.latency_s).mean()) > LATE:
        found.misses = True
        return found
    count = max(UNLOADED_REQUESTS, round(SATURATED_S * setting.workers / float(unloaded.mean())))
    busy = services(count)
    found.seconds += float(busy.sum()) / setting.workers
    found.capacity = setting.workers / float(busy.mean())
    error = 1.96 * float(busy.std()) / math.sqrt(count) / float(busy.mean())
    found.capacity_interval = (
        found.capacity * (1 - error) * setting.batch,
        found.capacity * (1 + error) * setting.batch,
    )
    waiting_s = setting.latency_s - float(unloaded.mean())
    load = expected_load(LATE, waiting_s, found.capacity)
    found.expected = load * found.capacity * setting.batch
    return found


@lru_cache(maxsize=1000)  # both sweeps of a landscape often measure the same
def open_loop(setting: Made, service_ns: int, rate: float, window_s: float, seed: int) -> Tally:
    settle, count = round(2 * rate), max(1, round(rate * window_s))
    due = core.poisson_arrivals(rate, settle + count, seed)
    service = (
        core.exponential_service(service_ns, len(due), seed + 2**40)
        if setting.exponential
        else service_ns
    )
    samples = collect(
        core.simulate(core.OpenLoop(due), service_ns=service, executors=setting.workers)
    )
    latency_ns = samples.latency_ns[np.argsort(samples.scheduled_ns)][settle:]
    return tally(rate, latency_ns, 0, round(setting.latency_s * 1e9))


def locate(found: Measured, best: Best | None, seed: int) -> None:
    """The open loops. Without `best` they are those of a whole search."""
    setting, batch = found.setting, found.setting.batch
    if best is not None and by_capacity(found.capacity_interval, best):
        found.dropped = "capacity"
        return
    run = math.exp(np.random.default_rng(seed).normal(0, RUN_SPREAD))
    service_ns = round(setting.service_s * run * 1e9)
    window_s = max(LATE_REQUESTS / LATE / (found.capacity / 2), WINDOW_S)
    seeds: list[int] = []

    def tally_at(rate: float) -> Tally:
        seeds.append(seed + len(seeds))
        found.seconds += window_s
        return open_loop(setting, service_ns, rate, window_s, seeds[-1])

    losers: list[Loser] = []

    def cannot_win(tallies: Sequence[Tally], crossing: Crossing) -> bool:
        if best is None:
            return False
        loser = by_probes(tallies, crossing, LATE, batch, best)
        losers.extend([loser] if loser else [])
        return loser is not None

    first = max(found.expected, best.to_beat() if best else 0.0) / batch
    crossing = find(tally_at, first, found.capacity, LATE, TOLERANCE, give_up=cannot_win)
    if losers:
        found.dropped = losers[0].reason
        return
    answer = conclude(crossing, found.capacity, LATE)
    found.near = len(crossing.near)
    found.rate = None if answer.rate is None else answer.rate * batch
    found.interval = answer.interval and (answer.interval[0] * batch, answer.interval[1] * batch)


def sweep(settings: Sequence[Made], seed: int, pruned: bool) -> list[Measured]:
    """Every setting, in the order in which a sweep with an objective searches them."""
    random = np.random.default_rng(seed)
    found = [screened(setting, random) for setting in settings]
    best: Best | None = None
    for each in sorted((f for f in found if not f.misses), key=lambda f: -f.expected):
        locate(each, best if pruned else None, 1_000_000 * seed + 1_000 * each.setting.number)
        if each.rate is not None:
            new = best_of(each.rate, each.interval, each.near, str(each.setting.number))
            if new is not None and (best is None or new.to_beat() > best.to_beat()):
                best = new
    return found


def winner(found: Sequence[Measured]) -> Measured:
    return max(found, key=lambda each: each.rate or 0.0)


@dataclass(frozen=True)
class Outcome:
    """A pruned sweep of a landscape, compared with one that searches every setting to the end."""

    settings: int
    searched: int  # to the end, in the pruned sweep
    dropped: dict[str, int]  # by reason
    same_winner: bool
    lost: float  # the true rate of the winner relative to that of the true best: 0.02 is 2% less
    lost_in_full: float  # the same for the full sweep
    ratio_to_full: float  # of the time of the windows
    searches: float  # the same time, in searches of the winner


def compared(seed: int, variants: int = 4) -> Outcome:
    settings = landscape(seed, variants)
    pruned, full = sweep(settings, seed, pruned=True), sweep(settings, seed, pruned=False)
    best = max(setting.truth for setting in settings)
    seconds, full_s = (sum(each.seconds for each in found) for found in (pruned, full))
    reasons = [each.dropped for each in pruned if each.dropped]
    missed = sum(each.misses for each in pruned)
    won, won_in_full = winner(pruned), winner(full)
    return Outcome(
        settings=len(settings),
        searched=len(settings) - len(reasons) - missed,
        dropped={**Counter(reasons), "unloaded": missed},
        same_winner=won.setting == won_in_full.setting,
        lost=1 - won.setting.truth / best,
        lost_in_full=1 - won_in_full.setting.truth / best,
        ratio_to_full=seconds / full_s,
        searches=seconds / full[won_in_full.setting.number].seconds,
    )
