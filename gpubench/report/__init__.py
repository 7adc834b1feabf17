"""Tables, charts and files that people read. `gpubench.report(results, "page.html")` writes one."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package has the name of the function `gpubench.report`, so it can be called, too."""

    def __call__(self, *arguments: Any, **options: Any) -> None:
        import_module("gpubench.loaded").report(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
