"""The text of the footnotes of tables: what a reader must know about a figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpubench.pricing import age, bundled_catalog
from gpubench.report.format import count
from gpubench.results.cold_result import StartCost
from gpubench.results.result import Cost, Reason, Result


def price_name(cost: Cost | StartCost) -> str:
    """The name of a price: 'g5.xlarge', 'g5.xlarge eu-west-1 spot', 'owned', 'at $0.25/h'.

    The region is left out where the bundled list has the instance in it, and so is 'on-demand'.
    """
    if cost.owned:
        return "owned"
    if cost.instance is None:
        return f"at ${cost.usd_per_hour:g}/h"
    parts = [cost.instance]
    if cost.region is not None and not _is_bundled(cost.instance, cost.region):
        parts.append(cost.region)
    if cost.term != "on-demand":
        parts.append(cost.term)
    return " ".join(parts)


def _is_bundled(instance: str, region: str) -> bool:
    return any(i.name == instance and i.region == region for i in bundled_catalog().instances)


def prices(costs: Sequence[Cost | StartCost]) -> str:
    """Each price used, with its source and date. Prices of the same source are listed together."""
    sources: dict[str, list[str]] = {}
    for cost in costs:
        source = ", ".join(part for part in (cost.price_source, cost.price_as_of) if part)
        named = price_name(cost) if cost.instance or cost.owned else "by hand"
        price = f"{named} ${_usd_per_hour(cost)}/h"
        listed = sources.setdefault(source, [])
        if price not in listed:
            listed.append(price)
    return "; ".join(
        ", ".join(listed) + (f" ({source})" if source else "") for source, listed in sources.items()
    )


def _usd_per_hour(cost: Cost | StartCost) -> str:
    """Listed prices are not rounded. That of owned hardware is computed, and has many digits."""
    return f"{cost.usd_per_hour:.4g}" if cost.owned else f"{cost.usd_per_hour:g}"


def age_note(as_of: str | None) -> tuple[str, ...]:
    """How old a price is, if it is too old to be relied on. Otherwise empty."""
    if not age.is_old(as_of):
        return ()
    return (
        f"the price is {age.days_old(as_of)} days old; gpubench prices refresh, or give "
        "--usd-per-hour",
    )


def cost_notes(cost: Cost | StartCost) -> tuple[str, ...]:
    """How the priced hardware differs from the measured, and whether the price is old."""
    name = price_name(cost)
    difference = f": {cost.hardware_note}" if cost.hardware_note else ""
    notes = []
    if cost.instance is None:
        if cost.hardware_note:
            notes.append(f"{name}{difference}")
    elif cost.measured_here is None and cost.hardware_note:
        notes.append(f"{name}{difference}")
    elif cost.measured_here is None:
        notes.append(f"{name}: the machine measured does not say whether it is one")
    elif not cost.measured_here:
        notes.append(f"{name}: not the hardware measured{difference}")
    elif cost.hardware_note:
        notes.append(f"{name}: measured on a part of it{difference}")
    if isinstance(cost, Cost) and cost.extrapolated:
        notes.append(f"{name}: extrapolated from the GPUs measured to those that are billed")
    notes += [f"{name}: {note}" for note in age_note(cost.price_as_of)]
    return tuple(notes)


def contradicting_meters(result: Result) -> tuple[str, ...]:
    """Why there is no energy although GPUs report it. Empty if their meters agree."""
    gpus = result.device.gpus if result.device else []
    return tuple(
        f"{gpu.device}: {gpu.energy_note}"
        for gpu in gpus
        if gpu.energy_note and gpu.energy_disagreement is not None and gpu.energy_j is None
    )


def answer_notes(result: Result) -> tuple[str, ...]:
    """The note that a figure is that of wrong outputs. Empty if no check found them wrong."""
    if result.answers_agree is not False:
        return ()
    return ("wrong answers: the outputs differ from the fp32 reference",)


def verdict(result: Result) -> str:
    """'valid', 'suspect' or 'failed'."""
    return "failed" if result.error else result.verdict.status


def failure_note(result: Result) -> tuple[str, ...]:
    """Why a cell failed. Empty if it did not fail."""
    if result.error is None:
        return ()
    return (f"failed in {result.error.stage}: {' '.join(result.error.message.split())}",)


def lost_note(result: Result) -> tuple[str, ...]:
    """That machines were lost while they measured the cell. Empty if none was."""
    if not result.lost_attempts:
        return ()
    return (f"measured again: {count(result.lost_attempts, 'machine')} stopped before the end",)


def reason_notes(results: Sequence[Result]) -> Callable[[Result], tuple[str, ...]]:
    """A function that returns the notes of the verdict for each of `results`.

    Reasons that differ only in their figure share one note, with the range of the figures.
    """
    figures: dict[str, list[float | str]] = {}
    for reason, repeats in (each for result in results for each in _reasons(result)):
        if reason.figure is not None:
            figures.setdefault(_without_figure(reason, repeats), []).append(reason.figure)

    return lambda result: tuple(
        reason_note(reason, figures.get(_without_figure(reason, repeats), ()), repeats)
        for reason, repeats in _reasons(result)
    )


def reason_note(reason: Reason, figures: Sequence[float | str], repeats: int | None = None) -> str:
    """Code, figures, limit and remedy of a reason: 'drift: 0.07 to 0.12 (limit 0.05); ...'.

    `repeats` is how many the cell has: 'drift in 2 of 5 repeats: ...'.
    """
    text = reason.code
    if reason.in_repeats is not None and repeats is not None:
        text += f" in {reason.in_repeats} of {count(repeats, 'repeat')}"
    if figures:
        text += f": {_range(figures)}"
    if reason.limit is not None:
        text += f" (limit {_figure(reason.limit)})"
    return f"{text}; {reason.remedy}"


def reason_codes(result: Result) -> str:
    """'too-few-samples, drift'. Empty if there are none."""
    return ", ".join(reason.code for reason in result.verdict.reasons)


def _reasons(result: Result) -> list[tuple[Reason, int | None]]:
    """The reasons of the verdict, each with the number of repeats of the cell."""
    repeats = result.repeats.count if result.repeats else None
    return [(reason, repeats) for reason in result.verdict.reasons]


def _without_figure(reason: Reason, repeats: int | None) -> str:
    return f"{repeats} {reason.model_dump_json(exclude={'figure'})}"


def _range(figures: Sequence[float | str]) -> str:
    numbers = [figure for figure in figures if not isinstance(figure, str)]
    if len(numbers) < len(figures) or min(numbers) == max(numbers):
        return ", ".join(dict.fromkeys(map(_figure, figures)))
    return f"{_figure(min(numbers))} to {_figure(max(numbers))}"


def _figure(figure: float | str) -> str:
    if isinstance(figure, str):
        return figure
    return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.3g}"
