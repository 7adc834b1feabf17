"""A load on a serverless function beside instances: by hand, and against a simulated platform."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from factories import environment
from planning_results import search, written

from gpubench.cli import program as cli
from gpubench.planning.serverless import cold_share
from gpubench.planning.traffic import Load, Step, constant_load
from gpubench.pricing.serverless import with_function_cost
from gpubench.results.cold_result import ColdResult, ColdStart
from gpubench.results.function_calls import FunctionCall, MemoryTimePrice, ServerlessFunction
from gpubench.results.run_directory import open_run
from gpubench.spec.spec import Spec
from gpubench.statistics.function_calls import call_figures

C7I_USD_PER_HOUR = 0.1785


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_cold_share_is_that_of_a_simulated_platform(seed: int) -> None:
    """A platform that ends a process after 10 minutes; calls are so short that one suffices."""
    gaps = np.random.default_rng(seed).exponential(600.0 / 0.7, 200_000)
    simulated = float(np.mean(gaps > 600.0))
    assert cold_share(constant_load(0.7 / 600.0), 1, 600.0) == pytest.approx(simulated, rel=0.02)


def test_a_busy_function_has_no_cold_calls_and_an_idle_one_nothing_else() -> None:
    assert cold_share(constant_load(100.0), 1, 600.0) == 0.0
    assert cold_share(constant_load(1e-6), 1, 600.0) == pytest.approx(1.0, rel=1e-3)
    # The night has a hundredth of the calls of the day, and all of them are cold.
    day = Load("day", (Step(43200, 1.0), Step(86400, 0.0)))
    assert cold_share(day, 1, 600.0) == pytest.approx(0.0, abs=1e-9)


def test_gaps_of_a_trace_are_counted_and_it_repeats() -> None:
    times = np.array([0.0, 10.0, 20.0, 1000.0])
    trace = Load("trace", (Step(4000.0, 0.001),), times_s=times)
    assert cold_share(trace, 1, 600.0) == 2 / 4  # before 1000, and before the first
    assert cold_share(trace, 2, 600.0) == 1 / 2  # calls at 0 and 20; the trace ends at 4000


def function(folder: str, price: MemoryTimePrice | None, warm_ms: float = 60.0) -> None:
    """A function of 2 GB with a start of 3 s, beside what the folder holds."""
    calls = [
        FunctionCall(
            burst=1,
            parallel=1,
            time="",
            cold=cold,
            round_trip_ms=ms,
            handler_ms=50.0,
            started_for_it=cold,
        )
        for cold, ms in ((True, 3100.0), *[(False, warm_ms)] * 20)
    ]
    start = ColdStart(number=1, time="", page_cache="unknown", ready_seconds=3.0)
    result = ColdResult(
        spec=Spec(model="resnet50"),
        environment=environment(),
        starts=[start],
        function=ServerlessFunction(
            url="https://f.example/",
            inferences=1,
            memory_bytes=2 << 30,
            calls=calls,
            cold=call_figures(calls, cold=True),
            warm=call_figures(calls, cold=False),
        ),
    )
    open_run(folder).write_cold("cold-f", with_function_cost(result, price))


PRICE = MemoryTimePrice(usd_per_gb_second=0.00002, usd_per_million_requests=0.5)
WARM_USD = 0.05 * 2 * 0.00002 + 0.5e-6  # 0.0000025 a call


@pytest.fixture
def measured(tmp_path: Path) -> str:
    """A c7i.xlarge serves 31/s (at least 30)."""
    folder = written(tmp_path / "run", search(31.0, (30.0, 32.0)))
    function(folder, PRICE)
    return folder


def planned(
    capsys: pytest.CaptureFixture[str], folder: str, *flags: str
) -> tuple[dict[str, object], str]:
    """(the function of the plan, the sentence about the load)."""
    arguments = ["plan", folder, "--objective", "p95:100ms", *flags]
    assert cli.main([*arguments, "--format", "json"]) == 0
    (load,) = json.loads(capsys.readouterr().out)["loads"]
    (found,) = load["functions"]
    assert cli.main(arguments) == 0
    return found, " ".join(capsys.readouterr().out.split())


def test_a_month_by_hand(measured: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, text = planned(capsys, measured, "--rate", "2", "--keep-alive", "10m")
    assert found["usd_per_month"] == pytest.approx(2 * 730 * 3600 * WARM_USD)  # 13.14
    assert found["usd_per_million"] == pytest.approx(2.5)
    assert found["concurrency"] == pytest.approx(0.1)
    assert found["cold_share"] == 0.0
    assert found["meets_objective"] is True
    assert found["latency_ms"] == 60.0
    assert found["is_lower_bound"] is False
    # An hour of the instance pays for 0.1785 / 3600 / 0.0000025 calls a second.
    assert found["break_even_per_second"] == pytest.approx(C7I_USD_PER_HOUR / 3600 / WARM_USD)
    assert found["break_even_instance"] == "c7i.xlarge"
    assert "$13.14 a month, $2.50 a million, 0.101 times what the instances cost" in text
    assert "instances cost less than warm calls is 19.8 inferences/s, on c7i.xlarge." in text


def test_a_spare_instance_moves_the_break_even(
    measured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """k = 19.83/s pays for an instance. Two with one spare cost 3 k = 59.5 and serve 60."""
    found, _ = planned(capsys, measured, "--rate", "2", "--spare", "1")
    assert found["break_even_per_second"] == pytest.approx(3 * C7I_USD_PER_HOUR / 3600 / WARM_USD)


def test_a_warm_call_that_failed_is_late(measured: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(measured) / "cold-f.json"
    document = json.loads(file.read_text())
    error = {"stage": "answer", "message": "no answer"}
    document["function"]["calls"] += [{"burst": 1, "parallel": 1, "time": "", "error": error}] * 5
    file.write_text(json.dumps(document))
    found, _ = planned(capsys, measured, "--rate", "2", "--keep-alive", "10m")
    assert found["late_share"] == 5 / 25
    assert found["meets_objective"] is False


def test_cold_calls_are_paid_and_may_miss_the_objective(
    measured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call in 100 minutes: exp(-0.1) of them come after a process has ended."""
    rate = 1 / 6000
    found, text = planned(capsys, measured, "--rate", str(rate), "--keep-alive", "10m")
    share = np.exp(-0.1)
    assert found["cold_share"] == pytest.approx(share)
    usd = WARM_USD + share * 3 * 2 * 0.00002
    assert found["usd_per_million"] == pytest.approx(usd * 1e6)
    assert found["late_share"] == pytest.approx(share)
    assert found["meets_objective"] is False
    assert "At least 90% of the calls are cold. The function does not meet P95" in text


def test_without_a_keep_alive_time_the_cost_is_a_lower_bound(
    measured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, text = planned(capsys, measured, "--rate", "2")
    assert found["cold_share"] is None
    assert found["is_lower_bound"] is True
    assert "at least $13.14 a month" in text
    assert "How many calls are cold is not known: add --keep-alive 10m" in text


def test_an_expensive_instance_is_never_cheaper(
    measured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, text = planned(
        capsys, measured, "--rate", "2", "--usd-per-gb-second", "0.0000001", "--keep-alive", "10m"
    )
    assert found["break_even_per_second"] is None
    assert "these instances cost less than warm calls at no constant load" in text


def test_without_a_price_the_sentence_says_how_to_give_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(tmp_path / "run", search(31.0, (30.0, 32.0)))
    function(folder, None)
    found, text = planned(capsys, folder, "--rate", "2")
    assert found["usd_per_month"] is None
    assert "No price: add --usd-per-gb-second X" in text


def test_a_price_of_functions_needs_a_load(
    measured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["plan", measured, "--objective", "p95:100ms", "--keep-alive", "10m"]
    assert cli.main(arguments) == 2
    assert "--keep-alive needs a load; add --rate R or --traffic FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("function", "cost", "price", "billing_step_ms"), 0),
        (("function", "cost", "price", "usd_per_gb_second"), -1),
        (("function", "memory_bytes"), 0),
        (("function", "inferences"), 0),
        (("starts", 0, "ready_seconds"), -1),
    ],
)
def test_a_damaged_function_is_left_out_with_its_reason(
    measured: str,
    place: tuple[str | int, ...],
    value: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = Path(measured) / "cold-f.json"
    document = json.loads(file.read_text())
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    file.write_text(json.dumps(document))
    assert cli.main(["plan", measured, "--objective", "p95:100ms", "--rate", "2"]) == 0
    shown = capsys.readouterr()
    assert f"{'.'.join(map(str, place))}: Input should be greater than" in shown.err
    assert "As a function" not in shown.out
