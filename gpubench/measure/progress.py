"""The progress of a measurement. Importing this module does not import torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.results.result import Result
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    from gpubench.results.cold_result import ColdStart
    from gpubench.results.function_calls import FunctionCall
    from gpubench.results.search_result import Probe, ProbeLoad, SearchResult
    from gpubench.statistics.crossing import Crossing


@dataclass(frozen=True)
class Opening:
    """What is known when the measured window of a cell opens."""

    seconds: float | None  # about how long it takes; None: that is not known
    # What the warm-up measured. It is a closed loop, also where the window is an open one.
    warmup_per_second: float  # inferences
    warmup_p95_ms: float


_printed: set[str] = set()  # what this process has told about waiting


class Progress:
    """Receives the progress of a measurement. No method is called while requests are measured.

    The methods of this class do nothing, except `waits`; override the ones that you need. `run`
    calls `stage`. A sweep calls `stage` and the methods about cells; a sweep on a cluster calls
    `planned` and the methods about nodes; a search calls `stage` and the methods about probes; a
    sweep with an objective calls these, `planned` and the methods about settings; cold starts call
    those about starts, and calls of a function those about bursts. Each but these two calls
    `measured`, and each may call `waits`. In each `spec` all defaults are filled in.
    """

    def stage(self, name: str) -> None:
        """A stage of a cell begins: load, build, check, accuracy, capture, cool or measure.

        The last one begins with the warm-up.
        """

    def window_opens(self, opening: Opening) -> None:
        """The warm-up has ended. Until `window_closed` is called, no other method is."""

    def window_closed(self) -> None:
        """The measured window has ended. It is also called if an error kept it from opening."""

    def measured(self, result: Result) -> None:
        """A measurement ended: a cell, a repeat, or a probe of a search, perhaps with an error.

        The result is complete and kept. It has its samples, unless another process measured it.
        """

    def waits(self, reason: str) -> None:
        """The measurement waits until another process has measured. `reason` is a line of text.

        This class prints it on standard error: otherwise nobody would know why nothing happens. A
        line that was printed before is not printed again.
        """
        if reason not in _printed:
            _printed.add(reason)
            with suppress(OSError):
                print(f"gpubench: {reason}", file=sys.stderr, flush=True)

    def process_started(self, elapsed_s: float) -> None:
        """A process for the following cells was started, after the one before it had ended."""

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        """A sweep begins. `skipped` counts the cells that it leaves out, by the reason.

        With repeats, the other two count repeats.
        """

    def rounds_planned(self, cells: int, rounds: int, run_s: float | None) -> None:
        """The first of several rounds begins: see gpubench.measure.rounds.

        `run_s` is the time of all warm-ups and measured runs, without loading and building. None:
        it depends on how fast the cells are.
        """

    def rounds_ended(
        self, ended: int, planned: int, unreached: Sequence[tuple[Spec, float | None]]
    ) -> None:
        """No further round begins. `ended` rounds were measured, now or earlier.

        `unreached` has the cells whose throughput is not known as well as `until` asks for, with
        the half-width of its interval, as a share. None: the cell has no interval.
        """

    def file_changed(self, file: Path, kept: int) -> None:
        """`kept` earlier results are older than the last change of a model's file.

        The sweep does not measure their cells again. Called once for each such file, before
        anything is measured.
        """

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        """A cell of a sweep begins, or a repeat of it.

        The first has `number` 1, and its `seconds_left` is None.
        """

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        """The cell was measured, and its result was written."""

    def waits_for(self, holder: str, turns: int) -> None:
        """Everything else is measured, and another process still measures `turns` repeats or cells.

        `holder` is one such process. Called once for each wait.
        """

    def superseded(self, reason: str) -> None:
        """The cell that began was not stored: another process has stored it, or measures it."""

    def node_cell_begins(
        self, node: str, number: int, spec: Spec, seconds_left: float | None
    ) -> None:
        """As `cell_begins`, on this node of a cluster. Other nodes may measure at the same time."""

    def node_cell_ended(self, node: str, result: Result, elapsed_s: float) -> None:
        """As `cell_ended`, for a cell that this node has measured."""

    def node_told(self, node: str, what: str) -> None:
        """A node of the cluster was lost, is left out, or may disturb what it measures."""

    def search_begins(self, number: int, seconds_left: float | None) -> None:
        """A repeat of a search begins. The first has `number` 1, and its `seconds_left` is None."""

    def setting_begins(
        self, number: int, of: int, setting: str, seconds_left: float | None
    ) -> None:
        """A sweep with an objective begins to screen or to search a setting, which has this name.

        Each of the two stages counts from 1. `seconds_left` is the most that the searches take.
        """

    def screened(self, found: SearchResult, elapsed_s: float) -> None:
        """The closed loops of a setting were measured, and its document was written."""

    def contenders(self, searches: int, most_s: float) -> None:
        """All settings are screened. So many may still win; their open loops take at most this."""

    def setting_ended(self, found: SearchResult, elapsed_s: float) -> None:
        """A setting was searched to the end, or dropped, and its document was written."""

    def probe_begins(self, load: ProbeLoad, spec: Spec) -> None:
        """A measurement of a search begins. `spec` has its rate or its number of clients."""

    def probe_ended(self, probe: Probe) -> None:
        """A measurement of a search ended without an error."""

    def located(self, crossing: Crossing) -> None:
        """The search has a new estimate, from all its open loops until now."""

    def starts_planned(self, to_measure: int, measured_before: int) -> None:
        """Cold starts begin. One more start comes before them, if there is one to measure."""

    def start_begins(self, number: int, of: int, seconds_left: float | None) -> None:
        """A start begins. `number` 0 is the first one, which is not measured."""

    def start_ended(self, start: ColdStart, seconds_left: float | None) -> None:
        """A start ended, perhaps with an error. `seconds_left` is known only after the first."""

    def bursts_planned(self, to_send: int, sent_before: int) -> None:
        """The calls of a serverless function begin: so many bursts of simultaneous calls."""

    def idle_begins(self, seconds: float) -> None:
        """A wait before the next burst, in which the platform may end idle processes."""

    def burst_ended(self, number: int, of: int, calls: Sequence[FunctionCall]) -> None:
        """A burst and the warm calls after it ended, and are stored."""


class Listeners(Progress):
    """Tells several listeners of the progress, in this order. It prints `waits` itself, once."""

    def __init__(self, *listeners: Progress) -> None:
        for name in vars(Progress):
            if not name.startswith("_") and name != "waits":
                told = [getattr(listener, name) for listener in listeners]
                setattr(self, name, partial(_tell_all, told))


def _tell_all(told: Sequence[Callable[..., None]], *arguments: object, **named: object) -> None:
    for each in told:
        each(*arguments, **named)
