"""Documents from anywhere: a run directory, or a JSON file with one document or a list of them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from gpubench.errors import InputError
from gpubench.files.folder import open_folder
from gpubench.files.untrusted import MOST_JSON_BYTES, parse_json, read_regular
from gpubench.results.cold_result import ColdResult, parse_cold
from gpubench.results.result import Result, parse_result
from gpubench.results.run_directory import Contents, RunDirectory, open_run
from gpubench.results.search_result import SearchResult, parse_search


def read_contents(path: str | Path) -> Contents:
    """Everything at a path or URL. Raises InputError as `open_results` does, and if it is empty."""
    return open_results(path).read_all(searches=True, cold=True)


def open_results(path: str | Path) -> RunDirectory:
    """A run directory, or a JSON file as a command wrote it, which is read as if it were one.

    The name of a document of a file is that of the file, without the suffix. In a list, its place
    (from 1) follows. Raises InputError for a URL that cannot be used from here, and for a file that
    cannot be read.
    """
    file = Path(path)
    if "://" in str(path) or not str(path).strip():
        return open_run(path)
    with suppress(OSError):  # the name is too long; open_run says so
        if not file.is_dir() and (file.suffix.lower() == ".json" or file.exists()):
            return _File(file)
    return open_run(path)


class _File(RunDirectory):
    def __init__(self, path: Path) -> None:
        super().__init__(open_folder(str(path.parent)))
        self._path = path
        self._contents = _of_file(path)

    @property
    def url(self) -> str:
        return str(self._path)

    def read_all(self, searches: bool = False, cold: bool = False) -> Contents:
        """As that of a run directory. Raises InputError if nothing is left of what is wanted."""
        every = self._contents
        found = Contents(
            every.cells, every.searches if searches else [], [], every.cold if cold else []
        )
        if not (found.cells or found.searches or found.cold):
            what = "a search" if every.searches else "cold starts"
            raise InputError(
                f"{self._path} is the result of {what}; give results of gpubench run or sweep"
            )
        return found


def _of_file(path: Path) -> Contents:
    text = _text(path)
    try:
        document = parse_json(text, str(path))
    except InputError as error:
        raise InputError(f"{error}; give a run directory or a result's JSON") from None
    if not isinstance(document, list):
        return _contents([(path.stem, parse(text, document, str(path)))])
    if not document:
        raise InputError(f"{path} is an empty list; measure with gpubench sweep --output DIR")
    return _contents(
        [
            (f"{path.stem}.{number}", parse(json.dumps(each), each, f"{path}, {number}"))
            for number, each in enumerate(document, start=1)
        ]
    )


def parse(text: str, document: object, origin: str) -> Result | SearchResult | ColdResult:
    """The document of any kind. `document` is what `text` contains.

    Raises InputError, which names `origin`, if this version does not read it.
    """
    keys = document if isinstance(document, dict) else {}
    if keys.get("kind") == "cold":
        return parse_cold(text, origin)
    for name, key in (("plan", "decisions"), ("compare", "pairs"), ("compare", "comparisons")):
        if key in keys:
            raise InputError(
                f"{origin} is what gpubench {name} wrote; give the run directory from which it "
                "was made"
            )
    if "probes" in keys:
        return parse_search(text, origin)
    return parse_result(text, origin)


def _contents(documents: list[tuple[str, Result | SearchResult | ColdResult]]) -> Contents:
    return Contents(
        cells=[(name, each) for name, each in documents if isinstance(each, Result)],
        searches=[(name, each) for name, each in documents if isinstance(each, SearchResult)],
        problems=[],
        cold=[(name, each) for name, each in documents if isinstance(each, ColdResult)],
    )


def _text(path: Path) -> str:
    try:
        return read_regular(path, MOST_JSON_BYTES).decode()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not JSON; give a run directory or a result's JSON") from None
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
