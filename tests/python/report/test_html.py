"""The HTML page of a report."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from factories import DRIFT, WRONG_ANSWERS, failed, quick_start, result
from golden import assert_golden

from gpubench.report import html
from gpubench.report.results import result_tables
from gpubench.results.result import Failure, Result


def parsed(results: list[Result], plots: list[str] | None = None) -> Element:
    """The page parsed as XML, which fails if a tag is not closed or a text not escaped."""
    return ElementTree.fromstring(html.page("results/x", result_tables(results), plots or []))


def text(node: Element) -> str:
    return "".join(node.itertext())


def test_the_page_of_the_quick_start() -> None:
    assert_golden("quick_start.html", html.page("results/quickstart", result_tables(quick_start())))


def test_every_result_has_its_row_and_every_table_its_caption() -> None:
    cells = [*quick_start(), failed(batch=64)]
    [table] = parsed(cells).iter("table")
    [caption] = table.iter("caption")
    assert text(caption).startswith("machine: 2 cores of Intel(R) Xeon(R)")
    rows = [[text(cell) for cell in row] for row in table.findall("tbody/tr")]
    [shown] = result_tables(cells)
    assert len(rows) == len(cells)
    assert [row[0] for row in rows] == [row[0].text for row in shown.rows]
    assert {len(row) for row in rows} == {len(shown.columns)}


def test_settings_of_all_cells_are_above_the_table() -> None:
    page = parsed(quick_start())
    facts = dict(zip(map(text, page.iter("dt")), map(text, page.iter("dd")), strict=True))
    assert set(facts) == {"software", "all cells", "prices"}
    assert "c7i.xlarge $0.1785/h" in facts["prices"]


def test_every_mark_leads_to_its_note_with_the_remedy() -> None:
    page = parsed([*quick_start(), result(reasons=(DRIFT,), batch=8)])
    links = {link.attrib["href"] for link in page.iter("a")}
    notes = {f"#{item.attrib['id']}": text(item) for item in page.iter("li")}
    assert links == set(notes)
    assert any(DRIFT.remedy in note for note in notes.values())


def test_figures_stand_to_the_right_and_a_verdict_has_its_colour() -> None:
    page = parsed([result(), result(batch=2, reasons=(WRONG_ANSWERS,)), failed(batch=4)])
    [table] = page.iter("table")
    classes = [cell.get("class") for row in table.findall("tbody/tr") for cell in row[-2:]]
    assert classes == ["right", "valid", "right", "suspect", "right", "failed"]


def test_markup_in_a_message_stays_text() -> None:
    message = '<script>alert("x")</script> & co'
    cells = [result(None, None, error=Failure(stage="load", message=message))]
    page = html.page("a & <b>", result_tables(cells))
    assert "<script" not in page
    assert message in text(ElementTree.fromstring(page))
    assert text(next(ElementTree.fromstring(page).iter("h1"))) == "a & <b>"


def test_the_page_needs_no_other_file() -> None:
    page = html.page("x", result_tables(quick_start()))
    for reference in ("src=", "@import", "url(", "<link", "<script", 'href="http'):
        assert reference not in page


def test_a_page_without_plots_says_why() -> None:
    said = html.page("x", result_tables(quick_start()), [], ["No plot of <x>."])
    assert '<p class="remark">No plot of &lt;x&gt;.</p>' in said
    assert "<figure>" not in said
