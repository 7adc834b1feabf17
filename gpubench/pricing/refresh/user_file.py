"""Changes the user's own price file (see `pricing/price_files.py`).

A refresh changes the rows of the instances that it has read. All other rows stay. The file is read,
merged and written under a lock, so two refreshes at the same time lose nothing. It is written in
one step.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from gpubench.errors import GpubenchError, InputError
from gpubench.files.folder import write_file
from gpubench.files.locks import exclusive
from gpubench.pricing.catalog import COLUMNS, Instance, bundled_catalog
from gpubench.pricing.names import Term
from gpubench.pricing.price_files import read_price_file, user_file, with_precedence

Rows = tuple[Instance, ...]


def path_of_user_file() -> Path:
    """Raises InputError if the user has no home folder."""
    path = user_file()
    if path is None:
        raise InputError(
            "there is no home folder for a price file; set XDG_CONFIG_HOME to a folder"
        )
    return path


def read(path: Path) -> Rows:
    """The rows of the file; none if it does not exist. Raises InputError for an unusable file."""
    return read_price_file(path, bundled_catalog()) if path.exists() else ()


def known_prices(rows: Rows, provider: str, region: str) -> dict[str, dict[Term, float]]:
    """The prices of a provider in a region, by the name of the instance.

    Rows of the file replace those of the bundled catalog.
    """
    return {
        each.name: {
            term: price
            for term in each.known_terms()
            if (price := each.usd_per_hour(term)) is not None
        }
        for each in with_precedence(rows, bundled_catalog()).instances
        if (each.provider, each.region) == (provider, region)
    }


def written_by_hand(rows: Rows, provider: str, region: str) -> frozenset[str]:
    """The instances whose row in the file has no SKU ids, so no refresh wrote it."""
    return frozenset(
        each.name
        for each in rows
        if (each.provider, each.region) == (provider, region) and each.sku_ids is None
    )


def merged(rows: Rows, instances: Iterable[Instance], keep_spot: Collection[str]) -> Rows:
    """The rows with those of `instances` replaced or added.

    For those named in `keep_spot`, the spot prices that are known remain.
    """
    known = {each.place: each for each in with_precedence(rows, bundled_catalog()).instances}
    by_place = {each.place: each for each in rows}
    for instance in instances:
        before = known.get(instance.place)
        if instance.name in keep_spot and before is not None:
            instance = _with_spot_of(before, instance)
        by_place[instance.place] = instance
    return tuple(by_place.values())


def _with_spot_of(before: Instance, instance: Instance) -> Instance:
    is_known = before.spot_usd_per_hour is not None
    return replace(
        instance,
        spot_usd_per_hour=before.spot_usd_per_hour,
        spot_low_usd_per_hour=before.spot_low_usd_per_hour,
        spot_high_usd_per_hour=before.spot_high_usd_per_hour,
        spot_zone=before.spot_zone,
        spot_as_of=(before.spot_as_of or before.as_of) if is_known else None,
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the price file. Creates its folder. Raises GpubenchError if it cannot."""
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(path.with_name(f".{path.name}.lock")))
        except OSError as error:
            raise GpubenchError(f"{path} cannot be written: {error.strerror}") from None
        yield


def write(path: Path, rows: Rows) -> None:
    """Write the file in one step. Raises GpubenchError if that fails; the old file then remains."""
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in rows:
        if each.source == path.name:  # a row without a source has that of its file
            each = replace(each, source=None)
        writer.writerow({column: _field(each, column) for column in COLUMNS})
    try:
        write_file(path, written.getvalue().encode())
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {error.strerror}") from None


def _field(instance: Instance, column: str) -> str:
    value = getattr(instance, "name" if column == "instance" else column)
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
