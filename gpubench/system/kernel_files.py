"""Small text files of the kernel: those in /proc and /sys."""

from __future__ import annotations

from pathlib import Path


def text_of(file: str | Path) -> str:
    """The text of a file. Empty if it does not exist or cannot be read."""
    try:
        return Path(file).read_text(errors="replace")
    except OSError:
        return ""


def number_in(file: Path) -> int | None:
    """The integer that a file holds. None if it holds none, or cannot be read."""
    text = text_of(file).strip()
    return int(text) if text.removeprefix("-").isdecimal() else None
