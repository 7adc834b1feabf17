"""Tests of the search for the highest rate that meets an objective, and of its command."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gpubench
from gpubench.errors import InputError
from gpubench.measure.search import SearchInterrupted, find, search
from gpubench.results.result import Result
from gpubench.spec.objective import Objective, parse_objective
from gpubench.statistics.crossing import (
    MOST_LOAD,
    Crossing,
    Tally,
    conclude,
    expected_load,
    expected_slope,
    locate,
    tally,
)

GPUBENCH = Path(sysconfig.get_path("scripts")) / "gpubench"
# One worker with a service time of 0.1 ms, and probes of some tens of milliseconds.
FAST = {"model": "synthetic", "service_time": 1e-4, "warmup": 0.0, "requests": 300}
FLAGS = ["--model", "synthetic", "--service-time", "100us", "--warmup", "0", "--requests", "300"]


def test_an_objective_is_a_percentile_and_a_latency() -> None:
    assert parse_objective("p99:10ms") == Objective(99, 0.01)
    assert parse_objective(" P95:1.5s ") == Objective(95, 1.5)
    assert parse_objective("p90:250us").latency_ns == 250_000
    assert parse_objective("p99:10ms").late_share == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10ms", "write it like p99:10ms"),
        ("p99<10ms", "write it like p99:10ms"),
        ("p50:10ms", "choose from p90, p95, p99"),
        ("p99:10", "no unit"),
        ("p99:0ms", "the latency must be more than 0"),
        ("p99:-1ms", "not a duration"),
    ],
)
def test_a_bad_objective_is_refused_with_the_fix(text: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        parse_objective(text)


def test_a_tally_counts_slow_and_unfinished_requests() -> None:
    latency_ns = np.array([5, 10, 11, 20, 3], np.int64)
    counted = tally(7.0, latency_ns, unfinished=2, limit_ns=10)
    assert (counted.rate, counted.requests, counted.late) == (7.0, 7, 4)


def test_if_no_request_finished_all_are_late() -> None:
    counted = tally(7.0, np.empty(0, np.int64), unfinished=3, limit_ns=10)
    assert counted.late_share == 1.0


def line(rates: list[float], centre: float, slope: float, allowed: float, n: int) -> list[Tally]:
    """Tallies exactly on a line that crosses the allowed share of late requests at `centre`."""
    tallies = []
    for rate in rates:
        logit = math.log(allowed / (1 - allowed)) + slope * (rate / centre - 1)
        tallies.append(Tally(rate, n, round(n / (1 + math.exp(-logit))), n))
    return tallies


RATES = [740.0, 760.0, 780.0, 800.0, 820.0, 840.0]


def test_the_crossing_of_tallies_on_a_line_is_exact() -> None:
    tallies = line(RATES, 790, 18, 0.01, n=10**7)
    crossing = locate(tallies, 770, 15, 1000, 0.01)
    assert crossing.rate == pytest.approx(790, rel=1e-3)
    assert crossing.slope == pytest.approx(18, rel=0.02)
    assert crossing.interval is not None
    assert crossing.interval[0] < 790 < crossing.interval[1]


def test_the_interval_narrows_with_the_square_root_of_the_requests() -> None:
    def half(n: int) -> float:
        interval = locate(line(RATES, 790, 18, 0.01, n), 790, 18, 1000, 0.01).interval
        assert interval is not None
        return (interval[1] - interval[0]) / 2

    assert half(400_000) / half(1_600_000) == pytest.approx(2, rel=0.05)


def test_autocorrelated_requests_widen_the_interval() -> None:
    independent = line(RATES, 790, 18, 0.01, n=400_000)
    dependent = [replace(t, effective=t.requests / 4) for t in independent]
    narrow = locate(independent, 790, 18, 1000, 0.01).interval
    wide = locate(dependent, 790, 18, 1000, 0.01).interval
    assert narrow is not None
    assert wide is not None
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(2, rel=0.05)


def test_probes_that_scatter_widen_the_interval() -> None:
    calm = line(RATES, 790, 18, 0.01, n=100_000)
    moody = [replace(t, late=round(t.late * (1.4, 0.6)[i % 2])) for i, t in enumerate(calm)]
    narrow = locate(calm, 790, 18, 1000, 0.01).interval
    wide = locate(moody, 790, 18, 1000, 0.01).interval
    assert narrow is not None
    assert wide is None or wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_a_probe_with_few_late_requests_gets_no_more_weight() -> None:
    # If each probe had a separate weight, the one with fewer late requests would move the crossing
    # to a higher rate.
    tallies = line(RATES, 790, 18, 0.01, n=10_000)
    lucky = Tally(790, 10_000, 0, 2_000.0)
    unlucky = Tally(790, 10_000, 200, 50.0)
    crossing = locate([*tallies, lucky, unlucky], 790, 18, 1000, 0.01)
    assert crossing.rate == pytest.approx(790, rel=2e-3)


def test_the_slope_comes_from_theory_if_there_is_one_probe() -> None:
    missed = locate([Tally(800, 10_000, 500, 500.0)], 800, 18, 1000, 0.01)
    met = locate([Tally(800, 10_000, 10, 500.0)], 800, 18, 1000, 0.01)
    assert missed.rate < 800 < met.rate
    assert missed.interval is None
    assert missed.note == "1 probes near the crossing; an interval needs 6"


def test_expected_loads_follow_the_heavy_traffic_approximation() -> None:
    # In M/D/1 the P99 of the wait is nine service times at a load of 77.3%. The approximation gives
    # 74.4%.
    assert expected_load(0.01, 9e-3, 1000) == pytest.approx(0.744, abs=1e-3)
    assert expected_slope(0.5, 0.01) == pytest.approx(math.log(100))
    assert math.isfinite(expected_slope(1.5, 0.01))
    assert expected_slope(0.01, 0.1) == 1
    for waiting_s in (-1.0, 0.0, 1e-6):
        assert expected_load(0.01, waiting_s, 1000) == 0.4
    assert expected_load(0.01, 1e3, 1000) == 0.95


def test_rates_decrease_in_steps() -> None:
    probed: list[float] = []

    def always_late(rate: float) -> Tally:
        probed.append(rate)
        return Tally(rate, 500, 200, 200.0)

    find(always_late, 400, 1000, 0.05, most_probes=5)
    assert probed[0] == 400
    for number, rate in enumerate(probed[1:], 1):
        assert rate >= 0.599 * min(probed[:number])
    assert probed[-1] < 0.2 * 400


def test_the_search_stops_if_the_capacity_is_the_limit() -> None:
    probed: list[float] = []

    def never_late(rate: float) -> Tally:
        probed.append(rate)
        return Tally(rate, 5_000, 0, 5_000.0)

    found = conclude(find(never_late, 700, 1000, 0.01), 1000, 0.01)
    assert found.rate == pytest.approx(MOST_LOAD * 1000)
    assert found.interval is None
    assert "98% of the capacity" in (found.note or "")
    assert len(probed) < 12
    assert max(probed) <= MOST_LOAD * 1000


def test_a_search_that_never_meets_the_objective_says_so() -> None:
    found = conclude(find(lambda rate: Tally(rate, 500, 500, 500.0), 700, 1000, 0.01), 1000, 0.01)
    assert found.rate is None
    assert found.interval is None
    assert "missed at every rate" in (found.note or "")


def test_a_step_is_also_found() -> None:
    # Constant arrivals and a constant service time: requests are late from a rate of 612 on.
    crossing = find(lambda rate: Tally(rate, 2_000, 2_000 * (rate > 612), 2_000.0), 500, 1000, 0.05)
    assert crossing.rate == pytest.approx(612, rel=0.03)


def test_a_crossing_outside_the_probed_rates_gives_no_answer() -> None:
    near = (Tally(700, 100, 9, 100.0), Tally(800, 100, 0, 100.0))
    odd = Crossing(rate=-5.0, interval=None, note=None, centre=1.0, slope=2.0, near=near)
    assert conclude(odd, 1000, 0.01).rate is None


def test_a_search_with_the_synthetic_model_has_rate_verdict_and_costs() -> None:
    spec = gpubench.Spec.model_validate({**FAST, "usd_per_hour": 3.6})
    found = search(spec, "p95:10ms", probes=4)  # far above the service time, also on a busy machine
    assert found.error is None
    loads = [probe.load for probe in found.probes]
    assert loads[:3] == ["unloaded", "saturated", "open"]
    assert len(loads) <= 6
    # The service time, and with it the capacity, of a busy machine can only be worse than asked.
    assert found.capacity_per_second == found.probes[1].result.throughput_per_second
    assert 0 < (found.capacity_per_second or 0) < 10_500
    opened = [probe for probe in found.probes if probe.load == "open"]
    assert len({probe.result.spec.load_seed for probe in opened}) == len(opened)
    assert {probe.result.spec.workers for probe in found.probes} == {1}
    for probe in opened:
        assert probe.result.requests.offered == 300
    if found.max_rate_per_second is None:
        assert found.note
        assert found.costs == []
    else:
        (cost,) = found.costs
        assert cost.usd_per_million == pytest.approx(1e3 / found.max_rate_per_second)


def test_costs_count_inferences_and_the_rate_counts_requests() -> None:
    spec = gpubench.Spec.model_validate({**FAST, "batch": 8, "usd_per_hour": 3.6})
    found = search(spec, "p90:10s", probes=6)  # met at every rate
    rate, capacity = found.max_rate_per_second, found.capacity_per_second
    assert rate is not None
    assert capacity is not None
    assert rate == pytest.approx(MOST_LOAD * capacity)
    assert found.costs[0].usd_per_million == pytest.approx(1e3 / 8 / rate)


def test_an_objective_that_a_single_client_misses_ends_the_search() -> None:
    found = search(gpubench.Spec.model_validate(FAST), "p95:50us")
    assert [probe.load for probe in found.probes] == ["unloaded"]
    assert found.max_rate_per_second is None
    assert "even a single client misses it" in (found.note or "")
    assert found.probes[0].near
    assert {r.code for r in found.verdict.reasons} == {
        r.code for r in found.probes[0].result.verdict.reasons
    }
    assert found.error is None


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"clients": 2}, "--clients: a search chooses the number of clients"),
        ({"arrivals": "trace:times.txt"}, "every probe needs different arrivals"),
        ({"instance": ["no-such"]}, "no-such"),
    ],
)
def test_settings_that_a_search_cannot_use_are_refused(
    settings: dict[str, object], hint: str
) -> None:
    with pytest.raises(InputError, match=hint):
        search(gpubench.Spec.model_validate({**FAST, **settings}), "p95:1ms")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(GPUBENCH), "search", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


def test_the_command_shows_the_answer_and_every_probe() -> None:
    done = run(*FLAGS, "--objective", "p95:10ms", "--probes", "3", "--usd-per-hour", "1")
    assert done.returncode == 0, done.stderr
    assert "P95 within 10ms" in done.stdout
    assert "max rate /s" in " ".join(done.stdout.split()) or "max" in done.stdout
    assert done.stdout.count("\nopen") == 3
    assert "probe 3" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_has_the_documented_keys_and_complete_results() -> None:
    done = run(*FLAGS, "--objective", "p95:10ms", "--probes", "2", "--json", "-", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["schema"] == 1
    assert found["objective"] == {"percentile": "p95", "latency_ms": 10.0}
    assert {"max_rate_per_second", "interval", "probes", "costs", "note", "verdict"} <= set(found)
    Result.model_validate(found["probes"][-1]["result"])


def test_a_probe_that_fails_ends_the_search_and_earlier_probes_are_kept(tmp_path: Path) -> None:
    model = tmp_path / "flaky.py"
    model.write_text(
        "import torch\n"
        "from gpubench import OwnModel\n\n"
        "calls = []\n\n"
        "class Flaky(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        calls.append(1)\n"
        "        if len(calls) > 600:\n"
        "            raise RuntimeError('enough')\n"
        "        return x * 2\n\n"
        "def model():\n"
        "    return OwnModel(Flaky(), lambda rng, n: (torch.rand(n, 4, generator=rng),))\n"
    )
    arguments = ["--model", f"{model}:model", "--runtime", "eager", "--warmup", "0"]
    done = run(*arguments, "--requests", "100", "--objective", "p95:1s", "--json", "-")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert "enough" in found["error"]["message"]
    assert len(found["probes"]) >= 2
    assert "Traceback" not in done.stderr


# The installed command, with an executor that sends Ctrl-C in its 600th batch.
INTERRUPTED = """
import signal
from gpubench import core
from gpubench.measure import cell
from gpubench.cli.entry import console

calls = []

def run(ids):
    calls.append(ids)
    if len(calls) == 600:
        signal.raise_signal(signal.SIGINT)

cell.synthetic_executors = lambda spec: [core.PythonExecutor(run)]
console()
"""


def test_ctrl_c_keeps_the_probes(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    arguments = ["search", *FLAGS, "--objective", "p99:10ms", "--json", path]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *map(str, arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(path.read_text())
    assert found["error"]["message"].startswith("interrupted")
    assert found["max_rate_per_second"] is None
    assert found["probes"]


def test_the_exception_of_an_interrupted_search_holds_its_probes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gpubench import core
    from gpubench.measure import cell

    calls: list[object] = []

    def interrupt(ids: object) -> None:
        calls.append(ids)
        if len(calls) == 600:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(cell, "synthetic_executors", lambda spec: [core.PythonExecutor(interrupt)])
    with pytest.raises(SearchInterrupted) as caught:
        search(gpubench.Spec.model_validate(FAST), "p99:10ms")
    assert caught.value.result.error is not None
    assert caught.value.result.probes


def test_a_search_begins_at_the_given_rate() -> None:
    spec = gpubench.Spec.model_validate({**FAST, "rate": 1234.0, "arrivals": "burst:4"})
    found = search(spec, "p95:10ms", probes=1)
    assert [probe.rate_per_second for probe in found.probes] == [None, None, 1234.0]
    assert found.probes[-1].result.spec.arrivals == "burst:4"
    assert gpubench.SearchResult.model_validate_json(found.to_json()).spec == found.spec
