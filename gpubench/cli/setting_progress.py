"""The progress of `sweep --objective`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gpubench.cli.settings import tell
from gpubench.measure.progress import Progress
from gpubench.report.format import count, elapsed, milliseconds, number
from gpubench.report.search_sweep import outcome
from gpubench.results.search_result import SearchResult
from gpubench.spec.objective import SearchSettings


class SettingProgress(Progress):
    """Two lines for each setting when it is screened, and two when it is searched."""

    def __init__(self, quiet: bool, settings: SearchSettings) -> None:
        self._quiet, self._settings = quiet, settings
        self.to_measure = 0

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self.to_measure = to_measure
        for reason, cells in skipped.items():
            tell(f"left out {count(cells, 'setting')}: {reason}", self._quiet)
        before = f", {measured_before} measured before" if measured_before else ""
        tell(f"{count(to_measure, 'setting')} to measure{before}", self._quiet)
        if to_measure:
            tell(
                "each is screened with two short closed loops; then those that can win are "
                f"searched, with at most {count(self._settings.probes, 'open loop')} each",
                self._quiet,
            )

    def file_changed(self, file: Path, kept: int) -> None:
        tell(  # even where progress is not wanted: figures may not be those of the present model
            f"{file} was changed after {count(kept, 'kept result')} of it "
            f"{'was' if kept == 1 else 'were'} measured; use another --output to measure it anew"
        )

    def setting_begins(
        self, number: int, of: int, setting: str, seconds_left: float | None
    ) -> None:
        left = "" if seconds_left is None else f", at most about {elapsed(seconds_left)} left"
        stage = "screen" if seconds_left is None else "search"
        tell(f"[{stage} {number}/{of}{left}] {setting}", self._quiet)

    def screened(self, found: SearchResult, elapsed_s: float) -> None:
        if found.error is not None or found.note is not None:
            text = outcome(found)
        else:
            unloaded = found.probes[0].result
            latency_ms = getattr(unloaded.latency_ms, found.objective.percentile)
            text = (
                f"at most {number(_capacity(found))}/s; {found.objective.percentile.upper()} with "
                f"one client {milliseconds(latency_ms)} ms"
            )
        tell(f"    {text} ({elapsed(elapsed_s)})", self._quiet)

    def contenders(self, searches: int, most_s: float) -> None:
        tell(
            f"{count(searches, 'setting')} to search, those with the highest expected rates first: "
            f"at most about {elapsed(most_s)} of warm-ups and measured runs, if none is dropped",
            self._quiet,
        )

    def setting_ended(self, found: SearchResult, elapsed_s: float) -> None:
        loops = count(sum(probe.load == "open" for probe in found.probes), "open loop")
        tell(f"    {outcome(found)} ({loops}, {elapsed(elapsed_s)})", self._quiet)


def _capacity(found: SearchResult) -> float | None:
    capacity = found.capacity_per_second
    return None if capacity is None else capacity * found.spec.batch
