"""The sentence about automatic warm-ups below a table."""

from __future__ import annotations

from factories import result as a_result

from gpubench.report.results import result_tables
from gpubench.report.warm_up import warm_up_remarks
from gpubench.results.result import Result, WarmUp


def with_warm_up(warmup: WarmUp | None) -> Result:
    result = a_result(warmup="auto")
    result.window.warmup = warmup
    return result


LONG = WarmUp(
    settled_seconds=3.4, settled_requests=1_200, slower=0.12, throughput_error_after_2s=-0.05
)
STEADY = WarmUp(settled_seconds=0.1, settled_requests=0)
UNSETTLED = WarmUp(slower=0.3, limit_reached=True)


def test_a_warm_up_of_a_given_length_is_not_mentioned() -> None:
    assert warm_up_remarks([with_warm_up(None)]) == []


def test_a_single_cell_has_its_own_sentence() -> None:
    assert warm_up_remarks([with_warm_up(LONG)]) == [
        "Warm-up: settled after 3.4s (1,200 requests), during which requests took 12% longer; "
        "after 2s the throughput would have differed by -5%."
    ]
    assert warm_up_remarks([with_warm_up(STEADY)]) == ["Warm-up: no change of speed was found."]
    assert warm_up_remarks([with_warm_up(UNSETTLED)]) == [
        "Warm-up: the speed had not settled when the limit was reached."
    ]


def test_several_cells_share_a_sentence() -> None:
    shorter = WarmUp(settled_seconds=0.5, settled_requests=30, slower=2.0)
    results = [with_warm_up(each) for each in (LONG, shorter, STEADY, UNSETTLED, None)]
    assert warm_up_remarks(results) == [
        "Warm-up: settled after 500ms to 3.4s (30 to 1,200 requests), during which requests took "
        "12% to 200% longer; after 2s the throughput would have differed by -5%; no change of "
        "speed was found in 1 cell; the speed had not settled when the limit was reached in 1 cell."
    ]


def test_the_sentence_is_below_the_table() -> None:
    (table,) = result_tables([with_warm_up(STEADY)])
    assert "Warm-up: no change of speed was found." in table.remarks
