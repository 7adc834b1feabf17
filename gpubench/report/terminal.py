"""Tables on a terminal of any width."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from io import StringIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column as RichColumn
from rich.table import Table as RichTable
from rich.text import Text

from gpubench.report import escape, wrap
from gpubench.report.table import Column, Table, TableCell, superscript, with_texts

FILE_WIDTH = 160  # for files and pipes: usually enough for all columns

_WIDE_GAP, _NARROW_GAP = 2, 1  # blanks between columns
_KEYS_SHARE = 0.6  # of the width, for the columns that identify a row, if the table does not fit
_STYLES = {"valid": "green", "suspect": "yellow", "failed": "red"}


def show(tables: Iterable[Table]) -> None:
    """Print tables on standard output, in the width of the terminal."""
    _print(tables, Console(width=shown_width(), highlight=False))


def text(tables: Iterable[Table], width: int = FILE_WIDTH) -> str:
    """Tables as plain text without colours."""
    out = StringIO()
    _print(tables, Console(file=out, width=width, highlight=False, no_color=True))
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def shown_width() -> int:
    """Characters in a line of standard output: the width of the terminal, or FILE_WIDTH."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return FILE_WIDTH


def fits(table: Table, width: int) -> bool:
    """Whether the whole table fits into lines of `width` characters."""
    table = with_texts(table, escape.terminal)
    return _body_width(table, range(len(table.columns)), _NARROW_GAP) <= width


def _print(tables: Iterable[Table], console: Console) -> None:
    for number, table in enumerate(with_texts(table, escape.terminal) for table in tables):
        if number:
            console.print()
        if table.facts:
            console.print(_facts(table, console.width))
            console.print()
        table = _numbered(_narrowed(table, console.width), console.width)
        layout = _layout(table, console.width)
        for block in layout.blocks:
            console.print(_body(table, block, layout.gap))
            console.print()
        if table.notes:
            console.print(_notes(table, console.width))
        shown = {index for block in layout.blocks for index in block}
        left_out = [c.title for i, c in enumerate(table.columns) if i not in shown]
        for remark in (*table.remarks, *_left_out(left_out)):
            console.print(Text(wrap.with_short_words(remark, console.width), style="dim"))


def _facts(table: Table, width: int) -> RichTable:
    labels = [Text(label, style="bold") for label, _ in table.facts]
    return _labelled(labels, [fact for _, fact in table.facts], width, gap=2)


def _notes(table: Table, width: int) -> RichTable:
    marks = [Text(superscript([note.mark])) for note in table.notes]
    return _labelled(marks, [note.text for note in table.notes], width, gap=1)


def _labelled(labels: Sequence[Text], texts: Sequence[str], width: int, gap: int) -> RichTable:
    room = max(1, width - max(label.cell_len for label in labels) - gap)
    grid = RichTable.grid(padding=(0, gap))
    for label, text in zip(labels, texts, strict=True):
        grid.add_row(label, Text(wrap.with_short_words(text, room)))
    return grid


def _left_out(titles: list[str]) -> list[str]:
    if not titles:
        return []
    return [f"Not shown at this width: {', '.join(titles)}. A wider terminal shows them."]


def _body(table: Table, kept: Sequence[int], gap: int) -> RichTable:
    # One blank of the gap is the (invisible) vertical rule of the box between two columns.
    padding = (0, gap - 1, 0, 0)
    body = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=padding)
    for index in kept:
        column = table.columns[index]
        body.columns.append(
            RichColumn(
                header=Text(_title(table, index)),
                header_style="bold",
                justify=column.align,
                vertical="bottom",
                no_wrap=True,
                width=_width(table, index),
            )
        )
    mark_widths = {index: _mark_width(table, index) for index in kept}
    for row in table.rows:
        body.add_row(
            *(_cell(row[index], table.columns[index], mark_widths[index]) for index in kept)
        )
    return body


def _cell(cell: TableCell, column: Column, mark_width: int) -> Text:
    figure = Text(cell.text, style=_STYLES.get(cell.text, ""))
    marks = _marks(cell)
    # Digits are aligned with digits, whether or not a mark follows them.
    figure.append(marks.ljust(mark_width) if column.align == "right" else marks)
    return figure


def _marks(cell: TableCell) -> str:
    return f" {superscript(cell.marks)}" if cell.marks else ""


def _mark_width(table: Table, index: int) -> int:
    return max((len(_marks(row[index])) for row in table.rows), default=0)


def _title(table: Table, index: int) -> str:
    """The title, wrapped so that the column is as narrow as its figures."""
    title = table.columns[index].title
    if index in table.header_marks:
        title += f" {superscript(table.header_marks[index])}"
    return "\n".join(textwrap.wrap(title, _width(table, index), break_long_words=False))


def _width(table: Table, index: int) -> int:
    column = table.columns[index]
    room_for_marks = _mark_width(table, index) if column.align == "right" else 0
    cells = [row[index] for row in table.rows]
    widths = [_line_width(cell.text) + max(room_for_marks, len(_marks(cell))) for cell in cells]
    return max([_longest_word(column.title), *widths])


def _line_width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _longest_word(title: str) -> int:
    return max(map(cell_len, title.split()), default=0)


def _narrowed(table: Table, width: int) -> Table:
    """The table with line breaks in texts that would leave too little room for the figures.

    If the whole table does not fit, the columns that identify a row get this share of the width at
    most, as far as their texts can be broken at good places; and no column gets more than half.
    """
    if _body_width(table, range(len(table.columns)), _NARROW_GAP) <= width:
        return table
    narrow = table
    half = width // 2
    texts = [index for index, column in enumerate(table.columns) if column.align == "left"]
    for index in texts:
        if _width(narrow, index) > half:
            narrow = _with_lines(narrow, table, index, half)
    keys = [index for index, column in enumerate(table.columns) if column.is_key]
    for index in sorted(set(keys) & set(texts), key=lambda i: _width(narrow, i), reverse=True):
        excess = _body_width(narrow, keys, _NARROW_GAP) - round(_KEYS_SHARE * width)
        least = max(wrap.least_width(row[index].text) for row in table.rows)
        if excess > 0:
            narrowest = max(least, _width(narrow, index) - excess)
            narrow = _with_lines(narrow, table, index, narrowest)
    return narrow


def _with_lines(narrow: Table, table: Table, index: int, width: int) -> Table:
    """`narrow` with the texts of one column of `table`, in lines of at most `width` characters."""
    width = max(1, width - _mark_width(table, index))
    rows = tuple(
        tuple(
            replace(cell, text="\n".join(wrap.lines(original[index].text, width)))
            if number == index
            else cell
            for number, cell in enumerate(row)
        )
        for row, original in zip(narrow.rows, table.rows, strict=True)
    )
    return replace(narrow, rows=rows)


def _numbered(table: Table, width: int) -> Table:
    """The table with numbers that identify its rows, if its settings leave no room for a figure.

    The settings are then divided into blocks, as the figures are.
    """
    keys = [index for index, column in enumerate(table.columns) if column.is_key]
    figures = [index for index, column in enumerate(table.columns) if not column.is_key]
    widest = max((_width(table, index) + _NARROW_GAP for index in figures), default=0)
    if _body_width(table, keys, _NARROW_GAP) + widest <= width:
        return table
    return replace(
        table,
        columns=(
            Column("row", is_key=True),
            *(replace(column, is_key=False) for column in table.columns),
        ),
        rows=tuple((TableCell(str(number)), *row) for number, row in enumerate(table.rows, 1)),
        header_marks={index + 1: marks for index, marks in table.header_marks.items()},
    )


@dataclass(frozen=True)
class _Layout:
    """The columns of each block, from left to right, and the blanks between columns."""

    blocks: list[list[int]]
    gap: int


def _layout(table: Table, width: int) -> _Layout:
    """The layout for a terminal of `width` characters. No figure is ever cut off or broken.

    On a narrower terminal, the gaps between columns are smaller. On a still narrower one, less
    important columns are left out, and the rest is divided into several blocks below each other.
    Each block begins with the columns that identify a row.
    """
    every = list(range(len(table.columns)))
    if _body_width(table, every, _WIDE_GAP) <= width:
        return _Layout([every], _WIDE_GAP)
    kept = _most_important(table, width)
    keys = [index for index in kept if table.columns[index].is_key]
    blocks: list[list[int]] = [[]]
    for index in (index for index in kept if index not in keys):
        if blocks[-1] and _body_width(table, [*keys, *blocks[-1], index], _NARROW_GAP) > width:
            blocks.append([])
        blocks[-1].append(index)
    return _Layout([[*keys, *block] for block in blocks], _NARROW_GAP)


def _most_important(table: Table, width: int) -> list[int]:
    """The columns that are kept: those that may be left out are removed until the rest fits."""
    kept = list(range(len(table.columns)))
    while _body_width(table, kept, _NARROW_GAP) > width:
        droppable = [index for index in kept if table.columns[index].drop_order]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda index: table.columns[index].drop_order))
    return kept


def _body_width(table: Table, kept: Sequence[int], gap: int) -> int:
    return sum(_width(table, index) + gap for index in kept) - 1  # see _body
