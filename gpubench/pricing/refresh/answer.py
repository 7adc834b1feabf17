"""What one provider answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gpubench.errors import GpubenchError
from gpubench.pricing.catalog import Instance
from gpubench.pricing.names import TERMS, Term
from gpubench.pricing.refresh.hardware import MachineHardware
from gpubench.pricing.refresh.quotes import PriceConflictError, Quote


def other_form(answer: str, problem: str) -> GpubenchError:
    """The error for an answer that this version cannot read. `answer` is its subject."""
    return GpubenchError(
        f"{answer} has another form than this version of gpubench knows: {problem}; no price was "
        "changed"
    )


def not_in_usd(prices: str, currency: str) -> GpubenchError:
    """The error for prices in another currency. `prices` is its subject, in the plural."""
    return GpubenchError(
        f"{prices} are in {currency or 'an unknown currency'}, not in USD; no price was changed; "
        "write a price file with prices that you have converted"
    )


def text_of(item: Mapping[str, object], key: str) -> str:
    """The text of a key of a JSON object. Empty if there is none."""
    value = item.get(key)
    return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class Refusal:
    """A price that is not used. `is_final`: --accept does not change that."""

    name: str  # of the instance
    term: Term
    usd_per_hour: float | None
    reason: str
    is_final: bool = False


@dataclass(frozen=True)
class ProviderAnswer:
    """The prices of one provider in one region.

    Without `has_spot` spot prices were not read, so those that are known remain.
    """

    instances: tuple[Instance, ...]
    refusals: tuple[Refusal, ...] = ()
    has_spot: bool = True
    notices: tuple[str, ...] = ()  # sentences for the user


@dataclass
class AnswerBuilder:
    """Makes an answer, one instance after another."""

    provider: str
    region: str
    as_of: str  # ISO 8601
    commitment: str  # what kind the prices for one and three years need
    instances: list[Instance] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, name: str, term: Term, reason: str) -> None:
        self.refusals.append(Refusal(name, term, None, reason, is_final=True))

    def add(
        self,
        name: str,
        hardware: MachineHardware,
        source: str,
        price_of: Callable[[Term], Quote | None],
    ) -> None:
        """Add an instance if it has an on-demand price. A conflict of prices is a refusal."""
        prices: dict[Term, Quote] = {}
        for term in TERMS:
            try:
                if (quote := price_of(term)) is not None:
                    prices[term] = quote
            except PriceConflictError as error:
                self.refuse(name, term, str(error))
        if "on-demand" not in prices:
            return
        usd = {term: quote.usd for term, quote in prices.items()}
        skus = dict.fromkeys(sku for quote in prices.values() for sku in quote.sku_ids)
        instance = Instance(
            provider=self.provider,
            name=name,
            region=self.region,
            accelerator=hardware.accelerator,
            accelerator_count=hardware.accelerator_count,
            accelerator_memory_gib=hardware.accelerator_memory_gib,
            vcpus=hardware.vcpus,
            memory_gib=hardware.memory_gib,
            on_demand_usd_per_hour=usd["on-demand"],
            spot_usd_per_hour=usd.get("spot"),
            as_of=self.as_of,
            source=source,
            one_year_usd_per_hour=usd.get("1-year"),
            three_year_usd_per_hour=usd.get("3-year"),
            commitment=self.commitment if {"1-year", "3-year"} & set(usd) else None,
            sku_ids=" ".join(skus),
        )
        self.instances.append(instance)

    def answer(self, has_spot: bool = True) -> ProviderAnswer:
        return ProviderAnswer(tuple(self.instances), tuple(self.refusals), has_spot)
