"""Which settings cannot have the highest rate. `sweep --objective` does not search them to the end.

All rates here are in inferences per second, since settings differ in their batch size. The *rate to
beat* is that of the best setting found until now, less the error of a comparison with it. A setting
is dropped when one of these is certain:

    capacity   98% of its capacity, the highest load that a search probes, is below the rate to beat
    late       too many requests are late at a rate that is not above the rate to beat
    crossing   its own crossing is below the rate to beat

The caller takes the best setting from valid results only. docs/search.md has the method, and how
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

# Two settings are measured in different runs. The logarithm of their ratio differs between runs by
# this, in 95 of 100 cases, if each has the spread that `compare` assumes (2%, docs/comparing.md).
RUN_SPREAD = 1.96 * math.sqrt(2) * SPREAD
# Relative error of a search that has enough probes near its crossing, and no interval: over three
# times the largest root mean square error of such searches in the table of docs/search.md.
ERROR_WITHOUT_INTERVAL = 0.1
# Of a false "too many requests are late", for each probe.
_ERROR = 0.01
# Reasons of a verdict that may make a setting look slower than it is.
_SLOWED = frozenset(
    {
        "cpu-busy",
        "not-cooled",
        "gpu-shared",
        "gpu-throttled",
        "server-shared",
        "client-bound",
        "recompiled",
    }
)


@dataclass(frozen=True)
class Loser:
    """A setting that cannot win. Rates in inferences per second."""

    reason: PruneReason
    figure: float  # no rate above this one meets the objective
    limit: float  # the rate to beat


@dataclass(frozen=True)
class Best:
    """The best setting until now, which others must beat to be of use."""

    rate: float
    error: float  # with 95% confidence, the logarithm of the rate is at most this much lower
    name: str

    def to_beat(self, own_error: float = 0.0) -> float:
        """What the upper end of a setting's rate must reach. `own_error` is that of its logarithm.

        The three errors are independent, so that of the ratio of the two rates is the root of the
        sum of their squares. The upper end is above the setting's rate by `own_error` already.
        """
        return self.rate * math.exp(own_error - math.hypot(own_error, self.error, RUN_SPREAD))


def best_of(rate: float, interval: Interval | None, near_probes: int, name: str) -> Best | None:
    """A search as the one to beat. None: its rate is too uncertain.

    `near_probes` is the number of open loops near its crossing.
    """
    low, _ = _bounds(rate, interval, near_probes) or (0.0, 0.0)
    return Best(rate, math.log(rate / low), name) if low > 0 else None


def _bounds(rate: float, interval: Interval | None, near_probes: int) -> Interval | None:
    if interval is None and near_probes >= LEAST_PROBES:
        return rate * (1 - ERROR_WITHOUT_INTERVAL), rate * (1 + ERROR_WITHOUT_INTERVAL)
    return interval


def is_slowed(verdict: Verdict) -> bool:
    """Whether something may have made a setting look slower than it is."""
    return any(reason.code in _SLOWED for reason in verdict.reasons)


def by_capacity(capacity_interval: Interval | None, best: Best) -> Loser | None:
    """A loser if its capacity is too low. The interval is that of a saturated closed loop."""
    if capacity_interval is None or capacity_interval[0] <= 0:
        return None
    low, high = capacity_interval
    most, to_beat = MOST_LOAD * high, best.to_beat(math.log(high / low) / 2)
    return Loser("capacity", most, to_beat) if most < to_beat else None


def by_probes(
    tallies: Sequence[Tally], crossing: Crossing, late_share: float, batch: int, best: Best
) -> Loser | None:
    """A loser if its open loops show it. `batch` is the number of inferences in a request."""
    to_beat = best.to_beat()
    below = sorted((t for t in tallies if t.rate <= to_beat / batch), key=lambda t: -t.rate)
    # The late share rises with the rate. So what is late at lower rates is late at this one, too.
    for count in range(1, len(below) + 1):
        if _surely_late(below[:count], late_share):
            return Loser("late", below[0].rate * batch, to_beat)
    bounds = _bounds(crossing.rate, crossing.interval, len(crossing.near))
    if bounds is not None and 0 < crossing.rate <= bounds[1]:
        high = bounds[1] * batch
        to_beat = best.to_beat(math.log(bounds[1] / crossing.rate))
        return Loser("crossing", high, to_beat) if high < to_beat else None
    return None


def _surely_late(tallies: Iterable[Tally], late_share: float) -> bool:
    """Whether more than `late_share` of the requests are late, for certain.

    The exact test of Clopper and Pearson, with effective sample sizes:
    P(X >= k) = I_p(k, n - k + 1) for a binomial X, https://dlmf.nist.gov/8.17.E5.
    """
    counted = [(t.effective, t.effective * t.late_share) for t in tallies]
    effective, late = sum(n for n, _ in counted), sum(k for _, k in counted)
    return late > 0 and incomplete_beta(late, effective - late + 1, late_share) < _ERROR
