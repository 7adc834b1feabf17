"""A digest of the content of an exported program. The cache finds engines by this digest.

An exported program holds everything that the model's outputs depend on: all weights and constants,
and all operators with their arguments. The arguments contain the values of every Python attribute,
global variable and configuration value that `forward` reads. Exporting takes about a second and
compiling takes much longer, so the program is exported for every run.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

import torch
from torch.utils._pytree import TreeSpec, treespec_dumps

from gpubench.models.base import add_tensor

# The code of these operators belongs to torch and torchvision. Every key has their versions.
# The code of other operators, such as a user's custom operators, can change without a new name.
_OPERATOR_LIBRARIES = frozenset({"aten", "prims", "torchvision"})
# Higher-order operators whose arguments are all in the graph. Others refer to objects outside the
# graph: for a Triton kernel, for example, the graph holds only a number.
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
    """The program holds an object whose content cannot be read."""


def digest_of(program: torch.export.ExportedProgram, device: torch.device) -> str | None:
    """The digest of a program; None if not all of its content can be read.

    It is the same in every process. The number of `device`, on which the program runs, is left out:
    GPUs of the same model share an engine.
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
        self.tensors: dict[str, torch.Tensor] = {}  # tensors that nodes hold, by graph and name

    def lines(self, program: torch.export.ExportedProgram) -> Iterator[str]:
        """The content without the values of tensors. Raises _UnknownContentError."""
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

    def _node(self, node: torch.fx.Node, graph: str, module: torch.fx.GraphModule) -> str:
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
            if not isinstance(held, torch.fx.GraphModule):  # a nested graph has separate lines
                if not isinstance(held, torch.Tensor):
                    raise _UnknownContentError
                self.tensors[f"{graph}.{target}"] = held
        arguments = self._text(node.args), self._text(node.kwargs)
        return f"{node.name} {node.op} {target} {arguments} {self._form(node.meta.get('val'))}"

    def _text(self, value: object) -> str:
        """The text of an argument. Different arguments have different texts."""
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
        """The shape and format of a node's result. For inputs they are stored only here."""
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
    except Exception as error:  # a container that torch cannot serialise
        raise _UnknownContentError from error


def _check_plain(value: object) -> None:
    """Raises _UnknownContentError unless the value is an ordinary dense tensor."""
    if type(value) not in {torch.Tensor, torch.nn.Parameter, torch.nn.Buffer}:
        raise _UnknownContentError
    assert isinstance(value, torch.Tensor)
    if value.layout != torch.strided or value.is_quantized:
        raise _UnknownContentError
