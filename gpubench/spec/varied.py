"""The settings that differ between several cells, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gpubench.spec.spec import PRICING_FIELDS, Spec

# They say how long and at which rate a search measures, not what is deployed.
_OF_THE_SEARCH = frozenset({"clients", "rate", "duration", "requests", "load_seed", "allow_code"})
# They follow from the number of workers, unless somebody gave them.
_DERIVED = ("threads", "depth")


def varied_text(specs: Sequence[Spec]) -> list[str]:
    """A text for each cell, such as 'resnet50, precision bf16, batch 4': its model, and what
    differs between the cells."""
    left_out = {*_OF_THE_SEARCH, *PRICING_FIELDS, *_DERIVED, "model"}
    names = [name for name in Spec.model_fields if name not in left_out and _differs(name, specs)]
    for name in _DERIVED:
        texts = [_text(spec, names) for spec in specs]
        if max(Counter(texts).values(), default=1) > 1 and _differs(name, specs):
            names.append(name)
    return [_text(spec, names) for spec in specs]


def _differs(name: str, specs: Sequence[Spec]) -> bool:
    return len({getattr(spec, name) for spec in specs}) > 1


def _text(spec: Spec, names: Sequence[str]) -> str:
    return ", ".join([spec.model, *(_setting(spec, name) for name in names)])


def _setting(spec: Spec, name: str) -> str:
    value = getattr(spec, name)
    words = name.replace("_", " ")
    if value is None:
        return f"no {words}"
    return f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"
