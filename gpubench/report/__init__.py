"""Tables, charts and files that people read.

gpubench.report(sources, output, *, title=None, objective=None, each_repeat=False)

writes what was measured into a file: `gpubench.report(results, "page.html")`. `sources` are those
of `gpubench.load`. The suffix of `output` says the format: .html, .md, .csv, .json, .parquet, .txt,
or .svg and .png for the charts alone. `title` is that of the page, and `objective` ("p95:100ms")
that of its answer and of the charts. The repeats of a cell are combined, unless `each_repeat` is
true.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubench.planning.documents import Source
    from gpubench.spec.objective import Objective


class _Callable(ModuleType):
    """This package has the name of the function `gpubench.report`, so it can be called, too."""

    def __call__(
        self,
        sources: Source | Sequence[Source],
        output: str | Path,
        *,
        title: str | None = None,
        objective: str | Objective | None = None,
        each_repeat: bool = False,
    ) -> None:
        """Write what was measured into a file: `help(gpubench.report)` explains the arguments."""
        import_module("gpubench.loaded").report(
            sources, output, title=title, objective=objective, each_repeat=each_repeat
        )


sys.modules[__name__].__class__ = _Callable
