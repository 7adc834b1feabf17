"""Expected output kept in files, so that a change of it is read by a person.

To accept a change: GPUBENCH_UPDATE_GOLDEN=1 pytest, then look at the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "data" / "golden"


def assert_golden(name: str, text: str) -> None:
    """The text equals tests/data/golden/NAME, blanks at line ends aside."""
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    path = _FOLDER / name
    if os.environ.get("GPUBENCH_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
