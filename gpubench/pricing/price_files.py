"""The user's own files of prices, which add rows to the bundled list or override them.

    bundled list  <  ~/.config/gpubench/prices.csv  <  $GPUBENCH_PRICES  <  --prices FILE

A row overrides the row of the same provider, instance and region as a whole. Only its hardware is
inherited where the file does not state it: from the same instance in any region. A file has the
columns of `catalog.csv`. It needs `provider`, `instance`, `region` and the price of some term.

A name without a region means a row of the named files, then one of the bundled list's region. In
the first file, which a refresh writes, rows of other regions need the region in the name.

The files are untrusted: their size is limited, and every field is checked. An error names the file
and the line. Each set of files is read once in a process, so a file that changes while something is
measured cannot fail the measurement.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

from gpubench.errors import InputError, nearest
from gpubench.pricing.catalog import COLUMNS, Catalog, Instance, bundled_catalog

VARIABLE = "GPUBENCH_PRICES"
MOST_BYTES = 32 << 20  # about 100,000 rows
_LONGEST_FIELD = 500  # characters
_REQUIRED = ("provider", "instance", "region")
_HARDWARE = ("accelerator", "accelerator_count", "accelerator_memory_gib", "vcpus", "memory_gib")
_PRICES = tuple(name for name in COLUMNS if name.endswith("_usd_per_hour"))
# What a spot range alone would be the price of is not known.
_PRICES_OF_TERMS = tuple(name for name in _PRICES if "spot_low" not in name and "high" not in name)
_DATES = ("as_of", "spot_as_of")
# The characters that have a meaning in the name of a price and in lists of names are left out.
_NAME = re.compile(r"[A-Za-z0-9._+-]+")


def current_catalog() -> Catalog:
    """The bundled list with the user's own prices. Raises InputError for a file that is wrong."""
    own = _user_file(os.environ.get("XDG_CONFIG_HOME", ""), os.environ.get("HOME"))
    named = [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    return _catalog(own if own is not None and os.path.exists(own) else None, tuple(named))


def user_file() -> Path | None:
    """Where `gpubench prices refresh` keeps prices. None if the user has no home folder."""
    named = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        config = Path(named) if os.path.isabs(named) else Path.home() / ".config"
    except RuntimeError:
        return None
    return config / "gpubench" / "prices.csv"


@cache  # a plan of many cells asks for the catalog thousands of times
def _user_file(config: str, home: str | None) -> str | None:
    """The same for these values of the environment, on which it depends."""
    file = user_file()
    return None if file is None else str(file)


@cache
def _catalog(own: str | None, named: tuple[str, ...]) -> Catalog:
    catalog = bundled_catalog()
    if own is not None:
        places = {each.place for each in catalog.instances}
        rows = read_price_file(own, catalog)
        rows = tuple(replace(row, needs_region=row.place not in places) for row in rows)
        catalog = with_precedence(rows, catalog)
    for path in named:
        catalog = with_precedence(read_price_file(path, catalog), catalog)
    return catalog


def with_precedence(rows: tuple[Instance, ...], catalog: Catalog) -> Catalog:
    """The catalog with `rows` before its own. They override those of the same place."""
    overridden = {row.place for row in rows}
    return Catalog((*rows, *(i for i in catalog.instances if i.place not in overridden)))


def read_price_file(path: str | Path, known: Catalog) -> tuple[Instance, ...]:
    """The rows of a file, whose hardware may be that of `known` instances.

    Raises InputError, with the file and the line, for a file that cannot be used.
    """
    from gpubench.files.untrusted import read_regular  # imports yaml

    try:
        data = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise InputError(
            f"{path}: these prices cannot be read: {error.strerror}; mend or remove the file, or "
            f"the name in --prices or {VARIABLE}"
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: this is not UTF-8; save the file as UTF-8") from None
    hardware = {i.qualified_name: i for i in reversed(known.instances)}
    lines: dict[tuple[str, str, str], int] = {}
    rows = []
    for line, fields in _rows(text, path):
        try:
            row = _instance(fields, str(path), hardware)
            before = lines.setdefault(row.place, line)
            if before != line:
                raise _Wrong(f"{row.name} in {row.region} is in line {before} too; remove one")
        except _Wrong as wrong:
            raise InputError(f"{path}:{line}: {wrong}") from None
        hardware.setdefault(row.qualified_name, row)
        rows.append(row)
    return tuple(rows)


class _Wrong(ValueError):
    """What is wrong with a row."""


def _rows(text: str, path: str | Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows that are not empty, with their lines."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        for values in reader:
            line = reader.line_num
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                raise InputError(
                    f"{path}:{line}: it has {len(values)} fields, and line 1 has {len(header)}; "
                    "put a field that contains a comma into double quotes"
                )
            yield line, dict(zip(header, map(str.strip, values), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: this is not CSV: {error}") from None


def _check_header(header: list[str], path: str | Path) -> None:
    known = (*COLUMNS, "currency")
    for name in header:
        if not name.isprintable():
            raise InputError(f"{path}:1: the name of a column contains a control character")
        if name not in known:
            raise InputError(f"{path}:1: unknown column '{name[:100]}'; {nearest(name, known)}")
        if header.count(name) > 1:
            raise InputError(f"{path}:1: the column '{name}' is there twice; remove one")
    for name in _REQUIRED:
        if name not in header:
            raise InputError(
                f"{path}:1: the column '{name}' is missing; a file of prices has at least "
                f"{', '.join(_REQUIRED)} and on_demand_usd_per_hour"
            )
    if not any(name in header for name in _PRICES_OF_TERMS):
        raise InputError(
            f"{path}:1: there is no column with prices; add one of {', '.join(_PRICES_OF_TERMS)}"
        )


def _instance(fields: Mapping[str, str], path: str, known: Mapping[str, Instance]) -> Instance:
    given = {name: value for name, value in fields.items() if value}
    _check_texts(given)
    for name in _REQUIRED:
        if name not in given:
            raise _Wrong(f"the field '{name}' is empty")
        if not _NAME.fullmatch(given[name]):
            raise _Wrong(
                f"'{given[name]}' is no name in {name}; only letters, digits and . _ + - are used"
            )
    if given.get("currency", "USD") != "USD":
        raise _Wrong(f"prices in {given['currency']}; convert them to USD")
    for name in _DATES:
        if name in given:
            _check_date(given[name], name)
    prices = {name: _price(given[name], name) for name in _PRICES if name in given}
    if not any(name in prices for name in _PRICES_OF_TERMS):
        raise _Wrong(f"{given['instance']} has no price; add on_demand_usd_per_hour")
    like = known.get(f"{given['provider']}/{given['instance']}")
    accelerator, count = _accelerators(given, like)
    return Instance(
        provider=given["provider"],
        name=given["instance"],
        region=given["region"],
        accelerator=accelerator,
        accelerator_count=count,
        accelerator_memory_gib=_positive(given, "accelerator_memory_gib")
        or (like.accelerator_memory_gib if like and like.accelerator == accelerator else None),
        vcpus=_whole(given, "vcpus", least=1) or (like.vcpus if like else None),
        memory_gib=_positive(given, "memory_gib") or (like.memory_gib if like else None),
        on_demand_usd_per_hour=prices.get("on_demand_usd_per_hour"),
        spot_usd_per_hour=prices.get("spot_usd_per_hour"),
        as_of=given.get("as_of"),
        source=given.get("source", Path(path).name),
        spot_low_usd_per_hour=prices.get("spot_low_usd_per_hour"),
        spot_high_usd_per_hour=prices.get("spot_high_usd_per_hour"),
        spot_zone=given.get("spot_zone"),
        spot_as_of=given.get("spot_as_of"),
        one_year_usd_per_hour=prices.get("one_year_usd_per_hour"),
        three_year_usd_per_hour=prices.get("three_year_usd_per_hour"),
        commitment=given.get("commitment"),
        sku_ids=given.get("sku_ids"),
        file=path,
    )


def _accelerators(given: Mapping[str, str], like: Instance | None) -> tuple[str | None, int]:
    """The model and the number of the accelerators, which are those of a known instance if absent.

    An unknown instance must say them: a missing figure does not mean a machine without a GPU.
    """
    model, count = given.get("accelerator"), _whole(given, "accelerator_count", least=0)
    if like is not None:
        model = like.accelerator if model is None and count != 0 else model
        count = like.accelerator_count if count is None else count
    if count is None:
        raise _Wrong(
            f"{given['instance']} is not a known instance, so its hardware must be stated; add "
            "accelerator_count (0: none), and accelerator, vcpus and memory_gib"
        )
    if (model is None) != (count == 0):
        raise _Wrong(
            f"accelerator is '{model or ''}' and accelerator_count is {count}; give both, or leave "
            "accelerator empty and write 0"
        )
    return model, count


def _check_texts(given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if len(value) > _LONGEST_FIELD and name != "sku_ids":
            raise _Wrong(f"{name} has {len(value):,} characters; at most {_LONGEST_FIELD}")
        if not value.isprintable():
            raise _Wrong(f"{name} contains a control character; remove it")


def _check_date(text: str, name: str) -> None:
    try:
        if len(text) != len("2026-07-20"):
            raise ValueError
        date.fromisoformat(text)
    except ValueError:
        raise _Wrong(f"{name} '{text}' is not a date; write it like 2026-07-20") from None


def _price(text: str, name: str) -> float:
    from gpubench.spec.spec import MOST_USD_PER_HOUR  # imports pydantic, which names need not

    value = _number(text, name)
    if not 0 < value <= MOST_USD_PER_HOUR:
        raise _Wrong(f"{name} {text} is not a price; write US dollars above 0, like 0.25")
    return value


def _positive(given: Mapping[str, str], name: str) -> float | None:
    if name not in given:
        return None
    value = _number(given[name], name)
    if not 0 < value < 1e9:
        raise _Wrong(f"{name} {given[name]} must be above 0")
    return value


def _whole(given: Mapping[str, str], name: str, least: int) -> int | None:
    if name not in given:
        return None
    value = _number(given[name], name)
    if value != int(value) or not least <= value <= 100_000:
        raise _Wrong(f"{name} {given[name]} must be a whole number from {least}")
    return int(value)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _Wrong(f"{name} '{text}' is not a number; write it like 0.25")
    return value
