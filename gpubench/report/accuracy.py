"""The accuracy of cells in tables: columns, the data that were used, and notes."""

from __future__ import annotations

from collections.abc import Sequence

from gpubench.report.format import ABSENT, integer, with_interval
from gpubench.report.settings import FilledColumn
from gpubench.report.table import Column, DraftCell
from gpubench.results.result import Accuracy, Interval, Result

METRICS = {"top1": "top-1", "f1": "F1", "exact-match": "exact match"}

_REMARK = (
    "accuracy is in percent; drop is in percentage points, from the fp32 model on the same samples."
)


def accuracy_columns(results: Sequence[Result]) -> list[FilledColumn]:
    """The accuracy, and its drop from fp32. Empty if none of these results has one."""
    found = [result.accuracy for result in results if result.accuracy is not None]
    columns = [FilledColumn(Column("accuracy %"), _accuracy_cell)] if found else []
    if any(each.drop is not None for each in found):
        columns.append(FilledColumn(Column("drop"), _drop_cell))
    return columns


def accuracy_facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The metric and the data: 'top-1 of 5,000 samples of val.parquet'."""
    described = dict.fromkeys(
        f"{METRICS[each.metric]} of {integer(each.samples)} samples of {each.data.name}"
        for result in results
        if (each := result.accuracy) is not None
    )
    return [("accuracy", "; ".join(described))] if described else []


def accuracy_remarks(results: Sequence[Result]) -> list[str]:
    return [_REMARK] if accuracy_columns(results) else []


def accuracy_text(accuracy: Accuracy | None) -> str:
    """'76.1 ±0.9', in percent."""
    return ABSENT if accuracy is None else _in_percent(accuracy.value, accuracy.interval)


def drop_text(accuracy: Accuracy | None) -> str:
    """'0.3 ±0.2', in percentage points."""
    if accuracy is None or accuracy.drop is None:
        return ABSENT
    return _in_percent(accuracy.drop, accuracy.drop_interval)


def _in_percent(share: float, interval: Interval | None) -> str:
    ends = None if interval is None else (100 * interval[0], 100 * interval[1])
    return with_interval(100 * share, ends)


def _accuracy_cell(result: Result) -> DraftCell:
    accuracy = result.accuracy
    notes = (accuracy.note,) if accuracy is not None and accuracy.note else ()
    return DraftCell(accuracy_text(accuracy), notes)


def _drop_cell(result: Result) -> DraftCell:
    return DraftCell(drop_text(result.accuracy))
