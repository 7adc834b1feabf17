"""A table as a plain value, without any layout. Renderers turn it into text or HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class Column:
    title: str
    align: Literal["left", "right"] = "right"
    # If a terminal is too narrow, the column with the highest number is left out first.
    drop_order: int = 0  # 0: never left out
    is_key: bool = False  # one of the columns that identify a row


@dataclass(frozen=True)
class TableCell:
    text: str
    marks: tuple[int, ...] = ()  # numbers of the table's notes


@dataclass(frozen=True)
class Note:
    mark: int
    text: str


@dataclass(frozen=True)
class Table:
    """Facts about all rows, the rows, and the notes to which their marks refer."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    facts: tuple[tuple[str, str], ...] = ()  # (label, text), above the table
    notes: tuple[Note, ...] = ()
    remarks: tuple[str, ...] = ()  # sentences below it
    header_marks: dict[int, tuple[int, ...]] = field(default_factory=dict)  # by column


@dataclass(frozen=True)
class DraftCell:
    """A cell whose notes have no numbers yet."""

    text: str
    notes: tuple[str, ...] = ()


def make_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[DraftCell]],
    facts: Iterable[tuple[str, str]] = (),
    remarks: Iterable[str] = (),
) -> Table:
    """A table whose notes have numbers: first those of titles, then in reading order.

    A note that all cells of a column have moves to the title of the column.
    """
    drafts = [tuple(row) for row in rows]
    numbers: dict[str, int] = {}

    def marks(notes: Iterable[str]) -> tuple[int, ...]:
        return tuple(numbers.setdefault(note, len(numbers) + 1) for note in notes)

    shared = [_shared_notes([row[index] for row in drafts]) for index in range(len(columns))]
    header_marks = {index: marks(notes) for index, notes in enumerate(shared) if notes}
    numbered = tuple(
        tuple(
            TableCell(draft.text, marks(note for note in draft.notes if note not in shared[index]))
            for index, draft in enumerate(row)
        )
        for row in drafts
    )
    return Table(
        columns=tuple(columns),
        rows=numbered,
        facts=tuple(facts),
        notes=tuple(Note(number, text) for text, number in numbers.items()),
        remarks=tuple(remarks),
        header_marks=header_marks,
    )


def with_texts(table: Table, written: Callable[[str], str]) -> Table:
    """The table with every text replaced by what `written` returns for it."""
    return replace(
        table,
        columns=tuple(replace(column, title=written(column.title)) for column in table.columns),
        rows=tuple(
            tuple(replace(cell, text=written(cell.text)) for cell in row) for row in table.rows
        ),
        facts=tuple((written(label), written(fact)) for label, fact in table.facts),
        notes=tuple(replace(note, text=written(note.text)) for note in table.notes),
        remarks=tuple(map(written, table.remarks)),
    )


def superscript(marks: Sequence[int]) -> str:
    """The footnote marks behind a figure: '¹' or '²,³'."""
    return ",".join(map(str, marks)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _shared_notes(cells: Sequence[DraftCell]) -> tuple[str, ...]:
    """The notes that all of several cells have in common."""
    if len(cells) < 2:
        return ()
    return tuple(note for note in cells[0].notes if all(note in cell.notes for cell in cells))
