"""`gpubench search`: the highest load that meets an objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpubench.cli.completion import Known
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.options import json_file, json_option, quiet_option
from gpubench.cli.output import emit, emit_tables, write_each
from gpubench.cli.sections import Command, Option
from gpubench.cli.settings import given, setting_options, tell
from gpubench.cli.streams import flush
from gpubench.measure.progress import Progress
from gpubench.report.format import elapsed, milliseconds, number, with_interval
from gpubench.spec.objective import DEFAULT_PROBES, DEFAULT_TOLERANCE, PERCENTS
from gpubench.spec.parse import make_spec
from gpubench.system.interrupts import finish

if TYPE_CHECKING:
    from gpubench.results.search_result import Probe, ProbeLoad, SearchResult
    from gpubench.spec.spec import Spec
    from gpubench.statistics.crossing import Crossing


@click.command("search", cls=Command)
@click.option(
    "--objective",
    cls=Option,
    section="Objective",
    required=True,
    metavar="PERCENTILE:LATENCY",
    type=Known([f"p{percent}:" for percent in PERCENTS]),
    help=f"A percentile ({', '.join(f'p{percent}' for percent in PERCENTS)}) and the latency that "
    "it must keep, for example p99:10ms.",
)
@click.option(
    "--tolerance",
    cls=Option,
    section="Objective",
    type=float,
    default=DEFAULT_TOLERANCE,
    show_default=True,
    metavar="SHARE",
    help="End when the 95% confidence interval is within this share of the rate.",
)
@click.option(
    "--probes",
    cls=Option,
    section="Objective",
    type=int,
    default=DEFAULT_PROBES,
    show_default=True,
    metavar="N",
    help="End after this many open loops.",
)
@setting_options
@json_option("the result")
@quiet_option
def command(
    objective: str,
    tolerance: float,
    probes: int,
    json_path: str | None,
    quiet: bool,
    **flags: Any,
) -> int:
    """Find the highest rate of requests that still meets an objective, and what it costs.

    It sets the clients and the rates by itself: --clients is refused, and --rate is only the rate
    at which it begins.

    \b
    Example:
      gpubench search --model resnet50 --objective p95:200ms
    """
    spec = make_spec(given(flags))
    json_output = json_file(json_path)

    interrupted = False
    with foreign_code(quiet):
        from gpubench.measure.search import SearchInterrupted, search

        try:
            found = search(spec, objective, tolerance, probes, _Progress(quiet))
            finish()
        except SearchInterrupted as stop:
            found, interrupted = stop.result, True

    def show() -> None:
        _show(found, json_path)
        flush()

    def write_json() -> None:
        if json_output is not None:
            emit(found.to_json() + "\n", json_output)

    write_each(show, write_json)
    if interrupted:
        raise KeyboardInterrupt
    return 0 if found.error is None else 1


def _show(found: SearchResult, json_path: str | None) -> None:
    from gpubench.report.search import search_tables

    if json_path == "-":
        emit(found.to_json() + "\n", None)
    else:
        emit_tables(search_tables(found), None)


class _Progress(Progress):
    """A line for each measurement, and what is known after it."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._opened = 0
        self._late = ""

    def probe_begins(self, load: ProbeLoad, spec: Spec) -> None:
        if load == "open":
            self._opened += 1
            length = elapsed(spec.duration or (spec.requests or 0) / (spec.rate or 1.0))
            what = f"probe {self._opened}: {number(spec.rate)} requests/s for {length}"
        else:
            what = f"{load}: {spec.describe()}"
        tell(what, self._quiet)

    def stage(self, name: str) -> None:
        if name != "measure":
            tell(f"    {name}", self._quiet)

    def probe_ended(self, probe: Probe) -> None:
        if probe.load != "open":
            result = probe.result
            rate = number((result.throughput_per_second or 0.0) / result.spec.batch)
            tell(
                f"    {rate} requests/s, P95 {milliseconds(result.latency_ms.p95)} ms", self._quiet
            )
            return
        self._late = f"{number(100 * probe.late / probe.requests, 3)}% late"

    def located(self, crossing: Crossing) -> None:
        estimate = with_interval(crossing.rate, crossing.interval)
        tell(f"    {self._late}; highest rate about {estimate} requests/s", self._quiet)
