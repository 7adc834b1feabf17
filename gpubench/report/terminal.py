"""Tables on a terminal of any width."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Column as RichColumn
from rich.table import Table as RichTable
from rich.text import Text

from gpubench.report.table import Cell, Column, Table, superscript

FILE_WIDTH = 160  # files and pipes: wide enough that no column is left out

_STYLES = {"valid": "green", "suspect": "yellow", "failed": "red"}
_GAP = 2  # blanks between columns: one of padding, one for the rule that is not drawn


def show(tables: Iterable[Table]) -> None:
    """Print tables on standard output, as wide as the terminal."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_WIDTH
    _print(tables, Console(width=width, highlight=False, soft_wrap=False))


def text(tables: Iterable[Table], width: int = FILE_WIDTH) -> str:
    """Tables as plain text without colours."""
    out = StringIO()
    _print(tables, Console(file=out, width=width, highlight=False, no_color=True))
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def needed_width(table: Table) -> int:
    """Columns of a terminal that the table takes with nothing left out."""
    return _total(table, range(len(table.columns)))


def _print(tables: Iterable[Table], console: Console) -> None:
    for number, table in enumerate(tables):
        if number:
            console.print()
        if table.facts:
            console.print(_facts(table))
            console.print()
        kept = _fitting(table, console.width)
        console.print(_body(table, kept))
        console.print()
        if table.notes:
            console.print(_notes(table))
        left_out = [c.title for i, c in enumerate(table.columns) if i not in kept]
        for remark in (*table.remarks, *_left_out(left_out)):
            console.print(Text(remark, style="dim"))


def _facts(table: Table) -> RichTable:
    grid = RichTable.grid(padding=(0, 2))
    for label, fact in table.facts:
        grid.add_row(Text(label, style="bold"), Text(fact))
    return grid


def _notes(table: Table) -> RichTable:
    grid = RichTable.grid(padding=(0, 1))
    for note in table.notes:
        grid.add_row(Text(superscript([note.mark])), Text(note.text))
    return grid


def _left_out(titles: list[str]) -> list[str]:
    if not titles:
        return []
    return [f"Not shown at this width: {', '.join(titles)}. A wider terminal shows them."]


def _body(table: Table, kept: list[int]) -> RichTable:
    body = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index in kept:
        column = table.columns[index]
        body.columns.append(
            RichColumn(
                header=Text(_title(table, index)),
                header_style="bold",
                justify=column.align,
                vertical="bottom",
            )
        )
    mark_widths = {index: _mark_width(table, index) for index in kept}
    for row in table.rows:
        body.add_row(
            *(_cell(row[index], table.columns[index], mark_widths[index]) for index in kept)
        )
    return body


def _cell(cell: Cell, column: Column, mark_width: int) -> Text:
    figure = Text(cell.text, style=_STYLES.get(cell.text, ""))
    marks = superscript(cell.marks)
    if marks:
        figure.append(f" {marks}")
    if column.align == "right" and mark_width:  # so that digits stand below digits
        figure.append(" " * (mark_width - (len(marks) + 1 if marks else 0)))
    return figure


def _mark_width(table: Table, index: int) -> int:
    marks = [superscript(row[index].marks) for row in table.rows if row[index].marks]
    return max((len(mark) + 1 for mark in marks), default=0)


def _title(table: Table, index: int) -> str:
    """The title on as many lines as keep the column as narrow as its figures."""
    title = table.columns[index].title
    if index in table.header_marks:
        title += f" {superscript(table.header_marks[index])}"
    return "\n".join(textwrap.wrap(title, _width(table, index), break_long_words=False))


def _width(table: Table, index: int) -> int:
    figures = max((len(row[index].text) for row in table.rows), default=0)
    longest_word = max(map(len, table.columns[index].title.split()))
    return max(figures + _mark_width(table, index), longest_word)


def _total(table: Table, kept: Iterable[int]) -> int:
    widths = [_width(table, index) for index in kept]
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitting(table: Table, width: int) -> list[int]:
    """Indices of the columns that fit, after those left out that matter least."""
    kept = list(range(len(table.columns)))
    while _total(table, kept) > width:
        droppable = [index for index in kept if table.columns[index].drop_order]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda index: table.columns[index].drop_order))
    return kept
