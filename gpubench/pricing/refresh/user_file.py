"""The user's own price file: a CSV file with the columns of the bundled catalog.

A refresh changes the rows of the instances that it has read. All other rows stay, and so do columns
that gpubench does not know. The file is read, merged and written under a lock, so two refreshes at
the same time lose nothing. It is written in one step.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpubench.errors import GpubenchError, InputError
from gpubench.files.folder import write_file
from gpubench.files.locks import exclusive
from gpubench.files.untrusted import read_regular
from gpubench.pricing.catalog import Instance, Term, bundled_catalog

_MOST_BYTES = 16 << 20
_KEY = ("provider", "instance", "region")
_PRICES: dict[Term, str] = {
    "on-demand": "on_demand_usd_per_hour",
    "spot": "spot_usd_per_hour",
    "1-year": "one_year_usd_per_hour",
    "3-year": "three_year_usd_per_hour",
}
_SPOT = (
    "spot_usd_per_hour",
    "spot_low_usd_per_hour",
    "spot_high_usd_per_hour",
    "spot_zone",
    "spot_as_of",
)

Row = dict[str, str]


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row[column] for column in _KEY)


def _spot(row: Row) -> Row:
    """The spot prices of a row. Their date may be that of the row."""
    kept = {column: row.get(column, "") for column in _SPOT}
    if kept["spot_usd_per_hour"] and not kept["spot_as_of"]:
        kept["spot_as_of"] = row.get("as_of", "")
    return kept


def default_path() -> Path:
    """$XDG_CONFIG_HOME/gpubench/prices.csv, by default in ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if os.path.isabs(base) else Path.home() / ".config"
    return folder / "gpubench" / "prices.csv"


@dataclass
class PriceFile:
    """The rows of a price file, in its order."""

    columns: list[str]
    rows: list[Row]

    def known_prices(self, provider: str, region: str) -> dict[str, dict[Term, float]]:
        """The prices of a provider in a region, by the name of the instance.

        Rows of this file replace those of the bundled catalog.
        """
        bundled = [to_row(each) for each in bundled_catalog().instances]
        return {
            row["instance"]: {
                term: float(row[column]) for term, column in _PRICES.items() if row.get(column)
            }
            for row in (*bundled, *self.rows)
            if (row["provider"], row["region"]) == (provider, region)
        }

    def merge(self, instances: Iterable[Instance], keep_spot: Collection[str]) -> None:
        """Replace or add the rows of `instances`.

        For those named in `keep_spot`, the spot prices that are known remain.
        """
        by_key = {_key(row): row for row in self.rows}
        bundled = {_key(row): row for row in map(to_row, bundled_catalog().instances)}
        for instance in instances:
            new = to_row(instance)
            old = by_key.get(_key(new))
            if instance.name in keep_spot:
                new |= _spot(old or bundled.get(_key(new), {}))
            if old is None:
                self.rows.append(new)
            else:
                old.update(new)
        self.columns += [column for column in _COLUMNS if column not in self.columns]

    def text(self) -> str:
        written = io.StringIO()
        writer = csv.DictWriter(written, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return written.getvalue()


def read(path: Path) -> PriceFile:
    """The price file at `path`, or an empty one. Raises InputError for a file that is not one."""
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        return PriceFile(list(_COLUMNS), [])
    except UnicodeDecodeError:
        raise InputError(f"{path}: it is not UTF-8; write it as UTF-8, or move it away") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = list(reader.fieldnames or [])
        if missing := [column for column in _KEY if column not in columns]:
            raise InputError(
                f"{path}:1: it has no column {missing[0]}; write it in its first line, or move the "
                "file away"
            )
        rows = [_checked(row, path, reader.line_num) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.reader.line_num}: this is not CSV: {error}") from None
    return PriceFile(columns, rows)


def _checked(row: Mapping[str | None, str | list[str] | None], path: Path, line: int) -> Row:
    checked = {
        column: value
        for column, value in row.items()
        if isinstance(column, str) and isinstance(value, str)
    }
    if len(checked) != len(row):
        raise InputError(f"{path}:{line}: the row has more or fewer fields than the first line")
    for column in _PRICES.values():
        text = checked.get(column, "")
        try:
            is_price = not text or 0 < float(text) < float("inf")
        except ValueError:
            is_price = False
        if not is_price:
            raise InputError(f"{path}:{line}: {column} is '{text[:40]}'; give a number above 0")
    return checked


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the price file. Creates its folder. Raises GpubenchError if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = exclusive(path.with_name(f".{path.name}.lock"))
        lock.__enter__()
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def write(path: Path, file: PriceFile) -> None:
    """Write the file in one step. Raises GpubenchError if that fails; the old file then remains."""
    try:
        write_file(path, file.text().encode())
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {error.strerror}") from None


def to_row(instance: Instance) -> Row:
    """An instance as a row. What is not known is an empty field."""
    return {column: _field(getattr(instance, name)) for column, name in _COLUMNS.items()}


# The columns of the catalog, and the attributes of Instance.
_COLUMNS = {
    "provider": "provider",
    "instance": "name",
    "region": "region",
    "accelerator": "accelerator",
    "accelerator_count": "accelerator_count",
    "accelerator_memory_gib": "accelerator_memory_gib",
    "vcpus": "vcpus",
    "memory_gib": "memory_gib",
    "on_demand_usd_per_hour": "on_demand_usd_per_hour",
    "spot_usd_per_hour": "spot_usd_per_hour",
    "as_of": "as_of",
    "source": "source",
    "spot_low_usd_per_hour": "spot_low_usd_per_hour",
    "spot_high_usd_per_hour": "spot_high_usd_per_hour",
    "spot_zone": "spot_zone",
    "spot_as_of": "spot_as_of",
    "one_year_usd_per_hour": "one_year_usd_per_hour",
    "three_year_usd_per_hour": "three_year_usd_per_hour",
    "commitment": "commitment",
    "sku_ids": "sku_ids",
}


def _field(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
