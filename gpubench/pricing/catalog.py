"""Cloud instances: their hardware and the price of an hour.

`catalog.csv` is the bundled list, with one row for each instance and region. An unknown figure is
an empty field there and None here. `gpubench.pricing.price_files` adds rows of the user's files.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gpubench.errors import InputError, nearest
from gpubench.pricing.names import TERMS, PriceName, Term, parse_price_name

__all__ = ["COLUMNS", "Catalog", "Instance", "Term", "bundled_catalog", "read_catalog"]

# The columns of a file of prices, in their order.
COLUMNS = (
    *("provider", "instance", "region"),
    *("accelerator", "accelerator_count", "accelerator_memory_gib", "vcpus", "memory_gib"),
    *("on_demand_usd_per_hour", "spot_usd_per_hour", "as_of", "source"),
    *("spot_low_usd_per_hour", "spot_high_usd_per_hour", "spot_zone", "spot_as_of"),
    *("one_year_usd_per_hour", "three_year_usd_per_hour", "commitment", "sku_ids"),
)


@dataclass(frozen=True)
class Instance:
    """One machine that can be rented. It is billed as a whole, with all its accelerators."""

    provider: str
    name: str
    region: str
    accelerator: str | None  # model, as in "A100 80GB"; None: a machine without one
    accelerator_count: int
    accelerator_memory_gib: float | None  # of one accelerator
    vcpus: int | None
    memory_gib: float | None
    on_demand_usd_per_hour: float | None
    spot_usd_per_hour: float | None  # median over the zones and the days that were looked at
    as_of: str | None  # date of the prices, ISO 8601
    source: str | None
    # The columns below were added later, and a file need not have them.
    spot_low_usd_per_hour: float | None = None
    spot_high_usd_per_hour: float | None = None
    spot_zone: str | None = None  # id of the zone with the lowest median, or what the range covers
    spot_as_of: str | None = None  # None: as_of
    one_year_usd_per_hour: float | None = None  # with a commitment for one year
    three_year_usd_per_hour: float | None = None
    commitment: str | None = None  # what kind, for example "savings plan, no upfront payment"
    sku_ids: str | None = None  # the provider's ids of these prices, separated by spaces
    file: str | None = None  # the user's file that the row comes from; None: the bundled list
    # A price of the file that `gpubench prices refresh` writes, of a place that is not in the
    # bundled list. Otherwise a refresh of a second region would change what a name means.
    needs_region: bool = False

    @property
    def qualified_name(self) -> str:
        return f"{self.provider}/{self.name}"

    @property
    def place(self) -> tuple[str, str, str]:
        """What a row is for. A row overrides another one of the same place."""
        return self.provider, self.name, self.region

    def usd_per_hour(self, term: Term = "on-demand") -> float | None:
        """The price of an hour. None if it is not known. For spot it is the median."""
        return {
            "on-demand": self.on_demand_usd_per_hour,
            "spot": self.spot_usd_per_hour,
            "1-year": self.one_year_usd_per_hour,
            "3-year": self.three_year_usd_per_hour,
        }[term]

    def known_terms(self) -> tuple[Term, ...]:
        """The terms whose price is known."""
        return tuple(term for term in TERMS if self.usd_per_hour(term) is not None)

    def price_as_of(self, term: Term = "on-demand") -> str | None:
        """The date of the price, ISO 8601. None if it is not known."""
        return (self.spot_as_of or self.as_of) if term == "spot" else self.as_of


@dataclass(frozen=True)
class Catalog:
    """One row for each instance and region. Rows of files with precedence come first."""

    instances: tuple[Instance, ...]

    def find(self, name: str) -> Instance:
        """The first row that `[provider/]NAME[@REGION][:TERM]` names. Its term plays no part.

        Raises InputError, with the nearest names, if there is none.
        """
        return self._named(parse_price_name(name))[0]

    def find_price(self, name: str) -> tuple[Instance, Term, float]:
        """The row and the term that `[provider/]NAME[@REGION][:TERM]` names, and USD an hour.

        Without a region it is the first row that does not need one. If this price of it is not
        known, it is the only row whose price is known.

        Raises InputError, with what is known, if there is no such row, if its price is not known,
        or if it is known in several other regions.
        """
        asked = parse_price_name(name)
        named = self._named(asked)
        usual = [i for i in named if asked.region or not i.needs_region][:1]
        found = _known([(i, asked.term) for i in usual]) or _known(
            [(i, asked.term) for i in named if not asked.region]
        )
        if len(found) == 1:
            return found[0]
        where = f"the {asked.term} price of '{asked.instance}'"
        if found:
            places = ", ".join(f"{i.name}@{i.region}" for i, _, _ in found)
            raise InputError(f"{where} is known in several regions; choose one of {places}")
        others = _known([(i, term) for i in named for term in TERMS])
        known = ", ".join(dict.fromkeys(term for _, term, _ in others))
        raise InputError(
            f"{where}{f' in {asked.region}' if asked.region else ''} is not known "
            f"({f'known: {known}' if known else 'no price of it is known'}); gpubench prices "
            "refresh may get it, or give one with --usd-per-hour or --prices"
        )

    def regions(self, name: str) -> tuple[Instance, ...]:
        """Every row of the instance that `find` finds: one for each of its regions."""
        found = self.find(name)
        return tuple(i for i in self.instances if i.qualified_name == found.qualified_name)

    def _named(self, asked: PriceName) -> list[Instance]:
        """The rows of an instance, at least one; with a region those in it."""
        named = [
            instance
            for instance in self.instances
            if instance.name == asked.instance and asked.provider in {None, instance.provider}
        ]
        if there := [each for each in named if asked.region in {None, each.region}]:
            return there
        if named:
            regions = dict.fromkeys(instance.region for instance in named)
            raise InputError(
                f"no price of '{asked.instance}' in region '{asked.region}' is known; known: "
                f"{', '.join(regions)} (gpubench prices refresh gets others)"
            )
        hint = nearest(
            asked.instance,
            dict.fromkeys(instance.name for instance in self.instances),
            otherwise="gpubench prices list shows all names",
        )
        name = f"{asked.provider}/{asked.instance}" if asked.provider else asked.instance
        raise InputError(
            f"unknown instance '{name}'; {hint} (or give its price with --usd-per-hour)"
        )

    def select(
        self,
        provider: str | None = None,
        accelerator: str | None = None,
        region: str | None = None,
    ) -> tuple[Instance, ...]:
        """Instances of one provider or region, or with one accelerator model.

        "A100" finds both sizes. Raises InputError if no provider, accelerator or region has this
        name.
        """
        if region is not None:
            regions = {instance.region for instance in self.instances}
            if region not in regions:
                raise InputError(
                    f"no prices of region '{region}' are known; {nearest(region, regions)}"
                )
        if provider is not None:
            providers = {instance.provider for instance in self.instances}
            if provider not in providers:
                raise InputError(f"unknown provider '{provider}'; {nearest(provider, providers)}")
        if accelerator is not None:
            models = self.accelerators()
            if not any(_is_model(model, accelerator) for model in models):
                raise InputError(
                    f"unknown accelerator '{accelerator}'; {nearest(accelerator, models)}"
                )
        return tuple(
            instance
            for instance in self.instances
            if provider in {None, instance.provider}
            and region in {None, instance.region}
            and (accelerator is None or _is_model(instance.accelerator, accelerator))
        )

    def accelerators(self) -> frozenset[str]:
        """Every accelerator model in the catalog."""
        return frozenset(i.accelerator for i in self.instances if i.accelerator is not None)


@cache
def bundled_catalog() -> Catalog:
    """The catalog that ships with the package."""
    text = files("gpubench.pricing").joinpath("catalog.csv").read_text(encoding="utf-8")
    return read_catalog(text.splitlines())


def read_catalog(lines: Iterable[str]) -> Catalog:
    """A catalog from the lines of a CSV file with the columns of `catalog.csv`."""
    return Catalog(tuple(_instance(row) for row in csv.DictReader(lines)))


def _instance(row: dict[str, str]) -> Instance:
    return Instance(
        provider=row["provider"],
        name=row["instance"],
        region=row["region"],
        accelerator=row["accelerator"] or None,
        accelerator_count=int(row["accelerator_count"]),
        accelerator_memory_gib=_number(row["accelerator_memory_gib"]),
        vcpus=int(row["vcpus"]) if row["vcpus"] else None,
        memory_gib=_number(row["memory_gib"]),
        on_demand_usd_per_hour=_number(row["on_demand_usd_per_hour"]),
        spot_usd_per_hour=_number(row["spot_usd_per_hour"]),
        as_of=row["as_of"] or None,
        source=row["source"] or None,
        spot_low_usd_per_hour=_number(row.get("spot_low_usd_per_hour")),
        spot_high_usd_per_hour=_number(row.get("spot_high_usd_per_hour")),
        spot_zone=row.get("spot_zone") or None,
        spot_as_of=row.get("spot_as_of") or None,
        one_year_usd_per_hour=_number(row.get("one_year_usd_per_hour")),
        three_year_usd_per_hour=_number(row.get("three_year_usd_per_hour")),
        commitment=row.get("commitment") or None,
        sku_ids=row.get("sku_ids") or None,
    )


def _known(prices: Iterable[tuple[Instance, Term]]) -> list[tuple[Instance, Term, float]]:
    """Those of the prices that are known, in US dollars an hour."""
    return [
        (instance, term, usd_per_hour)
        for instance, term in prices
        if (usd_per_hour := instance.usd_per_hour(term)) is not None
    ]


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _is_model(model: str | None, asked: str) -> bool:
    """'A100' means 'A100 40GB' and 'A100 80GB', but not 'A10G'. Case does not matter."""
    if model is None:
        return False
    words = model.casefold().split()
    return words[: len(asked.split())] == asked.casefold().split()
