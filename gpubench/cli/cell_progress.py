"""The progress of a command that measures cells into a run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gpubench.cli.settings import tell
from gpubench.measure.progress import Progress
from gpubench.report.format import count, elapsed, milliseconds, number
from gpubench.results.result import CellSeconds, Result
from gpubench.spec.repetition import ONCE, Repetition
from gpubench.spec.spec import Spec


class CellProgress(Progress):
    """One line a measurement. Silent while a cell is measured: drawing would take time from it."""

    def __init__(self, quiet: bool, repetition: Repetition = ONCE) -> None:
        self._quiet, self._repetition = quiet, repetition
        self._noun = "cell" if repetition.repeats == 1 else "repeat"
        self._at_most = "" if repetition.until is None else "at most "
        self.to_measure = 0
        self._cells: list[CellSeconds] = []
        self._elapsed_s = 0.0
        self._starts_s: list[float] = []  # of processes: the first may be before the first cell
        self._starts_before = 0

    def process_started(self, elapsed_s: float) -> None:
        self._starts_s.append(elapsed_s)

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self.to_measure, self._starts_before = to_measure, len(self._starts_s)
        for reason, cells in skipped.items():
            tell(f"left out {count(cells, 'cell')}: {reason}", self._quiet)
        before = f", {measured_before} measured before" if measured_before else ""
        tell(f"{self._at_most}{count(to_measure, self._noun)} to measure{before}", self._quiet)

    def rounds_planned(self, cells: int, rounds: int, run_s: float | None) -> None:
        times = f"{count(cells, 'cell')} x {self._at_most}{count(rounds, 'repeat')}"
        if run_s is None:
            tell(f"{times}: how long that takes is known after the first one", self._quiet)
            return
        rest = "starting processes, loading" if self._repetition.fresh else "loading"
        tell(
            f"{times}: {self._at_most or 'about '}{elapsed(run_s)} of warm-up and measured runs, "
            f"and {rest} and building",
            self._quiet,
        )

    def rounds_ended(
        self, ended: int, planned: int, unreached: Sequence[tuple[Spec, float | None]]
    ) -> None:
        for line in rounds_lines(self._repetition, ended, planned, unreached):
            tell(line, self._quiet)

    def file_changed(self, file: Path, kept: int) -> None:
        tell(  # even where progress is not wanted: figures may not be those of the present model
            f"{file} was changed after {count(kept, 'kept result')} of it "
            f"{'was' if kept == 1 else 'were'} measured; use another --output to measure it anew"
        )

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        self._tell_begin(number, spec.describe(), seconds_left)

    def node_cell_begins(
        self, node: str, number: int, spec: Spec, seconds_left: float | None
    ) -> None:
        self._tell_begin(number, f"{node}: {spec.describe()}", seconds_left)

    def _tell_begin(self, number: int, what: str, seconds_left: float | None) -> None:
        left = ""
        if seconds_left is not None:
            left = f", {self._at_most or 'about '}{elapsed(seconds_left)} left"
        of = f" of {self._at_most}" if self._at_most else "/"
        tell(f"[{number}{of}{self.to_measure}{left}] {what}", self._quiet)

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        tell(f"    {_outcome(result)} ({elapsed(elapsed_s)})", self._quiet)
        self._elapsed_s += elapsed_s
        if result.seconds is not None:
            self._cells.append(result.seconds)

    def waits_for(self, holder: str, turns: int) -> None:
        tell(f"waiting for {holder}: {count(turns, self._noun)} left", self._quiet)

    def superseded(self, reason: str) -> None:
        tell(f"    not stored: {reason}", self._quiet)

    def node_cell_ended(self, node: str, result: Result, elapsed_s: float) -> None:
        outcome = f"{_outcome(result)} ({elapsed(elapsed_s)})"
        tell(f"    {node}: {result.spec.describe()}: {outcome}", self._quiet)

    def node_told(self, node: str, what: str) -> None:
        tell(f"node {node}: {what}")  # even where progress is not wanted: it may explain a result

    def tell_where_time_went(self) -> None:
        if len(self._cells) > 1:
            elapsed_s = self._elapsed_s - sum(self._starts_s[self._starts_before :])
            line = _where_time_went(self._cells, self._noun, elapsed_s)
            if self._starts_s:
                seconds = f"{sum(self._starts_s):.1f} s"
                line += f"; besides, {seconds} to start processes ({len(self._starts_s)} times)"
            tell(line, self._quiet)


def rounds_lines(
    repetition: Repetition,
    ended: int,
    planned: int,
    unreached: Sequence[tuple[Spec, float | None]],
    figure: str = "throughput",
) -> list[str]:
    """What Progress.rounds_ended tells: why rounds ended, and what is not known well enough."""
    rounds = count(ended, "round")
    if repetition.until is None:
        return [f"--max-time: ended after {ended} of {planned} rounds"] if ended < planned else []
    asked = f"{100 * repetition.until:.2g}%"
    if not unreached:
        return [f"every {figure} is known within {asked}, after {rounds}"]
    return [
        f"--until {asked}: after {rounds} the {figure} is "
        + ("not known" if width is None else f"known within {100 * width:.2g}%")
        + f": {spec.describe()}"
        for spec, width in unreached
    ]


# What the stages of a cell do, for people.
_STAGES = {
    "load": "loading models",
    "flops": "counting operations",
    "reference": "reference outputs",
    "build": "building engines",
    "check": "checking engines",
    "accuracy": "measuring the accuracy",
    "inputs": "making requests",
    "capture": "capturing CUDA graphs",
    "cool": "cooling",
    "start": "starting workers",
    "analyse": "analysing the runs",
    "other": "the rest of gpubench",
}


def _where_time_went(cells: Sequence[CellSeconds], noun: str, elapsed_s: float) -> str:
    """One line: the time of a sweep, how much of it was measured, and what took most of the rest.

    `elapsed_s` is the time of all cells together, with writing their results.
    """
    measured_s = sum((cell.warmup or 0.0) + (cell.measure or 0.0) for cell in cells)
    rest = {
        text: sum(getattr(cell, stage) or 0.0 for cell in cells) for stage, text in _STAGES.items()
    }
    rest["writing results and waiting for other processes"] = elapsed_s - sum(
        cell.total for cell in cells
    )
    longest = max(rest, key=lambda text: rest[text])
    return (
        f"{count(len(cells), noun)} in {elapsed(elapsed_s)}, {elapsed(measured_s)} of it warm-up "
        f"and measured runs; most of the rest: {longest}, {elapsed(rest[longest])}"
    )


def _outcome(result: Result) -> str:
    if result.error is not None:
        return f"failed: {result.error.message}"
    return (
        f"{number(result.throughput_per_second)}/s, "
        f"P95 {milliseconds(result.latency_ms.p95)} ms, {result.verdict.status}"
    )
