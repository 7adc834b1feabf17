"""Several searches for the same rate, combined into one result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from gpubench.pricing.cost import search_costs
from gpubench.results.result import Reason, RepeatedFigure, Verdict
from gpubench.results.run_directory import search_key
from gpubench.results.search_result import SearchRepeats, SearchResult
from gpubench.statistics.repeats import between_repeats, geometric_mean


def combined_searches(documents: Iterable[tuple[str, SearchResult]]) -> list[SearchResult]:
    """One result for each search of a run directory. `documents` have their names."""
    groups: dict[str, list[SearchResult]] = {}
    for name, found in documents:
        groups.setdefault(search_key(name), []).append(found)
    return [combined_search(sorted(repeats, key=_number)) for repeats in groups.values()]


def combined_search(repeats: Sequence[SearchResult]) -> SearchResult:
    """One result that stands for all repeats of a search. A single one is returned unchanged.

    The rate is the geometric mean of the repeats that found one. Its interval is the wider one of
    two: from the differences between three or more repeats, and that of a single search, on
    average. Everything else, the probes included, is that of the repeat with the median rate. If no
    repeat found a rate, it is the last one.
    """
    # A sweep with an objective may have dropped the first one, and `search` made the others.
    repeats = [each for each in repeats if each.pruned is None] or repeats[:1]
    if len(repeats) == 1:
        return repeats[0]
    rates = {n: r for n, each in enumerate(repeats) if (r := _rate(each)) is not None}
    failed = sum(each.error is not None for each in repeats)
    info = SearchRepeats(
        count=len(rates),
        failed=failed,
        without_rate=len(repeats) - failed - len(rates),
        processes=len({each.repeat.process if each.repeat else "" for each in repeats}),
    )
    if not rates:
        return repeats[-1].model_copy(update={"repeat": None, "repeats": info})
    found = [repeats[n] for n in rates]
    logs = [math.log(rate) for rate in rates.values()]
    between, spread = between_repeats(logs)
    inside = geometric_mean([each.interval for each in found if each.interval])
    info.max_rate_per_second = RepeatedFigure(
        count=len(logs), spread=spread, interval=between, interval_inside=inside
    )
    candidates = [each for each in (between, inside) if each is not None]
    interval = max(candidates, key=lambda each: each[1] / each[0], default=None)
    typical = repeats[sorted(rates, key=lambda n: rates[n])[len(rates) // 2]]
    combined = typical.model_copy(
        update={
            "repeat": None,
            "repeats": info,
            "max_rate_per_second": math.exp(math.fsum(logs) / len(logs)),
            "interval": interval,
            "note": _note(info, typical.note if interval is None else None),
            "verdict": _verdict(found, failed),
        }
    )
    combined.costs = search_costs(combined)
    return combined


def _number(found: SearchResult) -> int:
    return found.repeat.number if found.repeat else 1


def _rate(found: SearchResult) -> float | None:
    return None if found.error is not None else found.max_rate_per_second


def _note(info: SearchRepeats, note: str | None) -> str | None:
    if not info.without_rate:
        return note
    total = info.count + info.without_rate
    without = f"in {info.without_rate} of {total} repeats no rate meets this"
    return f"{without}; {note}" if note else without


def _verdict(found: Sequence[SearchResult], failed: int) -> Verdict:
    """The reasons of all repeats, each once, with the number of repeats that have it."""
    by_code: dict[str, list[Reason]] = {}
    for reason in (reason for each in found for reason in each.verdict.reasons):
        by_code.setdefault(reason.code, []).append(reason)
    reasons = [each[-1].model_copy(update={"in_repeats": len(each)}) for each in by_code.values()]
    if failed:
        remedy = "read their errors in the documents; the same search makes them again"
        reasons.insert(0, Reason(code="repeats-failed", figure=failed, limit=0, remedy=remedy))
    return Verdict(status="suspect" if reasons else "valid", reasons=reasons)
