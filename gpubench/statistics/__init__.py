"""From raw samples to the figures of a result: pure functions, NumPy only.

`analyse` computes all figures. docs/measurement.md says what each means and why it is computed so.
"""

from gpubench.statistics.analysis import Analysis, analyse
from gpubench.statistics.drift import Change
from gpubench.statistics.windows import ClosedLoopRule, OpenLoopRule

__all__ = ["Analysis", "Change", "ClosedLoopRule", "OpenLoopRule", "analyse"]
