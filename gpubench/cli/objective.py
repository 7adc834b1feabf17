"""The flags of a search: the objective, and when a search ends."""

from __future__ import annotations

from collections.abc import Callable

import click

from gpubench.cli.completion import Known
from gpubench.cli.options import Decorated
from gpubench.cli.sections import Option
from gpubench.errors import InputError
from gpubench.spec.objective import (
    DEFAULT_PROBES,
    DEFAULT_TOLERANCE,
    PERCENTS,
    SearchSettings,
    parse_objective,
)

_SECTION = "Objective"
_OBJECTIVE = (
    f"A percentile ({', '.join(f'p{percent}' for percent in PERCENTS)}) and the latency that it "
    "must keep, for example p99:10ms."
)


def objective_options(required: bool, text: str = _OBJECTIVE) -> Callable[[Decorated], Decorated]:
    """Give a command --objective, --tolerance and --probes."""

    def decorate(command: Decorated) -> Decorated:
        for option in reversed(
            (
                click.option(
                    "--objective",
                    cls=Option,
                    section=_SECTION,
                    required=required,
                    metavar="PERCENTILE:LATENCY",
                    type=Known([f"p{percent}:" for percent in PERCENTS]),
                    help=text,
                ),
                click.option(
                    "--tolerance",
                    cls=Option,
                    section=_SECTION,
                    type=float,
                    metavar="SHARE",
                    help="End when the 95% confidence interval is within this share of the rate.  "
                    f"[default: {DEFAULT_TOLERANCE}]",
                ),
                click.option(
                    "--probes",
                    cls=Option,
                    section=_SECTION,
                    type=int,
                    metavar="N",
                    help=f"End after this many open loops.  [default: {DEFAULT_PROBES}]",
                ),
            )
        ):
            command = option(command)
        return command

    return decorate


def search_settings(
    objective: str | None, tolerance: float | None, probes: int | None
) -> SearchSettings | None:
    """What these flags say. None: there is no objective.

    Raises InputError for a value that is not allowed, and for the others without an objective.
    """
    if objective is None:
        for flag, value in (("--tolerance", tolerance), ("--probes", probes)):
            if value is not None:
                raise InputError(f"{flag} belongs to a search; add --objective, like p95:100ms")
        return None
    settings = SearchSettings(
        parse_objective(objective),
        DEFAULT_TOLERANCE if tolerance is None else tolerance,
        DEFAULT_PROBES if probes is None else probes,
    )
    settings.check()
    return settings
