"""The run directory, which a sweep writes: one result and one sample file for each cell.

    <key>.json      the result; if it exists, the cell is complete
    <key>.parquet   the samples; written first, absent if the cell failed before it was measured
    <key>-2.json    the second repeat of the same cell, and so on
    .interrupted-<key>    an empty file: the result may be that of an interrupted measurement
    search-<key>.json, search-<key>-2.json    searches, without sample files
    cold-<key>.json    the cold starts of a configuration

The key is `Spec.key()`. So a directory can hold cells of several machines, and a sweep can resume.
Several sweeps may write to a directory at the same time. They take leases: see
gpubench.measure.claims. A document that another one has written meanwhile is kept. Reading a
directory runs no code, follows no link and writes nothing, whoever wrote it: see docs/security.md.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.errors import GpubenchError, InputError, cause
from gpubench.files.folder import Folder, open_folder, write_file
from gpubench.files.leases import lease_key
from gpubench.files.locks import LockHeld
from gpubench.files.untrusted import MOST_JSON_BYTES
from gpubench.results.cold_result import ColdResult, parse_cold
from gpubench.results.parquet import from_parquet, to_parquet
from gpubench.results.result import (
    INTERRUPTED,
    OtherDocument,
    Result,
    SampleFile,
    parse_result,
)
from gpubench.results.search_result import SearchResult, parse_search
from gpubench.system.machine import this_machine

if TYPE_CHECKING:
    from gpubench.results.samples import Samples

MOST_SAMPLE_BYTES = 4 << 30
# There is a link, a pipe or another special file in place of the file, or it is far too large.
_NO_SUCH_FILE = frozenset({errno.EINVAL, errno.ELOOP, errno.EFBIG})


SEARCH = "search-"
COLD = "cold-"
# So a sweep finds the interrupted measurements of others without reading all their documents.
_INTERRUPTED = ".interrupted-"


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


class Superseded(GpubenchError):
    """A result was not stored, because another process has stored the cell, or measures it."""


class RunDirectory:
    """Cells on disk or in an object store. `open_run` opens one."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        # Called with the key of a cell before it is stored. It may raise Superseded.
        self.before_store: Callable[[str], None] | None = None
        self._absent: set[str] = set()  # keys of cells that `has` did not find
        # The digests of the documents when they were looked for the first time. None: no file.
        self._found: dict[str, str | None] = {}
        # Cells whose documents are of interrupted measurements -> how many were lost or interrupted
        self._interrupted: dict[str, int] = {}

    @property
    def url(self) -> str:
        return self.folder.url

    def check_writable(self) -> None:
        """Create the directory and write a test file, before anything is measured.

        Raises InputError if the directory cannot be written, or if two processes could create the
        same file in it.
        """
        try:
            self.folder.create()
            self.folder.check_writable()
        except OSError as error:
            raise InputError(
                f"{self.url} cannot be written: {cause(error)}; choose another --output"
            ) from None

    @contextmanager
    def locked(self, shared: bool = False) -> Iterator[None]:
        """Hold the lock of this directory, which is created if it is missing.

        With `shared`, others may share it: sweeps, which take leases for what they measure. On a
        file system without locks nothing is locked. Raises InputError, which names the holder, if
        another process has the lock.
        """
        with ExitStack() as stack:
            try:
                with suppress(Exception):  # check_writable reports it
                    self.folder.create()
                machine = lease_key("directory", this_machine().identity)
                stack.enter_context(self.folder.locked(shared, machine))
            except LockHeld as error:
                by = f": {error.holder}" if error.holder else ""
                raise InputError(
                    f"another command writes to {self.url}{by}; wait until it ends, or choose "
                    "another --output"
                ) from None
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
                    raise InputError(
                        f"{self.url} cannot be locked: {error.filename}: {cause(error)}; remove "
                        "that file, or choose another --output"
                    ) from None
            yield

    def stored(self, keys: Collection[str]) -> frozenset[str]:
        """Those of these cells that were measured: see `has`, which also says what it raises."""
        sizes = self._sizes()
        if sizes is None:
            return frozenset(key for key in keys if self.has(key))
        names = [f"{key}.json" for key in keys]
        for name in names:
            if name not in sizes:
                self._not_found(name.removesuffix(".json"))
        found = set()
        present = [name for name in names if name in sizes]
        for name, data in self.folder.read_each(present, MOST_JSON_BYTES):
            key = name.removesuffix(".json")
            if self._has(key, partial(_or_raise, data), lambda name: sizes.get(name, -1)):
                found.add(key)
        return frozenset(found)

    def _sizes(self) -> dict[str, int] | None:
        try:
            return self.folder.sizes()
        except OSError as error:
            raise InputError(
                f"{self.url} cannot be read: {cause(error)}; choose another --output"
            ) from None

    def appeared(self, names: Iterable[str]) -> frozenset[str]:
        """The cells that `has` did not find, and whose documents are among these names of files."""
        keys = {name.removesuffix(".json") for name in names}
        return frozenset(key for key in keys if self._found.get(key, "") is None)

    def written_meanwhile(self, key: str) -> bool:
        """Whether somebody has stored this cell since `has` looked for it, perhaps with an error.

        A measurement that was interrupted does not count. Raises GpubenchError if the directory
        cannot be read.
        """
        try:
            data = self.folder.read(f"{key}.json", MOST_JSON_BYTES)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return False
            raise GpubenchError(f"{self.url} cannot be read: {cause(error)}") from error
        return _digest(data) != self._found.get(key) and not self._is_interruption(key, data)

    def interrupted(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of these cells whose documents are of interrupted measurements: they are missing.

        A later `store` replaces these documents. Raises GpubenchError if the directory cannot be
        read.
        """
        keys = list(keys)
        marks = set(self.file_names()) if keys else set()
        marked = [f"{key}.json" for key in keys if _INTERRUPTED + key in marks]
        found = self.folder.read_each(marked, MOST_JSON_BYTES)
        return frozenset(
            key
            for name, data in found
            if isinstance(data, bytes)
            and self._is_interruption(key := name.removesuffix(".json"), data)
        )

    def interrupted_attempts(self, key: str) -> int:
        """How many machines were lost or interrupted while they measured this cell, as its document
        says. 0 if it was not interrupted.
        """
        return self._interrupted.get(key, 0)

    def _is_interruption(self, key: str, data: bytes) -> bool:
        """Whether this document is that of an interrupted measurement. If so, it is noted."""
        result = self._interruption(key, data)
        if result is None:
            return False
        self._absent.discard(key)
        self._found[key] = _digest(data)
        self._interrupted[key] = (result.lost_attempts or 0) + 1
        return True

    def _interruption(self, key: str, data: bytes) -> Result | None:
        """The result in this document if its measurement was interrupted."""
        if INTERRUPTED.encode() not in data:
            return None
        try:
            result = parse_result(*self._text(key, data))
        except InputError:
            return None
        return result if result.error is not None and result.error.is_interruption else None

    def file_names(self) -> list[str]:
        """The names of all files. Raises GpubenchError if the directory cannot be read."""
        try:
            return self.folder.names()
        except OSError as error:
            raise GpubenchError(f"{self.url} cannot be read: {cause(error)}") from error

    def cannot_write(self, error: OSError) -> GpubenchError:
        return GpubenchError(f"{self.url} cannot be written: {cause(error)}")

    def has(self, key: str) -> bool:
        """Whether this cell was measured, and its sample file is as it was written.

        A cell that failed is measured again, and so is one whose files are damaged. Raises
        InputError if the files cannot be read, or if a document of another kind has their name.
        """
        return self._has(
            key, lambda: self.folder.read(f"{key}.json", MOST_JSON_BYTES), self.folder.size
        )

    def _has(self, key: str, read: Callable[[], bytes], size: Callable[[str], int]) -> bool:
        """As `has`. `read` reads the document, and `size` gives the bytes of a file."""
        name = f"{key}.json"
        try:
            data = read()
            self._found.setdefault(key, _digest(data))
            if self._is_interruption(key, data):
                return False
            result = parse_result(*self._text(key, data))
            name = f"{key}.parquet"
            return result.error is None and self._has_samples(key, result, size)
        except FileNotFoundError:
            if name.endswith(".json"):
                self._not_found(key)
            return False
        except OtherDocument as error:
            raise InputError(f"{error}; move it away, or choose another --output") from None
        except InputError:
            return False
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return False
            raise InputError(
                f"{self.url}/{name} cannot be read: {cause(error)}; choose another --output"
            ) from None

    def _not_found(self, key: str) -> None:
        self._absent.add(key)
        self._found.setdefault(key, None)

    def _has_samples(self, key: str, result: Result, size: Callable[[str], int]) -> bool:
        """Whether the sample file is the one that was written with the result.

        Raises OSError and InputError if it cannot be read.
        """
        written = result.sample_file
        if written is None:  # a version wrote it that did not record this
            samples = self.read_samples(key) if result.requests.completed else None
            return (0 if samples is None else len(samples)) >= result.requests.completed
        name = f"{key}.parquet"
        same_size = size(name) == written.bytes
        return same_size and self.folder.digest(name) in {None, written.sha256}

    def write(self, key: str, result: Result, samples: Samples | None = None) -> None:
        """Write a cell. The result is written last: if it exists, the cell is complete.

        Raises GpubenchError if the directory can no longer be written, or if another process has
        written the cell since `has` did not find it.
        """
        self.store(key, cell_files(result, samples))

    def store(self, key: str, files: CellFiles) -> None:
        """Write the files of a cell, which another process may have measured. As `write`."""
        is_new = key in self._absent
        if self.before_store is not None:
            self.before_store(key)
        mark = _INTERRUPTED + key
        is_interrupted = self._interruption(key, files.document) is not None
        try:
            if files.samples is not None:
                self._store_samples(key, files.samples, is_new)
            if is_interrupted:  # first, so that no such document is without its mark
                self.folder.write(mark, b"", durable=False)
            self.folder.write(f"{key}.json", files.document, replace=not is_new)
        except FileExistsError:
            raise Superseded(
                f"another process has written {self.url}/{key}.json meanwhile, and its file is kept"
            ) from None
        except OSError as error:
            kept = _keep_elsewhere(key, files)
            raise GpubenchError(f"{self.cannot_write(error)}; {kept}") from error
        self._absent.discard(key)
        if key in self._interrupted and not is_interrupted:
            with suppress(OSError):  # the next sweep only reads the document in vain
                self.folder.remove(mark)

    def _store_samples(self, key: str, samples: bytes, is_new: bool) -> None:
        """Raises FileExistsError if somebody else has written the whole cell meanwhile."""
        try:
            self.folder.write(f"{key}.parquet", samples, replace=not is_new)
        except FileExistsError:
            if self._exists(f"{key}.json"):
                raise
            # A process that was lost has left them without a document.
            self.folder.write(f"{key}.parquet", samples)

    def _exists(self, name: str) -> bool:
        try:
            self.folder.size(name)
        except FileNotFoundError:
            return False
        return True

    def read_all(self, searches: bool = False, cold: bool = False) -> Contents:
        """Every cell, and every search and the cold starts if they are wanted.

        A file that cannot be read is among the problems.

        Raises InputError if there is no such directory, or if nothing in it can be read.
        """
        return self._read(searches, cold, lambda _: True)

    def read_cells(self, wanted: Callable[[str], bool]) -> list[tuple[str, Result]]:
        """The cells whose documents have a wanted name. Raises InputError as `read_all`."""
        return self._read(False, False, wanted).cells

    def _read(self, searches: bool, cold: bool, wanted: Callable[[str], bool]) -> Contents:
        try:
            found = self.folder.exists()
            documents = [
                name[:-5]
                for name in (self.folder.names() if found else [])
                if name.endswith(".json") and not name.startswith(".") and wanted(name[:-5])
            ]
        except Exception as error:
            raise InputError(f"{self.url} cannot be read: {cause(error)}") from None
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
        for name, data in self.folder.read_each([f"{key}.json" for key in keys], MOST_JSON_BYTES):
            key = name.removesuffix(".json")
            try:
                text = self._text(key, _or_raise(data))
                if key.startswith(SEARCH):
                    found_searches.append((key, parse_search(*text)))
                elif key.startswith(COLD):
                    found_cold.append((key, parse_cold(*text)))
                else:
                    cells.append((key, parse_result(*text)))
            except InputError as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(f"{self.url}/{key}.json cannot be read: {cause(error)}")
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
            raise InputError(f"{self.url}/{name}.json cannot be read: {cause(error)}") from None

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
                f"{self.url}/{key}.json cannot be read: {cause(error)}; choose another --output"
            ) from None

    def write_cold(self, key: str, result: ColdResult) -> None:
        """Write the document of cold starts in one step.

        Raises GpubenchError if the directory can no longer be written.
        """
        try:
            self.folder.write(f"{key}.json", result.to_json().encode())
        except OSError as error:
            raise GpubenchError(f"{self.url} cannot be written: {cause(error)}") from error

    def read_samples(self, key: str, written: SampleFile | None = None) -> Samples | None:
        """The samples of a cell; None if it has none.

        `written` is the `sample_file` of its document, for somebody who has read it already. Raises
        InputError if the file is damaged or cannot be read, or if it is not the one that the
        document of the cell names.
        """
        name = f"{key}.parquet"
        try:
            data = self.folder.read(name, MOST_SAMPLE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self.url}/{name} cannot be read: {cause(error)}") from None
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
                f"{self.url}/{name}.json cannot be read: {cause(error)}; choose another --output"
            ) from None

    def read_search(self, name: str) -> SearchResult:
        """Raises InputError if the document is damaged or cannot be read."""
        try:
            return self._read_search(name)
        except OSError as error:
            raise InputError(f"{self.url}/{name}.json cannot be read: {cause(error)}") from None

    def write_search(self, name: str, found: SearchResult) -> None:
        """Raises GpubenchError if the directory can no longer be written."""
        try:
            self.folder.write(f"{name}.json", found.to_json().encode())
        except OSError as error:
            raise GpubenchError(f"{self.url} cannot be written: {cause(error)}") from error

    def _read_result(self, key: str) -> Result:
        return parse_result(*self._read_text(key))

    def _read_search(self, name: str) -> SearchResult:
        return parse_search(*self._read_text(name))

    def _read_text(self, name: str) -> tuple[str, str]:
        """The text of a document, and where it is, for messages."""
        return self._text(name, self.folder.read(f"{name}.json", MOST_JSON_BYTES))

    def _text(self, name: str, data: bytes) -> tuple[str, str]:
        origin = f"{self.url}/{name}.json"
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
        raise GpubenchError(f"{path} cannot be written: {cause(error)}") from error


def _or_raise(found: bytes | OSError) -> bytes:
    if isinstance(found, OSError):
        raise found
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _keep_elsewhere(key: str, files: CellFiles) -> str:
    """Write the files of a cell to a new local folder. Returns where they are, for a message."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="gpubench-kept-"))
        for suffix, data in (("parquet", files.samples), ("json", files.document)):
            if data is not None:
                write_file(folder / f"{key}.{suffix}", data)
    except OSError as error:
        return f"what was measured last is lost: {tempfile.gettempdir()}: {cause(error)}"
    return f"what was measured last is in {folder}: copy its files there, or measure it again"
