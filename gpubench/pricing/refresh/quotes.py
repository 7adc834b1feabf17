"""Prices as a provider lists them. One thing should have one price."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class PriceConflictError(ValueError):
    """Why the price of something cannot be told."""


@dataclass(frozen=True)
class Quote:
    usd: float
    sku_ids: tuple[str, ...]


class Quotes(Generic[Key]):
    """All prices that were listed, by what they are for."""

    def __init__(self) -> None:
        self._listed: dict[Key, dict[float, list[str]]] = {}

    def add(self, key: Key, usd: float, sku_id: str) -> None:
        skus = self._listed.setdefault(key, {}).setdefault(usd, [])
        if sku_id not in skus:
            skus.append(sku_id)

    def keys(self) -> tuple[Key, ...]:
        return tuple(self._listed)

    def get(self, key: Key) -> Quote | None:
        """The price of `key`. None if none is listed.

        A price of 0 is a placeholder of the provider, so it does not count beside another price.
        Raises PriceConflictError if there are several prices, or only 0.
        """
        listed = self._listed.get(key, {})
        if not listed:
            return None
        usable = {usd: skus for usd, skus in listed.items() if math.isfinite(usd) and usd > 0}
        if not usable:
            usd, skus = next(iter(listed.items()))
            raise PriceConflictError(f"the listed price is ${usd:g} (SKU {skus[0]})")
        if len(usable) > 1:
            prices = " and ".join(
                f"${usd:.10g} (SKU {skus[0]})" for usd, skus in sorted(usable.items())
            )
            raise PriceConflictError(f"it is listed with several prices: {prices}")
        usd, skus = next(iter(usable.items()))
        return Quote(usd, tuple(skus))
