"""A page as a tree, for tests of what is on it."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element


def page_tree(page: str) -> Element:
    """The page parsed as XML, which fails if a tag is not closed or a text is not escaped.

    Scripts and the style sheet, which are no XML, are left out.
    """
    _, _, document = page.partition("<!DOCTYPE html>")
    return ElementTree.fromstring(
        re.sub(r"(<(script|style)[^>]*>).*?(</\2>)", r"\1\3", document, flags=re.DOTALL)
    )


def page_data(page: str) -> Any:
    """What the page hands to its script."""
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(data)


def text(node: Element) -> str:
    return "".join(node.itertext())


def of_class(tree: Element, name: str) -> list[Element]:
    return [node for node in tree.iter() if name in node.get("class", "").split()]
