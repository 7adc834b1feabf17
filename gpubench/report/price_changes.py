"""What a refresh of the prices changes, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpubench.pricing.refresh import PriceChange, Refusal
from gpubench.report.format import ABSENT
from gpubench.report.table import Column, DraftCell, Table, make_table

_CHANGES = (
    Column("instance", "left", is_key=True),
    Column("price", "left", is_key=True),
    Column("old $/h"),
    Column("new $/h"),
    Column("change"),
)
_REFUSALS = (
    Column("refused", "left", is_key=True),
    Column("price", "left", is_key=True),
    Column("$/h"),
    Column("because", "left"),
)


def changes(found: Iterable[PriceChange]) -> Table:
    """One row for each price. A dash is one that was not known, or is not listed any more."""
    rows = []
    for each in found:
        old, new = each.old_usd_per_hour, each.new_usd_per_hour
        rows.append((each.name, each.term, _usd(old), _usd(new), _change(old, new)))
    return make_table(_CHANGES, [[DraftCell(text) for text in row] for row in rows])


def refusals(found: Sequence[Refusal]) -> Table:
    """One row for each price that is not used."""
    rows = [(each.name, each.term, _usd(each.usd_per_hour), each.reason) for each in found]
    acceptable = dict.fromkeys(each.name for each in found if not each.is_final)
    remarks = [f"To use these prices: --accept {','.join(acceptable)}"] if acceptable else []
    return make_table(
        _REFUSALS, [[DraftCell(text) for text in row] for row in rows], remarks=remarks
    )


def _change(old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return ABSENT
    change = new / old - 1
    return "<0.1%" if abs(change) < 0.0005 else f"{change:+.1%}"


def _usd(price: float | None) -> str:
    """A price as in the catalog, which is not rounded."""
    return ABSENT if price is None else f"{price:.6g}"
