"""The page in a real browser: nothing leaves it, and everything on it works."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import PHONE, browser, draw_charts, open_page
from factories import DRIFT, failed, samples
from page_tree import page_data
from planning_results import open_loop, written
from playwright.sync_api import Browser, Page
from swept_cells import sweep

from gpubench.cli.program import main
from gpubench.results.result import Result

__all__ = ["browser"]  # a fixture


def written_page(folder: Path, cells: list[Result]) -> Path:
    measured = samples(1000) if len(cells) <= 40 else None
    run = written(folder / "run", *cells, measured=measured)
    file = folder / "page.html"
    assert main(["report", run, "--title", "A sweep", "--output", str(file)]) == 0
    return file


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    counts = (1, 40, 500)
    return {n: written_page(tmp_path_factory.mktemp(f"p{n}"), sweep(n)) for n in counts}


@pytest.fixture
def page(browser: Browser, pages: dict[int, Path]) -> Iterator[Page]:
    with open_page(browser, pages[40]) as opened:
        yield opened


def shown(page: Page, column: str) -> list[str]:
    """The visible texts of a column of the table."""
    titles = page.locator("thead th button").all_inner_texts()
    number = titles.index(column) + 1
    cells = page.locator(f".sheet tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def choose(page: Page, name: str, option: str) -> None:
    """Choose an option of a list above the first table."""
    lists = page.get_by_role("combobox", name=name, exact=True)
    lists.first.select_option(label=option)


def test_the_page_of_500_cells_is_smaller_than_3_mb(pages: dict[int, Path]) -> None:
    assert pages[500].stat().st_size < 3e6


def test_the_slider_changes_the_answer(page: Page, pages: dict[int, Path]) -> None:
    data = page_data(pages[40].read_text())["answers"]
    slider = page.get_by_role("slider")
    settings = set()
    for number in (0, len(data["steps"]) // 2, len(data["steps"]) - 1):
        slider.fill(str(number))
        answer = data["answers"][data["steps"][number]["answers"][0]]
        assert page.locator("output").inner_text() == data["steps"][number]["text"]
        assert page.locator(".answer .sentence").inner_text() == answer["sentence"]
        figures = page.locator(".answer dd").all_inner_texts()
        assert figures == [text for _, text in answer["figures"]]
        settings.add(answer["setting"])
    assert len(settings) == 3


def test_a_key_moves_the_slider(page: Page) -> None:
    slider = page.get_by_role("slider")
    before = page.locator("output").inner_text()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("output").inner_text() != before
    assert slider.get_attribute("aria-valuetext") == page.locator("output").inner_text()


def test_a_header_sorts_by_its_figures_and_absent_ones_are_last(page: Page) -> None:
    header = page.get_by_role("columnheader", name="rate /s")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    rates = shown(page, "rate /s")
    numbers = [float(rate) for rate in rates if rate != "–"]
    assert numbers == sorted(numbers)
    assert rates[len(numbers) :] == ["–"] * (len(rates) - len(numbers)) != []
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert shown(page, "rate /s") == [*map("{:g}".format, numbers[::-1]), *rates[len(numbers) :]]


def test_filters_and_the_search_leave_the_rows_that_fit(page: Page) -> None:
    count = page.locator(".count")
    assert count.inner_text() == "40 rows"
    assert count.get_attribute("aria-live") == "polite"
    choose(page, "runtime", "onnxruntime")
    assert set(shown(page, "runtime")) == {"onnxruntime"}
    page.get_by_label("Search").fill("BF16  suspect")
    assert set(shown(page, "precision")) == {"bf16"}
    verdicts = shown(page, "verdict")
    assert set(verdicts) == {"suspect"}
    assert count.inner_text() == f"{len(verdicts)} of 40 rows"


def test_csv_has_the_rows_that_are_shown(page: Page) -> None:
    choose(page, "runtime", "torchscript")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    assert download.value.suggested_filename == "A sweep - gpubench.csv"
    rows = list(csv.DictReader(StringIO(Path(download.value.path()).read_text())))
    assert [row["runtime"] for row in rows] == shown(page, "runtime")
    assert {row["verdict"] for row in rows} == {"valid", "suspect"}
    assert "" in {row["rate /s"] for row in rows}


def test_a_verdict_unfolds_to_its_remedies(page: Page) -> None:
    verdict = page.locator("tbody details", has_text=DRIFT.code).first
    assert DRIFT.remedy not in verdict.inner_text()
    verdict.locator("summary").click()
    assert DRIFT.remedy in verdict.inner_text()


def points(page: Page, chart: str) -> list[str]:
    """The places of the points of a chart."""
    drawn = page.locator("figure", has_text=chart).locator("svg.marks .mark-symbol.role-mark path")
    found: list[str] = drawn.evaluate_all("(all) => all.map((p) => p.getAttribute('transform'))")
    return found


def test_every_cell_is_a_point_and_the_slider_moves_the_line_of_the_objective(page: Page) -> None:
    assert draw_charts(page) <= 6
    assert len(points(page, "P95 latency against throughput")) >= 40
    lines = page.locator("figure").first.locator("svg.marks line[stroke-dasharray='6,4']")
    places = "(all) => all.map((line) => line.getAttribute('transform'))"
    before = lines.evaluate_all(places)
    assert before
    page.get_by_role("slider").press("ArrowLeft")
    page.wait_for_function(
        "(before) => !document.documentElement.innerHTML.includes(before)", arg=before[0]
    )


def test_the_requests_are_those_of_the_chosen_cell(page: Page) -> None:
    draw_charts(page)
    figure = page.locator("figure", has_text="Requests of one cell")
    choice = figure.get_by_role("combobox")
    assert choice.locator("option").count() == 40
    row = page.locator(".sheet tbody tr").nth(7)
    row.get_by_role("button", name="requests").click()
    assert choice.input_value() == "8"
    chosen = choice.locator("option:checked").inner_text()
    figure.locator("svg.marks text", has_text=chosen).wait_for()


def test_a_chart_has_its_rows_as_a_table(page: Page) -> None:
    figure = page.locator("figure").first
    figure.get_by_text("The rows of this chart as a table").click()
    assert figure.locator("table tbody tr").count() == 40
    assert "throughput" in figure.locator("th").all_inner_texts()


def test_a_chart_is_saved_as_a_light_picture(browser: Browser, pages: dict[int, Path]) -> None:
    with open_page(browser, pages[40], dark=True) as page:
        draw_charts(page)
        figure = page.locator("figure").first
        figure.locator("summary[aria-label='Save this chart']").click()
        with page.expect_download() as download:
            figure.get_by_text("Save as SVG").click()
        assert 'fill="#ffffff"' in Path(download.value.path()).read_text()


def test_two_runs_have_a_page_with_their_ratios(browser: Browser, tmp_path: Path) -> None:
    a = written(tmp_path / "a", *sweep(40))
    b = written(tmp_path / "b", *(each for each in sweep(40) if each.spec.batch < 8))
    file = tmp_path / "page.html"
    assert main(["compare", a, b, "--output", str(file)]) == 0
    with open_page(browser, file) as page:
        assert draw_charts(page) == 1
        assert page.locator("svg.marks .mark-symbol.role-mark path").count() > 0
        assert page.locator(".sheet").count() == 1


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("dark", [False, True])
def test_no_accessibility_fault_is_found(
    browser: Browser, pages: dict[int, Path], count: int, dark: bool
) -> None:
    with open_page(browser, pages[count], dark=dark) as page:
        draw_charts(page)
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_on_a_phone_the_first_screen_has_the_figures_and_nothing_is_cut_off(
    browser: Browser, pages: dict[int, Path]
) -> None:
    with open_page(browser, pages[500], width=PHONE, height=844) as page:
        for label in ("inferences /s", "P95 ms", "$/million", "verdict"):
            box = page.locator(".answer dt", has_text=label).first.bounding_box()
            assert box is not None
            assert box["y"] + 50 < 844
        draw_charts(page)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE
        card = page.locator("tbody tr").first
        for title in ("inferences /s", "P95 ms", "verdict"):
            box = card.locator(f"[data-label='{title}']").bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE
        choose(page, "Sort by", "P95 ms ↑")
        column = page.locator(".sheet").first.locator("[data-label='P95 ms']").all_inner_texts()
        figures = [float(text.split()[-1].replace(",", "")) for text in column]
        assert figures[0] == min(figures)


def test_hostile_texts_are_shown_and_do_nothing(browser: Browser, tmp_path: Path) -> None:
    message = "</script><img src=x onerror=alert(1)><b>=1+1</b> ${1} {{ 1 }}"
    cells = [open_loop(20.0, 60.0, 70.0), failed(message), failed("=cmd|' /C calc'!A0", batch=2)]
    for cell in cells:
        cell.spec = cell.spec.model_copy(update={"weights": "=1+1<b>"})
    with open_page(browser, written_page(tmp_path, cells)) as page:
        for verdict in page.locator("tbody summary").all():
            verdict.click()
        assert message in " ".join(page.locator("tbody").all_inner_texts())
        assert page.locator("img, main b").count() == 0
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as CSV").first.click()
        for row in csv.reader(StringIO(Path(download.value.path()).read_text())):
            assert not any(field.startswith(("=", "+", "@")) for field in row)


def test_the_page_prints_without_its_tools(browser: Browser, pages: dict[int, Path]) -> None:
    with open_page(browser, pages[40], dark=True) as page:
        page.emulate_media(media="print")
        assert not page.get_by_label("Search").is_visible()
        assert not page.get_by_role("slider").is_visible()
        assert page.locator("tbody tr:visible").count() == 40
        background = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(background) == "rgb(255, 255, 255)"
