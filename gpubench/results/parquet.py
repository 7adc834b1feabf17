"""The sample file: the raw time stamps of one cell as Parquet.

One row for each request. Completed requests come first, in their order. A request that was due and
never completed has only its due time. The stamps rise slowly, so with delta encoding and zstd a
request needs only a few bytes.

    scheduled_ns opened_ns departed_ns submitted_ns completed_ns  int64
    e0_ns e1_ns e2_ns e3_ns   int64, only if the device has events
    preprocess_ns postprocess_ns  int64, durations, only if the model has these stages
    forward_ns backward_ns optimizer_ns  int64, durations, only of steps of training
    worker                    int32
    batch id                  int64
    warmup                    bool, only after --warmup auto: the request belongs to the warm-up

The metadata of the schema have the key `filled` if the CPU gathered the inputs of each batch
between departed_ns and submitted_ns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpubench.errors import InputError, reason_of

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from gpubench.results.samples import Samples

_COLUMNS = (
    "scheduled_ns",
    "opened_ns",
    "departed_ns",
    "submitted_ns",
    "completed_ns",
    "worker",
    "batch",
    "id",
)
# Fields of Samples that are several columns, all of them present or none.
_GROUPS = {
    "device_ns": ("e0_ns", "e1_ns", "e2_ns", "e3_ns"),
    "around_ns": ("preprocess_ns", "postprocess_ns"),
    "step_ns": ("forward_ns", "backward_ns", "optimizer_ns"),
}
_WARMUP = "warmup"
_FILLED = b"filled"

_ROW_BYTES = 300  # memory that a row needs at most while it is read; 288 were measured
_DEEPEST_STRUCT = 16
_MOST_FOOTER_BYTES = 4 << 20
_PAGE_OVERHEAD = 4 << 10  # of the encoding of a column
_MEMORY_PART = 0.5  # share of the memory of this machine that samples may use


def to_parquet(samples: Samples) -> bytes:
    """The bytes of the sample file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: getattr(samples, name) for name in _COLUMNS}
    for group, names in _GROUPS.items():
        if (values := getattr(samples, group)) is not None:
            columns |= {name: values[:, i] for i, name in enumerate(names)}
    if samples.warmup is not None:
        columns[_WARMUP] = samples.warmup
    completed = pa.table(columns)
    unfinished = pa.table({"scheduled_ns": samples.unfinished_scheduled_ns})
    table = pa.concat_tables([completed, unfinished], promote_options="default")

    if samples.filled:
        table = table.replace_schema_metadata({_FILLED: b"true"})

    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,  # a dictionary would replace the encoding below
        column_encoding={
            name: "PLAIN" if name == _WARMUP else "DELTA_BINARY_PACKED"
            for name in table.column_names
        },
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_parquet(data: bytes, origin: str) -> Samples:
    """Read a sample file.

    Its columns and its unpacked size are checked before it is unpacked. Raises InputError, which
    names `origin`, if it is not a sample file.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from gpubench.results.samples import Samples

    try:
        if int.from_bytes(data[-8:-4], "little") > _MOST_FOOTER_BYTES:
            raise ValueError("its metadata is too long")
        file = pq.ParquetFile(pa.BufferReader(data), thrift_string_size_limit=1 << 20)
        present = _check(file)
        _check_pages(data, file.metadata.num_rows)
        table = file.read(use_threads=False)
        is_completed = pc.is_valid(table["completed_ns"])
        completed = table.filter(is_completed)
        unfinished = table.filter(pc.invert(is_completed))
        if any(column.null_count for column in completed.columns):
            raise ValueError("a completed request lacks a stamp")
        columns = {name: completed[name].to_numpy() for name in _COLUMNS}
        groups = {
            group: np.stack([completed[name].to_numpy() for name in _GROUPS[group]], axis=1)
            for group in present
        }
        warmup = completed[_WARMUP].to_numpy() if _WARMUP in table.column_names else None
        return Samples(
            **columns,
            **groups,
            warmup=warmup,
            filled=_FILLED in (file.schema_arrow.metadata or {}),
            unfinished_scheduled_ns=unfinished["scheduled_ns"].to_numpy(),
        )
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{origin} is not a sample file: {reason_of(error)}; measure the cell again"
        ) from None


def _check(file: pq.ParquetFile) -> list[str]:
    """The fields of Samples that are several columns and that the file has.

    Raises ValueError if its columns are not those of a sample file, or if it is too large.
    """
    types = {field.name: str(field.type) for field in file.schema_arrow}
    present = [group for group, names in _GROUPS.items() if names[0] in types]
    names = (*_COLUMNS, *(name for group in present for name in _GROUPS[group]))
    expected = {name: "int32" if name == "worker" else "int64" for name in names}
    if _WARMUP in types:
        expected[_WARMUP] = "bool"
    if types != expected or len(file.schema_arrow) != len(expected):
        raise ValueError("its columns are not those of a sample file")
    rows = file.metadata.num_rows
    if not 0 <= rows * _ROW_BYTES <= _memory_bytes() * _MEMORY_PART:
        raise ValueError(f"unpacked, it would need {rows * _ROW_BYTES / 1e9:,.1f} GB")
    return present


def _check_pages(data: bytes, rows: int) -> None:
    """Raises ValueError if an unpacked page is larger than the rows of its group need.

    The library trusts the header of a page, which may say 2 GB in a file of 100 bytes. Its class
    for the metadata of a column ends the whole process for some damaged files. So the footer is
    read here. It has structs of Thrift's compact protocol, whose fields have the numbers of
    https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
    """
    length = int.from_bytes(data[-8:-4], "little")
    footer = _Thrift(data, len(data) - 8 - length, len(data) - 8).struct()
    groups = _structs(footer, 4)
    if sum(_whole(group, 3) for group in groups) != rows:
        raise ValueError("its numbers of rows contradict each other")
    for group in groups:
        most = 2 * 8 * _whole(group, 3) + _PAGE_OVERHEAD
        for chunk in _structs(group, 1):
            column = chunk.get(3)
            if not isinstance(column, dict):
                raise ValueError("a column has no metadata")
            start = min(_whole(column, 9), _whole(column, 11) if 11 in column else len(data))
            end = start + _whole(column, 7)
            if not 0 <= start <= end <= len(data):
                raise ValueError("its pages are not at their positions")
            if sum(_unpacked_pages(data, start, end)) > most:
                raise ValueError("it holds more than its rows need")


def _unpacked_pages(data: bytes, start: int, end: int) -> Iterator[int]:
    """The unpacked size of each page of a column, according to the header of the page."""
    position = start
    while position < end:
        reader = _Thrift(data, position, end)
        header = reader.struct()
        yield _whole(header, 2)
        position = reader.position + _whole(header, 3)


def _whole(struct: dict[int, object], field: int) -> int:
    value = struct.get(field)
    if not isinstance(value, int) or value < 0:
        raise ValueError("its metadata lacks a size")
    return value


def _structs(struct: dict[int, object], field: int) -> list[dict[int, object]]:
    found = struct.get(field)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("its metadata lacks a list")
    return found


class _Thrift:
    """Reads those structs of Thrift's compact protocol that Parquet's metadata uses."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.position = position
        self._data, self._end = data, end
        if position < 0:
            raise ValueError("it is truncated")

    def struct(self, depth: int = 0) -> dict[int, object]:
        """The fields by their numbers. Texts and floating-point numbers are None."""
        found: dict[int, object] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else _signed(self._varint())
            kind = head & 15
            found[field] = None if kind in {1, 2} else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> object:
        if depth > _DEEPEST_STRUCT:
            raise ValueError("its metadata is nested too deeply")
        if kind in {1, 2, 3}:  # a boolean in a list, and a byte
            return self._byte()
        if kind in {4, 5, 6}:
            return _signed(self._varint())
        if kind in {7, 8}:
            self._skip(8 if kind == 7 else self._varint())
            return None
        if kind in {9, 10}:
            head = self._byte()
            size = self._varint() if head >> 4 == 15 else head >> 4
            if size > self._end - self.position:  # each element needs at least one byte
                raise ValueError("its metadata is truncated")
            return [self._value(head & 15, depth + 1) for _ in range(size)]
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError("its metadata is damaged")

    def _skip(self, length: int) -> None:
        self.position += length
        if self.position > self._end:
            raise ValueError("its metadata is truncated")

    def _byte(self) -> int:
        if self.position >= self._end:
            raise ValueError("its metadata is truncated")
        self.position += 1
        return self._data[self.position - 1]

    def _varint(self) -> int:
        value = shift = 0
        while shift <= 63:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
        raise ValueError("its metadata is damaged")


def _signed(value: int) -> int:
    """Decodes one of Thrift's zigzag numbers."""
    return value >> 1 ^ -(value & 1)


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
