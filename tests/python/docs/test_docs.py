"""The pages: links lead to files and headings that exist, and every verdict code is explained."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

import gpubench
from gpubench.monitor.definitions import METRICS

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def prose(page: Path) -> list[str]:
    """The lines of a page without its code blocks."""
    lines, in_code = [], False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            in_code = not in_code
        elif not in_code and not line.startswith("    "):
            lines.append(line)
    return lines


def headings(page: Path) -> list[str]:
    return [line.lstrip("#").strip() for line in prose(page) if re.match("#+ ", line)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in headings(page):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(page: Path) -> list[str]:
    """The targets of links inside this repository. A link may be broken over two lines."""
    text = re.sub(r"`[^`\n]*`", "", "\n".join(prose(page)))
    targets = re.findall(r"\[[^]]*\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match("[a-z]+:", target)]


def is_broken(page: Path, link: str) -> bool:
    name, _, anchor = unquote(link).partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return True
    return bool(anchor) and (target.suffix != ".md" or anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if is_broken(page, link)] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`, three\n"
        "[a](page.md#one-two-three) [b](#one-two-three) [c](#four) [d](gone.md) [e](https://x)\n"
    )
    assert [link for link in links(page) if is_broken(page, link)] == ["#four", "gone.md"]


def verdict_codes() -> set[str]:
    """Every code that the package gives to a `Reason`, read from its source."""
    trees = [ast.parse(file.read_text()) for file in Path(gpubench.__file__).parent.rglob("*.py")]
    constants = dict(pair for tree in trees for pair in text_constants(tree))
    codes = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Reason":
            (code,) = (keyword.value for keyword in node.keywords if keyword.arg == "code")
            if isinstance(code, ast.Name):
                codes.add(constants[code.id])
            else:
                assert isinstance(code, ast.Constant)
                codes.add(str(code.value))
    return codes


def text_constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(name, text) of each NAME = "text" of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for name in node.targets:
                if isinstance(name, ast.Name) and isinstance(node.value.value, str):
                    yield name.id, node.value.value


def test_every_verdict_code_has_a_section() -> None:
    page = ROOT / "docs/verdicts.md"
    sections = [line.removeprefix("### ") for line in prose(page) if line.startswith("### ")]
    assert sorted(sections) == sorted(verdict_codes())


def test_every_section_says_what_it_means_why_the_remedy_and_an_example() -> None:
    text = (ROOT / "docs/verdicts.md").read_text()
    for section in re.split("^### ", text, flags=re.MULTILINE)[1:]:
        body = re.split("^## ", section, flags=re.MULTILINE)[0]
        for part in ("What it means", "How it comes about", "How to get rid of it", "Example"):
            assert f"**{part}" in body, f"{section.splitlines()[0]}: {part}"


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    rows = [
        tuple(cell.strip().replace("`", "") for cell in line.strip("|").split("|"))
        for line in (ROOT / "docs/monitoring.md").read_text().splitlines()
        if line.startswith("| `gpubench_")
    ]
    assert rows == [
        (name, each.kind, ", ".join(each.labels) or "–", each.unit, each.text.replace("`", ""))
        for name, each in METRICS.items()
    ]
