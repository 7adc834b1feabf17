"""Runs one case and checks it: no traceback, no hang, and a documented exit status.

Nothing is measured and no model is loaded. A prepared result replaces each measurement, so
thousands of cases run in a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import signal
import socket
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cases
import pytest
import trace_rules
from factories import result
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gpubench import doctor
from gpubench.cli.program import main
from gpubench.errors import GpubenchError, InputError
from gpubench.measure import search
from gpubench.measure.cell import Bench
from gpubench.report.trace import make_trace
from gpubench.results.parquet import from_parquet
from gpubench.results.result import CountedRows, Result
from gpubench.results.run_directory import open_run
from gpubench.spec.cell import Cell
from gpubench.spec.trace import read_trace

STATUSES = {0, 1, 2}
# CPU time, for a hang that computes. MOST_SECONDS is elapsed time, for a hang that waits.
MOST_CPU_SECONDS = 5
MOST_SECONDS = 60


class Hang(BaseException):
    """A case took too long. No code of gpubench catches this."""


class Place:
    """The working folder, with the files that command lines name, and the counts of outcomes."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.counts: Counter[tuple[str, str]] = Counter()
        self._forms = 0
        self._is_trusted = False
        patch.chdir(folder)
        patch.setenv("GPUBENCH_CACHE_DIR", str(folder / "cache"))
        patch.setenv("HOME", str(folder))
        patch.setattr(Bench, "measure", self._measure)
        patch.setattr(search, "search", self._search)
        patch.setattr(doctor, "examine", lambda machine: [])  # the real one loads every library
        (folder / "planted.py").write_text("open('ran', 'w')\ndef f(): open('ran', 'w')\n")
        (folder / "file").write_text("text")
        (folder / "t").write_text("0\n1\n")
        (folder / "link").symlink_to("file")
        os.mkfifo(folder / "pipe")
        # Without a reader, writing to a pipe would wait.
        self._pipe = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
        (folder / "run").mkdir()
        open_run(folder / "run").write("0123456789abcdef", result())

    def _measure(self, cell: Cell, keep: Callable[[Result], None] = lambda _: None) -> Result:
        if cell.model_entry.runs_code and not self._is_trusted:
            raise AssertionError(f"{cell.model} would have run code")
        made = result().model_copy(update={"spec": cell.spec})
        keep(made)
        return made

    def _search(self, *_: object) -> None:
        raise GpubenchError("not searched")

    def command(self, arguments: list[str], is_trusted: bool = False) -> int:
        """The exit status. Raises AssertionError if something happened that must not."""
        self._is_trusted = is_trusted
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), watched():
            status = main(arguments)
        with contextlib.suppress(BlockingIOError):
            os.read(self._pipe, 1 << 20)
        said = err.getvalue()
        assert status in STATUSES, f"status {status} of {arguments}"
        assert "Traceback" not in said, said
        lines = [line for line in said.splitlines() if not line.startswith("gpubench: warning:")]
        if status == 2:
            assert len(lines) == 1, said
            assert lines[0].startswith("gpubench: "), said
        assert not _unseen(said), ascii(said)
        assert not (self.folder / "ran").exists(), "code ran"
        return status

    def command_line(self, arguments: list[str]) -> int:
        return self.command(arguments, is_trusted=True)

    def sweep_file(self, data: bytes) -> int:
        (self.folder / "sweep.yaml").write_bytes(data)
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        return self.command(["sweep", "sweep.yaml", "--output", "out", "--max-cells", "20"])

    def document(self, data: bytes) -> int:
        folder = self.folder / "documents"
        if not folder.exists():
            folder.mkdir()
            open_run(folder).write("good", result())
        (folder / "tried.json").write_bytes(data)
        self._forms += 1
        forms = ("terminal", "markdown", "csv", "json")
        form = "html" if self._forms % 50 == 0 else forms[self._forms % len(forms)]
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        status = self.command(["report", str(folder), "--format", form, "--usd-per-hour", "1"])
        self.command(["compare", str(folder), str(folder), "--format", forms[self._forms % 3]])
        plan = ["plan", str(folder), "--objective", "p95:200ms", "--allow", "closed-loop,suspect"]
        self.command([*plan, "--usd-per-hour", "1", "--format", form])
        with contextlib.suppress(InputError):
            open_run(folder).has("tried")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert status == 0  # the valid cell is always shown
        is_accepted = len(open_run(folder).read_all().cells) == 2
        return 0 if is_accepted else 2

    def sample_file(self, data: bytes) -> int:
        try:
            with watched():
                read = from_parquet(data, "run.parquet")
        except InputError as error:
            return _refused(error)
        with contextlib.suppress(InputError), watched():
            cell = result()
            cell.window.counted = CountedRows(stamp="completed_ns", from_ns=10**15, to_ns=10**16)
            trace_rules.read(make_trace("run", cell, read).text)
        return 0

    def trace(self, data: bytes) -> int:
        (self.folder / "trace").write_bytes(data)
        try:
            with watched():
                read_trace(self.folder / "trace").due_ns(5.0)
        except InputError as error:
            return _refused(error)
        return 0


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Raises Hang if the block takes too long."""

    def stop(number: int, _: object) -> None:
        raise Hang(signal.Signals(number).name)

    before = [signal.signal(each, stop) for each in (signal.SIGVTALRM, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in zip((signal.SIGVTALRM, signal.SIGALRM), before, strict=True):
            signal.signal(each, handler)


def _refused(error: InputError) -> int:
    assert "\n" not in str(error)
    return 2


def _unseen(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs"}} - {"\n"}


KINDS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Place, Any], int]]] = {
    "command lines": (cases.command_lines(), Place.command_line),
    "sweep files": (cases.sweep_files(), Place.sweep_file),
    "documents": (cases.documents(), Place.document),
    "sample files": (cases.sample_files(), Place.sample_file),
    "traces": (cases.traces(), Place.trace),
}


def try_case(place: Place, kind: str, case: Any) -> None:
    status = KINDS[kind][1](place, case)
    place.counts[kind, str(status)] += 1


def try_many(place: Place, kind: str, examples: int, *, same_each_time: bool) -> None:
    """Run so many cases of a kind. Raises the error of the smallest case that fails."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=same_each_time,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[kind][0])
    def tried(case: Any) -> None:
        try_case(place, kind, case)

    tried()
