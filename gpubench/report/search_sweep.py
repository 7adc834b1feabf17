"""Several searches for the same objective: one row for each setting, and which one is the best.

Rates are in inferences per second here, since the settings may differ in their batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from gpubench.report.format import ABSENT, milliseconds, number, usd, with_interval
from gpubench.report.notes import (
    answer_notes,
    cost_notes,
    price_name,
    prices,
)
from gpubench.report.results import cost_figure
from gpubench.report.search import HOW_TO_PRICE, objective_text
from gpubench.report.serving import server_facts
from gpubench.report.settings import (
    machine_name,
    settings_columns,
    settings_order,
    shared_settings,
    software,
)
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.results.result import Interval, Result
from gpubench.results.search_result import SearchResult
from gpubench.spec.varied import varied_text
from gpubench.spec.workload import competition

LEGEND = (
    "/s and $/million count inferences; ± is the 95% interval. capacity: a closed loop that is "
    "always busy. Each document search-KEY.json has its probes, and the figures of its verdict."
)
# The columns of settings that a search chooses by itself.
_CHOSEN = frozenset({"clients", "rate /s", "window"})
_MOST_NAMES = 3  # of settings in one sentence


def sweep_tables(searches: Sequence[SearchResult]) -> list[Table]:
    """One table for each objective on each machine, the highest rates first.

    Searches that ended before their first measurement are left out.
    """
    groups: dict[str, list[SearchResult]] = {}
    for found in searches:
        if found.probes and found.environment is not None:
            machine = found.environment.model_dump_json(exclude={"time"})
            groups.setdefault(f"{found.objective.model_dump_json()} {machine}", []).append(found)
    return [_table(group) for group in groups.values()]


def by_objective(searches: Iterable[SearchResult]) -> list[list[SearchResult]]:
    """The searches of a run directory, grouped by their objective."""
    groups: dict[str, list[SearchResult]] = {}
    for found in searches:
        groups.setdefault(found.objective.model_dump_json(), []).append(found)
    return list(groups.values())


def outcome(found: SearchResult) -> str:
    """What became of a setting, in one line: '31.2 ±0.9/s, valid', 'dropped: ...'."""
    if found.error is not None:
        return f"failed in {found.error.stage}: {' '.join(found.error.message.split())}"
    if found.pruned is not None:
        return f"dropped: {_why_dropped(found)}"
    if found.max_rate_per_second is None:
        return _no_rate(found)
    return f"{with_interval(_rate(found), _interval(found))}/s, {found.verdict.status}"


def _no_rate(found: SearchResult) -> str:
    if found.capacity_per_second is not None:
        return f"no rate: {found.note}"
    return f"{found.note} ({found.objective.percentile.upper()} {_unloaded(found)} ms)"


def _why_dropped(found: SearchResult) -> str:
    """Why a dropped setting cannot win, with the figures in inferences per second."""
    pruned = found.pruned
    assert pruned is not None
    batch = found.spec.batch
    figure, limit = number(pruned.figure * batch), number(pruned.limit * batch)
    facts = {
        "capacity": f"98% of its capacity is at most {figure}/s",
        "late": f"too many requests are late at {figure}/s already",
        "crossing": f"its highest rate is at most {figure}/s",
    }
    return f"{facts[pruned.reason]}, and the rate to beat is {limit}/s ({pruned.best})"


def best_sentences(searches: Sequence[SearchResult]) -> list[str]:
    """One sentence or two for each workload: which setting is the best, and how certainly.

    The searches have the same objective.
    """
    groups: dict[Hashable, list[SearchResult]] = {}
    for found in searches:
        groups.setdefault(competition(found.spec), []).append(found)
    return [_best(group) for group in groups.values()]


def _best(group: Sequence[SearchResult]) -> str:
    texts = dict(zip(map(id, group), varied_text([each.spec for each in group]), strict=True))

    def name(found: SearchResult) -> str:
        return texts[id(found)]

    objective = objective_text(group[0])
    found = [each for each in group if each.error is None and each.max_rate_per_second is not None]
    ranked = sorted(found, key=lambda each: _rate(each) or 0.0, reverse=True)
    valid = [each for each in ranked if each.verdict.status == "valid"]
    if not ranked:
        return f"{objective}: no setting of {group[0].spec.model} meets it{_closest(group)}."
    best = (valid or ranked)[0]
    rate = with_interval(_rate(best), _interval(best))
    text = f"{objective}: the best setting is {name(best)}: {rate}/s"
    for cost in best.costs:
        place = f"on {cost.instance}" if cost.instance else price_name(cost)
        text += f", ${usd(cost.usd_per_million)} a million inferences {place}"
    if not valid:
        text += " (its verdict is suspect: see the table"
        text += ", so it dropped no other setting)" if len(group) > 1 else ")"
    text += "."
    suspect = [each for each in ranked if each is not best and each not in valid]
    faster = [each for each in suspect if (_rate(each) or 0.0) > (_rate(best) or 0.0)]
    if valid and faster:
        text += f" A higher rate, but a suspect verdict: {_names(faster, name)}."
    close = [each for each in ranked if each is not best and _overlap(each, best)]
    close = [each for each in close if each not in faster]
    if close:
        text += f" Not certain to be worse: {_names(close, name)}."
    return text


def _closest(group: Sequence[SearchResult]) -> str:
    """The lowest latency that a single client has seen."""
    percentile = group[0].objective.percentile
    seen = [
        (latency_ms, found)
        for found in group
        for probe in found.probes
        if probe.load == "unloaded"
        and (latency_ms := getattr(probe.result.latency_ms, percentile)) is not None
    ]
    if not seen:
        return ""
    latency_ms, _ = min(seen, key=lambda each: each[0])
    return f"; the best {percentile.upper()} of a single client is {milliseconds(latency_ms)} ms"


def _names(searches: Sequence[SearchResult], name: Callable[[SearchResult], str]) -> str:
    listed = "; ".join(map(name, searches[:_MOST_NAMES]))
    more = len(searches) - _MOST_NAMES
    return f"{listed}; and {more} more" if more > 0 else listed


def _overlap(one: SearchResult, other: SearchResult) -> bool:
    """Whether the intervals of the rates overlap."""
    a, b = _range(one), _range(other)
    return a[0] <= b[1] and b[0] <= a[1]


def _range(found: SearchResult) -> Interval:
    """The interval of the rate, or what a rate without one may be: see statistics.pruning."""
    from gpubench.statistics.pruning import ERROR_WITHOUT_INTERVAL  # imports numpy

    rate, error = _rate(found) or 0.0, ERROR_WITHOUT_INTERVAL
    return _interval(found) or (rate * (1 - error), rate * (1 + error))


def _rate(found: SearchResult) -> float | None:
    rate = found.max_rate_per_second
    return None if rate is None else rate * found.spec.batch


def _interval(found: SearchResult) -> Interval | None:
    batch = found.spec.batch
    return found.interval and (found.interval[0] * batch, found.interval[1] * batch)


def _table(searches: Sequence[SearchResult]) -> Table:
    searches = sorted(searches, key=_order)
    shown = {id(found): _shown(found) for found in searches}
    results = list(shown.values())
    columns = [each for each in settings_columns(results) if each.column.title not in _CHOSEN]
    settings = [[each.cell(result) for each in columns] for result in results]
    costs = {price_name(cost): cost for found in searches for cost in found.costs}
    percentile = searches[0].objective.percentile
    titles = [
        *(each.column for each in columns),
        Column(f"{percentile.upper()} ms, one client", drop_order=3),
        Column("capacity /s", drop_order=1),
        Column("max rate /s"),
        *(Column(f"$/million {name}") for name in costs),
        Column("outcome", "left"),
        Column("verdict", "left", drop_order=2),
    ]
    rows = [
        [
            *cells,
            DraftCell(_unloaded(found)),
            DraftCell(_capacity(found)),
            DraftCell(with_interval(_rate(found), _interval(found)), _note(found)),
            *(_cost_cell(found, name) for name in costs),
            _outcome_cell(found),
            DraftCell(found.verdict.status, _codes(found)),
        ]
        for found, cells in zip(searches, settings, strict=True)
    ]
    facts = [
        ("machine", machine_name(results[0].environment)),
        *server_facts(results),
        ("software", software(results[0].environment)),
        ("all settings", shared_settings(results)),
        ("objective", objective_text(searches[0])),
    ]
    if costs:
        facts.append(("prices", prices([cost for found in searches for cost in found.costs])))
    has_rate = any(found.max_rate_per_second is not None for found in searches)
    remarks = [LEGEND, *([HOW_TO_PRICE] if has_rate and not costs else [])]
    remarks += _remedies(searches)
    return make_table(titles, rows, facts, [*remarks, *best_sentences(searches)])


def _order(found: SearchResult) -> tuple[object, ...]:
    """Highest rates first; below them what was dropped, what has no rate, and what failed."""
    kind = 0 if found.max_rate_per_second is not None else 1 if found.pruned is not None else 2
    if found.error is not None:
        kind = 3
    rate = _rate(found) or (found.capacity_per_second or 0.0) * found.spec.batch
    return kind, -rate, settings_order(_shown(found))


def _shown(found: SearchResult) -> Result:
    """A result whose settings are those of the search, for the columns of settings."""
    result = next((p.result for p in found.probes if p.load == "open"), found.probes[-1].result)
    settings = {"rate": 1.0, "clients": None, "duration": None, "load_seed": found.spec.load_seed}
    spec = found.spec.model_copy(update=settings)
    return result.model_copy(update={"spec": spec, "verdict": found.verdict})


def _unloaded(found: SearchResult) -> str:
    probe = found.probes[0]
    if probe.load != "unloaded":
        return ABSENT
    return milliseconds(getattr(probe.result.latency_ms, found.objective.percentile))


def _capacity(found: SearchResult) -> str:
    capacity = found.capacity_per_second
    return number(None if capacity is None else capacity * found.spec.batch)


def _codes(found: SearchResult) -> tuple[str, ...]:
    """The reasons of the verdict without their figures, which are in the document."""
    codes = [reason.code for reason in found.verdict.reasons]
    return (f"suspect: {', '.join(codes)}",) if codes else ()


def _remedies(searches: Sequence[SearchResult]) -> list[str]:
    """One line for each reason of a verdict."""
    remedies: dict[str, str] = {}
    for reason in (reason for found in searches for reason in found.verdict.reasons):
        remedies.setdefault(reason.code, reason.remedy)
    return [f"{code}: {remedy}" for code, remedy in remedies.items()]


def _note(found: SearchResult) -> tuple[str, ...]:
    has_rate = found.max_rate_per_second is not None
    return (found.note,) if has_rate and found.note else ()


def _cost_cell(found: SearchResult, name: str) -> DraftCell:
    for cost in found.costs:
        if price_name(cost) == name:
            notes = (*cost_notes(cost), *answer_notes(found.probes[-1].result))
            return DraftCell(cost_figure(cost), notes)
    return DraftCell(ABSENT)


def _outcome_cell(found: SearchResult) -> DraftCell:
    if found.error is not None:
        return DraftCell("failed", (outcome(found),))
    if found.pruned is not None:
        return DraftCell(f"dropped: {found.pruned.reason}", (outcome(found),))
    if found.max_rate_per_second is None:
        return DraftCell("no rate", (_no_rate(found),))
    return DraftCell("found")
