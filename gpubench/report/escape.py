"""The one writer of text for people: what results say, made harmless for each kind of output.

A result document may come from somebody else. Its names and messages pass through one of these
functions on their way out, and through nothing else: `terminal`, `markdown`, `csv_field`, `html`,
`json_text`. Imports nothing, so that every command can use it.
"""

from __future__ import annotations

import unicodedata
from html import escape as _escape_html

LONGEST = 2000  # characters of one text; of a longer one the middle is left out

# Characters that change how others are read: controls (escape sequences begin with one), marks that
# turn the direction of text, what has no width, line ends that are none, halves of a character.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKDOWN = "\\`*_|<>[]!&~"


def terminal(text: str) -> str:
    """For a terminal, a log, and the error stream: no control reaches it, nothing reorders it."""
    text = _shortened(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def markdown(text: str) -> str:
    """For a cell or a sentence in Markdown: nothing in it is read as markup, link or image."""
    text = " ".join(terminal(text).split())
    for character in _MARKDOWN:
        text = text.replace(character, f"\\{character}")
    # GitHub turns bare addresses into links.
    return text.replace("://", ":\\//").replace("www.", "www\\.")


def csv_field(value: str | int | float | bool | None) -> str | int | float | None:
    """For a field of CSV: a text that a spreadsheet would run as a formula gets a ' before it."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = terminal(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA_STARTS else text


_FORMULA_STARTS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")


def html(text: str) -> str:
    """For HTML and SVG, which are XML too: escaped, without characters that XML does not have."""
    return _escape_html(terminal(text))


def json_text(text: str) -> str:
    """A JSON document with the same content, in which no character is one that nobody sees."""
    if text.isascii():
        return text
    return "".join(
        character if character == "\n" or not _is_unseen(character) else _json_escape(character)
        for character in text
    )


def _shortened(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    half = (LONGEST - 60) // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]} [... {left_out:,} characters left out ...] {text[-half:]}"


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _visible(character: str) -> str:
    """As it is, a blank for a blank or a line end, or its number: \\x1b, \\u202e."""
    if character in "\t\n\r\v\f\x85\u2028\u2029":
        return " "
    if not _is_unseen(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
    return "".join(f"\\u{pair}" for pair in pairs)
