"""Tables and plots as one HTML page, without scripts and without other files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

from gpubench.report.escape import html
from gpubench.report.table import Table

_STATUSES = ("valid", "suspect", "failed")  # words that have a colour, as on a terminal


def page(
    title: str,
    tables: Sequence[Table],
    plots: Sequence[str] = (),
    remarks: Iterable[str] = (),
    answers: Iterable[str] = (),
) -> str:
    """The whole document, which is also well-formed XML.

    `plots` are <svg> elements with different ids, `remarks` are sentences below them, `answers` are
    sentences above the tables. All other texts are escaped here. A table has at least one fact.
    """
    style = files("gpubench.report").joinpath("page.css").read_text(encoding="utf-8")
    sections = [_table_section(number, table) for number, table in enumerate(tables, start=1)]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>{html(title)} - gpubench</title>
<style>
{style}</style>
</head>
<body>
<h1>{html(title)}</h1>
{_answers(answers)}{"".join(sections)}{_plots_section(plots, remarks)}</body>
</html>
"""


def _table_section(number: int, table: Table) -> str:
    """A table whose caption is its first fact. The other facts are above it."""
    caption, *facts = table.facts
    return f"""<section>
<h2>Table {number}</h2>
{_facts(facts)}<div class="wide">
<table>
<caption>{html(": ".join(caption))}</caption>
<thead>
{_head(number, table)}</thead>
<tbody>
{"".join(_row(number, table, index) for index in range(len(table.rows)))}</tbody>
</table>
</div>
{_notes(number, table)}{_remarks(table.remarks)}</section>
"""


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{html(label)}</dt><dd>{html(fact)}</dd>\n" for label, fact in facts)
    return f"<dl>\n{rows}</dl>\n" if rows else ""


def _head(number: int, table: Table) -> str:
    cells = (
        f'<th scope="col"{_classes(column.align)}>{html(column.title)}'
        f"{_marks(number, table.header_marks.get(index, ()))}</th>"
        for index, column in enumerate(table.columns)
    )
    return f"<tr>{''.join(cells)}</tr>\n"


def _row(number: int, table: Table, index: int) -> str:
    cells = []
    for column, cell in zip(table.columns, table.rows[index], strict=True):
        tag, scope = ("th", ' scope="row"') if column.is_key else ("td", "")
        status = cell.text if cell.text in _STATUSES else ""
        text = html(cell.text) + _marks(number, cell.marks)
        cells.append(f"<{tag}{scope}{_classes(column.align, status)}>{text}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>\n"


def _classes(align: str, status: str = "") -> str:
    names = " ".join(name for name in ("right" if align == "right" else "", status) if name)
    return f' class="{names}"' if names else ""


def _marks(number: int, marks: Iterable[int]) -> str:
    links = ",".join(f'<a href="#{_note_id(number, mark)}">{mark}</a>' for mark in marks)
    return f" <sup>{links}</sup>" if links else ""


def _notes(number: int, table: Table) -> str:
    items = "".join(
        f'<li id="{_note_id(number, note.mark)}"><sup>{note.mark}</sup> {html(note.text)}</li>\n'
        for note in table.notes
    )
    return f'<ul class="notes">\n{items}</ul>\n' if items else ""


def _note_id(number: int, mark: int) -> str:
    return f"table-{number}-note-{mark}"


def _answers(answers: Iterable[str]) -> str:
    return "".join(f"<p>{html(answer)}</p>\n" for answer in answers)


def _remarks(remarks: Iterable[str]) -> str:
    return "".join(f'<p class="remark">{html(remark)}</p>\n' for remark in remarks)


def _plots_section(plots: Sequence[str], remarks: Iterable[str]) -> str:
    figures = "".join(f"<figure>\n{plot}</figure>\n" for plot in plots)
    body = (f'<div class="plots">\n{figures}</div>\n' if figures else "") + _remarks(remarks)
    return f"<section>\n<h2>Plots</h2>\n{body}</section>\n" if body else ""
