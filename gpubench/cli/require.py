"""The flag --require: a command fails if what it measured is not valid."""

from __future__ import annotations

from collections.abc import Iterable

import click

from gpubench.cli.program import FAILED, GATE_FAILED, fail
from gpubench.cli.sections import Option
from gpubench.results.result import Result
from gpubench.results.search_result import SearchResult

require_option = click.option(
    "--require",
    cls=Option,
    section="Output",
    type=click.Choice(["valid"]),
    help=f"End with exit status {GATE_FAILED} if a verdict is not valid.",
)


def status(repeats: Iterable[Result], require: str | None) -> int:
    """The exit status of a command that has measured these repeats of one or more cells.

    With `require`, each cell whose verdict is not valid is named on standard error.
    """
    from gpubench.statistics.repeats import combine  # it imports NumPy

    repeats = list(repeats)
    if any(result.error is not None for result in repeats):
        return FAILED
    return _tell_invalid(combine(repeats), require)


def search_status(searches: Iterable[SearchResult], require: str | None) -> int:
    """The exit status of a sweep with an objective.

    With `require`, each setting with a rate whose verdict is not valid is named on standard error.
    """
    searches = list(searches)
    if any(found.error is not None for found in searches):
        return FAILED
    return _tell_invalid((s for s in searches if s.max_rate_per_second is not None), require)


def _tell_invalid(measured: Iterable[Result | SearchResult], require: str | None) -> int:
    bad = [each for each in measured if require and each.verdict.status != require]
    for each in bad:
        codes = ", ".join(reason.code for reason in each.verdict.reasons)
        fail(
            f"--require {require}: {each.spec.describe()} is {each.verdict.status}: {codes}",
            GATE_FAILED,
        )
    return GATE_FAILED if bad else 0
