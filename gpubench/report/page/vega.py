"""Vega, Vega-Lite and Vega-Embed as one script, which the page contains."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from gpubench import cache

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def vega_script() -> str:
    """The script. It is made once (3 s), and then comes from the cache of gpubench."""

    def write(path: Path) -> None:
        import vl_convert

        path.write_text(_closed(vl_convert.javascript_bundle(_SNIPPET)), encoding="utf-8")

    origin: dict[str, object] = {"vl-convert-python": version("vl-convert-python"), "of": _SNIPPET}
    place = cache.entry("vega", origin, ".js")
    if not place.exists():
        place = cache.save(place, write)
    return place.read_text(encoding="utf-8")


def _closed(script: str) -> str:
    """The same script, without a text that would end its element or begin a comment in it."""
    return re.sub("<(?=!--|/?script)", r"\\x3c", script, flags=re.IGNORECASE)
