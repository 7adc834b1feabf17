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

_ROW_BYTES = 8 * (len(_COLUMNS) + len(_DEVICE_COLUMNS) + len(_AROUND_COLUMNS))
_PAGE_OVERHEAD = 64 << 10
# Of this machine's memory, that samples may take.
_MEMORY_PART = 0.25


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
    claimed = sum(group.total_byte_size for group in groups)
    if max(unpacked, claimed) > _memory_bytes() * _MEMORY_PART or metadata.num_rows < 0:
        raise ValueError(f"unpacked it would take {max(unpacked, claimed) / 1e9:,.1f} GB")
    # What is packed takes no more room than plain numbers, but for the headers of its pages.
    if claimed > unpacked + len(groups) * len(names) * _PAGE_OVERHEAD:
        raise ValueError("it holds more than its rows need")
    return has_device, has_around


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
