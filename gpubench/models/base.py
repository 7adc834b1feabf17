"""A loaded model: what each model file returns, and what the engines are built from."""

from __future__ import annotations

import hashlib
import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, cast

import torch

from gpubench.errors import GpubenchError
from gpubench.models.sparsity import prune_2_of_4
from gpubench.registry import model_entry
from gpubench.spec.input_shapes import RequestInput

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

Tensors = tuple[torch.Tensor, ...]
MakeInputs = Callable[[torch.Generator, int], Tensors]  # (generator, samples) -> one request


@dataclass(frozen=True)
class PrePostProcessing:
    """The functions for pre- and postprocessing. Each of the two is timed as a separate stage.

    `make_requests(generator, samples)` makes what a client sends (encoded images, text).
    `preprocess` turns it into the inputs of the module. `postprocess` turns the outputs of the
    module into what the client receives.
    """

    make_requests: Callable[[torch.Generator, int], object]
    preprocess: Callable[[object], Tensors]
    postprocess: Callable[[Tensors], object]


@dataclass(frozen=True)
class LoadedModel:
    """A model in fp32 on the CPU, in eval mode, and a function that makes requests for it.

    `module(*inputs)` takes the tensors of one request. It returns tensors of any shape, in any
    structure that `as_tuple` supports.
    """

    module: torch.nn.Module
    weights: str  # label for the result: "random (seed 0)", "pretrained: <source>"
    make_inputs: MakeInputs
    # The meaning of the largest value of each output, in order: "top1", or "start" and "end".
    answers: tuple[str, ...] = ()
    processing: PrePostProcessing | None = None
    # False: only its runtime can call the model, so there are no reference outputs.
    callable_on_cpu: bool = True
    # The only batch that the model takes. `make_inputs` then always makes this many samples.
    fixed_batch: int | None = None
    # Whether the batch is the first dimension of every input. Only then requests can be joined.
    batch_first: bool = True
    # The names of the inputs, in order. Empty: those of the parameters of `module.forward`.
    input_names: tuple[str, ...] = ()
    # The names of the outputs, in order. Empty: torch gives them none.
    output_names: tuple[str, ...] = ()
    # The user's loss function for training. None: see gpubench.training.losses.
    loss: Callable[[Any], torch.Tensor] | None = None

    @property
    def parameters(self) -> int | None:
        """The number of parameters; None if they are in a file that torch does not read."""
        return sum(parameter.numel() for parameter in self.module.parameters()) or None

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.module.state_dict().values())

    @cached_property  # the weights may be gigabytes
    def weights_digest(self) -> str:
        """A hash of the loaded weights. Read it before anything converts the weights.

        Two models with the same weights can compute different outputs. gpubench.engines.program
        makes a digest of everything that the outputs depend on.
        """
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.module.state_dict().items()):
            add_tensor(digest, name, tensor)
        return digest.hexdigest()


def add_tensor(digest: hashlib.blake2b, name: str, tensor: torch.Tensor) -> None:
    """Add the name, the format, the layout and the bytes of `tensor` to `digest`."""
    description = f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}\n"
    digest.update(description.encode())
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    digest.update(plain.view(-1).view(torch.uint8).numpy().data)


def load(cell: Cell) -> LoadedModel:
    """Load the model of `cell`, with the model file that the registry names for it.

    Raises GpubenchError if the weights cannot be fetched, or do not fit the model, or if its layers
    cannot be pruned.
    """
    known = model_entry(cell.model)
    if known is None or known.file is None:
        raise GpubenchError(f"{cell.model} has no weights to load")
    logging.getLogger("torch.utils._pytree").addFilter(_is_not_about_torchao)
    loader = cast(Callable[["Cell"], LoadedModel], importlib.import_module(known.file).load)
    with _without_prompts():
        loaded = loader(cell)
    if cell.sparsity == "2:4":
        prune_2_of_4(loaded.module, cell.model)
    return loaded


def preset_inputs(cell: Cell) -> MakeInputs | None:
    """`LoadedModel.make_inputs` of a preset, without its weights.

    None if the file of the preset has no function `make_inputs_for`.
    """
    assert cell.model_entry.file is not None
    file = importlib.import_module(cell.model_entry.file)
    if not hasattr(file, "make_inputs_for"):
        return None
    return cast(MakeInputs, file.make_inputs_for(cell))


class _NoInput:
    """Replaces standard input: libraries may ask a question before they run or fetch something."""

    def readline(self, _size: int = -1) -> str:
        raise GpubenchError(
            "loading the model asked a question on standard input, which gpubench does not answer; "
            "load it once in Python and answer there, or write a function that loads it without "
            "a question"
        )

    read = readline

    def isatty(self) -> bool:
        return False


@contextmanager
def _without_prompts() -> Iterator[None]:
    """Text on standard input is never taken as the answer to a question of a library."""
    before, sys.stdin = sys.stdin, cast(TextIO, _NoInput())
    try:
        yield
    finally:
        sys.stdin = before


def _is_not_about_torchao(record: logging.LogRecord) -> bool:
    """False for torch's warning about a deprecated call in torchao, logged twice on import.

    transformers imports torchao if it is installed. Seen with torchao 0.18 and torch 2.15.
    """
    subject = record.args[0] if isinstance(record.args, tuple) and record.args else None
    is_of_torchao = getattr(subject, "__module__", "").startswith("torchao.")
    return not (is_of_torchao and "is an Enum subclass" in str(record.msg))


def as_tuple(outputs: object) -> Tensors:
    """The tensors of a model's outputs, in their order.

    The outputs may be nested tuples, lists, mappings (such as a ModelOutput) and dataclasses. None
    is left out. Raises GpubenchError for any other type, and if there is no tensor.
    """
    if isinstance(outputs, torch.Tensor):  # usual cases first: workers call this for each batch
        return (outputs,)
    if isinstance(outputs, tuple) and outputs and all(type(o) is torch.Tensor for o in outputs):
        return outputs
    tensors = tuple(_tensors_in(outputs))
    if not tensors:
        raise GpubenchError(
            "the model returns no tensor, so there is nothing to wait for or to compare; return "
            "the computed tensors from its forward"
        )
    return tensors


class TupleOfTensors(torch.nn.Module):
    """A module that returns one tensor or a flat tuple, as tracing and exporting need it."""

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
    # Language models of transformers also return a cache for the next call. It is not an output.
    elif outputs is not None and type(outputs).__module__ != "transformers.cache_utils":
        raise GpubenchError(
            f"the model returns a value of type {type(outputs).__name__}; wrap it in a module "
            "that returns only tensors (docs/extending.md)"
        )


def torch_dtype(name: str) -> torch.dtype:
    """The torch.dtype of a format's name; see gpubench.spec.dtypes."""
    return cast(torch.dtype, getattr(torch, name))


def random_inputs(
    inputs: Sequence[RequestInput], generator: torch.Generator, samples: int
) -> Tensors:
    """Random tensors for inputs whose shapes and formats are known, but not their meaning.

    Integers are 0 or 1: these are valid as an index and as a mask in every model.
    """
    return tuple(_random_tensor(input_, generator, samples) for input_ in inputs)


def _random_tensor(input_: RequestInput, generator: torch.Generator, samples: int) -> torch.Tensor:
    dtype, shape = torch_dtype(input_.dtype), input_.shape(samples)
    if input_.value is not None:
        value = input_.value if dtype.is_floating_point else int(input_.value)
        return torch.full(shape, value, dtype=dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)


def draw_samples(
    arrays: Sequence[torch.Tensor],
    axes: Sequence[int | None],
    generator: torch.Generator,
    samples: int,
) -> Tensors:
    """Draw `samples` samples from `arrays`: the same samples from each array.

    `axes` holds the dimension of the samples in each array; None: the array belongs to all samples.
    Every sample is drawn once before any is drawn again.
    """
    counts = [
        array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None
    ]
    if not counts:
        return tuple(arrays)
    order = torch.randperm(counts[0], generator=generator)
    rows = order.repeat(-(-samples // counts[0]))[:samples]
    return tuple(
        array if axis is None else select_rows(array, axis, rows)
        for array, axis in zip(arrays, axes, strict=True)
    )


def select_rows(array: torch.Tensor, axis: int, rows: torch.Tensor) -> torch.Tensor:
    """`array` with only `rows` of its dimension `axis`.

    It works for all formats, since it selects bytes: torch cannot index uint16.
    """
    moved = array.movedim(axis, 0).contiguous()
    size = moved[:1].nbytes
    selected = moved.view(-1).view(torch.uint8).view(len(moved), size)[rows]
    shape = (len(rows), *moved.shape[1:])
    return selected.reshape(-1).view(array.dtype).view(shape).movedim(0, axis).contiguous()


def with_floats(inputs: Tensors, dtype: torch.dtype) -> Tensors:
    """`inputs` with floating-point tensors converted to `dtype`."""
    return tuple(
        tensor.to(dtype)
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
        else tensor
        for tensor in inputs
    )


_HALVES = {torch.float16: "fp16", torch.bfloat16: "bf16"}


def in_reference_dtype(module: torch.nn.Module, cell: Cell) -> tuple[torch.nn.Module, torch.dtype]:
    """(a user's module in the format of the reference, the format of its inputs).

    The format is fp32, which represents every value of the narrower formats exactly. The engine
    then converts the module to --precision. TorchScript with 16-bit weights stays as it is if it is
    measured in its format, since its code may name the format.

    Raises GpubenchError for 16-bit weights if the user gives no --precision.
    """
    tensors = (*module.parameters(), *module.buffers())
    half = next((tensor.dtype for tensor in tensors if tensor.dtype in _HALVES), None)
    if half is not None:
        precision = _HALVES[half]
        if not cell.precision_given:
            raise GpubenchError(
                f"{cell.model} has weights in {precision}; add --precision {precision} to measure "
                "it unchanged, or --precision fp32 to convert it to fp32"
            )
        if cell.precision == precision and isinstance(module, torch.jit.ScriptModule):
            return module, half
    return module.float(), torch.float32


def random_weights_label(seed: int) -> str:
    return f"random (seed {seed})"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % 2**63)
