"""Which candidate wins: the kinds of evidence, the obstacles, the prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factories import DRIFT, G4DN, G5, WRONG_ANSWERS, failed, repeated
from planning_results import C7I, closed_loop, documents, open_loop, search

from gpubench.errors import InputError
from gpubench.planning.candidates import AS_STORED, Candidate, GivenPrices, Obstacle
from gpubench.planning.decision import Decision, decide, parse_obstacles
from gpubench.planning.documents import Documents, filtered
from gpubench.pricing.owned import Owned
from gpubench.results.result import DeviceReport, Result
from gpubench.results.search_result import Pruned, SearchResult
from gpubench.spec.objective import parse_objective

P95_100MS = parse_objective("p95:100ms")
C7I_USD_PER_HOUR = 0.1785


def decision(
    *found: Result | SearchResult,
    objective: str = "p95:100ms",
    allow: tuple[str, ...] = (),
    instances: tuple[str, ...] = (),
) -> Decision:
    """The only decision about these results."""
    prices = GivenPrices(instances) if instances else AS_STORED
    plan = decide(documents(*found), parse_objective(objective), prices, parse_obstacles(allow))
    (only,) = plan.decisions
    return only


def winner(*found: Result | SearchResult, **asked: Any) -> Candidate:
    won = decision(*found, **asked).winner
    assert won is not None
    return won


def test_a_search_for_the_objective_is_the_estimate_and_has_its_interval() -> None:
    won = winner(search(10.0, (9.0, 11.0), batch=4))
    assert (won.evidence, won.bound) == ("search", "estimate")
    assert won.rate_per_second == 40.0  # inferences
    assert won.interval == (36.0, 44.0)
    usd = C7I_USD_PER_HOUR / 3600 / 40 * 1e6
    assert won.usd_per_million == pytest.approx(usd)
    assert won.cost is not None
    assert won.cost.usd_per_million_interval == pytest.approx((usd * 40 / 44, usd * 40 / 36))


def test_a_search_goes_before_open_loops_even_if_they_have_a_higher_rate() -> None:
    won = winner(search(10.0, (9.0, 11.0)), open_loop(12.0, 80.0, 90.0))
    assert won.rate_per_second == 10.0


def test_of_two_searches_the_one_with_the_narrower_interval_counts() -> None:
    assert winner(search(10.0, (9.5, 10.5)), search(11.0, (9.0, 13.0))).rate_per_second == 10.0


def test_a_search_whose_probes_all_met_the_objective_is_a_lower_bound() -> None:
    met = "met at every rate probed: raise --probes to go higher"
    assert winner(search(10.0, note=met, late=50)).bound == "at-least"
    assert winner(search(10.0, note="5 probes near the crossing")).bound == "estimate"
    # The interval of several searches comes from their rates, whatever a single one says.
    assert winner(search(10.0, (9.0, 11.0), late=50)).bound == "estimate"


def test_the_highest_open_loop_that_certainly_meets_the_objective_is_a_lower_bound() -> None:
    loops = [
        open_loop(8.0, 40.0, 45.0),
        open_loop(10.0, 70.0, 95.0),
        open_loop(11.0, 90.0, 130.0),  # met in this run, and not with certainty
        open_loop(14.0, 160.0, 190.0),
    ]
    won = winner(*loops)
    assert (won.evidence, won.bound, won.is_certain) == ("open-loop", "at-least", True)
    assert won.rate_per_second == 10.0
    assert won.interval is None
    assert won.latency_ms == 70.0


def test_an_open_loop_that_meets_the_objective_without_certainty_says_so() -> None:
    assert winner(open_loop(11.0, 90.0, 130.0)).is_certain is False
    assert winner(open_loop(11.0, 90.0, None)).is_certain is False


def test_an_open_loop_at_exactly_the_limit_meets_it() -> None:
    assert winner(open_loop(11.0, 100.0, 100.0)).is_certain is True
    assert decision(open_loop(11.0, 100.1, 120.0)).winner is None


def test_probes_of_a_search_for_another_objective_are_open_loops() -> None:
    probes = (open_loop(8.0, 60.0, 80.0), open_loop(20.0, 190.0, 220.0))
    won = winner(search(20.0, (19.0, 21.0), limit_ms=200.0, probes=probes))
    assert (won.evidence, won.bound, won.rate_per_second) == ("open-loop", "at-least", 8.0)


@pytest.mark.parametrize(
    ("percentile", "limit_ms", "is_lower_bound"),
    [
        ("p95", 50.0, True),
        ("p99", 50.0, True),  # P95 is never more than P99
        ("p99", 100.0, True),
        ("p90", 50.0, False),
        ("p95", 150.0, False),
        ("p99", 150.0, False),
    ],
)
def test_a_rate_within_a_stricter_objective_is_a_lower_bound(
    percentile: str, limit_ms: float, is_lower_bound: bool
) -> None:
    found = decision(search(10.0, (9.0, 11.0), percentile=percentile, limit_ms=limit_ms))
    if not is_lower_bound:
        assert found.winner is None
        return
    assert found.winner is not None
    assert (found.winner.evidence, found.winner.bound) == ("search", "at-least")


def test_a_search_that_found_no_rate_is_believed_rather_than_an_open_loop() -> None:
    found = decision(
        search(None, note="no rate meets this: even a single client misses it"),
        open_loop(5.0, 80.0, 90.0),
    )
    assert found.winner is None
    (unmet,) = found.unmet
    assert unmet.reason == "missed"
    assert unmet.note == "no rate meets this: even a single client misses it"


def test_a_closed_loop_is_an_upper_bound_and_wins_only_if_it_is_allowed() -> None:
    cell = closed_loop(33.0, 60.0, workers=2)
    found = decision(cell)
    assert found.winner is None
    assert found.candidates[0].bound == "at-most"
    assert found.candidates[0].obstacles == ("closed-loop",)
    won = winner(cell, allow=("closed-loop",))
    assert won.rate_per_second == 33.0


@pytest.mark.parametrize("settings", [{"clients": 1, "workers": 2}, {"dynamic_batch": "8:2ms"}])
def test_a_closed_loop_that_leaves_workers_idle_is_no_bound(settings: dict[str, Any]) -> None:
    assert decision(closed_loop(33.0, 60.0, **settings)).candidates[0].bound == "none"


def test_a_closed_loop_never_replaces_an_open_loop_of_the_same_setting() -> None:
    won = winner(closed_loop(33.0, 60.0), open_loop(20.0, 80.0, 90.0), allow=("closed-loop",))
    assert (won.evidence, won.rate_per_second) == ("open-loop", 20.0)


def test_the_cheapest_wins_and_the_next_is_named() -> None:
    found = decision(search(10.0, precision="fp32"), search(20.0, precision="bf16"))
    assert found.winner is not None
    assert found.next_best is not None
    assert found.winner.spec.precision == "bf16"
    assert found.next_best.spec.precision == "fp32"
    assert found.best_with_obstacles is None


@pytest.mark.parametrize(
    ("obstacle", "found"),
    [
        ("suspect", search(10.0, reasons=(DRIFT,))),
        ("outputs-differ", search(10.0, reasons=(WRONG_ANSWERS,))),
        ("closed-loop", closed_loop(10.0, 50.0)),
    ],
)
def test_a_candidate_with_an_obstacle_cannot_win_unless_it_is_allowed(
    obstacle: Obstacle, found: Result | SearchResult
) -> None:
    dearer = search(2.0, precision="bf16")
    decided = decision(found, dearer)
    assert decided.winner is not None
    assert decided.winner.spec.precision == "bf16"
    assert decided.best_with_obstacles is not None
    assert decided.best_with_obstacles.obstacles == (obstacle,)
    assert winner(found, dearer, allow=(obstacle,)).rate_per_second == 10.0


@pytest.mark.parametrize("code", ["outputs-differ", "accuracy-drop", "accuracy-drop-unsure"])
def test_wrong_outputs_are_those_of_the_setting_at_every_load(code: str) -> None:
    wrong = WRONG_ANSWERS.model_copy(update={"code": code})
    found = decision(search(10.0), closed_loop(12.0, 50.0, reasons=(wrong,)))
    assert found.winner is None
    (candidate,) = found.candidates
    assert candidate.obstacles == (code.removesuffix("-unsure"),)
    assert candidate.evidence == "search"


def test_without_a_winner_a_closed_loop_is_named_only_if_there_is_nothing_else() -> None:
    loop, found = closed_loop(30.0, 50.0), search(10.0, precision="bf16", reasons=(DRIFT,))
    named = decision(loop, found).best_with_obstacles
    assert named is not None
    assert named.evidence == "search"
    named = decision(loop).best_with_obstacles
    assert named is not None
    assert named.evidence == "closed-loop"


def test_a_valid_measurement_goes_before_a_suspect_one_of_the_same_setting() -> None:
    won = winner(open_loop(12.0, 80.0, 90.0, reasons=(DRIFT,)), open_loop(9.0, 50.0, 60.0))
    assert won.rate_per_second == 9.0
    assert (
        winner(
            open_loop(12.0, 80.0, 90.0, reasons=(DRIFT,)),
            open_loop(9.0, 50.0, 60.0),
            allow=("suspect",),
        ).rate_per_second
        == 12.0
    )


def test_another_instance_than_the_measured_one_is_an_obstacle() -> None:
    found = decision(search(10.0), instances=("c7i.xlarge", "c7i.2xlarge"))
    assert [each.obstacles for each in found.candidates] == [(), ("other-hardware",)]
    laptop = {"cpu": "Test CPU", "cores": 4}  # as many cores as a c7i.xlarge, and no name
    unknown = decision(search(10.0, machine=laptop), instances=("c7i.xlarge",))
    assert unknown.candidates[0].obstacles == ("other-hardware",)


def test_a_price_by_hand_is_that_of_the_machine_measured() -> None:
    plan = decide(documents(search(10.0)), P95_100MS, GivenPrices((), 0.36))
    won = plan.decisions[0].winner
    assert won is not None
    assert won.usd_per_million == pytest.approx(10.0)


def test_owned_hardware_is_priced_at_the_power_that_was_measured_at_each_rate() -> None:
    low, high = (open_loop(rate, 50.0, 60.0, machine=G5) for rate in (10.0, 20.0))
    low.device, high.device = DeviceReport(power_w=100.0), DeviceReport(power_w=200.0)
    prices = GivenPrices((), None, Owned(capital_usd=0, years=1, usd_per_kwh=1.0))
    (decided,) = decide(documents(low, high), P95_100MS, prices).decisions
    assert decided.winner is not None
    assert decided.winner.cost is not None
    assert decided.winner.cost.owned
    assert decided.winner.cost.usd_per_hour == pytest.approx(0.2)
    assert decided.next_best is None  # it is one price, although the power differs
    with pytest.raises(InputError, match="are the price of one machine"):
        decide(documents(low, open_loop(5.0, 50.0, machine=G4DN)), P95_100MS, prices)


def test_without_a_price_here_the_newest_stored_one_counts_even_if_no_list_has_it() -> None:
    loops = [open_loop(rate, 50.0, 60.0) for rate in (10.0, 20.0)]
    for loop, usd_per_hour, day in zip(
        loops, (0.72, 0.36), ("2026-08-01", "2026-07-01"), strict=True
    ):
        price = {"instance": "no-longer", "usd_per_hour": usd_per_hour, "price_as_of": day}
        loop.costs = [loop.costs[0].model_copy(update=price)]
    won = winner(*loops)
    assert won.cost is not None
    assert won.cost.price_as_of == "2026-08-01"
    assert won.usd_per_million == pytest.approx(10.0)  # at 20 per second


def test_terms_of_an_instance_are_different_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(
        "provider,instance,region,on_demand_usd_per_hour,spot_usd_per_hour,as_of\n"
        "aws,c7i.xlarge,us-east-1,0.2,0.1,2026-07-20\n"
    )
    monkeypatch.setenv("GPUBENCH_PRICES", str(file))
    found = decision(search(10.0), instances=("c7i.xlarge", "c7i.xlarge:spot"))
    assert [each.cost.term for each in found.candidates if each.cost] == ["spot", "on-demand"]
    assert found.winner is found.candidates[0]


def test_a_price_by_hand_is_refused_for_several_machines() -> None:
    found = documents(search(10.0), search(20.0, machine=G5))
    with pytest.raises(InputError, match=r"are the price of one machine.*from 2"):
        decide(found, P95_100MS, GivenPrices((), 0.36))


def test_the_rate_of_one_of_four_gpus_is_multiplied_and_marked() -> None:
    machine = {**G5, "cores": 48, "gpus": ["NVIDIA A10G"] * 4, "instance": "g5.12xlarge"}
    found = decision(search(10.0, (9.0, 11.0), machine=machine))
    assert found.winner is None
    (candidate,) = found.candidates
    assert candidate.obstacles == ("extrapolated",)
    assert candidate.rate_per_second == pytest.approx(40.0)
    assert candidate.interval == pytest.approx((36.0, 44.0))


def test_instances_of_several_machines_are_candidates_for_the_same_work() -> None:
    found = decision(search(100.0, machine=G5), search(40.0, machine=G4DN))
    assert [each.cost.instance for each in found.candidates if each.cost] == [
        "g5.4xlarge",
        "g4dn.4xlarge",
    ]


def test_without_a_price_the_fastest_setting_of_one_machine_wins() -> None:
    laptop = {"cpu": "Test CPU", "cores": 4}
    slow, fast = search(10.0, machine=laptop), search(20.0, machine=laptop, precision="bf16")
    won = winner(slow, fast)
    assert (won.spec.precision, won.cost) == ("bf16", None)
    other = search(30.0, machine={**laptop, "cores": 8})
    assert decision(slow, fast, other).winner is None


def test_different_models_are_different_decisions() -> None:
    found = documents(search(10.0), search(20.0, model="bert-base"), search(5.0, seed=7))
    plan = decide(found, P95_100MS)
    assert [each.workload.model for each in plan.decisions] == ["bert-base", "resnet50"]


def test_inputs_in_different_places_are_refused() -> None:
    found = documents(
        search(10.0, machine=G5, inputs="host"), search(12.0, machine=G5, inputs="device")
    )
    with pytest.raises(InputError, match=r"on the host and on the device.*--only inputs=host"):
        decide(found, P95_100MS)
    left = filtered(found, ["inputs=device"])
    won = decide(left, P95_100MS).decisions[0].winner
    assert won is not None
    assert won.rate_per_second == 12.0


def test_other_arrivals_are_refused_and_do_not_concern_closed_loops() -> None:
    loops = [open_loop(10.0, 50.0), open_loop(12.0, 50.0, arrivals="constant")]
    with pytest.raises(InputError, match=r"poisson and constant arrivals.*--only arrivals=poisson"):
        decide(documents(*loops), P95_100MS)
    decide(documents(loops[1], closed_loop(20.0, 50.0)), P95_100MS)


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("inputs", "write it as SETTING=VALUE"),
        ("batsh=2", "unknown setting 'batsh'; did you mean batch"),
        ("usd_per_hour=2", "unknown setting"),
        ("batch=3", "no cell has batch=3; the cells have 1, 2"),
    ],
)
def test_filters_that_fit_nothing_are_refused(only: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        filtered(documents(search(10.0), search(9.0, batch=2)), [only])


def test_an_unknown_obstacle_is_refused() -> None:
    with pytest.raises(InputError, match="--allow: unknown obstacle 'suspct'; did you mean"):
        parse_obstacles(["suspct"])


@pytest.mark.parametrize("usd_per_hour", [-1.0, float("nan")])
def test_a_price_that_is_none_is_refused(usd_per_hour: float) -> None:
    with pytest.raises(InputError, match="is not a price"):
        decide(documents(search(10.0)), P95_100MS, GivenPrices((), usd_per_hour))


def test_what_misses_the_objective_has_its_lowest_latency() -> None:
    found = decision(closed_loop(6.0, 146.0), open_loop(5.0, 170.0), open_loop(4.0, 131.0))
    assert found.candidates == ()
    (unmet,) = found.unmet
    assert (unmet.reason, unmet.latency_ms, unmet.at_rate_per_second) == ("missed", 131.0, 4.0)


def test_too_few_requests_and_failures_are_no_evidence() -> None:
    found = decision(closed_loop(6.0, None), failed(precision="bf16", machine=C7I))
    assert found.candidates == ()
    assert {each.reason for each in found.unmet} == {"unknown", "failed"}


def test_repeats_are_one_candidate_with_the_interval_between_them() -> None:
    cells = repeated(30.0, 33.0, 36.0, machine=C7I)
    (candidate,) = decision(*cells, allow=("closed-loop",)).candidates
    assert candidate.result.repeats is not None
    assert candidate.rate_per_second == pytest.approx((30 * 33 * 36) ** (1 / 3))
    assert [each.name for each in candidate.documents] == ["cell0", "cell1", "cell2"]


def test_repeats_of_a_search_in_two_directories_are_combined() -> None:
    one, two = search(10.0), search(12.1)
    base = documents(one, two).searches
    same = Documents((), (base[0], (base[1][0].__class__("other", base[0][0].name), base[1][1])))
    (candidate,) = decide(same, P95_100MS).decisions[0].candidates
    assert candidate.rate_per_second == pytest.approx(11.0)
    assert [each.url for each in candidate.documents] == ["run", "other"]


def test_what_a_sweep_dropped_is_no_candidate_and_says_why() -> None:
    dropped = search(None, probes=(closed_loop(40.0, 50.0, batch=2),))
    dropped.pruned = Pruned(reason="late", figure=6.0, limit=7.0, best="batch 1")
    found = decision(dropped, search(31.0))
    assert found.winner is not None
    assert found.winner.spec.batch == 1
    assert found.best_with_obstacles is None  # not its closed loop, which is faster
    (unmet,) = found.unmet
    assert unmet.reason == "pruned"
    assert unmet.note == "a sweep dropped it: at most 12/s, and batch 1 serves more"


def test_the_load_and_the_method_are_no_part_of_a_setting() -> None:
    found = decision(
        open_loop(5.0, 40.0, 50.0, seed=1),
        open_loop(6.0, 45.0, 55.0, warmup="1s"),
        closed_loop(9.0, 50.0, requests=999),
    )
    assert len(found.candidates) == 1
