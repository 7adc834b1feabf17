"""What a model file gives to the engines."""

from __future__ import annotations

import hashlib
import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TextIO, cast

import torch

from gpubench.errors import GpubenchError
from gpubench.registry import model_entry
from gpubench.spec.input_shapes import RequestInput

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Around:
    """What a real request needs besides the model, each timed as a stage of its own.

    Where it exists, `make_requests(generator, samples)` makes what a client would send (encoded
    images, text), `preprocess` turns that into the module's inputs, and `postprocess` turns its
    outputs into what the client gets.
    """

    make_requests: Callable[[torch.Generator, int], object]
    preprocess: Callable[[object], Tensors]
    postprocess: Callable[[Tensors], object]


@dataclass(frozen=True)
class LoadedModel:
    """A model in fp32 on the CPU, in eval mode, and the means to make requests for it.

    `module(*inputs)` takes the tensors of one request, and returns tensors of any shape in whatever
    `as_tuple` takes apart.
    """

    module: torch.nn.Module
    weights: str  # label for the result: "random (seed 0)", "pretrained: <where from>"
    make_inputs: Callable[[torch.Generator, int], Tensors]  # (generator, samples) -> one request
    # What the largest value of each output answers, in order: "top1", or "start" and "end".
    answers: tuple[str, ...] = ()
    around: Around | None = None
    # False: nothing but its runtime can call it, so there is nothing to compare its answers with.
    callable_on_cpu: bool = True
    # The only number of samples that it takes at once, whatever `make_inputs` is asked for.
    fixed_batch: int | None = None
    # Whether the batch is the first dimension of every input, so that requests can be joined.
    batch_first: bool = True

    @property
    def parameters(self) -> int | None:
        """None where they are hidden in a file."""
        return sum(parameter.numel() for parameter in self.module.parameters()) or None

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.module.state_dict().values())

    @cached_property  # gigabytes
    def weights_digest(self) -> str:
        """A hash of the weights as loaded: to be asked for before anything converts them.

        Two models with the same weights can compute different things: see
        gpubench.engines.program for a digest of all that a model computes with.
        """
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.module.state_dict().items()):
            add_tensor(digest, name, tensor)
        return digest.hexdigest()


def add_tensor(digest: hashlib.blake2b, name: str, tensor: torch.Tensor) -> None:
    """Add the name, the form and the bytes of `tensor` to `digest`."""
    form = f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}\n"
    digest.update(form.encode())
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    digest.update(plain.view(-1).view(torch.uint8).numpy().data)


def load(cell: Cell) -> LoadedModel:
    """Load the model that `cell` names, by the file its preset points to.

    Raises GpubenchError where the weights cannot be fetched or do not fit the model.
    """
    known = model_entry(cell.model)
    if known is None or known.file is None:
        raise GpubenchError(f"{cell.model} has no weights to load")
    logging.getLogger("torch.utils._pytree").addFilter(_is_not_about_torchao)
    loader = cast(Callable[["Cell"], LoadedModel], importlib.import_module(known.file).load)
    with _without_prompts():
        return loader(cell)


class _NoAnswers:
    """Standard input for libraries that ask before they run code or fetch something."""

    def readline(self, _size: int = -1) -> str:
        raise GpubenchError(
            "loading the model asked a question on standard input, which gpubench does not answer; "
            "load it once in Python and answer there, or write a function that loads it unasked"
        )

    read = readline

    def isatty(self) -> bool:
        return False


@contextmanager
def _without_prompts() -> Iterator[None]:
    """What is waiting on standard input never answers a question that a library asks."""
    before, sys.stdin = sys.stdin, cast(TextIO, _NoAnswers())
    try:
        yield
    finally:
        sys.stdin = before


def _is_not_about_torchao(record: logging.LogRecord) -> bool:
    """False for torch's remark on a deprecated call of torchao's, which its import makes twice.

    transformers imports torchao wherever it is installed. Seen with torchao 0.18 and torch 2.15.
    """
    subject = record.args[0] if isinstance(record.args, tuple) and record.args else None
    is_of_torchao = getattr(subject, "__module__", "").startswith("torchao.")
    return not (is_of_torchao and "is an Enum subclass" in str(record.msg))


def as_tuple(outputs: object) -> Tensors:
    """The tensors of a model's outputs, in their order.

    Tuples, lists, mappings (a ModelOutput is one) and dataclasses are taken apart, however deeply
    they are nested, and None is left out. Raises GpubenchError where there is anything else, or no
    tensor at all.
    """
    if isinstance(outputs, torch.Tensor):  # the usual cases first: workers call this per batch
        return (outputs,)
    if isinstance(outputs, tuple) and outputs and all(type(o) is torch.Tensor for o in outputs):
        return outputs
    tensors = tuple(_tensors_in(outputs))
    if not tensors:
        raise GpubenchError(
            "the model returns no tensor, so there is nothing to wait for or to compare; let its "
            "forward return what it computes"
        )
    return tensors


class TupleOfTensors(torch.nn.Module):
    """A module with its outputs as one tensor or a flat tuple: what tracing and exporting need."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | Tensors:
        outputs = self.module(*inputs)
        return outputs if isinstance(outputs, torch.Tensor) else as_tuple(outputs)


def _tensors_in(outputs: object) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from _tensors_in(value)
    elif isinstance(outputs, (tuple, list)):
        for value in outputs:
            yield from _tensors_in(value)
    elif is_dataclass(outputs) and not isinstance(outputs, type):
        for each in fields(outputs):
            yield from _tensors_in(getattr(outputs, each.name))
    # The cache that a language model of transformers returns is for its next call: no answer.
    elif outputs is not None and type(outputs).__module__ != "transformers.cache_utils":
        raise GpubenchError(
            f"the model returns a value of type {type(outputs).__name__}; wrap it so that it "
            "returns tensors alone (docs/extending.md)"
        )


def torch_dtype(name: str) -> torch.dtype:
    """Of a format's name; see gpubench.spec.dtypes."""
    return cast(torch.dtype, getattr(torch, name))


def random_inputs(
    inputs: Sequence[RequestInput], generator: torch.Generator, samples: int
) -> Tensors:
    """For a model of which the inputs' shapes and formats are known, and nothing of their meaning.

    Integers are 0 or 1, which are an index and a mask in every model.
    """
    return tuple(_made(put, generator, samples) for put in inputs)


def _made(put: RequestInput, generator: torch.Generator, samples: int) -> torch.Tensor:
    dtype, shape = torch_dtype(put.dtype), put.shape(samples)
    if put.value is not None:
        exact = put.value if dtype.is_floating_point else int(put.value)
        return torch.full(shape, exact, dtype=dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)


def rows_of(
    arrays: Sequence[torch.Tensor],
    axes: Sequence[int | None],
    generator: torch.Generator,
    samples: int,
) -> Tensors:
    """`samples` of the samples that lie in `arrays`, the same ones of each.

    `axes` says in which dimension of each array its samples are; None: it belongs to all of them.
    None comes twice before all have come.
    """
    counts = [
        array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None
    ]
    if not counts:
        return tuple(arrays)
    order = torch.randperm(counts[0], generator=generator)
    rows = order.repeat(-(-samples // counts[0]))[:samples]
    return tuple(
        array if axis is None else taken(array, axis, rows)
        for array, axis in zip(arrays, axes, strict=True)
    )


def taken(array: torch.Tensor, axis: int, rows: torch.Tensor) -> torch.Tensor:
    """Those rows of `array` along a dimension, in any format: torch cannot index uint16."""
    moved = array.movedim(axis, 0).contiguous()
    size = moved[:1].nbytes
    taken = moved.view(-1).view(torch.uint8).view(len(moved), size)[rows]
    shape = (len(rows), *moved.shape[1:])
    return taken.reshape(-1).view(array.dtype).view(shape).movedim(0, axis).contiguous()


def with_floats(inputs: Tensors, dtype: torch.dtype) -> Tensors:
    """`inputs` with its floating-point numbers in `dtype`."""
    return tuple(
        tensor.to(dtype)
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
        else tensor
        for tensor in inputs
    )


_HALVES = {torch.float16: "fp16", torch.bfloat16: "bf16"}


def in_reference_dtype(module: torch.nn.Module, cell: Cell) -> tuple[torch.nn.Module, torch.dtype]:
    """(a user's module in the numbers in which it is the reference, those of its inputs).

    That is fp32, which holds what any narrower format holds: --precision says in which format it is
    then measured. TorchScript with 16-bit weights stays as it is where it is measured in that
    format, since its code may name the format.

    Raises GpubenchError for 16-bit weights where the user has not said which of the two they want.
    """
    tensors = (*module.parameters(), *module.buffers())
    half = next((tensor.dtype for tensor in tensors if tensor.dtype in _HALVES), None)
    if half is not None:
        own = _HALVES[half]
        if not cell.precision_given:
            raise GpubenchError(
                f"{cell.model} has weights in {own}; add --precision {own} to measure it so, or "
                "--precision fp32 to measure it converted"
            )
        if cell.precision == own and isinstance(module, torch.jit.ScriptModule):
            return module, half
    return module.float(), torch.float32


def random_weights_label(seed: int) -> str:
    return f"random (seed {seed})"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % 2**63)
