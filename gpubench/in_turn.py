"""Two settings, measured in turn and compared: `gpubench ab`."""

from __future__ import annotations

from pathlib import Path

from gpubench.cells.resolve import resolve
from gpubench.errors import GpubenchError
from gpubench.measure.progress import Progress
from gpubench.measure.two_sides import measure_two_sides
from gpubench.planning.compare import Pair, compare
from gpubench.planning.matching import refuse_other_load
from gpubench.spec.repetition import DEFAULT_ROUNDS, check_rounds
from gpubench.spec.settings import Settings
from gpubench.spec.share import parse_share
from gpubench.spec.spec import Spec
from gpubench.statistics.comparison import WITHIN
from gpubench.system.machine import this_machine


def ab(
    a: Spec | Settings,
    b: Spec | Settings,
    rounds: int = DEFAULT_ROUNDS,
    fresh: bool = True,
    output: str | Path | None = None,
    *,
    within: str | float = WITHIN,
    progress: Progress | None = None,
    force: bool = False,
) -> Pair:
    """Measure A and B in turn, and compare them.

    Each round measures both sides twice, each time in a new process if `fresh` is true. The answers
    are in `throughput_per_second`, `p95_ms` and `usd_per_million` of the pair: see `Figure`.
    `within` is the largest ratio that does not matter ("2%" or 0.02). With `output`, the documents
    are kept in its folders a and b, and the same call continues there.

    Raises InputError, before anything is measured, if this machine cannot measure a side, or if the
    sides are not the same work and `force` is not true. Raises KeyboardInterrupt on Ctrl-C, when
    what was measured is on disk, and GpubenchError if every measurement of a side failed.
    """
    check_rounds(rounds)
    within = parse_share(within, "within")
    machine = this_machine()
    spec_a, spec_b = (side if isinstance(side, Spec) else Spec(**side) for side in (a, b))
    cell_a, cell_b = resolve(spec_a, machine), resolve(spec_b, machine)
    if not force:
        refuse_other_load(cell_a.spec, cell_b.spec)
    measured = measure_two_sides(
        cell_a, cell_b, machine, rounds, fresh=fresh, output=output, progress=progress
    )
    if measured.interrupted:
        raise KeyboardInterrupt
    (pair,) = compare(measured.a, measured.b, force=True, within=within).pairs
    for name, side in (("A", pair.a), ("B", pair.b)):
        if side.error is not None:
            raise GpubenchError(f"{name} failed: {side.error.stage}: {side.error.message}")
    return pair
