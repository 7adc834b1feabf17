"""Tests of the live display: what it shows, when it is drawn, and what it leaves on a terminal."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from factories import failed, result
from rich.console import Console

from gpubench.cli.display import Display
from gpubench.cli.search import SearchProgress
from gpubench.measure.progress import Opening
from gpubench.report.format import elapsed
from gpubench.statistics.crossing import Crossing

OPENING = Opening(seconds=10.0, warmup_per_second=31.25, warmup_p95_ms=64.0)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def shown(display: Display, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(display.lines())
    return out.getvalue()


def test_it_shows_the_stage_the_counts_and_the_time_that_is_left() -> None:
    clock = Clock()
    display = Display(clock)
    display.planned(3, 0, {})
    display.cell_begins(1, result().spec, None)
    display.cell_ended(result(), 5.0)
    display.cell_begins(2, result().spec, None)
    display.cell_ended(failed(), 5.0)
    display.cell_begins(3, result().spec, 120.0)
    display.stage("build")
    clock.now += 30
    text = shown(display)
    assert "build, for 30 s" in text
    assert f"2 of 3 done, 1 failed, 0 suspect; about {elapsed(90)} left" in text
    display.stop()


def test_an_estimate_that_is_not_positive_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    progress = SearchProgress(quiet=False)
    for rate, expected in ((-9.0, "highest rate not known yet"), (9.0, "rate about 9.000 request")):
        found = Crossing(rate, None, None, rate, 9.0, ())
        display = Display(Clock())
        display.setting_begins(1, 1, "a", None)
        display.located(found)
        display.stage("measure")
        progress.located(found)
        assert expected in shown(display)
        assert expected in capsys.readouterr().err


def test_figures_that_are_known_are_those_of_the_warm_up_and_of_the_repeat_before() -> None:
    display = Display(Clock())
    display.planned(2, 0, {})
    display.cell_begins(1, result().spec, None)
    display.stage("measure")
    assert "/s" not in shown(display)
    display.window_opens(OPENING)
    assert "warm-up: 31.25/s, P95 64.0 ms\n" in shown(display)
    display.window_closed()
    display.cell_ended(result(29.0), 5.0)
    display.cell_begins(2, result().spec, None)
    display.stage("measure")
    assert "repeat before: 29.00/s, P95" in shown(display)
    display.stop()


def test_a_window_says_from_when_until_when_it_measures() -> None:
    clock = Clock()
    display = Display(clock)
    display.window_opens(OPENING)
    clock.now += 5

    times = [time.strftime("%H:%M:%S", time.localtime(1_000_000 + s)) for s in (0, 10)]
    assert f"measure, from {times[0]} until about {times[1]}\n" in shown(display)


def test_nothing_is_drawn_and_no_thread_runs_from_the_warm_up_until_the_window_has_closed() -> None:
    before = threading.active_count()
    drawn: list[None] = []
    display = Display(Clock())
    display.draw = lambda: drawn.append(None)
    display.stage("build")
    assert threading.active_count() == before + 1
    display.stage("measure")
    assert threading.active_count() == before
    display.window_opens(OPENING)
    assert threading.active_count() == before
    assert len(drawn) == 3  # once for each call
    display.window_closed()
    assert threading.active_count() == before + 1
    display.stop()
    assert threading.active_count() == before


def test_names_cannot_send_commands_to_the_terminal() -> None:
    display = Display(Clock())
    display.setting_begins(1, 1, "evil\x1b]0;title\x07", None)
    display.probe_begins("open", result(clients=None, rate=5.0).spec)
    display.stage("\x1b[31mload\u202e [bold]x[/bold]")
    text = shown(display)
    assert "\x1b]" not in text
    assert "\u202e" not in text
    assert "[bold]x[/bold]" in text
    display.stop()


def test_lines_are_broken_between_words() -> None:
    display = Display(Clock())
    display.planned(3, 0, {})
    display.window_opens(OPENING)
    lines = shown(display, width=30).splitlines()
    assert all(len(line) <= 30 for line in lines)
    assert "warm-up: 31.25/s, P95 64.0 ms" in lines


def _on_a_terminal(arguments: list[str], at: Callable[[bytes], bool]) -> tuple[int, bytes]:
    """Runs gpubench with stderr on a terminal; presses Ctrl-C as soon as `at` is true."""
    main, side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "gpubench.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=side,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(side)
    seen, pressed = b"", False
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
        if not pressed and at(seen):
            pressed = True
            child.send_signal(signal.SIGINT)
    os.close(main)
    return child.wait(), seen


def test_ctrl_c_leaves_a_clean_terminal(tmp_path: Path) -> None:
    status, seen = _on_a_terminal(
        [
            *("sweep", "--model", "synthetic", "--service-time", "1ms", "--warmup", "0"),
            *("--duration", "10m", "--output", str(tmp_path / "run")),
        ],
        lambda seen: b"measure, from" in seen,
    )
    assert status == 130
    assert b"0 of 1 done" in seen
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")  # the cursor is shown
    last = seen.rindex(b"\x1b[2K")  # the last line of the display is cleared
    assert b"0 of 1 done" not in seen[last:]
    assert b"stopped; what was measured is in" in seen[last:]
