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

from typing import TYPE_CHECKING

from gpubench.errors import InputError, reason_of

if TYPE_CHECKING:
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

    Raises InputError, naming `origin`, where it is not one.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from gpubench.samples import Samples

    try:
        table = pq.read_table(pa.BufferReader(data))
        is_completed = pc.is_valid(table["completed_ns"])
        completed = table.filter(is_completed)
        unfinished = table.filter(pc.invert(is_completed))
        columns = {name: completed[name].to_numpy() for name in _COLUMNS}
        device = around = None
        if "e0_ns" in table.column_names:
            device = np.stack([completed[name].to_numpy() for name in _DEVICE_COLUMNS], axis=1)
        if "preprocess_ns" in table.column_names:
            around = np.stack([completed[name].to_numpy() for name in _AROUND_COLUMNS], axis=1)
    except (pa.ArrowException, KeyError) as error:
        problem = reason_of(error)
        raise InputError(
            f"{origin} is not a sample file: {problem}; measure the cell again"
        ) from None
    return Samples(
        **columns,
        device_ns=device,
        around_ns=around,
        unfinished_scheduled_ns=unfinished["scheduled_ns"].to_numpy(),
    )
