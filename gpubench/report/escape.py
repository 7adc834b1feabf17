"""Escapes the texts of results for each kind of output.

A result document may come from somebody else. So all names and messages in it pass through one of
these functions before they are written: `terminal`, `markdown`, `csv_field`, `html`, `json_text`.
The file imports no other file of gpubench, so that every command can use it.
"""

from __future__ import annotations

import unicodedata
from html import escape as _escape_html

LONGEST = 2000  # characters of a text; a longer text loses its middle

# Characters that nobody sees, or that change how others are shown: control characters (escape
# sequences begin with one), marks of text direction, characters without width, unusual line ends,
# and halves of a character.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKDOWN = "\\`*_|<>[]!&~"


def terminal(text: str) -> str:
    """For a terminal, a log, and stderr: without control characters and direction marks."""
    text = _shortened(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def markdown(text: str) -> str:
    """For a cell or a sentence in Markdown, so that nothing becomes markup, a link or an image."""
    text = " ".join(terminal(text).split())
    for character in _MARKDOWN:
        text = text.replace(character, f"\\{character}")
    # GitHub turns bare addresses into links.
    return text.replace("://", ":\\//").replace("www.", "www\\.")


def csv_field(value: str | int | float | bool | None) -> str | int | float | None:
    """For a field of CSV. A text that a spreadsheet would take for a formula gets a ' in front."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = terminal(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA_STARTS else text


_FORMULA_STARTS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")


def html(text: str) -> str:
    """For HTML and SVG: escaped, without characters that XML does not allow."""
    return _escape_html(terminal(text))


def json_text(text: str) -> str:
    """A JSON document with the same content, in which all invisible characters are escaped."""
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
    """The character itself, a blank for white space, or its code: \\x1b, \\u202e."""
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
