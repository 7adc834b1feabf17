"""The software that models need: torch, torchvision and transformers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import ModuleType

from gpubench.doctor.finding import Finding, ok, problem
from gpubench.errors import reason_of

Import = Callable[[str], ModuleType]

_TOGETHER = "pip install torch torchvision"


def software_findings(load: Import = importlib.import_module) -> Iterator[Finding]:
    """`load` imports a module by name. Tests give another function."""
    torch = _loaded("torch", load)
    if isinstance(torch, Exception):
        yield problem(
            "torch",
            f"it cannot be imported ({reason_of(torch)}); only --model synthetic can be measured",
            _TOGETHER,
        )
        return
    cuda = getattr(getattr(torch, "version", None), "cuda", None)
    build = f"for CUDA {cuda}" if cuda else "a CPU-only build"
    yield ok("torch", f"{_version(torch)}, {build}")
    yield _torchvision(_loaded("torchvision", load))
    yield _transformers(_loaded("transformers", load))


def _torchvision(module: ModuleType | Exception) -> Finding:
    if not isinstance(module, Exception):
        return ok("torchvision", _version(module))
    if "torchvision::nms" in str(module):
        return problem(
            "torchvision",
            f"it was built for another torch than the one installed ({reason_of(module)})",
            "install both from the same index: a CPU-only torch needs a CPU-only torchvision; "
            f"otherwise use {_TOGETHER} --force-reinstall",
        )
    return problem(
        "torchvision",
        f"it cannot be imported ({reason_of(module)}); resnet50 cannot be measured",
        _TOGETHER,
    )


def _transformers(module: ModuleType | Exception) -> Finding:
    if not isinstance(module, Exception):
        return ok("transformers", _version(module))
    return problem(
        "transformers",
        f"it cannot be imported ({reason_of(module)}); BERT models cannot be measured",
        "pip install transformers",
    )


def _loaded(name: str, load: Import) -> ModuleType | Exception:
    try:
        return load(name)
    except Exception as error:  # a broken library raises anything
        return error


def _version(module: ModuleType) -> str:
    return str(getattr(module, "__version__", "of unknown version"))
