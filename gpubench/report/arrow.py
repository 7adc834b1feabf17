"""Results as an Arrow table, a data frame and a Parquet file, with the columns of the CSV file.

Texts are as in the documents: only CSV needs them escaped, for spreadsheets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gpubench.errors import InputError
from gpubench.report.columns import CELL, column
from gpubench.report.csv import CsvField, rows
from gpubench.results.result import Result

if TYPE_CHECKING:
    import pandas
    import pyarrow


def table(cells: Iterable[tuple[str, Result]]) -> pyarrow.Table:
    """One row for each cell and price; `cells` are (key, result).

    All columns of docs/columns.md are there, whatever the cells have. Raises InputError if a figure
    does not fit its column.
    """
    import pyarrow as pa

    found = [row for key, result in cells for row in rows(key, result)]
    names = dict.fromkeys([*(info.name for info in CELL), *(name for row in found for name in row)])
    columns = {}
    for name in names:
        values = [row.get(name) for row in found]
        try:
            columns[name] = pa.array(values, pa.type_for_alias(ALIAS[_kind(name, values)]))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise InputError(
                f"the column {name} cannot be written: {error}; remove the document with that "
                "value, or write CSV"
            ) from None
    return pa.table(columns)


def parquet(cells: Iterable[tuple[str, Result]]) -> bytes:
    """The bytes of a Parquet file with this table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table(cells), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def frame(from_table: pyarrow.Table) -> pandas.DataFrame:
    """The table as a data frame, whose whole numbers and booleans may be absent (pd.NA)."""
    import pandas as pd
    import pyarrow as pa

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return from_table.to_pandas(types_mapper=nullable.get)


ALIAS = {"text": "string", "integer": "int64", "number": "double", "boolean": "bool"}


def _kind(name: str, values: Sequence[CsvField]) -> str:
    """The kind of a column: of one that a user's own model added, that of its values."""
    info = column(name)
    if info is not None:
        return info.kind
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return "boolean"
    return "number" if kinds <= {int, float} else "text"
