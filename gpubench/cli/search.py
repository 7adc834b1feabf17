"""`gpubench search`: the highest load that meets an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gpubench.cli.cell_progress import rounds_lines
from gpubench.cli.display import displayed
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.metrics import metrics_options
from gpubench.cli.objective import objective_options, search_settings
from gpubench.cli.options import json_file, json_option, prices_option, quiet_option
from gpubench.cli.output import emit_tables, summarise, write_result
from gpubench.cli.repeats import (
    directory_option,
    repeat_options,
    repetition,
    run_directory,
    tell_nothing_measured,
)
from gpubench.cli.sections import Command
from gpubench.cli.settings import given, setting_options, tell
from gpubench.measure.progress import Listeners, Progress
from gpubench.report.format import elapsed, milliseconds, number
from gpubench.report.search import estimate_text, search_tables
from gpubench.report.summary import search_lines
from gpubench.spec.objective import SearchSettings
from gpubench.spec.parse import make_spec
from gpubench.spec.repetition import ONCE, Repetition
from gpubench.spec.spec import Spec
from gpubench.system.interrupts import finish

if TYPE_CHECKING:
    from gpubench.results.search_result import Probe, ProbeLoad, SearchResult
    from gpubench.statistics.crossing import Crossing


@click.command("search", cls=Command)
@objective_options(required=True)
@setting_options
@prices_option
@json_option("the result")
@directory_option
@quiet_option
@repeat_options
@metrics_options
def command(
    objective: str,
    tolerance: float | None,
    probes: int | None,
    json_path: str | None,
    output: str | None,
    quiet: bool,
    metrics: Progress,
    **flags: Any,
) -> int:
    """Find the highest rate of requests that still meets an objective, and what it costs.

    It sets the clients and the rates by itself: --clients is refused, and --rate is only the rate
    at which it begins.

    \b
    Example:
      gpubench search --model resnet50 --objective p95:200ms
    """
    repeated, flags = repetition(flags)
    spec = make_spec(given(flags))
    json_output = json_file(json_path)
    settings = search_settings(objective, tolerance, probes)
    assert settings is not None

    if output is None and repeated == ONCE:
        repeats, interrupted = _search_once(spec, settings, quiet, metrics)
    else:
        repeats, interrupted = _search_into_directory(
            spec, settings, output, repeated, quiet, metrics
        )
    if not repeats:
        raise KeyboardInterrupt
    from gpubench.planning.search_repeats import combined_search

    found = combined_search(repeats)

    def show() -> None:
        emit_tables(search_tables(found), None)

    write_result(found.to_json() + "\n", json_path, json_output, show)
    summarise(quiet, lambda: search_lines(found, output))
    if interrupted:
        raise KeyboardInterrupt
    return 1 if any(each.error is not None for each in repeats) else 0


def _search_once(
    spec: Spec, settings: SearchSettings, quiet: bool, metrics: Progress
) -> tuple[list[SearchResult], bool]:
    """The result, and whether Ctrl-C ended the search."""
    with (
        displayed(Listeners(SearchProgress(quiet), metrics), quiet) as progress,
        foreign_code(quiet),
    ):
        from gpubench.measure.search import SearchInterrupted, search

        try:
            found = search(spec, settings.objective, settings.tolerance, settings.probes, progress)
            finish()
        except SearchInterrupted as stop:
            return [stop.result], True
    return [found], False


def _search_into_directory(
    spec: Spec,
    settings: SearchSettings,
    output: str | None,
    repeated: Repetition,
    quiet: bool,
    metrics: Progress,
) -> tuple[list[SearchResult], bool]:
    """The repeats, and whether Ctrl-C ended the search.

    Without `output` the run directory is a temporary one.
    """
    progress = SearchProgress(quiet, repeated)
    is_plain = quiet or repeated.fresh  # another process writes to the terminal itself
    with (
        run_directory(output) as directory,
        displayed(Listeners(progress, metrics), is_plain) as listener,
        foreign_code(quiet),
    ):
        from gpubench.measure.search_rounds import search_repeatedly

        outcome = search_repeatedly(spec, settings, directory, listener, repeated)
        finish()
    if progress.to_measure == 0:
        tell_nothing_measured(output)
    return outcome.repeats, outcome.interrupted


class SearchProgress(Progress):
    """A line for each measurement, and what is known after it."""

    def __init__(self, quiet: bool, repetition: Repetition = ONCE) -> None:
        self._quiet, self._repetition = quiet, repetition
        self.to_measure = 0
        self._opened = 0
        self._late = ""

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self.to_measure = to_measure

    def search_begins(self, number: int, seconds_left: float | None) -> None:
        self._opened = 0
        at_most = "at most " if self._repetition.until else ""
        left = ""
        if seconds_left is not None:
            left = f", {at_most or 'about '}{elapsed(seconds_left)} left"
        if self._repetition.repeats > 1:
            tell(f"search {number} of {at_most}{self._repetition.repeats}{left}", self._quiet)

    def rounds_ended(
        self, ended: int, planned: int, unreached: Sequence[tuple[Spec, float | None]]
    ) -> None:
        for line in rounds_lines(self._repetition, ended, planned, unreached, "rate"):
            tell(line, self._quiet)

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
        tell(f"    {self._late}; {estimate_text(crossing)}", self._quiet)
