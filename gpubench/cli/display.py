"""The live display of a measurement: a few lines at the bottom of a terminal.

It is drawn when something happens, and once a second while a model is loaded and an engine is built
and checked. From the beginning of the warm-up until the window has closed, no thread runs for it
and nothing is drawn, so it takes no time from the measurement.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO, cast

from gpubench.measure.progress import Listeners, Opening, Progress
from gpubench.report import escape
from gpubench.report.format import count, elapsed, milliseconds, number
from gpubench.report.search import estimate_text
from gpubench.results.result import Result
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from gpubench.results.cold_result import ColdStart
    from gpubench.results.search_result import Probe, ProbeLoad, SearchResult
    from gpubench.statistics.crossing import Crossing

_TICK_S = 1.0
_WIDEST_BAR = 60
_LOADS: dict[ProbeLoad, str] = {"unloaded": "one client", "saturated": "all workers busy"}


@contextmanager
def displayed(progress: Progress, quiet: bool) -> Iterator[Progress]:
    """Tells `progress`, and shows a display if stderr is a terminal that can move its cursor.

    The display is below the lines of `progress`, which say what is measured. At the end of the
    block nothing is left of it.
    """
    console = None if quiet else _console()
    if console is None:
        yield progress
        return
    from rich.live import Live

    display = Display()
    with Live(
        get_renderable=display.lines,
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,  # foreign_code sends it to stderr
    ) as live:
        console.show_cursor()  # so it is not missing if the process is killed
        display.draw = live.refresh
        try:
            yield Listeners(progress, display)
        finally:
            display.stop()


def _console() -> Console | None:
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(file=cast(TextIO, _Terminal(sys.stderr)), highlight=False)
    return console if console.is_terminal and not console.is_dumb_terminal else None


class _Terminal:
    """A terminal that may be closed while the program measures. Its errors do not end the program,
    because the results are not written yet."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


class Display(Progress):
    """What the lines show. `draw` draws them; until it is set, nothing is drawn."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.draw: Callable[[], None] = lambda: None
        self._clock = clock  # seconds since the epoch
        self._ticker: _Ticker | None = None
        self._cell, self._probe = "", ""
        self._stage, self._since = "", clock()
        self._figures = ""
        self._total = self._done = 0
        self._kinds: Counter[str] = Counter()  # of what has ended: failed, suspect, valid
        self._ends: float | None = None
        self._about = "about"
        self._before: dict[str, str] = {}  # what is known of a cell from its last repeat

    def lines(self) -> RenderableType:
        """At most a few lines, which are wrapped between words."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        texts = [self._probe, self._stage_text(), self._figures]
        shown: list[RenderableType] = [Text(escape.terminal(each)) for each in texts if each]
        shown.append(self._counts())
        if self._total:
            bar = ProgressBar(total=self._total, completed=self._done, width=_WIDEST_BAR)
            shown.append(bar)
        return Group(*shown)

    def stop(self) -> None:
        """No thread draws any more, until the next stage."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self._total = to_measure

    def stage(self, name: str) -> None:
        self._figures = self._earlier()
        self._enter("warm-up" if name == "measure" else name, ticks=name != "measure")

    def window_opens(self, opening: Opening) -> None:
        per_second, p95_ms = number(opening.warmup_per_second), milliseconds(opening.warmup_p95_ms)
        self._figures = f"warm-up: {per_second}/s, P95 {p95_ms} ms"
        self._figures += f"; {earlier}" if (earlier := self._earlier()) else ""
        since = self._clock()
        end = "" if opening.seconds is None else f" until about {_time(since + opening.seconds)}"
        self._enter(f"measure, from {_time(since)}{end}", ticks=False)

    def window_closed(self) -> None:
        self._enter("analyse", ticks=True)

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        self._begin(spec.describe(), seconds_left)

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        if result.error is None:
            self._before[self._cell] = (
                f"repeat before: {number(result.throughput_per_second)}/s, "
                f"P95 {milliseconds(result.latency_ms.p95)} ms"
            )
        self._end("failed" if result.error else result.verdict.status)

    def search_begins(self, number: int, seconds_left: float | None) -> None:
        self._begin("", seconds_left)

    def setting_begins(
        self, number: int, of: int, setting: str, seconds_left: float | None
    ) -> None:
        self._total, self._done, self._about = of, number - 1, "at most about"
        self._begin(setting, seconds_left)

    def screened(self, found: SearchResult, elapsed_s: float) -> None:
        if found.error is not None:
            self._kinds["failed"] += 1
        self._done += 1
        self.stop()

    def setting_ended(self, found: SearchResult, elapsed_s: float) -> None:
        self._end("failed" if found.error else found.verdict.status)

    def probe_begins(self, load: ProbeLoad, spec: Spec) -> None:
        rate = f"{number(spec.rate)} requests/s"
        self._probe = f"{load} loop: {_LOADS.get(load, rate)}" if self._cell else ""

    def probe_ended(self, probe: Probe) -> None:
        self._kinds["probes"] += 1

    def located(self, crossing: Crossing) -> None:
        self._before[self._cell] = estimate_text(crossing)

    def starts_planned(self, to_measure: int, measured_before: int) -> None:
        self._total = to_measure

    def start_begins(self, number: int, of: int, seconds_left: float | None) -> None:
        self._begin("", seconds_left)
        self._enter(f"measure, from {_time(self._clock())}", ticks=False)

    def start_ended(self, start: ColdStart, seconds_left: float | None) -> None:
        if start.number:
            self._end("failed" if start.error else "valid")

    def _begin(self, cell: str, seconds_left: float | None) -> None:
        self._cell, self._probe, self._figures = cell, "", ""
        self._ends = None if seconds_left is None else self._clock() + seconds_left
        self._enter("", ticks=False)

    def _end(self, kind: str) -> None:
        self._done += 1
        self._kinds[kind] += 1
        self.stop()

    def _enter(self, stage: str, ticks: bool) -> None:
        self.stop()
        self._stage, self._since = stage, self._clock()
        self.draw()
        if ticks:
            self._ticker = _Ticker(self.draw)

    def _earlier(self) -> str:
        return self._before.get(self._cell, "")

    def _stage_text(self) -> str:
        if not self._stage or self._stage.startswith("measure"):
            return self._stage
        if self._stage == "warm-up":  # nothing is drawn during it
            return f"warm-up, from {_time(self._since)}"
        return f"{self._stage}, for {elapsed(self._clock() - self._since)}"

    def _counts(self) -> Text:
        from rich.text import Text

        if not self._total:
            probes = self._kinds["probes"]
            return Text(f"{count(probes, 'probe')} done" if probes else "")
        text = Text(f"{self._done} of {self._total} done")
        for kind, style in (("failed", "red"), ("suspect", "yellow")):
            text.append(", ")
            text.append(f"{self._kinds[kind]} {kind}", style if self._kinds[kind] else "")
        if self._ends is not None and (left_s := self._ends - self._clock()) > 0:
            text.append(f"; {self._about} {elapsed(left_s)} left")
        return text


class _Ticker:
    """Draws once a second, in a thread of its own, until it is stopped."""

    def __init__(self, draw: Callable[[], None]) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(draw,), daemon=True)
        self._thread.start()

    def _run(self, draw: Callable[[], None]) -> None:
        while not self._stopped.wait(_TICK_S):
            draw()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def _time(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
