"""Tables as Markdown, for example for a README."""

from __future__ import annotations

from collections.abc import Iterable

from gpubench.report import escape
from gpubench.report.table import Table, TableCell, superscript


def text(tables: Iterable[Table]) -> str:
    return "\n".join(_one(table) for table in tables)


def _one(table: Table) -> str:
    facts = "".join(
        f"**{escape.markdown(label)}**: {escape.markdown(fact)}  \n" for label, fact in table.facts
    )
    notes = "".join(
        f"{superscript([note.mark])} {escape.markdown(note.text)}  \n" for note in table.notes
    )
    remarks = "".join(f"{escape.markdown(remark)}  \n" for remark in table.remarks)
    blocks = [facts, _body(table), notes, remarks]
    return "\n".join(block for block in blocks if block)


def _body(table: Table) -> str:
    grid = [
        [
            _cell(TableCell(column.title, table.header_marks.get(index, ())))
            for index, column in enumerate(table.columns)
        ],
        *([_cell(cell) for cell in row] for row in table.rows),
    ]
    widths = [max(3, *(len(row[index]) for row in grid)) for index in range(len(table.columns))]
    right = [column.align == "right" for column in table.columns]

    def line(cells: list[str]) -> str:
        padded = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(cells, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |\n"

    rule = [
        "-" * (width - 1) + ":" if is_right else "-" * width
        for width, is_right in zip(widths, right, strict=True)
    ]
    return line(grid[0]) + line(rule) + "".join(line(row) for row in grid[1:])


def _cell(cell: TableCell) -> str:
    marks = f" {superscript(cell.marks)}" if cell.marks else ""
    return escape.markdown(cell.text) + marks
