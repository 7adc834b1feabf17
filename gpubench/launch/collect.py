"""Copies the documents and samples of a run directory into a local one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gpubench.errors import GpubenchError, InputError, first_line
from gpubench.files.folder import Folder, open_folder
from gpubench.files.untrusted import MOST_JSON_BYTES
from gpubench.launch.files import in_parallel
from gpubench.results.cold_result import parse_cold
from gpubench.results.result import parse_result
from gpubench.results.run_directory import COLD, MOST_SAMPLE_BYTES, SEARCH
from gpubench.results.search_result import parse_search


@dataclass
class Collected:
    copied: int  # documents
    kept: int  # documents that were there before
    problems: list[str]  # a line for each document that was not copied


def collect(url: str, output: Path) -> Collected:
    """Copy what is measured. The samples of a cell come first, and nothing is overwritten.

    Raises InputError if there is no directory at `url`, and GpubenchError if `output` cannot be
    written.
    """
    source, target = open_folder(url), open_folder(str(output))
    try:
        names = source.names() if source.exists() else None
        there = set(target.names()) if target.exists() else set()
    except Exception as error:  # object stores have exceptions of their own
        raise InputError(f"{url} cannot be read: {first_line(error)}") from None
    if names is None:
        raise InputError(f"{url} is not a directory; give the --output of a launch")
    documents = [name for name in names if name.endswith(".json") and not name.startswith(".")]
    try:
        target.create()
        problems = in_parallel(
            lambda name: _copy(source, target, name),
            [name for name in documents if name not in there],
        )
    except OSError as error:
        raise GpubenchError(f"{output} cannot be written: {error.strerror or error}") from error
    found = [problem for problem in problems if problem is not None]
    kept = sum(name in there for name in documents)
    return Collected(len(problems) - len(found), kept, found)


def _copy(source: Folder, target: Folder, name: str) -> str | None:
    """Why a document and its samples were not copied; None if they were. Raises OSError."""
    origin = f"{source.url}/{name}"
    try:
        document = source.read(name, MOST_JSON_BYTES)
        digest = _digest_of_samples(name, document, origin)
    except InputError as error:
        return str(error)
    except Exception as error:
        return f"{origin} cannot be read: {first_line(error)}"
    if digest is not None:
        samples = f"{name.removesuffix('.json')}.parquet"
        try:
            data = source.read(samples, MOST_SAMPLE_BYTES)
        except Exception as error:
            return f"{source.url}/{samples} cannot be read: {first_line(error)}"
        if hashlib.sha256(data).hexdigest() != digest:
            return f"{source.url}/{samples} is not the file that was written with {name}"
        target.write(samples, data)
    try:
        target.write(name, document, replace=False)
    except FileExistsError:  # another process has copied it meanwhile
        return None
    return None


def _digest_of_samples(name: str, document: bytes, origin: str) -> str | None:
    """The digest of the sample file that belongs to a document; None if it has none.

    Raises InputError if the document is damaged.
    """
    try:
        text = document.decode()
    except UnicodeDecodeError:
        raise InputError(f"{origin} is not text") from None
    if name.startswith(SEARCH):
        parse_search(text, origin)
    elif name.startswith(COLD):
        parse_cold(text, origin)
    elif (written := parse_result(text, origin).sample_file) is not None:
        return written.sha256
    return None
