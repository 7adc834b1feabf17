"""The formats of files that reports are written in, and the suffixes that stand for them."""

from __future__ import annotations

FORMAT_OF_SUFFIX = {
    ".md": "markdown",
    ".html": "html",
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".svg": "svg",
    ".png": "png",
    ".txt": "terminal",
}
