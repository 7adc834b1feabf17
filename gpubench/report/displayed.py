"""Results, searches, plans and comparisons as a notebook and `print` show them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from gpubench.planning.compare import Comparison, Pair
from gpubench.planning.decision import DeploymentPlan
from gpubench.planning.documents import Documents
from gpubench.planning.search_repeats import combined_searches
from gpubench.report import escape, terminal
from gpubench.report.cold import cold_tables
from gpubench.report.comparison import wide_table
from gpubench.report.comparison_sentences import headline
from gpubench.report.latency import DEFAULT_PERCENTS
from gpubench.report.plan import plan_tables
from gpubench.report.plan_sentences import sentences
from gpubench.report.results import result_tables
from gpubench.report.search import search_tables
from gpubench.report.search_sweep import by_objective, sweep_tables
from gpubench.report.sizes import size_tables
from gpubench.report.table import Table, TableCell
from gpubench.results.cold_result import ColdResult
from gpubench.results.result import Result
from gpubench.results.search_result import SearchResult
from gpubench.statistics.percentiles import Percent


def html(shown: object) -> str:
    """Sentences and tables as a piece of HTML, for a notebook. All texts are escaped."""
    said, tables = _parts(shown)
    paragraphs = "".join(f"<p><b>{escape.html(each)}</b></p>\n" for each in said)
    return f"<div>\n{paragraphs}{''.join(map(_html_table, tables))}</div>\n"


def text(shown: object) -> str:
    """The same as plain text, in the width of the terminal."""
    said, tables = _parts(shown)
    above = "".join(f"{escape.terminal(each)}\n\n" for each in said)
    return (above + terminal.text(tables, terminal.shown_width())).rstrip("\n")


def document_tables(
    results: Sequence[Result],
    searches: Sequence[SearchResult] = (),
    cold: Sequence[ColdResult] = (),
    *,
    each_repeat: bool = False,
    percents: Sequence[Percent] = DEFAULT_PERCENTS,
) -> list[Table]:
    """The tables of everything in a run directory. The repeats of searches are combined already."""
    tables = result_tables(results, each_repeat=each_repeat, percents=percents)
    tables += size_tables(results)
    for group in by_objective(searches):
        tables += sweep_tables(group) if len(group) > 1 else search_tables(group[0])
    return [*tables, *cold_tables(cold)]


Parts = tuple[list[str], list[Table]]  # sentences, and the tables below them


@singledispatch
def _parts(shown: object) -> Parts:
    documents = getattr(shown, "documents", None)
    if not isinstance(documents, Documents):
        raise TypeError(f"a {type(shown).__name__} has no tables")
    return _of_documents(documents)


def _of_documents(shown: Documents) -> Parts:
    """What `gpubench.load` returns stands above this file."""
    return [], tables_of(shown)


def tables_of(documents: Documents, each_repeat: bool = False) -> list[Table]:
    """The tables of everything that was loaded."""
    results = [result for _, result in documents.cells]
    searches = combined_searches((place.name, found) for place, found in documents.searches)
    cold = [found for _, found in documents.cold]
    return document_tables(results, searches, cold, each_repeat=each_repeat)


@_parts.register
def _of_result(shown: Result) -> Parts:
    failed = [f"{shown.error.stage}: {shown.error.message}"] if shown.error else []
    return failed, document_tables([shown])


@_parts.register
def _of_search(shown: SearchResult) -> Parts:
    tables = search_tables(shown)
    failed = [f"{shown.error.stage}: {shown.error.message}"] if shown.error else []
    return failed or ([] if tables else [shown.note or "no probe was measured"]), tables


@_parts.register
def _of_cold(shown: ColdResult) -> Parts:
    return [], document_tables([], cold=[shown])


@_parts.register
def _of_plan(shown: DeploymentPlan) -> Parts:
    return sentences(shown), plan_tables(shown)


@_parts.register
def _of_comparison(shown: Comparison) -> Parts:
    return [headline(shown, "A", "B")], [wide_table(shown, "A", "B")]


@_parts.register
def _of_pair(shown: Pair) -> Parts:
    return _of_comparison(Comparison((shown,), (), ()))


def _html_table(table: Table) -> str:
    lines = [f"{escape.html(label)}: {escape.html(fact)}" for label, fact in table.facts]
    facts = f"<p><small>{'<br>'.join(lines)}</small></p>\n" if lines else ""
    align = [f' style="text-align: {column.align}"' for column in table.columns]
    head = "".join(
        f'<th scope="col"{style}>{_html_cell(column.title, table.header_marks.get(index, ()))}</th>'
        for index, (column, style) in enumerate(zip(table.columns, align, strict=True))
    )
    rows = "".join(f"<tr>{_html_row(row, align)}</tr>\n" for row in table.rows)
    below = [f"<sup>{note.mark}</sup> {escape.html(note.text)}" for note in table.notes]
    below += map(escape.html, table.remarks)
    notes = f"<p><small>{'<br>'.join(below)}</small></p>\n" if below else ""
    body = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>"
    return f"{facts}<table>\n{body}\n</table>\n{notes}"


def _html_row(row: Sequence[TableCell], align: Sequence[str]) -> str:
    cells = zip(row, align, strict=True)
    return "".join(f"<td{style}>{_html_cell(cell.text, cell.marks)}</td>" for cell, style in cells)


def _html_cell(text: str, marks: Sequence[int]) -> str:
    return escape.html(text) + (f"<sup>{','.join(map(str, marks))}</sup>" if marks else "")
