"""The run directory: what a sweep leaves, one result and one sample file per cell.

    <key>.json      the result; its presence says that the cell is complete
    <key>.parquet   the samples; written first, absent where a cell failed before it measured

The key is `Spec.key()`: two machines can write to one directory, and a sweep can resume.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.errors import GpubenchError, InputError
from gpubench.folder import Folder, open_folder, write_file
from gpubench.result import Result, parse_result
from gpubench.sample_file import from_parquet, to_parquet

if TYPE_CHECKING:
    from gpubench.samples import Samples


@dataclass(frozen=True)
class Contents:
    """Everything in a run directory."""

    cells: list[tuple[str, Result]]  # (key, result), oldest first
    problems: list[str]  # one line for each file that could not be read, with what to do


class RunDirectory:
    """Cells on disk or in an object store. `open_run` makes one."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    @property
    def url(self) -> str:
        return self._folder.url

    def check_writable(self) -> None:
        """Create the directory and try it, so that nothing is measured that cannot be kept.

        Raises InputError where it cannot be written.
        """
        probe = ".gpubench-write-test"
        try:
            self._folder.create()
            self._folder.write(probe, b"")
            self._folder.remove(probe)
        except Exception as error:  # object stores have exceptions of their own
            raise InputError(
                f"{self.url} cannot be written: {_reason(error)}; choose another --output"
            ) from None

    def has(self, key: str) -> bool:
        """Whether this cell was measured. A cell that failed is to be measured again.

        Raises InputError where that cannot be read.
        """
        try:
            result = self._read_result(key)
        except (FileNotFoundError, InputError):
            return False
        except OSError as error:
            raise InputError(
                f"{self.url}/{key}.json cannot be read: {_reason(error)}; choose another --output"
            ) from None
        return result.error is None

    def write(self, key: str, result: Result, samples: Samples | None = None) -> None:
        """Keep a cell. The result goes last: once it is there, the cell is complete.

        Raises GpubenchError where the directory can no longer be written.
        """
        try:
            if samples is not None:
                self._folder.write(f"{key}.parquet", to_parquet(samples))
            self._folder.write(f"{key}.json", result.to_json().encode())
        except OSError as error:
            raise GpubenchError(f"{self.url} cannot be written: {_reason(error)}") from error

    def read_all(self) -> Contents:
        """Every cell. A file that cannot be read is told, and does not hide the others.

        Raises InputError where there is no such directory, or nothing in it can be read.
        """
        try:
            found = self._folder.exists()
            keys = (
                [name[:-5] for name in self._folder.names() if name.endswith(".json")]
                if found
                else []
            )
        except Exception as error:
            raise InputError(f"{self.url} cannot be read: {_reason(error)}") from None
        if not found:
            raise InputError(
                f"{self.url} is not a directory; measure with gpubench sweep --output {self.url}"
            )
        cells: list[tuple[str, Result]] = []
        problems: list[str] = []
        for key in keys:
            try:
                cells.append((key, self._read_result(key)))
            except InputError as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(f"{self.url}/{key}.json cannot be read: {_reason(error)}")
        if problems and not cells:
            more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
            raise InputError(problems[0] + more)
        if not cells:
            raise InputError(
                f"{self.url} holds no results; measure with gpubench sweep --output {self.url}"
            )
        cells.sort(key=lambda cell: (cell[1].environment.time, cell[0]))
        return Contents(cells, problems)

    def read_samples(self, key: str) -> Samples | None:
        """The samples of a cell; None where it has none.

        Raises InputError where the file is damaged.
        """
        name = f"{key}.parquet"
        try:
            data = self._folder.read(name)
        except FileNotFoundError:
            return None
        return from_parquet(data, f"{self.url}/{name}")

    def _read_result(self, key: str) -> Result:
        origin = f"{self.url}/{key}.json"
        data = self._folder.read(f"{key}.json")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise InputError(f"{origin} is not text; measure the cell again") from None
        return parse_result(text, origin)


def open_run(url: str | Path) -> RunDirectory:
    """The run directory at a path or fsspec URL; nothing is created or read yet.

    Raises InputError for a URL that cannot be used from here.
    """
    return RunDirectory(open_folder(str(url)))


def write_samples(path: str | Path, samples: Samples) -> None:
    """Write one sample file to a local path.

    Raises GpubenchError where it cannot be written.
    """
    try:
        write_file(Path(path), to_parquet(samples))
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """One line: 'Permission denied', not the whole '[Errno 13] ...'."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
