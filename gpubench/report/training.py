"""The columns and the remarks of tables about training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpubench.report.format import ABSENT, milliseconds, number, percent, usd
from gpubench.report.notes import price_name
from gpubench.results.result import Result, StageSummary

REMARKS = (
    "A request of training is an optimiser step on the samples of all replicas; forward, backward "
    "and optimizer are the median times of its parts.",
    "FLOP/s of training are three times those of the forward pass: the backward pass counts as "
    "two. What checkpointing computes again does not count.",
)
SCALING = (
    "scaling is the throughput, divided by that of one replica times the number of replicas; each "
    "replica has the same batch and the same number of threads."
)


def counted(results: Sequence[Result]) -> str:
    """What figures of these results count: inferences, or samples if one of them trains."""
    return "samples" if any(result.spec.trains for result in results) else "inferences"


def remarks(results: Sequence[Result]) -> list[str]:
    """What a reader must know about the figures of training. Empty without any."""
    if not any(result.spec.trains for result in results):
        return []
    scales = any(r.training and r.training.scaling_efficiency for r in results)
    return [*REMARKS, *([SCALING] if scales else [])]


def figures(results: Sequence[Result]) -> list[tuple[str, Callable[[Result], str]]]:
    """(title, text of a result) of each column that is not empty in all of these results."""
    columns: list[tuple[str, Callable[[Result], str]]] = [
        ("forward ms", lambda r: _median(r.stages_ms.forward)),
        ("backward ms", lambda r: _median(r.stages_ms.backward)),
        ("optimizer ms", lambda r: _median(r.stages_ms.optimizer)),
        ("tokens /s", lambda r: number(r.training.tokens_per_second if r.training else None)),
        ("scaling", _scaling),
    ]
    return [each for each in columns if any(each[1](result) != ABSENT for result in results)]


def epoch_figures(results: Sequence[Result]) -> list[tuple[str, Callable[[Result], str]]]:
    """(title, text of a result) of the price of an epoch, at each price that has one."""
    names = dict.fromkeys(
        price_name(cost)
        for result in results
        for cost in result.costs
        if cost.usd_per_epoch is not None
    )
    return [(f"$/epoch {name}", _epoch(name)) for name in names]


def _median(stage: StageSummary | None) -> str:
    return milliseconds(stage.p50 if stage else None)


def _scaling(result: Result) -> str:
    share = result.training.scaling_efficiency if result.training else None
    return ABSENT if share is None else percent(share)


def _epoch(name: str) -> Callable[[Result], str]:
    def text(result: Result) -> str:
        found = (cost.usd_per_epoch for cost in result.costs if price_name(cost) == name)
        return usd(next(found, None))

    return text
