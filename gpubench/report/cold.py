"""The tables of cold starts: one row for each configuration and state of the page cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gpubench.planning.scale_to_zero import break_even_idle_s
from gpubench.report.format import ABSENT, elapsed, number, usd
from gpubench.report.functions import function_tables
from gpubench.report.notes import cost_notes, price_name, prices
from gpubench.report.settings import machine_name, software
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.results.cold_result import (
    NOT_DROPPED,
    ColdFigure,
    ColdFigures,
    ColdResult,
    ColdStart,
    StartCost,
    StartSeconds,
)

LEGEND = (
    "Seconds: P50 of n starts, each in a new process; an absent P95 needs 20 starts. ready: up to "
    "the end of the first inference. settling: from then until the service time has settled."
)
SINGLE = "a single start: these are its figures, which no other start confirms"
COMPUTED = "computed from the size and the rate that were stated; not measured"
HOW_TO_PRICE = (
    "No price: the machine does not say which instance it is. Add --instance NAME (names: gpubench "
    "prices list), or --usd-per-hour X."
)


@dataclass(frozen=True)
class _Row:
    result: ColdResult
    figures: ColdFigures


_FilledColumn = tuple[Column, Callable[[_Row], DraftCell]]


@dataclass(frozen=True)
class _Setting:
    title: str
    value: Callable[[ColdResult], str | None]
    always: bool = False  # it is a column even if all rows have the same value


_SETTINGS = (
    _Setting("model", lambda r: r.spec.model, always=True),
    _Setting("runtime", lambda r: r.spec.runtime, always=True),
    _Setting("precision", lambda r: r.spec.precision, always=True),
    _Setting("batch", lambda r: str(r.spec.batch), always=True),
    _Setting("build cache", lambda r: r.build_cache),
    _Setting("device", lambda r: r.spec.device),
    _Setting("weights", lambda r: r.engine.weights),
    _Setting("sequence length", lambda r: str(r.spec.seq_len) if r.spec.seq_len else None),
    _Setting("memory format", lambda r: r.spec.memory_format),
    _Setting("sparsity", lambda r: r.spec.sparsity),
    _Setting("input shape", lambda r: r.spec.input_shape),
    _Setting("dimensions", lambda r: r.spec.dim),
    _Setting("inputs file", lambda r: r.spec.inputs_file),
    _Setting("threads", lambda r: str(r.spec.threads) if r.spec.threads else None),
    _Setting("seed", lambda r: str(r.spec.seed)),
)


def cold_tables(results: Iterable[ColdResult]) -> list[Table]:
    """One table for each combination of machine and software; those of functions are last."""
    every = list(results)
    groups: dict[str, list[ColdResult]] = {}
    for result in (each for each in every if each.function is None):
        machine = result.environment.model_dump_json(exclude={"time"})
        groups.setdefault(machine, []).append(result)
    tables = [_table(sorted(group, key=_order)) for group in groups.values()]
    return [*tables, *function_tables(every)]


def _order(result: ColdResult) -> tuple[str, str, str, int, str]:
    spec = result.spec
    return spec.model, spec.runtime, spec.precision, spec.batch, result.build_cache


def _table(results: Sequence[ColdResult]) -> Table:
    rows = [_Row(result, figures) for result in results for figures in _figures(result)]
    shown = [each for each in _SETTINGS if each.always or len(_values(each, results)) > 1]
    costs = [cost for row in rows for cost in row.figures.costs]
    names = list(dict.fromkeys(map(price_name, costs)))
    columns: list[_FilledColumn] = [
        *((Column(each.title, "left", is_key=True), _setting_cell(each)) for each in shown),
        (Column("page cache", "left", is_key=True), _page_cache_cell),
        (Column("engine", "left"), _engine_cell),
        (Column("n"), _count_cell),
        *_stage_columns(rows),
        (Column("ready P50 s"), _median_cell(lambda row: row.figures.ready)),
        (Column("ready P95 s"), _ready_p95_cell),
        *_image_columns(results),
        *((Column(f"$/start {name}"), _cost_cell(name)) for name in names),
    ]
    facts = [
        ("machine", machine_name(results[0].environment)),
        ("software", software(results[0].environment)),
        ("all starts", _shared(results, shown)),
    ]
    if costs:
        facts.append(("prices", prices(costs)))
    return make_table(
        columns=[column for column, _ in columns],
        rows=[[cell(row) for _, cell in columns] for row in rows],
        facts=facts,
        remarks=[
            LEGEND,
            *(sentence for row in rows if (sentence := _sentence(row))),
            *(sentence for result in results if (sentence := _first_start(result))),
            *([] if costs else [HOW_TO_PRICE]),
        ],
    )


def _figures(result: ColdResult) -> list[ColdFigures]:
    """The figures of a result. A result without any start has a row that is empty."""
    return result.figures or [ColdFigures(page_cache=ABSENT, count=0)]


def _sentence(row: _Row) -> str | None:
    """What a cold start means for an instance that is stopped while it is idle."""
    figures = row.figures
    if figures.billed_seconds is None or figures.ready is None:
        return None
    if figures.page_cache == NOT_DROPPED:  # neither what a new instance takes, nor a used one
        return None
    takes = seconds_text(figures.billed_seconds)
    if figures.ready.p95 is not None:
        image_s = row.result.image.seconds if row.result.image else 0.0
        takes += f" (P95 {seconds_text(figures.ready.p95 + image_s)})"
    priced = [f"${usd(cost.usd_per_start)} {_where(cost)}" for cost in figures.costs]
    costs = f" and costs {', '.join(priced)}" if priced else ""
    idle = seconds_text(break_even_idle_s(figures.billed_seconds))
    return (
        f"{_name(row.result)}, page cache {figures.page_cache}: a cold start takes {takes}{costs}. "
        f"Stopping the instance saves money if it would be idle for more than {idle}. The next "
        "caller waits for the whole start."
    )


def _first_start(result: ColdResult) -> str | None:
    """The start that no figure contains: it may have built the engine, or read files anew."""
    first = result.first_start
    if first is None or first.ready_seconds is None:
        return None
    took = seconds_text(first.ready_seconds)
    return f"{_name(result)}: the first start took {took}; no figure contains it."


def _name(result: ColdResult) -> str:
    spec = result.spec
    return f"{spec.model} {spec.runtime} {spec.precision}"


def seconds_text(value: float) -> str:
    """'6.21 s', '2 min 10 s'."""
    return f"{number(value, 3)} s" if value < 100 else elapsed(value)


def _values(setting: _Setting, results: Sequence[ColdResult]) -> list[str]:
    values = map(setting.value, results)
    return list(dict.fromkeys(value for value in values if value is not None))


def _shared(results: Sequence[ColdResult], shown: Sequence[_Setting]) -> str:
    phrases = [
        f"{setting.title} {values[0]}"
        for setting in _SETTINGS
        if setting not in shown and (values := _values(setting, results))
    ]
    return " · ".join(phrases)


def _setting_cell(setting: _Setting) -> Callable[[_Row], DraftCell]:
    return lambda row: DraftCell(setting.value(row.result) or ABSENT)


def _page_cache_cell(row: _Row) -> DraftCell:
    """The state of the page cache. If it could not be dropped, a note has the first reason."""
    reasons = (start.page_cache for start in _starts(row) if start.state == NOT_DROPPED)
    return DraftCell(row.figures.page_cache, tuple(f"page cache {each}" for each in reasons)[:1])


def _starts(row: _Row) -> list[ColdStart]:
    """The starts that the figures of a row are about."""
    state = row.figures.page_cache
    return [start for start in row.result.starts if start.state == state]


def _engine_cell(row: _Row) -> DraftCell:
    """Whether the engine was built or read from the cache."""
    kinds = {start.from_cache for start in _starts(row) if start.error is None}
    names = {True: "from cache", False: "built", None: "built"}
    return DraftCell(" or ".join(sorted({names[kind] for kind in kinds})) or ABSENT)


def _count_cell(row: _Row) -> DraftCell:
    errors = [start.error for start in _starts(row)]
    if row.result.error is not None:
        errors.append(row.result.error)
    messages = dict.fromkeys(
        f"failed in {error.stage}: {' '.join(error.message.split())}" for error in errors if error
    )
    failed = f", {row.figures.failed} failed" if row.figures.failed else ""
    if row.result.error is not None and not row.figures.count:
        return DraftCell("failed", tuple(messages))
    single = (SINGLE,) if row.figures.count == 1 else ()
    return DraftCell(f"{row.figures.count}{failed}", (*single, *messages))


def _image_columns(results: Sequence[ColdResult]) -> list[_FilledColumn]:
    """The pull of the container image, if its size was told."""
    if not any(result.image for result in results):
        return []

    def image(row: _Row) -> DraftCell:
        told = row.result.image
        return DraftCell(number(told.seconds, 3), (COMPUTED,)) if told else DraftCell(ABSENT)

    def with_image(row: _Row) -> DraftCell:
        return DraftCell(number(row.figures.billed_seconds, 3))

    return [(Column("image s"), image), (Column("image + ready P50 s"), with_image)]


def _where(cost: StartCost) -> str:
    if cost.owned:
        return "on owned hardware"
    return f"on {price_name(cost)}" if cost.instance else price_name(cost)


def _cost_cell(name: str) -> Callable[[_Row], DraftCell]:
    def cell(row: _Row) -> DraftCell:
        for cost in row.figures.costs:
            if price_name(cost) == name:
                return DraftCell(usd(cost.usd_per_start), cost_notes(cost))
        return DraftCell(ABSENT)

    return cell


def _stage_columns(rows: Sequence[_Row]) -> list[_FilledColumn]:
    """The stages that any of these starts have."""
    return [
        (
            Column(f"{name.replace('_', ' ')} s", drop_order=1),
            _median_cell(_stage(name)),
        )
        for name in StartSeconds.model_fields
        if any(name in row.figures.seconds for row in rows)
    ]


def _stage(name: str) -> Callable[[_Row], ColdFigure | None]:
    return lambda row: row.figures.seconds.get(name)


def _median_cell(figure: Callable[[_Row], ColdFigure | None]) -> Callable[[_Row], DraftCell]:
    """The P50. A single start has none; its figure is shown instead, and the count has a note."""

    def cell(row: _Row) -> DraftCell:
        found = figure(row)
        if found is None:
            return DraftCell(ABSENT)
        return DraftCell(number(found.min if row.figures.count == 1 else found.p50, 3))

    return cell


def _ready_p95_cell(row: _Row) -> DraftCell:
    return DraftCell(number(row.figures.ready.p95 if row.figures.ready else None, 3))
