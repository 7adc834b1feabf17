"""Labelled samples in a Parquet file: one row for each sample. Does not import torch.

The columns have the names of the model's inputs. A value is a number, a list of numbers (nested, or
flat in the order of the rows of the tensor), or the bytes of the tensor. The label is in the column
`label` (an integer, or a list of integers), or in the columns `start` and `end` (integers). Other
columns are ignored.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubench.errors import InputError, reason_of
from gpubench.files.untrusted import open_regular, refuse_larger
from gpubench.models.inputs_file import KINDS
from gpubench.spec.dtypes import BY_NAME
from gpubench.spec.input_shapes import RequestInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_BYTES = 64 << 30
MOST_SAMPLES = 10_000_000
_CHUNK_BYTES = 64 << 20  # of inputs that are in memory at the same time
_MOST_CHUNK = 4096  # samples
_PIECE_BYTES = 1 << 20

_GIVE_CLASSES = "give integers: the number of the class, or a list of them"
_DECODE = "decode images and texts before, or give a function that does it (docs/accuracy.md)"
_REMEDY = "write a Parquet file with a column for each input of the model, and a column label"


@dataclass(frozen=True)
class LabelledParquet:
    """A file whose labels were read and whose inputs were not."""

    path: Path
    columns: tuple[str, ...]
    labels: NDArray[np.int64]  # (samples,), (samples, 2) or (samples, length)
    spans: bool  # a label is a start and an end

    def refuse_missing(self, names: Sequence[str], model: str) -> None:
        """Raises InputError if the file lacks an input of the model."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise InputError(
                f"--eval {self.path}: it has no column {', '.join(missing)}; {model} takes "
                f"{', '.join(names)}, and the file has {', '.join(self.columns)}"
            )

    def chunks(
        self, inputs: Sequence[RequestInput]
    ) -> Iterator[tuple[list[NDArray[Any]], NDArray[np.int64]]]:
        """(an array for each input, the labels) of some samples after another, in their order.

        An array has the shape (samples, *sizes of the input). Its format is that of the file; a
        column of bytes has the format of the input. Raises InputError for a column that does not
        fit its input.
        """
        names = [input_.name for input_ in inputs]
        sample_bytes = sum(8 * math.prod(input_.sizes) for input_ in inputs)
        rows = max(1, min(_MOST_CHUNK, _CHUNK_BYTES // max(sample_bytes, 1)))
        done = 0
        with _opened(self.path) as file:
            for batch in file.iter_batches(batch_size=rows, columns=names, use_threads=False):
                arrays = [_array(batch.column(input_.name), input_, self.path) for input_ in inputs]
                count = batch.num_rows
                yield arrays, self.labels[done : done + count]
                done += count

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        with open_regular(self.path) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()


def read_labels(path: Path) -> LabelledParquet:
    """Open a file and read its labels. The cells of a sweep share what was read.

    Raises InputError, one line, if it is not such a file: it cannot be read, is empty or too large,
    has no labels, or labels of another kind.
    """
    try:
        status = os.stat(path)
        state = (status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        raise InputError(
            f"--eval {path}: there is no such file; give a Parquet file, or a function as "
            "FILE.py:function"
        ) from None
    except OSError:  # opening it raises an error with the reason
        state = (0, 0)
    return _read_labels(path, state)


@functools.lru_cache(maxsize=4)
def _read_labels(path: Path, state: tuple[int, int]) -> LabelledParquet:
    with _opened(path) as file:
        columns = tuple(file.schema_arrow.names)
        rows = file.metadata.num_rows
        if rows == 0:
            raise InputError(f"--eval {path}: it has no rows; {_REMEDY}")
        if rows > MOST_SAMPLES:
            raise InputError(
                f"--eval {path}: it has {rows:,} rows, and the limit is {MOST_SAMPLES:,}; take a "
                "random part of them"
            )
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        if repeated:
            raise InputError(f"--eval {path}: the column {repeated[0]} is there twice; remove one")
        spans = {"start", "end"} <= set(columns)
        if spans == ("label" in columns):
            which = "both label and start, end; remove one of the two"
            if not spans:
                which = (
                    f"no column label, and no columns start and end, but {', '.join(columns)}; "
                    "rename the column with the labels"
                )
            raise InputError(f"--eval {path}: it has {which}")
        names = ["start", "end"] if spans else ["label"]
        table = file.read(columns=names, use_threads=False)
        found = [_labels(table[name].combine_chunks(), name, path) for name in names]
    import numpy as np

    if spans and any(each.ndim > 1 for each in found):
        raise InputError(f"--eval {path}: start and end must be integers, not lists")
    return LabelledParquet(path, columns, np.stack(found, axis=1) if spans else found[0], spans)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A pyarrow.parquet.ParquetFile. Raises InputError if the file cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(path) as handle:
            refuse_larger(handle.seek(0, 2), MOST_BYTES, path)
            yield pq.ParquetFile(handle)
    except OSError as error:
        reason = error.strerror or reason_of(error)
        raise InputError(f"--eval {path}: it cannot be read: {reason}") from None
    except pa.ArrowException as error:
        raise InputError(
            f"--eval {path}: it is not a Parquet file that can be read ({reason_of(error)}); "
            f"{_REMEDY}"
        ) from None


def _labels(column: Any, name: str, path: Path) -> NDArray[np.int64]:
    import numpy as np

    values, sizes = _unnested(column, name, path)
    if values.dtype.kind not in "iub" or len(sizes) > 1:
        raise InputError(f"--eval {path}: the column {name} holds {column.type}; {_GIVE_CLASSES}")
    if values.dtype.kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise InputError(f"--eval {path}: a label in {name} is larger than a class can be")
    return values.astype(np.int64).reshape(len(column), *sizes)


def _array(column: Any, input_: RequestInput, path: Path) -> NDArray[Any]:
    """The values of a column, in the shape that the model takes."""
    values, sizes = _unnested(column, input_.name, path, input_)
    wanted = BY_NAME[input_.dtype]
    if values.dtype.kind not in KINDS[wanted.kind]:
        raise InputError(
            f"--eval {path}: {input_.name} holds {values.dtype}, and the model takes "
            f"{wanted.name}; convert the column"
        )
    flat = (math.prod(input_.sizes),) if input_.sizes else ()
    if sizes not in {input_.sizes, flat}:
        length = (
            ""
            if len(sizes) != 1 or len(input_.sizes) != 1
            else ("; pad or cut its lists to this length (for text, --seq-len sets it)")
        )
        raise InputError(
            f"--eval {path}: {input_.name} has the shape {list(sizes)} for each sample, and the "
            f"model takes {list(input_.sizes)}{length}"
        )
    return values.reshape(len(column), *input_.sizes)


def _unnested(
    column: Any, name: str, path: Path, input_: RequestInput | None = None
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """(all values of a column as a vector, the shape of each row)."""
    import numpy as np
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):  # such as arrow.fixed_shape_tensor
        column = column.storage
    sizes: list[int] = []
    while True:
        if column.null_count:
            raise InputError(f"--eval {path}: {name} has an empty value (null); remove such rows")
        kind = column.type
        if not (
            pa.types.is_list(kind) or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        ):  # fmt: skip
            break
        lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise InputError(
                f"--eval {path}: the lists in {name} have from {lengths[0]:,} to {lengths[-1]:,} "
                "values; give all of them the same number (pad shorter ones)"
            )
        if not len(lengths) or not lengths[0]:
            raise InputError(f"--eval {path}: the lists in {name} are empty; give values")
        sizes.append(int(lengths[0]))
        column = column.flatten()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column.to_numpy(zero_copy_only=False), tuple(sizes)
    is_bytes = (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
    if input_ is not None and is_bytes and not sizes:
        return _from_bytes(column, name, path, input_)
    remedy = _GIVE_CLASSES if input_ is None else f"give numbers, or lists of numbers; {_DECODE}"
    raise InputError(f"--eval {path}: the column {name} holds {kind}; {remedy}")


def _from_bytes(
    column: Any, name: str, path: Path, input_: RequestInput
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Little-endian values of the format of the input, in the order of the rows of its tensor."""
    import numpy as np

    if input_.dtype == "bfloat16":
        raise InputError(f"--eval {path}: {name} holds bytes of bfloat16; give lists of numbers")
    dtype = np.dtype(input_.dtype).newbyteorder("<")
    needed = math.prod(input_.sizes) * dtype.itemsize
    rows = column.to_pylist()
    wrong = next((len(row) for row in rows if len(row) != needed), None)
    if wrong is not None:
        raise InputError(
            f"--eval {path}: {name} has {wrong:,} bytes in a row, and the model takes {needed:,}: "
            f"{list(input_.sizes)} of {input_.dtype}; {_DECODE}"
        )
    return np.frombuffer(b"".join(rows), dtype), input_.sizes
