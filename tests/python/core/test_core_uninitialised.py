"""An object that was made without __init__ has no C++ object: its methods raise TypeError."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from gpubench import _core, core


def _bound_classes(module: ModuleType) -> list[Any]:
    found = [each for each in vars(module).values() if isinstance(each, type)]
    return [each for each in found if not issubclass(each, Exception)]


CLASSES = _bound_classes(_core) + _bound_classes(_core.cuda)
ARGUMENTS = {
    "run": (core.ClosedLoop(1),),
    "submit": (1,),
    "offsets": (1,),
    "arena_bytes": (1,),
    "gathers": (1,),
    "latency_ns": (1,),
}


@pytest.mark.parametrize("bound", CLASSES, ids=lambda bound: bound.__name__)
def test_members_of_an_object_without_init_raise(bound: Any) -> None:
    made = bound.__new__(bound)
    for name in dir(bound):
        if name.startswith("_"):
            continue
        with pytest.raises(TypeError, match=r"^the object is not initialised; make it by calling"):
            getattr(made, name)(*ARGUMENTS.get(name, ()))


def test_functions_refuse_an_object_without_init() -> None:
    source = core.ClosedLoop.__new__(core.ClosedLoop)
    with pytest.raises(TypeError, match="source must be a RequestSource"):
        core.simulate(source, service_ns=1)
    with pytest.raises(TypeError, match="executors must be a list of Executors"):
        core.Runner([core.DelayExecutor.__new__(core.DelayExecutor)])
