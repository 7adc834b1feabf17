"""A headless Chromium for tests of pages, and for pictures of them:

python tests/python/browser.py PAGE.html PICTURE.png [--dark] [--width 390] [--height 844] [--full]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from programs import program

HEIGHT = 800  # px
PHONE = 390  # px


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # In a container Chromium often has no sandbox and little shared memory.
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Each module has its own, because an open one blocks asyncio in other tests."""
    with chromium(program("chromium", "chromium")) as opened:
        yield opened


@contextmanager
def open_page(
    browser: Browser, file: Path, *, dark: bool = False, width: int = 1280, height: int = HEIGHT
) -> Iterator[Page]:
    """The page of a file. Fails if it says anything on the console or requests anything."""
    said: list[str] = []
    requested: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
    )
    page = context.new_page()
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(file.as_uri())
    yield page
    assert said == []
    others = [url for url in requested if not url.startswith((file.as_uri(), "blob:", "data:"))]
    assert others == []
    context.close()


def draw_charts(page: Page) -> int:
    """Wait until every chart of the page is drawn; returns how many there are."""
    page.evaluate("document.querySelectorAll('figure').forEach((f) => draw(+f.dataset.chart))")
    count = page.locator("figure").count()
    page.wait_for_function("(n) => document.querySelectorAll('.drawn').length === n", arg=count)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--full", action="store_true", help="the whole page, not only what fits")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=HEIGHT)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    asked = parser.parse_args()
    size = {"width": asked.width, "height": asked.height}
    with (
        chromium(asked.chromium) as opened,
        open_page(opened, asked.page.resolve(), dark=asked.dark, **size) as page,
    ):
        draw_charts(page)
        page.screenshot(path=asked.picture, full_page=asked.full)


if __name__ == "__main__":
    main()
