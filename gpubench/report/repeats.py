"""What tables and files say about cells that were measured several times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpubench.report.format import ABSENT, half_width
from gpubench.report.settings import FilledColumn
from gpubench.report.table import Column, DraftCell
from gpubench.results.result import Interval, Result
from gpubench.spec.repetition import LEAST_REPEATS
from gpubench.statistics.repeats import combined, grouped

OVER_REPEATS = (
    "A figure over repeats is their geometric mean. It has two 95% intervals: one from the "
    f"differences between the repeats ({LEAST_REPEATS} or more: ± between), and that inside one "
    "run, on average (± inside, of inferences /s). The ± beside the figure is the wider one."
)
ONE_PROCESS = (
    "All repeats of a cell were measured in one process. Separate processes differ by more: "
    "measure with --fresh."
)


def one_for_each_cell(cells: Iterable[tuple[str, Result]]) -> list[tuple[str, Result]]:
    """(key, result) with the repeats of each cell combined. The key is that of the first repeat."""
    cells = list(cells)
    keys = {id(result): key for key, result in cells}
    groups = grouped(result for _, result in cells)
    return [(keys[id(group[0])], combined(group)) for group in groups]


def each_repeat_column(results: Sequence[Result]) -> list[FilledColumn]:
    """Which repeat a row is. Empty if no cell has repeats."""
    if all(result.repeat is None for result in results):
        return []
    return [
        FilledColumn(
            Column("repeat", is_key=True),
            lambda r: DraftCell(str(r.repeat.number) if r.repeat else ABSENT),
        )
    ]


def count_column(results: Sequence[Result]) -> list[FilledColumn]:
    """The number of repeats of each row. Empty if no cell has several."""
    if all(result.repeats is None for result in results):
        return []
    return [FilledColumn(Column("repeats"), lambda r: DraftCell(_count(r)))]


def interval_columns(results: Sequence[Result]) -> list[FilledColumn]:
    """Both intervals of the throughput, as shares of it. Empty if no cell has several repeats."""
    if all(result.repeats is None for result in results):
        return []
    return [
        FilledColumn(
            Column("± between", drop_order=4),
            lambda r: DraftCell(_share(r, _between(r))),
        ),
        FilledColumn(
            Column("± inside", drop_order=5),
            lambda r: DraftCell(_share(r, _inside(r))),
        ),
    ]


def remarks(results: Sequence[Result]) -> list[str]:
    """How figures over repeats are made. Empty if no cell has several."""
    repeated = [r.repeats for r in results if r.repeats is not None and r.repeats.count > 1]
    if not repeated:
        return []
    one_process = all(repeats.processes == 1 for repeats in repeated)
    return [OVER_REPEATS, ONE_PROCESS] if one_process else [OVER_REPEATS]


def _count(result: Result) -> str:
    if result.repeats is None:
        return "1"
    failed = f" ({result.repeats.failed} failed)" if result.repeats.failed else ""
    return f"{result.repeats.count}{failed}"


def _between(result: Result) -> Interval | None:
    figure = result.repeats and result.repeats.throughput_per_second
    return figure.interval if figure else None


def _inside(result: Result) -> Interval | None:
    if result.repeats is None:
        return result.throughput_interval
    figure = result.repeats.throughput_per_second
    return figure.interval_inside if figure else None


def _share(result: Result, interval: Interval | None) -> str:
    return half_width(result.throughput_per_second, interval)
