"""The name of a price: `[provider/]INSTANCE[@REGION][:TERM]`, as in `aws/g5.xlarge@us-east-1:spot`.

It is written like this wherever an instance is named: flags, YAML and Python. What it means without
a region: `Catalog.find_price`. Without a term it is the on-demand price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpubench.errors import InputError, nearest

# How an hour is paid for.
Term = Literal["on-demand", "spot", "1-year", "3-year"]

TERMS: tuple[Term, ...] = ("on-demand", "spot", "1-year", "3-year")
_SHORT: dict[str, Term] = {"1y": "1-year", "3y": "3-year"}


@dataclass(frozen=True)
class PriceName:
    """The parts of the name of a price. None: the name does not say it."""

    instance: str
    provider: str | None = None
    region: str | None = None
    term: Term = "on-demand"


def parse_price_name(text: str) -> PriceName:
    """The parts of `[provider/]INSTANCE[@REGION][:TERM]`. Raises InputError for anything else."""
    rest, colon, term = text.strip().partition(":")
    rest, at, region = rest.partition("@")
    provider, slash, instance = rest.rpartition("/")
    if not instance or bool(at) > bool(region) or bool(slash) > bool(provider):
        raise InputError(
            f"'{text}' is not the name of a price; write [PROVIDER/]NAME[@REGION][:TERM], like "
            "g5.xlarge@us-east-1:spot"
        )
    return PriceName(
        instance=instance,
        provider=provider or None,
        region=region or None,
        term=parse_term(term) if colon else "on-demand",
    )


def parse_term(text: str) -> Term:
    """A term by its name, or as 1y or 3y. Raises InputError, with the nearest terms."""
    for term in TERMS:
        if term == _SHORT.get(text, text):
            return term
    raise InputError(f"unknown term '{text}'; {nearest(text, TERMS)}")
