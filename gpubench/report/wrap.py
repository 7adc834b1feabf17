"""Breaks text into lines. A name that is too long for a line is broken after a separator."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, chop_cells

_PIECES = re.compile(r"[^/.:_,;=@\-]*[/.:_,;=@\-]*")
_SHORT_WORD = 7  # characters: breaking such a word gains less than it hides, as in 0-1 and 4-7,12


def lines(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` characters, broken between words.

    A word that is longer than a line is broken after a character such as / or _, and where it has
    none, anywhere.
    """
    found = [""]
    for is_new_word, piece in _pieces(text, width):
        blank = " " if is_new_word and found[-1] else ""
        if cell_len(found[-1] + blank + piece) <= width or not found[-1]:
            found[-1] += blank + piece
        else:
            found.append(piece)
    return found


def with_short_words(text: str, width: int) -> str:
    """The text with a line break in every word that is longer than `width` characters."""
    return re.sub(
        r"\S+",
        lambda word: word[0] if cell_len(word[0]) <= width else "\n".join(lines(word[0], width)),
        text,
    )


def least_width(text: str) -> int:
    """The width of the longest part of the text that has no good place for a break."""
    parts = (
        part
        for word in text.split()
        for part in ([word] if cell_len(word) <= _SHORT_WORD else _PIECES.findall(word))
    )
    return max(map(cell_len, parts), default=0)


def _pieces(text: str, width: int) -> Iterator[tuple[bool, str]]:
    """(whether a blank stands before it, the piece). No piece is wider than `width`."""
    for word in text.split():
        is_new_word = True
        parts = [word] if cell_len(word) <= width else filter(None, _PIECES.findall(word))
        for part in parts:
            for piece in chop_cells(part, width) if cell_len(part) > width else [part]:
                yield is_new_word, piece
                is_new_word = False
