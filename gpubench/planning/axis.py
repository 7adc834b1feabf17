"""The cells of one run directory, divided by a setting: `compare DIR --by runtime`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import get_args

from gpubench.errors import InputError, nearest
from gpubench.planning.matching import Value
from gpubench.registry import RUNTIMES
from gpubench.results.result import Result
from gpubench.spec.durations import parse_duration
from gpubench.spec.settings import MemoryFormat, Precision, Sparsity
from gpubench.spec.spec import PRICING_FIELDS, Spec

_DURATIONS = frozenset({"service_time", "warmup", "duration"})
_ORDERS = {
    "runtime": tuple(RUNTIMES),
    "precision": get_args(Precision),
    "memory_format": get_args(MemoryFormat),
    "sparsity": get_args(Sparsity),
}


@dataclass(frozen=True)
class Side:
    """The cells that have one value of the setting."""

    name: str  # "runtime=eager"
    results: list[Result]


def sides(results: Sequence[Result], by: str) -> tuple[str, list[Side]]:
    """The setting, and two sides or more; the first one is what the others are compared with.

    `by` is a setting, or "SETTING=VALUE,VALUE". The values that it lists are in their order.
    Otherwise the default of the setting is the first, if it was measured. The other values follow
    in the order of the help, or in rising order.

    Raises InputError, which names --by, for a setting that does not exist or is a price, and for
    values that were not measured.
    """
    name, has_values, listed = by.partition("=")
    setting = name.strip().replace("-", "_")
    if setting in PRICING_FIELDS:
        raise InputError(
            "--by: a price is not a setting of the measurement; to compare prices, give the "
            "directory twice, with --instance-a NAME and --instance-b NAME"
        )
    known = [each for each in Spec.model_fields if each not in PRICING_FIELDS]
    if setting not in results[0].spec.measured_settings():
        raise InputError(f"--by: unknown setting '{name.strip()}'; {nearest(setting, known)}")
    by_value: dict[Value, list[Result]] = {}
    for result in results:
        by_value.setdefault(result.spec.measured_settings()[setting], []).append(result)
    measured = sorted(by_value, key=lambda value: _order(setting, value))
    texts = ", ".join(map(_text, measured))
    chosen = measured
    if has_values:
        wanted = [text.strip() for text in listed.split(",") if text.strip()]
        chosen = list(
            dict.fromkeys(setting_value(setting, text, measured, "--by") for text in wanted)
        )
    if len(chosen) < 2:
        raise InputError(
            f"--by {by}: two values or more are compared; the cells have {setting}={texts}"
        )
    return setting, [Side(f"{setting}={_text(value)}", by_value[value]) for value in chosen]


def setting_value(setting: str, text: str, measured: Sequence[Value], flag: str) -> Value:
    """The value of a setting that a person calls `text`, among those that were measured.

    Raises InputError, which names `flag`, if it was not measured.
    """
    for value in measured:
        if text == _text(value):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            with suppress(ValueError):
                number = parse_duration(text) if setting in _DURATIONS else float(text)
                if number == value:
                    return value
    texts = ", ".join(map(_text, measured))
    raise InputError(f"{flag}: no cell has {setting}={text}; the cells have {texts}")


def _order(setting: str, value: Value) -> tuple[bool, int, float, str]:
    """The default first, then what has no value, numbers in rising order, and names."""
    names = _ORDERS.get(setting, ())
    return (
        value != Spec.model_fields[setting].default,
        names.index(str(value)) if value in names else len(names),
        float(value) if isinstance(value, (int, float)) else -1.0 if value is None else 0.0,
        str(value),
    )


def _text(value: Value) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
