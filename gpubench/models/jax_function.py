"""A function of JAX as a model: `--runtime jax --model FILE.py:function`.

The user's function returns (function of JAX, example inputs) or an OwnModel that holds a function
of JAX in place of a module. This file turns it into what the rest of gpubench knows: a torch module
that calls the function, and inputs that are tensors. On a CPU, arrays and tensors share their
memory (DLPack).

Weights that are arguments of the function become parameters of the torch module: those of
`functools.partial(apply, weights)`, or of a callable pytree, such as a module of Equinox. So they
are counted and converted like those of other models, and the compiler sees them as arguments and
not as constants.

`forward` of the module is the fp32 reference. It runs the function without jit, operation by
operation, on the CPU, with products of the highest precision.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import torch
from torch.utils.dlpack import from_dlpack

from gpubench.errors import GpubenchError
from gpubench.models.base import Tensors


def as_tensor(value: object) -> torch.Tensor:
    """A tensor of the CPU, which shares its memory with an array of the CPU.

    Raises GpubenchError if `value` is no tensor, and no array of numbers.
    """
    if isinstance(value, torch.Tensor):
        return value
    try:
        on_cpu = jax.device_put(value, jax.local_devices(backend="cpu")[0])
        return from_dlpack(on_cpu)
    except (TypeError, RuntimeError, BufferError) as error:
        raise GpubenchError(
            f"a value of type {type(value).__name__} cannot become a tensor; make arrays of "
            "floating-point numbers, integers or booleans"
        ) from error


def as_tensors(values: object) -> Tensors:
    """The arrays in `values`, which may be nested, in the order of JAX's pytrees."""
    return tuple(as_tensor(value) for value in jax.tree.leaves(values))


def is_jitted(function: object) -> bool:
    return isinstance(function, jax.stages.Wrapped)


@dataclass(frozen=True)
class BoundFunction:
    """A function of JAX with its weights on one device.

    `jitted(*weights, *inputs, **options)` takes arrays on that device.
    """

    jitted: Any  # jax.stages.Wrapped
    weights: tuple[Any, ...]
    options: dict[str, Any]

    def compile(self, inputs: Sequence[jax.Array]) -> None:
        """Compile the function for inputs like these. Calls then find the program."""
        self.jitted.lower(*self.weights, *inputs, **self.options).compile()

    def __call__(self, *inputs: jax.Array) -> object:
        return self.jitted(*self.weights, *inputs, **self.options)

    def donates_weights(self) -> bool:
        """Whether a call has deleted weights, so that no other call is possible."""
        leaves = jax.tree.leaves((self.weights, self.options))
        return any(isinstance(leaf, jax.Array) and leaf.is_deleted() for leaf in leaves)


class JaxFunction(torch.nn.Module):
    """Calls a function of JAX with tensors. Its parameters and buffers are the function's weights.

    `forward(*tensors)` computes the fp32 reference. It returns a tuple of tensors.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        if isinstance(function, functools.partial) and not isinstance(
            function, jax.tree_util.Partial
        ):
            function = jax.tree_util.Partial(function.func, *function.args, **function.keywords)
        self._leaves, self._structure = jax.tree.flatten(function)
        self._names: dict[int, str] = {}  # of the parameters and buffers, by the number of the leaf
        for number, leaf in enumerate(self._leaves):
            if _is_weight(leaf):
                self._names[number] = name = f"weight_{number}"
                tensor = as_tensor(leaf)
                if tensor.is_floating_point():
                    self.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))
                else:
                    self.register_buffer(name, tensor)
                self._leaves[number] = None  # the tensor replaces it
        self.input_names = _parameters(function)

    @property
    def has_weights(self) -> bool:
        """Whether the function has floating-point weights that gpubench can convert."""
        return any(True for _ in self.parameters())

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        host = jax.local_devices(backend="cpu")[0]
        with jax.disable_jit(), jax.default_device(host), matmul_precision("fp32"):
            function = self._with(self._weights(host))
            return as_tensors(function(*map(jax.dlpack.from_dlpack, inputs)))

    def on(self, device: jax.Device) -> BoundFunction:
        """The jitted function with its weights on `device`. A function without jit is jitted."""
        weights = self._weights(device)
        function = self._with(weights)
        if isinstance(function, jax.tree_util.Partial) and is_jitted(function.func):
            return BoundFunction(function.func, function.args, function.keywords)
        if is_jitted(function):
            return BoundFunction(function, (), {})

        def call(weights: Sequence[jax.Array], *inputs: jax.Array) -> object:
            return self._with(weights)(*inputs)

        return BoundFunction(jax.jit(call), (weights,), {})

    def _weights(self, device: jax.Device) -> list[jax.Array]:
        tensors = (getattr(self, name) for name in self._names.values())
        return [
            jax.device_put(jax.dlpack.from_dlpack(tensor.detach()), device) for tensor in tensors
        ]

    def _with(self, weights: Sequence[jax.Array]) -> Any:
        """The function with these weights in place of its own."""
        leaves = list(self._leaves)
        for number, weight in zip(self._names, weights, strict=True):
            leaves[number] = weight
        return jax.tree.unflatten(self._structure, leaves)


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """How this thread multiplies matrices: fp32 is IEEE fp32 on every device, as in torch.

    Without this, JAX multiplies fp32 matrices in TF32 on GPUs and in bf16 on TPUs.
    """
    names = {"fp32": "highest", "tf32": "tensorfloat32"}
    with jax.default_matmul_precision(names.get(precision, "default")):
        yield


def with_tensors(make: Callable[..., object]) -> Callable[..., Any]:
    """`make`, with its arrays as tensors. What is no array stays as it is."""

    def converted(value: object) -> object:
        return as_tensor(value) if _is_weight(value) else value

    return lambda *arguments: jax.tree.map(converted, make(*arguments))


def _is_weight(leaf: object) -> bool:
    """Whether a leaf of a pytree is an array of numbers. Keys of random numbers are none."""
    return hasattr(leaf, "__array__") and not (
        isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.extended)
    )


def _parameters(function: Callable[..., object]) -> tuple[str, ...]:
    """The names of the function's parameters; none if they have no names."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        return ()
    return tuple(each.name for each in parameters if each.default is inspect.Parameter.empty)
