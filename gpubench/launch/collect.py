"""Copies the documents and samples of a run directory into a local one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gpubench.errors import GpubenchError, InputError, cause
from gpubench.files.folder import Folder, open_folder
from gpubench.files.untrusted import MOST_JSON_BYTES
from gpubench.launch.files import LaunchFiles, in_parallel
from gpubench.results.cold_result import parse_cold
from gpubench.results.result import parse_result
from gpubench.results.run_directory import COLD, MOST_SAMPLE_BYTES, SEARCH, open_run
from gpubench.results.search_result import parse_search


@dataclass
class Collected:
    copied: int  # documents
    kept: int  # documents that were there before
    problems: list[str]  # a line for each document that was not copied


def collect(url: str, output: Path) -> Collected:
    """Copy what is measured. The samples of a cell come first.

    What `output` has is kept, except cells that failed, were interrupted or are damaged there: they
    may have been measured again. Raises InputError if there is nothing at `url`, and GpubenchError
    if `output` cannot be written.
    """
    source, target = open_folder(url), open_folder(str(output))
    names = LaunchFiles(url).names()
    if not names:
        raise InputError(f"{url} is not a directory; give the --output of a launch")
    documents = [name for name in names if name.endswith(".json") and not name.startswith(".")]
    try:
        target.create()
        kept = _complete(str(output), set(documents).intersection(target.names()))
        wanted = [name for name in documents if name not in kept]
        problems = in_parallel(lambda name: _copy(source, target, name), wanted)
    except OSError as error:
        raise GpubenchError(f"{output} cannot be written: {cause(error)}") from error
    found = [problem for problem in problems if problem is not None]
    return Collected(len(problems) - len(found), len(kept), found)


def _complete(folder: str, names: set[str]) -> set[str]:
    """Those of these documents that need not be copied again."""
    others = {name for name in names if name.startswith((SEARCH, COLD))}
    keys = [name.removesuffix(".json") for name in names - others]
    return others | {f"{key}.json" for key in open_run(folder).stored(keys)}


def _copy(source: Folder, target: Folder, name: str) -> str | None:
    """Why a document and its samples were not copied; None if they were. Raises OSError."""
    origin = f"{source.url}/{name}"
    try:
        document = source.read(name, MOST_JSON_BYTES)
        digest = _digest_of_samples(name, document, origin)
    except InputError as error:
        return str(error)
    except Exception as error:
        return f"{origin} cannot be read: {cause(error)}"
    if digest is not None:
        samples = f"{name.removesuffix('.json')}.parquet"
        try:
            data = source.read(samples, MOST_SAMPLE_BYTES)
        except Exception as error:
            return f"{source.url}/{samples} cannot be read: {cause(error)}"
        if hashlib.sha256(data).hexdigest() != digest:
            return f"{source.url}/{samples} is not the file that was written with {name}"
        target.write(samples, data)
    target.write(name, document)
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
