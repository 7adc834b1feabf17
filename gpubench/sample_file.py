"""The sample file: the raw time stamps of one cell as Parquet.

One row per request. Completed requests come first, in their order; a request that was offered and
never completed is a row with nothing but its due time. Stamps rise slowly, so delta encoding and
zstd bring a request to a few bytes.

    scheduled_ns opened_ns departed_ns submitted_ns completed_ns  int64
    e0_ns e1_ns e2_ns e3_ns   int64, only where the device has events
    preprocess_ns postprocess_ns  int64, durations, only of models that have these stages
    worker                    int32
    batch id                  int64
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpubench.errors import InputError, first_line

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from gpubench.samples import Samples

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
_DEVICE_COLUMNS = ("e0_ns", "e1_ns", "e2_ns", "e3_ns")
_AROUND_COLUMNS = ("preprocess_ns", "postprocess_ns")

_ROW_BYTES = 300  # of memory, at the most, while a row is put in order: 288 were seen
_PAGE_OVERHEAD = 4 << 10  # of the encoding of a column
# Of this machine's memory, that samples may take.
_MEMORY_PART = 0.5


def to_parquet(samples: Samples) -> bytes:
    """The bytes of the sample file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: getattr(samples, name) for name in _COLUMNS}
    if samples.device_ns is not None:
        columns |= {name: samples.device_ns[:, i] for i, name in enumerate(_DEVICE_COLUMNS)}
    if samples.around_ns is not None:
        columns |= {name: samples.around_ns[:, i] for i, name in enumerate(_AROUND_COLUMNS)}
    completed = pa.table(columns)
    unfinished = pa.table({"scheduled_ns": samples.unfinished_scheduled_ns})
    table = pa.concat_tables([completed, unfinished], promote_options="default")

    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,  # would take the place of the encoding below
        column_encoding=dict.fromkeys(table.column_names, "DELTA_BINARY_PACKED"),
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_parquet(data: bytes, origin: str) -> Samples:
    """Read a sample file.

    Its columns, and how large it is once unpacked, are checked before it is unpacked. Raises
    InputError, naming `origin`, where it is not one.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from gpubench.samples import Samples

    try:
        file = pq.ParquetFile(pa.BufferReader(data), thrift_string_size_limit=1 << 20)
        has_device, has_around = _check(file)
        _check_pages(file, data)
        table = file.read(use_threads=False)
        is_completed = pc.is_valid(table["completed_ns"])
        completed = table.filter(is_completed)
        unfinished = table.filter(pc.invert(is_completed))
        if any(column.null_count for column in completed.columns):
            raise ValueError("a completed request lacks a stamp")
        columns = {name: completed[name].to_numpy() for name in _COLUMNS}
        device = around = None
        if has_device:
            device = np.stack([completed[name].to_numpy() for name in _DEVICE_COLUMNS], axis=1)
        if has_around:
            around = np.stack([completed[name].to_numpy() for name in _AROUND_COLUMNS], axis=1)
        return Samples(
            **columns,
            device_ns=device,
            around_ns=around,
            unfinished_scheduled_ns=unfinished["scheduled_ns"].to_numpy(),
        )
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{origin} is not a sample file: {first_line(error)}; measure the cell again"
        ) from None


def _check(file: pq.ParquetFile) -> tuple[bool, bool]:
    """Whether it has the columns of a device, and of the stages around the model.

    Raises ValueError where its columns are not those of a sample file, or it is too large.
    """
    types = {field.name: str(field.type) for field in file.schema_arrow}
    has_device, has_around = "e0_ns" in types, "preprocess_ns" in types
    names = (
        *_COLUMNS,
        *(_DEVICE_COLUMNS if has_device else ()),
        *(_AROUND_COLUMNS if has_around else ()),
    )
    expected = {name: "int32" if name == "worker" else "int64" for name in names}
    if types != expected or len(file.schema_arrow) != len(expected):
        raise ValueError("its columns are not those of one")
    metadata = file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if metadata.num_rows != sum(group.num_rows for group in groups):
        raise ValueError("its numbers of rows contradict each other")
    unpacked = metadata.num_rows * _ROW_BYTES
    if metadata.num_rows < 0 or unpacked > _memory_bytes() * _MEMORY_PART:
        raise ValueError(f"unpacked it would take {unpacked / 1e9:,.1f} GB")
    return has_device, has_around


def _check_pages(file: pq.ParquetFile, data: bytes) -> None:
    """Raises ValueError where a page is larger, once unpacked, than the rows of its group need.

    The library believes a page's own header, which may say 2 GB in a file of 100 bytes.
    """
    metadata = file.metadata
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        most = 2 * 8 * group.num_rows + _PAGE_OVERHEAD
        for index in range(group.num_columns):
            column = group.column(index)
            start = column.data_page_offset
            if column.has_dictionary_page:
                start = min(start, column.dictionary_page_offset)
            end = start + column.total_compressed_size
            if not 0 <= start <= end <= len(data):
                raise ValueError("its pages are not where it says")
            unpacked = sum(pages(data, start, end))
            if unpacked > most:
                raise ValueError("it holds more than its rows need")


def pages(data: bytes, start: int, end: int) -> Iterator[int]:
    """The size of each page of a column once it is unpacked, as the page's header says.

    A header is a struct in Thrift's compact protocol, whose second and third field are the sizes:
    https://parquet.apache.org/docs/file-format/data-pages/. Raises ValueError where it is not.
    """
    position = start
    while position < end:
        reader = _Thrift(data, position, end)
        sizes = reader.whole_numbers()
        unpacked, packed = sizes.get(2, -1), sizes.get(3, -1)
        if unpacked < 0 or packed < 0:
            raise ValueError("a page has no size")
        yield unpacked
        position = reader.position + packed


class _Thrift:
    """Reads a struct of the compact protocol, and passes over what is nested in it."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.position = position
        self._data, self._end = data, end

    def whole_numbers(self, depth: int = 0) -> dict[int, int]:
        """The fields of the struct that are whole numbers, by their ids."""
        if depth > 8:
            raise ValueError("a page's header is nested too deeply")
        found: dict[int, int] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else _signed(self._varint())
            kind = head & 15
            if kind in {4, 5, 6}:
                found[field] = _signed(self._varint())
            else:
                self._pass_over(kind, depth)
        return found

    def _pass_over(self, kind: int, depth: int) -> None:
        if kind in {1, 2}:  # true and false have no more bytes
            return
        if kind == 3:
            self._byte()
        elif kind == 7:
            self.position += 8
        elif kind == 8:
            length = self._varint()
            self.position += length
        elif kind == 12:
            self.whole_numbers(depth + 1)
        else:  # lists and maps, of which these headers have none
            raise ValueError("a page's header is not one")

    def _byte(self) -> int:
        if self.position >= self._end:
            raise ValueError("a page's header is cut")
        self.position += 1
        return self._data[self.position - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a page's header is not one")


def _signed(value: int) -> int:
    """Of Thrift's zigzag numbers."""
    return value >> 1 ^ -(value & 1)


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
