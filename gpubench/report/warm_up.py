"""What --warmup auto found, in a sentence below a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpubench.report.format import count, integer, percent, seconds
from gpubench.results.result import Result


def warm_up_remarks(results: Sequence[Result]) -> list[str]:
    """One sentence about the warm-ups of these cells. Empty if all had a given length."""
    found = [result.window.warmup for result in results if result.window.warmup is not None]
    if not found:
        return []
    phrases = []
    changed = [each for each in found if each.settled_requests and each.settled_seconds]
    if changed:
        after = _range([each.settled_seconds or 0.0 for each in changed], seconds)
        requests = _range(
            [each.settled_requests or 0 for each in changed], lambda value: integer(round(value))
        )
        phrase = f"settled after {after} ({requests} requests)"
        slower = [each.slower for each in changed if each.slower is not None]
        if slower and min(slower) > 0:
            phrase += f", during which requests took {_range(slower, percent)} longer"
        elif slower:
            phrase += f", during which the time of a request differed by {_range(slower, percent)}"
        phrases.append(phrase)
        errors = [e for each in changed if (e := each.throughput_error_after_2s) is not None]
        if errors:
            phrases.append(
                f"after 2s the throughput would have differed by {_range(errors, percent)}"
            )
    if steady := sum(each.settled_requests == 0 for each in found):
        where = "" if len(found) == 1 else f" in {count(steady, 'cell')}"
        phrases.append(f"no change of speed was found{where}")
    if unsettled := sum(each.settled_seconds is None for each in found):
        where = "" if len(found) == 1 else f" in {count(unsettled, 'cell')}"
        phrases.append(f"the speed had not settled when the limit was reached{where}")
    return [f"Warm-up: {'; '.join(phrases)}."]


def _range(values: Sequence[float], text: Callable[[float], str]) -> str:
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"
