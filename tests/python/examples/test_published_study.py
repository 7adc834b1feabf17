"""The published G5 against G4dn study: its costs follow from its throughputs.

examples/published/g5_vs_g4dn.csv holds the table as printed. The study's own list of prices has
the two instances swapped; with each price at its instance the printed costs come out.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gpubench.pricing.cost import usd_per_million

USD_PER_HOUR = {"g5.4xlarge": 1.624, "g4dn.4xlarge": 1.204}
USD_PER_HOUR_AS_PRINTED = {"g5.4xlarge": 1.204, "g4dn.4xlarge": 1.624}

TABLE = Path(__file__).parents[3] / "examples" / "published" / "g5_vs_g4dn.csv"


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def recomputed(row: dict[str, str], prices: dict[str, float]) -> float:
    cost = usd_per_million(prices[row["instance"]], float(row["throughput_per_second"]))
    assert cost is not None
    return cost


def disagreeing(prices: dict[str, float]) -> list[dict[str, str]]:
    return [
        row
        for row in rows()
        if f"{recomputed(row, prices):.1f}" != f"{float(row['printed_usd_per_million']):.1f}"
    ]


def test_31_of_32_costs_come_out_to_the_printed_digit() -> None:
    assert len(rows()) == 32
    [row] = disagreeing(USD_PER_HOUR)
    assert (row["model"], row["batch"], row["precision"], row["instance"]) == (
        "bert-base-uncased",
        "8",
        "full",
        "g4dn.4xlarge",
    )


def test_the_last_cost_was_worked_out_from_a_throughput_that_is_printed_rounded() -> None:
    # 142/s costs 2.355, which rounds to 2.4; 2.3 is printed. The limit between the two, 2.35, is
    # the price at 142.317/s, and any throughput from there up to 142.5/s is printed as 142.
    [row] = disagreeing(USD_PER_HOUR)
    assert recomputed(row, USD_PER_HOUR) == pytest.approx(2.355, abs=5e-4)
    assert row["printed_usd_per_million"] == "2.3"

    limit_per_second = 1.204 / 3600 / 2.35 * 1e6
    assert limit_per_second == pytest.approx(142.317, abs=5e-4)
    unrounded_per_second = 142.4
    assert f"{unrounded_per_second:.0f}" == row["throughput_per_second"]
    cost = usd_per_million(USD_PER_HOUR["g4dn.4xlarge"], unrounded_per_second)
    assert f"{cost:.1f}" == "2.3"


def test_no_throughput_rounds_to_more_than_one_other_disagreement() -> None:
    # The rounding of the throughputs explains everything: each printed cost lies within half a
    # digit of what some throughput that prints the same would cost.
    for row in rows():
        throughput = float(row["throughput_per_second"])
        usd_per_hour = USD_PER_HOUR[row["instance"]]
        dear = usd_per_million(usd_per_hour, throughput - 0.5)
        cheap = usd_per_million(usd_per_hour, throughput + 0.5)
        printed = float(row["printed_usd_per_million"])
        assert dear is not None
        assert cheap is not None
        assert cheap - 0.05 <= printed <= dear + 0.05, row


def test_with_the_prices_swapped_as_the_study_lists_them_no_cost_comes_out() -> None:
    assert len(disagreeing(USD_PER_HOUR_AS_PRINTED)) == 32


def test_the_cost_benefit_column_is_a_ratio_of_rounded_costs() -> None:
    g5, g4dn = rows()[:2]
    true_ratio = recomputed(g4dn, USD_PER_HOUR) / recomputed(g5, USD_PER_HOUR)
    of_rounded = float(g4dn["printed_usd_per_million"]) / float(g5["printed_usd_per_million"])
    assert true_ratio == pytest.approx(3.48, abs=5e-3)
    assert f"{of_rounded:.1f}" == g5["printed_cost_benefit_g5_over_g4dn"] == "3.7"


def test_at_batch_1_the_g5_is_not_always_the_cheaper_one() -> None:
    pairs = list(zip(rows()[::2], rows()[1::2], strict=True))
    dearer_on_g5 = [
        (g5["model"], g5["batch"], g5["precision"])
        for g5, g4dn in pairs
        if recomputed(g5, USD_PER_HOUR) > recomputed(g4dn, USD_PER_HOUR)
    ]
    assert dearer_on_g5 == [
        ("bert-base-uncased", "1", "mixed"),
        ("resnet50", "1", "full"),
        ("resnet50", "1", "mixed"),
    ]
