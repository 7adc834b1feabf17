"""Which settings cannot have the highest rate. `sweep --objective` does not search them to the end.

All rates here are in inferences per second, since settings differ in their batch size. The *rate to
beat* is below the lower end of the best interval found until now, by the spread between runs. A
setting is dropped when one of these is certain:

    capacity   98% of its capacity, the highest load that a search probes, is below the rate to beat
    late       too many requests are late at a rate that is not above the rate to beat
    crossing   the interval of its own crossing ends below the rate to beat

The caller takes the rate to beat from valid results only. docs/search.md has the method, and how
often it finds the same winner as a sweep that searches every setting to the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpubench.results.result import Interval, Verdict
from gpubench.results.search_result import PruneReason
from gpubench.statistics.comparison import SPREAD
from gpubench.statistics.crossing import LEAST_PROBES, MOST_LOAD, Crossing, Tally
from gpubench.statistics.student import incomplete_beta

# Two settings are measured in different runs. Their ratio differs between runs by this factor, in
# 95 of 100 cases, if each has the spread that `compare` assumes (2%, docs/comparing.md).
RUN_SPREAD = math.exp(1.96 * math.sqrt(2) * SPREAD)
# Of a false "too many requests are late", for each probe.
_ERROR = 0.01
# Reasons of a verdict that may make a setting look slower than it is.
_SLOWED = frozenset({"cpu-busy", "gpu-shared", "gpu-throttled"})


@dataclass(frozen=True)
class Loser:
    """A setting that cannot win. Rates in inferences per second."""

    reason: PruneReason
    figure: float  # no rate above this one meets the objective
    limit: float  # the rate to beat


def rate_to_beat(
    rate: float, interval: Interval | None, near_probes: int, tolerance: float
) -> float | None:
    """The rate to beat that follows from a search. None: the rate is too uncertain.

    `near_probes` is the number of open loops near its crossing. A search that has enough of them
    and no interval is right within twice the tolerance: see the table in docs/search.md.
    """
    if interval is not None:
        return interval[0] / RUN_SPREAD
    if near_probes < LEAST_PROBES:
        return None
    return rate * (1 - 2 * tolerance) / RUN_SPREAD


def is_slowed(verdict: Verdict) -> bool:
    """Whether something may have made a setting look slower than it is."""
    return any(reason.code in _SLOWED for reason in verdict.reasons)


def by_capacity(capacity_interval: Interval | None, to_beat: float) -> Loser | None:
    """A loser if its capacity is too low. The interval is that of a saturated closed loop."""
    if capacity_interval is None:
        return None
    most = MOST_LOAD * capacity_interval[1]
    return Loser("capacity", most, to_beat) if most < to_beat else None


def by_probes(
    tallies: Sequence[Tally], crossing: Crossing, late_share: float, batch: int, to_beat: float
) -> Loser | None:
    """A loser if its open loops show it. `batch` is the number of inferences in a request."""
    limit = to_beat / batch
    below = sorted((t for t in tallies if t.rate <= limit), key=lambda t: -t.rate)
    # The late share rises with the rate. So what is late at lower rates is late at this one, too.
    for count in range(1, len(below) + 1):
        if _surely_late(below[:count], late_share):
            return Loser("late", below[0].rate * batch, to_beat)
    if crossing.interval is not None and crossing.interval[1] < limit:
        return Loser("crossing", crossing.interval[1] * batch, to_beat)
    return None


def _surely_late(tallies: Iterable[Tally], late_share: float) -> bool:
    """Whether more than `late_share` of the requests are late, for certain.

    The exact test of Clopper and Pearson, with effective sample sizes:
    P(X >= k) = I_p(k, n - k + 1) for a binomial X, https://dlmf.nist.gov/8.17.E5.
    """
    counted = [(t.effective, t.effective * t.late_share) for t in tallies]
    effective, late = sum(n for n, _ in counted), sum(k for _, k in counted)
    return late > 0 and incomplete_beta(late, effective - late + 1, late_share) < _ERROR
