"""What one provider answered."""

from __future__ import annotations

from dataclasses import dataclass

from gpubench.pricing.catalog import Instance
from gpubench.pricing.names import Term


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
