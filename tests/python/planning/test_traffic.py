"""Loads: rates over time, traces, and one line for every file that is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpubench.errors import InputError
from gpubench.planning.traffic import Load, constant_load, read_traffic


def read(tmp_path: Path, text: str | bytes) -> Load:
    path = tmp_path / "day.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_traffic(path)


def steps(load: Load) -> list[tuple[float, float]]:
    return [(step.until_s, step.per_second) for step in load.steps]


def test_a_rate_holds_until_the_next_row_and_the_last_as_long_as_the_one_before(
    tmp_path: Path,
) -> None:
    load = read(tmp_path, "time,rate\n0,10\n60,40\n180,20\n")
    assert steps(load) == [(60, 10), (180, 40), (300, 20)]
    assert (load.inferences, load.peak_per_second) == (600 + 4800 + 2400, 40)
    assert load.mean_per_second == pytest.approx(26)


def test_columns_may_be_quoted_and_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    load = read(tmp_path, b'\xef\xbb\xbf"time","rate"\r\n"0","10"\r\n"60","end"\r\n')
    assert steps(load) == [(60, 10)]


@pytest.mark.parametrize(
    ("begin", "middle", "end"),
    [
        ("8:00", "8:30", "9:00"),
        ("08:00:00", "08:30:00.0", "09:00:00"),
        ("1e3", "2800", "4600"),
        ("2026-11-01T23:45:00", "2026-11-02T00:15:00", "2026-11-02 00:45"),
        ("2026-11-02T08:00:00Z", "2026-11-02T09:30:00+01:00", "2026-11-02T09:00Z"),
    ],
)
def test_forms_of_a_time(tmp_path: Path, begin: str, middle: str, end: str) -> None:
    load = read(tmp_path, f"# a day\ntime, rate\n{begin},1\n\n{middle},2\n{end},end\n")
    assert steps(load) == [(1800, 1), (3600, 2)]
    assert load.begins_at == (None if begin == "1e3" else begin)


def test_a_day_on_which_the_clocks_change_has_its_true_length(tmp_path: Path) -> None:
    load = read(tmp_path, "time,rate\n2026-10-25T00:00+02:00,1\n2026-10-26T00:00+01:00,end\n")
    assert load.span_s == 25 * 3600


def test_a_trace_is_as_long_as_its_gaps_and_its_peak_is_that_of_a_minute(tmp_path: Path) -> None:
    load = read(tmp_path, "100\n110\n110\n130\n200\n")
    assert load.times_s is not None
    assert list(load.times_s) == [0, 10, 10, 30, 100]
    assert load.span_s == 125
    assert steps(load) == [(60, 4 / 60), (125, 1 / 65)]
    assert load.inferences == 5


def test_rates_may_change_at_any_time_but_a_regular_file_has_no_gap(tmp_path: Path) -> None:
    read(tmp_path, "time,rate\n0:00,1\n8:00,5\n18:00,2\n24:00,end\n")
    rows = "".join(f"{60 * minute},1\n" for minute in range(20) if minute != 7)
    with pytest.raises(InputError) as caught:
        read(tmp_path, "time,rate\n" + rows)
    assert "line 9: rows are missing before it: the step is 120 s, and most are 60 s" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("rate,time\n1,2\n", "line 1: 'rate,time' is not the header"),
        ("0,10\n60,20\n", "line 1: '0,10' is not the header"),
        ("time,rate\n", "it has no rate"),
        ("time,rate\n0,5\n", "line 2: nothing says how long the only rate holds"),
        ("time,rate\n0,5\n60,-1\n", "line 3: the rate '-1' is not allowed"),
        ("time,rate\n0,5\n60,nan\n", "line 3: the rate 'nan' is not allowed"),
        ("time,rate\n0,5\n60,1e10\n", "line 3: the rate '1e10' is not allowed"),
        ("time,rate\n0,5\n60,\n", "line 3: the rate is missing"),
        ("time,rate\n0,5,6\n", "line 2: '0,5,6' is not a time and a rate"),
        ("time,rate\n0,5\n0,6\n", "line 3: the time is that of line 2"),
        ("time,rate\n60,5\n0,6\n", "line 3: the time is earlier than that of line 2"),
        ("time,rate\n-60,5\n0,6\n", "line 2: the time -60 is negative"),
        ("time,rate\n25:00,5\n", "line 2: '25:00' is not a time"),
        ("time,rate\nnoon,5\n", "line 2: 'noon' is not a time"),
        (
            "time,rate\n2026-11-02T08:00Z,5\n2026-11-02T09:00,6\n",
            "line 3: the time is ISO 8601 without a UTC offset, and that in line 2 is ISO 8601 "
            "with a UTC offset",
        ),
        ("time,rate\n8:00,5\n3600,6\n", "line 3: the time is seconds, and that in line 2 is HH:MM"),
        ("time,rate\n0,0\n60,0\n", "every rate is 0"),
        ("time,rate\n0,5\n60,end\n70,5\n", "line 4: line 3 says that the load ends"),
        ("time,rate\n0,1\n40000000,2\n", "longer than 366 days"),
        ("time,rate\n0,5\n1e-9,6\n", "line 3: the time is that of line 2"),
        ("time\n0\n1\n", "line 1: 'time' is not the header; a file of rates begins"),
        ("1764000000000\n1764000000100\n", "line 1: the time 1764000000000 is after the year"),
        ("time,rate\n9999-12-31T23:00,5\n", "line 2: the time 9999-12-31T23:00 is after"),
        ("5\n4\n", "line 2: the time is earlier than the one before it"),
        ("5\n5\n", "all its times are equal"),
        ("5\nx\n", "line 2: 'x' is not a time"),
        (b"time,rate\n\xff\xfe,1\n", "line 2: this is not text"),
        (b"PAR1\0\0", "line 1: this is not text"),
    ],
)
def test_bad_files_get_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"--traffic {tmp_path / 'day.csv'}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.csv", tmp_path):
        with pytest.raises(InputError, match=r"; give a file of rates"):
            read_traffic(path)


def test_a_constant_rate_lasts_for_enough_inferences_for_a_percentile() -> None:
    hours = [constant_load(rate).span_s / 3600 for rate in (1e9, 5.0, 0.1, 1e-300)]
    assert hours == [1, 1, 28, 720]  # 10,000 inferences at 0.1/s take 27.8 hours


@pytest.mark.parametrize("rate", [0, -5, float("nan"), float("inf"), 1e10])
def test_impossible_rates(rate: float) -> None:
    with pytest.raises(InputError, match="give the inferences per second"):
        constant_load(rate)
