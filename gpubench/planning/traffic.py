"""A load: a constant rate, rates over time, or the time stamps of a real trace.

Rates are inferences per second. A file of rates has the line `time,rate` first. Each of the other
lines holds a time and the rate from then on, until the time of the next line. The last rate holds
for as long as the one before it, or until a last line whose rate is the word `end`. A file of time
stamps holds one time a line: at each of them one inference is asked for. Lines that begin with #
are ignored.

Times are seconds, HH:MM or HH:MM:SS, or ISO 8601. A file uses one of these forms. ISO times have a
UTC offset in all lines or in none; with an offset, a day on which the clocks change has its true
length.

Rates may change at any time. But if at least nine of ten steps have the same length, a longer one
is a gap: rows are missing, and the rate of the row before it is not known to hold for so long.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from gpubench.errors import InputError
from gpubench.files.untrusted import open_regular, refuse_larger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PER_SECOND = 1e9
_LONGEST_S = 366 * 24 * 3600.0
_SHORTEST_S = 1e-6  # times that differ by less are equal
_AFTER_ALL_DATES_S = 1e11  # since 1970; time stamps in milliseconds are larger
_MOST_BYTES = 256 << 20
_MOST_RATES = 1_000_000
_LONGEST_LINE = 1000  # bytes
_USUAL_SHARE = 0.9  # of the steps: then a longer step is a gap
# A constant load is simulated for so many inferences, but from an hour to 30 days.
_CONSTANT_INFERENCES = 10_000
_CONSTANT_HOURS = 1, 30 * 24
# The peak of a trace is the highest number of inferences in such a time.
PEAK_WINDOW_S = 60.0

_CLOCK = re.compile(r"([0-9]{1,2}):([0-5][0-9])(?::([0-5][0-9](?:\.[0-9]+)?))?", re.ASCII)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+", re.ASCII)
_Form = Literal["seconds", "HH:MM", "ISO 8601 with a UTC offset", "ISO 8601 without a UTC offset"]


@dataclass(frozen=True)
class Step:
    """The rate until a time, which is in seconds from the start of the load."""

    until_s: float
    per_second: float


@dataclass(frozen=True, eq=False)
class Load:
    """Inferences per second over time.

    `steps` describe a trace, too: its rates in windows of PEAK_WINDOW_S.
    """

    origin: str  # "--rate 5000", "--traffic day.csv"
    steps: tuple[Step, ...]
    begins_at: str | None = None  # the first time of the file, as it is written there
    # When each inference of a trace is asked for: seconds from the start, sorted.
    times_s: NDArray[np.float64] | None = None
    is_constant: bool = False

    @property
    def span_s(self) -> float:
        return self.steps[-1].until_s

    @property
    def inferences(self) -> float:
        """The number of inferences; for rates the expected one."""
        if self.times_s is not None:
            return float(len(self.times_s))
        starts = (0.0, *(step.until_s for step in self.steps))
        return sum(
            step.per_second * (step.until_s - start)
            for step, start in zip(self.steps, starts, strict=False)
        )

    @property
    def mean_per_second(self) -> float:
        return self.inferences / self.span_s

    @property
    def peak_per_second(self) -> float:
        return max(step.per_second for step in self.steps)


def constant_load(rate_per_second: float) -> Load:
    """A constant rate, for a time in which a percentile can be simulated.

    Raises InputError for an impossible rate.
    """
    if not 0 < rate_per_second <= MOST_PER_SECOND:
        raise InputError(
            f"--rate {rate_per_second:g}: give the inferences per second of the load, from more "
            f"than 0 to {MOST_PER_SECOND:g}"
        )
    shortest, longest = _CONSTANT_HOURS
    hours = min(_CONSTANT_INFERENCES / rate_per_second / 3600, longest)
    steps = (Step(max(shortest, math.ceil(hours)) * 3600.0, rate_per_second),)
    return Load(f"--rate {rate_per_second:g}", steps, is_constant=True)


def read_traffic(path: Path) -> Load:
    """The load in a file.

    Raises InputError, with the number of the line, for any other file.
    """
    reader = _Reader(path)
    try:
        with open_regular(path) as file:
            lines = reader.lines(iter(lambda: file.readline(_LONGEST_LINE), b""))
            first = next(lines, None)
            if first is None:
                reader.refuse(None, "it is empty; write the line time,rate, and rows like 8:00,120")
            number, text = first
            columns = [column.lower() for column in _columns(text)]
            if columns == ["time", "rate"]:
                return _rates(reader, lines)
            if len(columns) > 1 or columns[0][:1].isalpha():
                reader.refuse(
                    number,
                    f"'{_shown(text)}' is not the header; a file of rates begins with the line "
                    "time,rate, and a file of time stamps has no header",
                )
            return _trace(reader, first, lines)
    except OSError as error:
        raise InputError(
            f"--traffic {path}: {error.strerror}; give a file of rates (time,rate) or of time "
            "stamps"
        ) from None


_Line = tuple[int, str]  # its number and its text


class _Reader:
    """Lines and times of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._form: _Form | None = None
        self._form_line = 0
        self._first: float | None = None
        self.begins_at: str | None = None

    def refuse(self, number: int | None, problem: str) -> NoReturn:
        where = "" if number is None else f"line {number}: "
        raise InputError(f"--traffic {self.path}: {where}{problem}")

    def lines(self, raw: Iterator[bytes]) -> Iterator[_Line]:
        """The lines that hold something."""
        size = 0
        for number, line in enumerate(raw, start=1):
            size += len(line)
            refuse_larger(size, _MOST_BYTES, self.path)  # the file may grow while it is read
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                self.refuse(number, "this is not text; give a CSV file")
            if "\0" in text:
                self.refuse(number, "this is not text; give a CSV file")
            if text and not text.startswith("#"):
                yield number, text

    def seconds(self, number: int, text: str) -> float:
        """A time, in seconds after the first one of the file."""
        form, seconds = self._parsed(number, text)
        if seconds >= _AFTER_ALL_DATES_S:
            self.refuse(
                number,
                f"the time {_shown(text)} is after the year 5000; a time without a unit is in "
                "seconds, so divide milliseconds by 1000",
            )
        if self._form is None:
            self._form, self._form_line, self._first = form, number, seconds
            self.begins_at = None if form == "seconds" else text
        if form != self._form:
            self.refuse(
                number,
                f"the time is {form}, and that in line {self._form_line} is {self._form}; write "
                "all times in one form",
            )
        return seconds - (self._first or 0.0)

    def _parsed(self, number: int, text: str) -> tuple[_Form, float]:
        if _SECONDS.fullmatch(text):
            return "seconds", float(text)
        if clock := _CLOCK.fullmatch(text):
            seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3] or 0)
            if seconds <= 24 * 3600:
                return "HH:MM", seconds
        elif text.startswith("-"):
            self.refuse(number, f"the time {_shown(text)} is negative; write times of 0 or more")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.refuse(
                number,
                f"'{_shown(text)}' is not a time; write seconds, HH:MM, or ISO 8601 like "
                "2026-11-02T08:00:00Z",
            )
        if moment.tzinfo is not None:
            return "ISO 8601 with a UTC offset", moment.timestamp()
        origin = datetime(1970, 1, 1)
        return "ISO 8601 without a UTC offset", (moment - origin).total_seconds()


def _rates(reader: _Reader, lines: Iterator[_Line]) -> Load:
    rows: list[tuple[int, float, float | None]] = []  # line, time, rate (None: the end)
    for number, text in lines:
        if rows and rows[-1][2] is None:
            reader.refuse(number, f"line {rows[-1][0]} says that the load ends; put that line last")
        columns = _columns(text)
        if len(columns) != 2:
            reader.refuse(number, f"'{_shown(text)}' is not a time and a rate, like 8:00,120")
        time_s = reader.seconds(number, columns[0])
        rate = None if columns[1].lower() == "end" else _rate(reader, number, columns[1])
        if rows and abs(time_s - rows[-1][1]) < _SHORTEST_S:
            reader.refuse(number, f"the time is that of line {rows[-1][0]}; give each time once")
        if rows and time_s < rows[-1][1]:
            reader.refuse(
                number,
                f"the time is earlier than that of line {rows[-1][0]}; sort the rows by time"
                + _AFTER_MIDNIGHT,
            )
        rows.append((number, time_s, rate))
        if len(rows) > _MOST_RATES:
            reader.refuse(number, f"there are more than {_MOST_RATES:,} rates; give longer steps")
    if not rows or rows[0][2] is None:
        reader.refuse(None, "it has no rate; write rows like 8:00,120")
    if rows[-1][2] is not None:
        if len(rows) == 1:
            reader.refuse(
                rows[0][0],
                "nothing says how long the only rate holds; add a last line like 24:00,end",
            )
        rows.append((0, 2 * rows[-1][1] - rows[-2][1], None))
    _refuse_gaps(reader, rows)
    steps = tuple(
        Step(end, rate)
        for (_, _, rate), (_, end, _) in itertools.pairwise(rows)
        if rate is not None
    )
    _check_span(reader, steps[-1].until_s)
    if not any(step.per_second for step in steps):
        reader.refuse(None, "every rate is 0; without a load nothing is needed")
    return Load(f"--traffic {reader.path}", steps, reader.begins_at)


_AFTER_MIDNIGHT = " (times after midnight need a date; where the clocks change, a UTC offset)"


def _rate(reader: _Reader, number: int, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= MOST_PER_SECOND or "_" in text:
        missing = "the rate is missing" if not text else f"the rate '{_shown(text)}' is not allowed"
        reader.refuse(
            number, f"{missing}; give inferences per second, from 0 to {MOST_PER_SECOND:g}"
        )
    return rate


def _refuse_gaps(reader: _Reader, rows: list[tuple[int, float, float | None]]) -> None:
    lengths = [round(later[1] - earlier[1], 6) for earlier, later in itertools.pairwise(rows)]
    counts: dict[float, int] = {}
    for length in lengths:
        counts[length] = counts.get(length, 0) + 1
    usual = max(counts, key=counts.__getitem__)
    if counts[usual] < _USUAL_SHARE * len(lengths):
        return
    for (number, _, _), length in zip(rows[1:], lengths, strict=True):
        if length > usual and number:
            reader.refuse(
                number,
                f"rows are missing before it: the step is {length:g} s, and most are {usual:g} s; "
                "add the rows (with rate 0 where nothing came)",
            )


def _trace(reader: _Reader, first: _Line, lines: Iterator[_Line]) -> Load:
    import numpy as np

    def times() -> Iterator[float]:
        before = 0.0
        yield reader.seconds(*first)
        for number, text in lines:
            time_s = reader.seconds(number, text)
            if time_s < before:
                reader.refuse(
                    number,
                    "the time is earlier than the one before it; sort the times" + _AFTER_MIDNIGHT,
                )
            before = time_s
            yield time_s

    times_s = np.fromiter(times(), np.float64)
    last_s = float(times_s[-1])
    if last_s < _SHORTEST_S:
        reader.refuse(None, "all its times are equal; a trace needs two different times")
    # The time after the last inference is the mean gap.
    span_s = last_s * len(times_s) / (len(times_s) - 1)
    _check_span(reader, span_s)
    window_s = min(PEAK_WINDOW_S, span_s)
    windows = max(1, int(span_s / window_s))
    edges = np.append(np.arange(windows) * window_s, span_s)
    counts, _ = np.histogram(times_s, edges)
    steps = tuple(
        Step(float(end), float(count / (end - start)))
        for count, start, end in zip(counts, edges, edges[1:], strict=False)
    )
    return Load(f"--traffic {reader.path}", steps, reader.begins_at, times_s)


def _check_span(reader: _Reader, span_s: float) -> None:
    if span_s > _LONGEST_S:
        reader.refuse(None, "it is longer than 366 days; give a shorter part of it")


def _columns(text: str) -> list[str]:
    """The columns of a row. Some programs write each of them in quotes."""
    return [column.strip().strip('"') for column in text.split(",")]


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
