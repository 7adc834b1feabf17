"""The tables of a search: its answer with the cost, and the probes that it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubench.report.format import ABSENT, integer, milliseconds, number, seconds, with_interval
from gpubench.report.notes import answer_notes, cost_notes, price_name, prices, reason_note
from gpubench.report.results import cost_figure
from gpubench.report.serving import server_facts
from gpubench.report.settings import machine_name, shared_settings, software
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.results.result import Cost
from gpubench.results.search_result import Probe, SearchResult

if TYPE_CHECKING:
    from gpubench.statistics.crossing import Crossing

LEGEND = "max rate /s counts requests, $/million inferences; ± is the 95% interval."
HOW_TO_PRICE = (
    "No price: the machine does not say which instance it is. Add --instance NAME (names: gpubench "
    "prices list), or --usd-per-hour X."
)
PROBES_LEGEND = (
    "late: took longer than the objective allows, or never finished. effective n: the effective "
    "sample size of these n requests. * near the crossing: the answer comes from these probes."
)


def search_tables(found: SearchResult) -> list[Table]:
    """The answer, and below it every probe. Without a probe there is no table."""
    return [_answer(found), _probes(found)] if found.probes else []


def objective_text(found: SearchResult) -> str:
    """'P99 within 10ms'."""
    objective = found.objective
    return f"{objective.percentile.upper()} within {seconds(objective.latency_ms / 1e3)}"


def estimate_text(crossing: Crossing) -> str:
    """'highest rate about 18.4 ±0.3 requests/s'. Few probes can give one that is not positive."""
    if crossing.rate <= 0:
        return "highest rate not known yet"
    return f"highest rate about {with_interval(crossing.rate, crossing.interval)} requests/s"


def _answer(found: SearchResult) -> Table:
    results = [probe.result for probe in found.probes]
    open_loops = [probe.result for probe in found.probes if probe.load == "open"] or results
    facts = [
        ("machine", machine_name(results[0].environment)),
        *server_facts(results),
        ("software", software(results[0].environment)),
        ("all probes", shared_settings(open_loops)),
    ]
    if found.costs:
        facts.append(("prices", prices(found.costs)))
    columns = [
        Column("model", "left", is_key=True),
        Column("precision", "left", is_key=True),
        Column("batch"),
        Column("workers"),
        Column("objective", "left"),
        Column("max rate /s"),
        Column("of capacity"),
        *(Column(f"$/million {price_name(cost)}") for cost in found.costs),
        Column("verdict", "left"),
    ]
    spec = found.spec
    row = [
        DraftCell(spec.model),
        DraftCell(ABSENT if spec.model == "synthetic" else spec.precision),
        DraftCell(str(spec.batch)),
        DraftCell(integer(spec.workers)),
        DraftCell(objective_text(found)),
        DraftCell(
            with_interval(found.max_rate_per_second, found.interval),
            tuple(filter(None, [found.note, _dropped(found)])),
        ),
        DraftCell(_of_capacity(found)),
        *(_cost_cell(found, cost) for cost in found.costs),
        _verdict_cell(found),
    ]
    remarks = [LEGEND, *_repeats(found)]
    if not found.costs and found.max_rate_per_second is not None:
        remarks.append(HOW_TO_PRICE)
    return make_table(columns, [row], facts, remarks)


def _dropped(found: SearchResult) -> str | None:
    """That a sweep has not searched this setting to the end, if so."""
    pruned = found.pruned
    if pruned is None:
        return None
    return (
        f"dropped ({pruned.reason}): its highest rate is at most {number(pruned.figure)}/s, and "
        f"the rate to beat is {number(pruned.limit)}/s ({pruned.best})"
    )


def _repeats(found: SearchResult) -> list[str]:
    """What the interval comes from, if the search was made several times."""
    if found.repeats is None or (info := found.repeats.max_rate_per_second) is None:
        return []
    rate = found.max_rate_per_second
    remark = (
        f"max rate /s is the geometric mean of the rates that {info.count} of "
        f"{found.repeats.count + found.repeats.failed + found.repeats.without_rate} searches found"
    )
    for where, interval in (
        ("by the differences between them", info.interval),
        ("inside one of them", info.interval_inside),
    ):
        if interval is not None:
            remark += f"; {where}: {with_interval(rate, interval)}"
    return [f"{remark}. The probes are those of the search with the median rate."]


def _of_capacity(found: SearchResult) -> str:
    rate, capacity = found.max_rate_per_second, found.capacity_per_second
    return ABSENT if rate is None or capacity is None else f"{rate / capacity:.0%}"


def _cost_cell(found: SearchResult, cost: Cost) -> DraftCell:
    notes = (*cost_notes(cost), *answer_notes(found.probes[-1].result))
    return DraftCell(cost_figure(cost), notes)


def _verdict_cell(found: SearchResult) -> DraftCell:
    if found.error is not None:
        message = " ".join(found.error.message.split())
        return DraftCell("failed", (f"failed in {found.error.stage}: {message}",))
    notes = [
        reason_note(reason, () if reason.figure is None else (reason.figure,))
        for reason in found.verdict.reasons
    ]
    return DraftCell(found.verdict.status, tuple(notes))


def _probes(found: SearchResult) -> Table:
    columns = [
        Column("probe", "left", is_key=True),
        Column("rate /s"),
        Column("n"),
        Column("late"),
        Column("late %"),
        Column("effective n", drop_order=1),
        Column("P50 ms", drop_order=3),
        Column("P95 ms"),
        Column("P99 ms"),
        Column("verdict", "left", drop_order=2),
    ]
    rows = [_probe_row(probe) for probe in found.probes]
    return make_table(columns, rows, remarks=[PROBES_LEGEND])


def _probe_row(probe: Probe) -> list[DraftCell]:
    latency = probe.result.latency_ms
    rate = probe.rate_per_second or probe.result.throughput_per_second
    return [
        DraftCell(probe.load + (" *" if probe.near else "")),
        DraftCell(number(rate)),
        DraftCell(integer(probe.requests)),
        DraftCell(integer(probe.late)),
        DraftCell(number(100 * probe.late / probe.requests, 3) if probe.requests else ABSENT),
        DraftCell(number(round(probe.effective), 1) if probe.requests else ABSENT),
        DraftCell(milliseconds(latency.p50)),
        DraftCell(milliseconds(latency.p95)),
        DraftCell(milliseconds(latency.p99)),
        DraftCell("failed" if probe.result.error else probe.result.verdict.status),
    ]
