"""The bytes of the weights of a model, in the formats in which they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def of_module(module: torch.nn.Module) -> int:
    """The bytes of all parameters and buffers. Tensors that share memory are counted once."""
    return of_tensors([*module.parameters(), *module.buffers()])


def of_frozen(module: torch.jit.ScriptModule) -> int:
    """The bytes of the constants in the graph of a frozen module, and of what was not frozen."""
    graph: Any = module.inlined_graph
    constants = (
        constant
        for node in graph.findAllNodes("prim::Constant", recurse=True)
        for constant in _constants(node)
    )
    return of_tensors([*constants, *module.parameters(), *module.buffers()])


def of_tensors(tensors: Iterable[torch.Tensor]) -> int:
    """The bytes of tensors. Those that share memory are counted once."""
    sizes: dict[tuple[int, int], int] = {}
    for tensor in tensors:
        for part in _plain(tensor):
            sizes[part.data_ptr(), part.nbytes] = part.nbytes
    return sum(sizes.values())


def _plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The ordinary tensors of which a tensor consists: the values and scales of a quantised one."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        part = getattr(tensor, name)
        if part is not None:
            yield from _plain(part)


def _constants(node: Any) -> list[torch.Tensor]:
    if "value" not in node.attributeNames():
        return []  # None
    kind = node.kindOf("value")
    if kind == "t":
        return [node.t("value")]
    return list(node.ts("value")) if kind == "ts" else []
