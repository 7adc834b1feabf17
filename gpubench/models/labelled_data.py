"""The labelled samples of --eval: from a Parquet file, or from a function of the user.

The function takes no arguments. It returns an iterable of (inputs, labels): a batch of any number
of samples. `inputs` is a tensor, an array or a tuple of these, with the samples in the first
dimension; a model with `preprocess` gets what its clients send. `labels` are integers: one for each
sample, a pair (start, end) of these, or a list of the same length for each sample.

The function is called once for the fp32 model and once for each engine, and has to yield the same
samples each time. Its random numbers come from the seed of the cell.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpubench.errors import GpubenchError
from gpubench.models.base import (
    LoadedModel,
    PrePostProcessing,
    Tensors,
    add_tensor,
    seeded,
    select_rows,
    torch_dtype,
)
from gpubench.models.labelled_parquet import LabelledParquet, read_labels
from gpubench.models.own import user_function
from gpubench.spec.cell import Cell
from gpubench.spec.dtypes import BY_NAME
from gpubench.spec.input_shapes import RequestInput

# Samples with which the inputs of a model are described. A dimension of this size is the batch.
_SAMPLES = 3


@dataclass(frozen=True)
class LabelledBatch:
    """Samples as a model takes them. The last batch of the data may be filled with repeats."""

    inputs: Tensors
    labels: NDArray[np.int64]  # of the samples that are not repeats
    spans: bool  # a label is a start and an end

    @property
    def count(self) -> int:
        return len(self.labels)


class LabelledData(ABC):
    """Labelled samples that can be read again and again."""

    name: str
    sha256: str | None = None  # of the file; None: a function yields the samples
    known_labels: NDArray[np.int64] | None = None  # None: known only when they are read

    @abstractmethod
    def batches(self, size: int) -> Iterator[LabelledBatch]:
        """The samples in batches of `size`. Raises GpubenchError for samples that do not fit."""


def labelled_data(model: LoadedModel, cell: Cell) -> LabelledData:
    """The data of --eval, which `cell` has, for its model.

    Raises GpubenchError, one line, if they do not fit the model as far as is known without reading
    all of them.
    """
    assert cell.eval is not None
    inputs = _inputs(model, cell)
    if cell.spec.eval_is_function:
        return _FromFunction(cell.eval, inputs, model.processing, cell.seed)
    return _FromFile(cell.eval, inputs, cell.model)


def _inputs(model: LoadedModel, cell: Cell) -> list[RequestInput]:
    """What the module takes. Raises GpubenchError if it does not take single samples."""
    samples = model.fixed_batch or _SAMPLES
    tensors = model.make_inputs(seeded(0), samples)
    if any(tensor.ndim == 0 or len(tensor) != samples for tensor in tensors):
        raise GpubenchError(
            f"--eval: {cell.model} has an input whose first dimension is not the batch, so samples "
            "cannot be put together; remove --eval"
        )
    names = input_names(model, len(tensors))
    return [
        RequestInput(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape[1:]))
        for name, tensor in zip(names, tensors, strict=True)
    ]


def input_names(model: LoadedModel, count: int) -> tuple[str, ...]:
    """The names of the `count` inputs of a model, in order.

    Those of the parameters of its `forward`; input_0, input_1, ... for those without a name.
    """
    names = list(model.input_names)
    if not names and isinstance(model.module, torch.jit.ScriptModule):
        forward: Any = model.module.forward
        names = [argument.name for argument in forward.schema.arguments][1:]
    elif not names:
        parameters = inspect.signature(model.module.forward).parameters.values()
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [each.name for each in parameters if each.kind in positional]
    names = names[:count]
    return (*names, *(f"input_{number}" for number in range(len(names), count)))


_Chunks = Iterable[tuple[Tensors, NDArray[np.int64]]]


def _in_batches(chunks: _Chunks, size: int, spans: Callable[[], bool]) -> Iterator[LabelledBatch]:
    """The samples of all chunks in batches of `size`; the last one is filled with its last sample.

    The engine may have been built for this size alone.
    """
    held: Tensors = ()
    labels: NDArray[np.int64] | None = None
    for tensors, more in chunks:
        held = tuple(map(_joined, held, tensors)) if held else tensors
        labels = more if labels is None else np.concatenate([labels, more])
        while len(labels) >= size:
            yield LabelledBatch(tuple(each[:size] for each in held), labels[:size], spans())
            held, labels = tuple(each[size:] for each in held), labels[size:]
    if labels is not None and len(labels):
        rows = torch.arange(size).clamp(max=len(labels) - 1)
        filled = tuple(select_rows(tensor, 0, rows) for tensor in held)
        yield LabelledBatch(filled, labels, spans())


def _joined(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return torch.cat([first, second]) if len(first) else second


class _FromFile(LabelledData):
    def __init__(self, name: str, inputs: Sequence[RequestInput], model: str) -> None:
        self.name, self._inputs = name, inputs
        self._file: LabelledParquet = read_labels(Path(name))
        self._file.refuse_missing([input_.name for input_ in inputs], model)
        next(self._file.chunks(inputs))  # its columns fit; other rows may still have other sizes
        self.known_labels, self.sha256 = self._file.labels, self._file.sha256

    def batches(self, size: int) -> Iterator[LabelledBatch]:
        return _in_batches(self._chunks(), size, lambda: self._file.spans)

    def _chunks(self) -> _Chunks:
        dtypes = [torch_dtype(input_.dtype) for input_ in self._inputs]
        for arrays, labels in self._file.chunks(self._inputs):
            # A copy: Arrow's memory is read-only and may be freed.
            tensors = (torch.from_numpy(np.array(array)) for array in arrays)
            yield tuple(map(torch.Tensor.to, tensors, dtypes)), labels


class _FromFunction(LabelledData):
    def __init__(
        self,
        name: str,
        inputs: Sequence[RequestInput],
        processing: PrePostProcessing | None,
        seed: int,
    ) -> None:
        self.name = name
        self._inputs, self._processing, self._seed = inputs, processing, seed
        self._digest: str | None = None  # of the samples that were read before
        self._spans = False

    def batches(self, size: int) -> Iterator[LabelledBatch]:
        digest = hashlib.blake2b(digest_size=16)
        yield from _in_batches(self._chunks(digest), size, lambda: self._spans)
        if self._digest not in {None, digest.hexdigest()}:
            raise GpubenchError(
                f"--eval {self.name}: it yields other samples each time it is called, so engine "
                "and fp32 model cannot be compared; make it yield the same ones"
            )
        self._digest = digest.hexdigest()

    def _chunks(self, digest: hashlib.blake2b) -> _Chunks:
        form: tuple[bool, tuple[int, ...]] | None = None  # of the labels
        with user_function(self.name, "--eval") as function, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            yielded = function()
            if not isinstance(yielded, Iterable):
                raise GpubenchError(
                    f"--eval {self.name}: it returned {type(yielded).__name__}; it must yield "
                    "(inputs, labels)"
                )
            for number, batch in enumerate(yielded, 1):
                where = f"--eval {self.name}: batch {number}"
                tensors, labels = self._checked(batch, where)
                before, form = form, (self._spans, labels.shape[1:])
                if before not in {None, form}:
                    raise GpubenchError(
                        f"{where}: its labels have another form than those before; give all one"
                    )
                for tensor in (*tensors, torch.from_numpy(labels)):
                    add_tensor(digest, "", tensor)
                yield tensors, labels
        if form is None:
            raise GpubenchError(f"--eval {self.name}: it yields no samples; yield some")

    def _checked(self, batch: object, where: str) -> tuple[Tensors, NDArray[np.int64]]:
        """A batch of the function, in the formats of the model."""
        if not isinstance(batch, tuple) or len(batch) != 2:
            raise GpubenchError(
                f"{where}: it is {type(batch).__name__}, not (inputs, labels); yield a pair"
            )
        inputs, given = batch
        if self._processing is not None:
            inputs = self._processing.preprocess(inputs)
        parts = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        if len(parts) != len(self._inputs):
            names = ", ".join(input_.name for input_ in self._inputs)
            raise GpubenchError(
                f"{where}: it has {len(parts)} inputs, and the model takes {len(self._inputs)}: "
                f"{names}"
            )
        tensors = tuple(
            _checked_input(each, input_, where)
            for each, input_ in zip(parts, self._inputs, strict=True)
        )
        self._spans = isinstance(given, tuple) and len(given) == 2 and not _is_number(given[0])
        labels = _labels(given, self._spans, where)
        counts = {len(tensor) for tensor in tensors} | {len(labels)}
        if len(counts) > 1 or 0 in counts:
            raise GpubenchError(
                f"{where}: inputs and labels have {' and '.join(map(str, sorted(counts)))} "
                "samples; give all of them the same number"
            )
        return tensors, labels


def _is_number(value: object) -> bool:
    return isinstance(value, (int, np.integer)) or getattr(value, "ndim", None) == 0


def _checked_input(value: object, input_: RequestInput, where: str) -> torch.Tensor:
    if not isinstance(value, (torch.Tensor, np.ndarray)):
        raise GpubenchError(
            f"{where}: {input_.name} is {type(value).__name__}; give a tensor or a NumPy array"
        )
    tensor = torch.as_tensor(value).detach().cpu()
    wanted = BY_NAME[input_.dtype]
    given = BY_NAME.get(str(tensor.dtype).removeprefix("torch."))
    if given is None or given.kind != wanted.kind:
        raise GpubenchError(
            f"{where}: {input_.name} holds {str(tensor.dtype).removeprefix('torch.')}, and the "
            f"model takes {wanted.name}; convert it"
        )
    if tensor.ndim == 0 or tuple(tensor.shape[1:]) != input_.sizes:
        raise GpubenchError(
            f"{where}: {input_.name} has the shape {list(tensor.shape)}, and the model takes "
            f"[samples, {', '.join(map(str, input_.sizes))}]".replace(", ]", "]")
        )
    return tensor.to(torch_dtype(input_.dtype))


def _labels(given: object, spans: bool, where: str) -> NDArray[np.int64]:
    """The labels as integers: (samples,), (samples, 2) or (samples, length)."""
    try:
        parts = given if spans and isinstance(given, tuple) else (given,)
        arrays = [
            np.asarray(part.cpu() if isinstance(part, torch.Tensor) else part) for part in parts
        ]
        labels = np.stack(arrays, axis=1) if spans else arrays[0]
    except (ValueError, TypeError) as error:
        raise GpubenchError(f"{where}: its labels are no array of integers ({error})") from None
    if labels.dtype.kind not in "iub" or not 1 <= labels.ndim <= 2 or labels.shape[-1] == 0:
        raise GpubenchError(
            f"{where}: its labels are {labels.dtype} {list(labels.shape)}; give integers: one for "
            "each sample, a pair (start, end) of these, or a list of one length for each sample"
        )
    return labels.astype(np.int64)
