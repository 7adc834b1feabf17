"""The content of an exported program as one digest, by which what is made from it is kept.

An exported program holds all that decides what a model computes: the operators with their
arguments, so every Python attribute, global and configuration value that forward reads, and every
weight and constant. Exporting takes a second where compiling takes many, so it is done each time.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

import torch
from torch.utils._pytree import TreeSpec, treespec_dumps

from gpubench.models.base import add_tensor

# Their code comes with torch and torchvision, whose versions are part of every key. The code behind
# another operator, such as a custom one of the user's, can change under the same name.
_OPERATOR_LIBRARIES = frozenset({"aten", "prims", "torchvision"})
# Those whose arguments are all in the graph. Others refer to something outside of it: a Triton
# kernel has only its number there.
_HIGHER_ORDER = frozenset(
    {
        "associative_scan",
        "cond",
        "map_impl",
        "scan",
        "while_loop",
        "wrap_with_autocast",
        "wrap_with_set_grad_enabled",
    }
)
_FUNCTION_MODULES = frozenset({"_operator", "builtins", "math", "torch"})


class _UnknownContentError(Exception):
    """The program holds something of which the content cannot be read."""


def digest_of(program: torch.export.ExportedProgram, device: torch.device) -> str | None:
    """The same in every process for the same program; None where not all of it can be read.

    `device` is where the program runs: its number is left out, so that GPUs of one kind share.
    """
    digest = hashlib.blake2b(digest_size=16)
    reader = _Reader(device)
    try:
        for line in reader.lines(program):
            digest.update(line.encode() + b"\n")
        for tensors in (program.state_dict, program.constants, reader.tensors):
            for name, tensor in sorted(tensors.items()):
                _check_plain(tensor)
                add_tensor(digest, name, tensor)
    except _UnknownContentError:
        return None
    return digest.hexdigest()


class _Reader:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.tensors: dict[str, torch.Tensor] = {}  # those that nodes hold, by place

    def lines(self, program: torch.export.ExportedProgram) -> Iterator[str]:
        """Everything but the tensors' values. Raises _UnknownContentError."""
        signature = program.graph_signature
        if any(spec.kind.name == "CUSTOM_OBJ" for spec in signature.input_specs):
            raise _UnknownContentError
        yield repr(signature)
        yield repr(sorted((str(k), str(v)) for k, v in program.range_constraints.items()))
        for tree in (program.call_spec.in_spec, program.call_spec.out_spec):
            yield _structure(tree)
        for name, module in program.graph_module.named_modules(remove_duplicate=False):
            if not isinstance(module, torch.fx.GraphModule):
                raise _UnknownContentError
            yield f"graph {name}"
            for node in module.graph.nodes:
                yield self._node(node, name, module)

    def _node(self, node: torch.fx.Node, place: str, module: torch.fx.GraphModule) -> str:
        if node.op == "call_function":
            target = _function(node.target)
        elif node.op in {"placeholder", "output", "get_attr"}:
            target = str(node.target)
        else:
            raise _UnknownContentError
        if node.op == "get_attr":
            held: object = module
            for part in target.split("."):
                held = getattr(held, part)
            if not isinstance(held, torch.fx.GraphModule):  # which has its own lines
                if not isinstance(held, torch.Tensor):
                    raise _UnknownContentError
                self.tensors[f"{place}.{target}"] = held
        arguments = self._text(node.args), self._text(node.kwargs)
        return f"{node.name} {node.op} {target} {arguments} {self._form(node.meta.get('val'))}"

    def _text(self, value: object) -> str:
        """An argument, told apart from every other one."""
        match value:
            case torch.fx.Node():
                return f"%{value.name}"
            case tuple() | list():
                return f"{type(value).__name__}({', '.join(map(self._text, value))})"
            case dict():
                pairs = (f"{self._text(k)}: {self._text(v)}" for k, v in value.items())
                return f"dict({', '.join(pairs)})"
            case slice():
                return f"slice({self._text((value.start, value.stop, value.step))})"
            case torch.device():
                here = value.type == self._device.type and value.index in {None, self._device.index}
                return f"device({value.type if here else value})"
            case None | bool() | int() | float() | complex() | str():
                return repr(value)
            case torch.dtype() | torch.layout() | torch.memory_format():
                return str(value)
            case torch.SymInt() | torch.SymFloat() | torch.SymBool():
                return f"symbol({value})"
            case _:
                raise _UnknownContentError

    def _form(self, value: object) -> str:
        """The shape and format of what a node gives: those of inputs are nowhere else."""
        if isinstance(value, (tuple, list)):
            return f"({', '.join(map(self._form, value))})"
        if not isinstance(value, torch.Tensor):
            return self._text(value)
        if value.layout != torch.strided:
            raise _UnknownContentError
        sizes = [[str(size) for size in sizes] for sizes in (value.shape, value.stride())]
        return f"{value.dtype} {sizes} {self._text(value.device)}"


def _function(target: object) -> str:
    if isinstance(target, torch._ops.OpOverload):
        if target.namespace in _OPERATOR_LIBRARIES:
            return str(target)
    elif isinstance(target, torch._ops.HigherOrderOperator):
        if (name := str(target.name())) in _HIGHER_ORDER:
            return name
    else:
        module, name = getattr(target, "__module__", ""), getattr(target, "__name__", "")
        if module in _FUNCTION_MODULES and getattr(sys.modules[module], name, None) is target:
            return f"{module}.{name}"
    raise _UnknownContentError


def _structure(tree: TreeSpec | None) -> str:
    try:
        return "" if tree is None else treespec_dumps(tree)
    except Exception as error:  # a container that torch cannot write down
        raise _UnknownContentError from error


def _check_plain(value: object) -> None:
    """Raise _UnknownContentError for what is more than numbers in memory."""
    if type(value) not in {torch.Tensor, torch.nn.Parameter, torch.nn.Buffer}:
        raise _UnknownContentError
    assert isinstance(value, torch.Tensor)
    if value.layout != torch.strided or value.is_quantized:
        raise _UnknownContentError
