"""The run directory, which a sweep writes: one result and one sample file for each cell.

    <key>.json      the result; if it exists, the cell is complete
    <key>.parquet   the samples; written first, absent if the cell failed before it was measured
    <key>-2.json    the second repeat of the same cell, and so on
    search-<key>.json, search-<key>-2.json    searches, without sample files
    cold-<key>.json    the cold starts of a configuration

The key is `Spec.key()`. So a directory can hold cells of several machines, and a sweep can resume.
A sweep that writes to a local directory holds its lock. A remote directory has no lock, and two
sweeps that write to it at the same time may both measure a cell. Reading a directory runs no code,
follows no link and writes nothing, whoever wrote it: see docs/security.md.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.errors import GpubenchError, InputError
from gpubench.files.folder import TRIAL, Folder, open_folder, write_file
from gpubench.files.locks import LockHeld
from gpubench.files.untrusted import MOST_JSON_BYTES
from gpubench.results.cold_result import ColdResult, parse_cold
from gpubench.results.parquet import from_parquet, to_parquet
from gpubench.results.result import OtherDocument, Result, SampleFile, parse_result
from gpubench.results.search_result import SearchResult, parse_search

if TYPE_CHECKING:
    from gpubench.results.samples import Samples

MOST_SAMPLE_BYTES = 4 << 30
# There is a link, a pipe or another special file in place of the file, or it is far too large.
_NO_SUCH_FILE = frozenset({errno.EINVAL, errno.ELOOP, errno.EFBIG})


SEARCH = "search-"
COLD = "cold-"


def cold_name(key: str) -> str:
    """The name of a document of cold starts, without a suffix."""
    return COLD + key


def repeat_name(key: str, number: int) -> str:
    """The name of the documents of a repeat, without a suffix. The first repeat is 1."""
    return key if number == 1 else f"{key}-{number}"


def search_name(key: str) -> str:
    """The name of the document of a search, without a suffix."""
    return f"{SEARCH}{key}"


def search_key(name: str) -> str:
    """The part of the name of a search that all its repeats have."""
    return SEARCH + key_and_number(name.removeprefix(SEARCH))[0]


def key_and_number(name: str) -> tuple[str, int]:
    """The key and the number from which `repeat_name` made a name."""
    key, _, number = name.partition("-")
    return (key, int(number)) if number.isdecimal() else (name, 1)


@dataclass(frozen=True)
class CellFiles:
    """The two files of a measured cell, as a run directory holds them."""

    document: bytes  # JSON
    samples: bytes | None  # Parquet; None if the cell failed before it was measured


def cell_files(result: Result, samples: Samples | None) -> CellFiles:
    """The files of a result. The document names the sample file by its size and its digest."""
    if samples is None:
        return CellFiles(result.to_json().encode(), None)
    data = to_parquet(samples)
    rows = len(samples) + len(samples.unfinished_scheduled_ns)
    file = SampleFile(rows=rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    document = result.model_copy(update={"sample_file": file}).to_json().encode()
    return CellFiles(document, data)


@dataclass(frozen=True)
class Contents:
    """Everything in a run directory."""

    cells: list[tuple[str, Result]]  # (key, result), oldest first
    searches: list[tuple[str, SearchResult]]  # (key, result), by key
    problems: list[str]  # one line for each file that could not be read, with the remedy
    cold: list[tuple[str, ColdResult]]  # (key, result), oldest first


class RunDirectory:
    """Cells on disk or in an object store. `open_run` opens one."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._absent: set[str] = set()  # keys of cells that `has` did not find

    @property
    def url(self) -> str:
        return self._folder.url

    def check_writable(self) -> None:
        """Create the directory and write a test file, before anything is measured.

        Raises InputError if the directory cannot be written.
        """
        try:
            self._folder.create()
            self._folder.write(TRIAL, b"")
            self._folder.remove(TRIAL)
        except Exception as error:  # object stores have exceptions of their own
            raise InputError(
                f"{self.url} cannot be written: {_reason(error)}; choose another --output"
            ) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this local directory, which is created if it is missing.

        On a file system without locks nothing is locked. Raises InputError, which names the holder,
        if another sweep writes to the directory.
        """
        with ExitStack() as stack:
            try:
                with suppress(Exception):  # check_writable reports it
                    self._folder.create()
                stack.enter_context(self._folder.locked())
            except LockHeld as error:
                by = f": {error.holder}" if error.holder else ""
                raise InputError(
                    f"another sweep writes to {self.url}{by}; wait until it ends, or choose "
                    "another --output"
                ) from None
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
                    raise InputError(
                        f"{self.url} cannot be locked: {error.filename}: {_reason(error)}; remove "
                        "that file, or choose another --output"
                    ) from None
            yield

    def has(self, key: str) -> bool:
        """Whether this cell was measured, and its sample file is as it was written.

        A cell that failed is measured again, and so is one whose files are damaged. Raises
        InputError if the files cannot be read, or if a document of another kind has their name.
        """
        name = f"{key}.json"
        try:
            result = self._read_result(key)
            name = f"{key}.parquet"
            return result.error is None and self._has_samples(key, result)
        except FileNotFoundError:
            if name.endswith(".json"):
                self._absent.add(key)
            return False
        except OtherDocument as error:
            raise InputError(f"{error}; move it away, or choose another --output") from None
        except InputError:
            return False
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return False
            raise InputError(
                f"{self.url}/{name} cannot be read: {_reason(error)}; choose another --output"
            ) from None

    def _has_samples(self, key: str, result: Result) -> bool:
        """Whether the sample file is the one that was written with the result.

        Raises OSError and InputError if it cannot be read.
        """
        written = result.sample_file
        if written is None:  # a version wrote it that did not record this
            samples = self.read_samples(key) if result.requests.completed else None
            return (0 if samples is None else len(samples)) >= result.requests.completed
        name = f"{key}.parquet"
        same_size = self._folder.size(name) == written.bytes
        return same_size and self._folder.digest(name) in {None, written.sha256}

    def write(self, key: str, result: Result, samples: Samples | None = None) -> None:
        """Write a cell. The result is written last: if it exists, the cell is complete.

        Raises GpubenchError if the directory can no longer be written, or if another process has
        written the cell since `has` did not find it.
        """
        self.store(key, cell_files(result, samples))

    def store(self, key: str, files: CellFiles) -> None:
        """Write the files of a cell, which another process may have measured. As `write`."""
        is_new = key in self._absent
        try:
            if is_new and self._exists(f"{key}.json"):
                raise FileExistsError
            if files.samples is not None:
                self._folder.write(f"{key}.parquet", files.samples)
            self._folder.write(f"{key}.json", files.document, replace=not is_new)
        except FileExistsError:
            raise GpubenchError(
                f"another process has written {self.url}/{key}.json meanwhile, and its file is "
                "kept; let only one sweep at a time write to a directory"
            ) from None
        except OSError as error:
            raise GpubenchError(f"{self.url} cannot be written: {_reason(error)}") from error
        self._absent.discard(key)

    def _exists(self, name: str) -> bool:
        try:
            self._folder.size(name)
        except FileNotFoundError:
            return False
        return True

    def read_all(self, searches: bool = False, cold: bool = False) -> Contents:
        """Every cell, and every search and the cold starts if they are wanted.

        A file that cannot be read is among the problems.

        Raises InputError if there is no such directory, or if nothing in it can be read.
        """
        try:
            found = self._folder.exists()
            documents = [
                name[:-5]
                for name in (self._folder.names() if found else [])
                if name.endswith(".json") and not name.startswith(".")
            ]
        except Exception as error:
            raise InputError(f"{self.url} cannot be read: {_reason(error)}") from None
        if not found:
            raise InputError(
                f"{self.url} is not a directory; measure with gpubench sweep --output {self.url}"
            )
        keys = [
            key
            for key in documents
            if (searches or not key.startswith(SEARCH)) and (cold or not key.startswith(COLD))
        ]
        if documents and not keys:
            raise InputError(
                f"{self.url} holds only searches or cold starts; give results of gpubench run or "
                "sweep"
            )
        cells: list[tuple[str, Result]] = []
        found_searches: list[tuple[str, SearchResult]] = []
        found_cold: list[tuple[str, ColdResult]] = []
        problems: list[str] = []
        for key in keys:
            try:
                if key.startswith(SEARCH):
                    found_searches.append((key, self._read_search(key)))
                elif key.startswith(COLD):
                    found_cold.append((key, parse_cold(*self._read_text(key))))
                else:
                    cells.append((key, self._read_result(key)))
            except InputError as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(f"{self.url}/{key}.json cannot be read: {_reason(error)}")
        is_empty = not (cells or found_searches or found_cold)
        if problems and is_empty:
            more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
            raise InputError(problems[0] + more)
        if is_empty:
            raise InputError(
                f"{self.url} holds no results; measure with gpubench sweep --output {self.url}"
            )
        cells.sort(key=lambda cell: (cell[1].environment.time, cell[0]))
        found_cold.sort(key=lambda each: (each[1].environment.time, each[0]))
        return Contents(cells, found_searches, problems, found_cold)

    def read(self, name: str) -> Result:
        """One document.

        Raises InputError if it is damaged or cannot be read.
        """
        try:
            return self._read_result(name)
        except OSError as error:
            raise InputError(f"{self.url}/{name}.json cannot be read: {_reason(error)}") from None

    def read_cold(self, key: str) -> ColdResult | None:
        """The document of cold starts with this key; None if there is none.

        Raises InputError if it cannot be read.
        """
        try:
            return parse_cold(*self._read_text(key))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"{self.url}/{key}.json cannot be read: {_reason(error)}; choose another --output"
            ) from None

    def write_cold(self, key: str, result: ColdResult) -> None:
        """Write the document of cold starts in one step.

        Raises GpubenchError if the directory can no longer be written.
        """
        try:
            self._folder.write(f"{key}.json", result.to_json().encode())
        except OSError as error:
            raise GpubenchError(f"{self.url} cannot be written: {_reason(error)}") from error

    def read_samples(self, key: str, written: SampleFile | None = None) -> Samples | None:
        """The samples of a cell; None if it has none.

        `written` is the `sample_file` of its document, for somebody who has read it already. Raises
        InputError if the file is damaged or cannot be read, or if it is not the one that the
        document of the cell names.
        """
        name = f"{key}.parquet"
        try:
            data = self._folder.read(name, MOST_SAMPLE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self.url}/{name} cannot be read: {_reason(error)}") from None
        if written is None:
            with suppress(OSError, InputError):  # read_all reports it
                written = self._read_result(key).sample_file
        if written is not None and written.sha256 != hashlib.sha256(data).hexdigest():
            raise InputError(
                f"{self.url}/{name} is not the file that was written with {key}.json; measure the "
                "cell again"
            )
        return from_parquet(data, f"{self.url}/{name}")

    def has_search(self, name: str) -> bool:
        """Whether this search was made to the end. If not, it is made again.

        Raises InputError if the file cannot be read.
        """
        try:
            found = self._read_search(name)
            return found.error is None and found.pruned is None
        except (FileNotFoundError, InputError):
            return False
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return False
            raise InputError(
                f"{self.url}/{name}.json cannot be read: {_reason(error)}; choose another --output"
            ) from None

    def read_search(self, name: str) -> SearchResult:
        """Raises InputError if the document is damaged or cannot be read."""
        try:
            return self._read_search(name)
        except OSError as error:
            raise InputError(f"{self.url}/{name}.json cannot be read: {_reason(error)}") from None

    def write_search(self, name: str, found: SearchResult) -> None:
        """Raises GpubenchError if the directory can no longer be written."""
        try:
            self._folder.write(f"{name}.json", found.to_json().encode())
        except OSError as error:
            raise GpubenchError(f"{self.url} cannot be written: {_reason(error)}") from error

    def _read_result(self, key: str) -> Result:
        return parse_result(*self._read_text(key))

    def _read_search(self, name: str) -> SearchResult:
        return parse_search(*self._read_text(name))

    def _read_text(self, name: str) -> tuple[str, str]:
        """The text of a document, and where it is, for messages."""
        origin = f"{self.url}/{name}.json"
        data = self._folder.read(f"{name}.json", MOST_JSON_BYTES)
        try:
            return data.decode(), origin
        except UnicodeDecodeError:
            raise InputError(f"{origin} is not text; measure the cell again") from None


def open_run(url: str | Path) -> RunDirectory:
    """The run directory at a path or fsspec URL. Nothing is created or read yet.

    Raises InputError for a URL that cannot be used from here.
    """
    return RunDirectory(open_folder(str(url)))


@contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder for the results of a command without --output. It is removed at the end.

    If an error ends the block when something was measured, the folder stays, and the GpubenchError
    names it.
    """
    folder = tempfile.mkdtemp(prefix="gpubench-")
    try:
        yield folder
    except (GpubenchError, OSError) as error:
        if isinstance(error, InputError) or not any(Path(folder).rglob("*.json")):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        raise GpubenchError(f"{error}; what was measured is in {folder}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def write_samples(path: str | Path, samples: Samples) -> None:
    """Write one sample file to a local path.

    Raises GpubenchError if it cannot be written.
    """
    try:
        write_file(Path(path), to_parquet(samples))
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """One line: 'Permission denied' without '[Errno 13]' and the path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
