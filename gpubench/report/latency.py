"""What tables say about latencies: the percentiles that are asked for, and the slowest request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from gpubench.errors import InputError
from gpubench.planning.documents import Place, samples_of
from gpubench.report.format import count, milliseconds, number
from gpubench.results.result import CountedRows, Latency, Result, Worst
from gpubench.statistics.percentiles import (
    PERCENTS,
    Percent,
    least_count,
    percentile_key,
    percentile_name,
)

DEFAULT_PERCENTS: tuple[Percent, ...] = (50, 95, 99)

_NS_PER_MS = 1e6


def parse_percentiles(text: str) -> tuple[Percent, ...]:
    """'50,95,99.9' as percents, rising, each once.

    Raises InputError if one of them is not a percentile.
    """
    found = set()
    for word in (part.strip() for part in text.split(",")):
        # The limit of digits keeps the smallest number of requests below a million.
        if not re.fullmatch(r"\d{1,2}(\.\d{1,4})?", word, re.ASCII) or not Fraction(word):
            raise InputError(
                f"--percentiles {text}: '{word}' is not a percentile; write numbers between 0 and "
                "100 with at most four decimals, such as 50,95,99.9"
            )
        found.add(Fraction(word))
    return tuple(sorted(found))


def percentile(latency: Latency, percent: Percent) -> float | None:
    """Milliseconds. None if the result does not have it."""
    key = percentile_key(percent)
    if percent in PERCENTS:
        value: float | None = getattr(latency, key)
        return value
    return (latency.other_percentiles or {}).get(key)


def with_percentiles(
    cells: Iterable[tuple[Place, Result]], percents: Sequence[Percent]
) -> tuple[list[tuple[Place, Result]], list[str]]:
    """The cells with `other_percentiles`, and one line for each problem with their samples.

    Documents have the usual percentiles. All others are computed from the sample files.
    """
    others = [percent for percent in percents if percent not in PERCENTS]
    if not others:
        return list(cells), []
    names = ", ".join(map(percentile_name, others))
    filled: list[tuple[Place, Result]] = []
    problems: list[str] = []
    older = []
    for place, result in cells:
        found: dict[str, float] = {}
        if result.requests.completed and result.window.counted is None:
            older.append(place.name)
        elif result.window.counted is not None:
            try:
                found = _from_samples(place, result, result.window.counted, others)
            except InputError as error:
                problems.append(f"no {names} of {place.name}: {error}")
        latency = result.latency_ms.model_copy(update={"other_percentiles": found})
        filled.append((place, result.model_copy(update={"latency_ms": latency})))
    if older:
        problems.append(
            f"no {names} of {count(len(older), 'cell')}, of which {older[0]} is the first: an "
            "earlier version measured them and did not record which samples count; measure again"
        )
    return filled, problems


def _from_samples(
    place: Place, result: Result, rows: CountedRows, percents: Sequence[Percent]
) -> dict[str, float]:
    samples = samples_of(place, result)
    if samples is None:
        file = f"{place.url}/{place.name}.parquet"
        raise InputError(f"{file} does not exist; measure the cell again")
    from gpubench.statistics.latency import percentile_ns
    from gpubench.statistics.windows import counted_samples

    counted, unfinished = counted_samples(samples, rows)
    latency_ns = samples.latency_ns[counted]
    found = ((each, percentile_ns(latency_ns, unfinished, each)) for each in percents)
    return {percentile_key(p): ns / _NS_PER_MS for p, ns in found if ns is not None}


def few_requests(result: Result, percent: Percent) -> tuple[str, ...]:
    """The note of a percentile that is absent because too few requests were measured.

    The verdict says it for the percentiles that every table has.
    """
    measured = result.requests.completed + result.requests.unfinished
    repeats = result.repeats.count if result.repeats else 1
    enough = measured >= least_count(percent) * repeats
    if percent in DEFAULT_PERCENTS or result.error is not None or enough:
        return ()
    each = " in each repeat" if repeats > 1 else ""
    return (f"{percentile_name(percent)} needs {least_count(percent):,} requests{each}",)


def latency_remarks(result: Result, percents: Iterable[Percent]) -> Iterator[str]:
    """The upper bounds of the percentiles of a single cell, and its slowest request."""
    latency = result.latency_ms
    bounds = [
        f"{percentile_name(percent)} is at most {number(bound)} ms"
        for percent in percents
        if percent in PERCENTS
        and (bound := getattr(latency, f"{percentile_key(percent)}_at_most")) is not None
    ]
    if bounds:
        yield f"With 95% confidence each: {', '.join(bounds)}."
    if latency.worst is not None:
        yield _slowest(latency.worst)


def _slowest(worst: Worst) -> str:
    at = f"{number(abs(worst.at_seconds), 2)} s"
    place = f"{at} before the window opened" if worst.at_seconds < 0 else f"{at} into the window"
    repeat = "" if worst.repeat is None else f"in repeat {worst.repeat}, "
    return (
        f"Slowest request: {milliseconds(worst.latency_ms)} ms, {repeat}due {place}; longest "
        f"stage: {worst.longest_stage}, {milliseconds(worst.longest_stage_ms)} ms."
    )
