"""From raw samples to the figures of a result: pure functions, NumPy only.

`analyse` computes all figures. docs/measurement.md says what each means and why it is computed so.
"""

from __future__ import annotations

# Names are imported on first use: reports need some of the files here, and start without NumPy.
TYPE_CHECKING = False  # as in typing
if TYPE_CHECKING:
    from gpubench.statistics.analysis import Analysis, analyse
    from gpubench.statistics.drift import Change
    from gpubench.statistics.windows import ClosedLoopRule, OpenLoopRule

__all__ = ["Analysis", "Change", "ClosedLoopRule", "OpenLoopRule", "analyse"]

_HOME = {
    "Analysis": "analysis",
    "Change": "drift",
    "ClosedLoopRule": "windows",
    "OpenLoopRule": "windows",
    "analyse": "analysis",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
