"""The catalog of prices as a table, and as files for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from gpubench.pricing import Instance, age
from gpubench.pricing.catalog import COLUMNS
from gpubench.pricing.names import Term
from gpubench.report import escape
from gpubench.report.csv import to_csv
from gpubench.report.format import ABSENT
from gpubench.report.notes import age_note
from gpubench.report.table import Column, DraftCell, Table, make_table

_Key = Callable[[Instance, Term], str | float | None]


def _usd_per_gpu(instance: Instance, term: Term) -> float | None:
    usd, count = instance.usd_per_hour(term), instance.accelerator_count
    return None if usd is None or not count else usd / count


SORTS: dict[str, _Key] = {
    "name": lambda instance, _: instance.name,
    "provider": lambda instance, _: instance.provider,
    "region": lambda instance, _: instance.region,
    "accelerator": lambda instance, _: instance.accelerator,
    "vcpus": lambda instance, _: instance.vcpus,
    "memory": lambda instance, _: instance.memory_gib,
    "price": lambda instance, term: instance.usd_per_hour(term),
    "usd-per-gpu": _usd_per_gpu,
}
_MADE_UP = (
    "made up by gpubench: the machine before the +, with the accelerators after it, which the "
    "provider bills separately"
)


def affordable(
    instances: Iterable[Instance], term: Term, max_usd_per_hour: float | None
) -> list[Instance]:
    """Those whose price with this term is known, and not higher."""
    return [
        instance
        for instance in instances
        if (usd := instance.usd_per_hour(term)) is not None
        and (max_usd_per_hour is None or usd <= max_usd_per_hour)
    ]


def in_order(instances: Iterable[Instance], sort: str, term: Term) -> list[Instance]:
    """Sorted by a key of SORTS. Those for which it is unknown come last."""
    key = SORTS[sort]

    def place(instance: Instance) -> tuple[bool, str | float]:
        value = key(instance, term)
        return value is None, 0 if value is None else value

    return sorted(instances, key=place)


def price_list(instances: Sequence[Instance], per_gpu: Term | None = None) -> Table:
    """One row for each instance and region. Unknown figures are a dash.

    `per_gpu` adds the price of one accelerator with this term.
    """
    names = [instance.name for instance in instances]
    region = (
        Column("region", "left", drop_order=4)
        if len(set(names)) == len(names)
        else Column("region", "left", is_key=True)
    )
    columns: list[tuple[Column, Callable[[Instance], DraftCell]]] = [
        (Column("instance", "left", is_key=True), lambda i: DraftCell(i.name)),
        (Column("provider", "left"), lambda i: DraftCell(i.provider)),
        (region, lambda i: DraftCell(i.region)),
        (Column("accelerators", "left"), lambda i: DraftCell(accelerators(i))),
        (Column("GiB each", drop_order=2), lambda i: _figure_cell(i.accelerator_memory_gib)),
        (Column("vCPUs"), lambda i: _figure_cell(i.vcpus)),
        (Column("memory GiB", drop_order=3), lambda i: _figure_cell(i.memory_gib)),
        (Column("on-demand $/h"), lambda i: _figure_cell(i.on_demand_usd_per_hour)),
        (
            Column("spot $/h"),
            lambda i: DraftCell(_figure(i.spot_usd_per_hour), age_note(i.spot_as_of)),
        ),
        (Column("1-year $/h"), lambda i: _figure_cell(i.one_year_usd_per_hour)),
        (Column("3-year $/h"), lambda i: _figure_cell(i.three_year_usd_per_hour)),
        (
            Column("as of", "left", drop_order=1),
            lambda i: DraftCell(i.as_of or ABSENT, age_note(i.as_of)),
        ),
        (Column("file", "left", drop_order=5), lambda i: DraftCell(i.file or "bundled")),
    ]
    if per_gpu is not None:
        title = f"{per_gpu} $/h per GPU"
        columns.insert(-2, (Column(title), lambda i: _figure_cell(_usd_per_gpu(i, per_gpu))))
    unused = {
        "1-year $/h": all(i.one_year_usd_per_hour is None for i in instances),
        "3-year $/h": all(i.three_year_usd_per_hour is None for i in instances),
        "file": all(i.file is None for i in instances),
    }
    shown = [(column, cell) for column, cell in columns if not unused.get(column.title)]
    return make_table(
        [column for column, _ in shown],
        [[cell(instance) for _, cell in shown] for instance in instances],
        facts=[("prices", "US dollars for an hour of the whole instance")],
    )


def instance_facts(instance: Instance) -> list[tuple[str, str]]:
    """All facts about one instance in one region, as (label, text)."""
    facts: list[tuple[str, str | None]] = [
        ("instance", instance.name),
        *([("name", _MADE_UP)] if "+" in instance.name else []),
        ("provider", instance.provider),
        ("region", instance.region),
        ("accelerators", "none" if instance.accelerator is None else accelerators(instance)),
        ("memory of each", _gib(instance.accelerator_memory_gib)),
        ("vCPUs", _figure(instance.vcpus)),
        ("memory", _gib(instance.memory_gib)),
        ("on demand", _price(instance.on_demand_usd_per_hour)),
        ("spot", _spot(instance)),
        ("1 year", _committed(instance.one_year_usd_per_hour, instance)),
        ("3 years", _committed(instance.three_year_usd_per_hour, instance)),
        ("as of", instance.as_of or "not known"),
        ("source", instance.source or "not known"),
        ("SKUs", instance.sku_ids),
        ("file", instance.file),
        *(("note", note) for note in age_note(instance.as_of)),
        *(("note", f"spot: {note}") for note in age_note(instance.spot_as_of)),
    ]
    return [(label, text) for label, text in facts if text is not None]


def csv_text(instances: Iterable[Instance]) -> str:
    """The rows as a file of prices, without those that have none."""
    rows = [_fields(instance) for instance in instances if instance.known_terms()]
    return to_csv(rows) if rows else ",".join(COLUMNS) + "\n"


def json_text(instances: Iterable[Instance]) -> str:
    """As CSV, with the file of each row and whether its price is old. Unknown figures are null."""
    documents = [
        {**_fields(instance), "file": instance.file, "is_old": age.is_old(instance.as_of)}
        for instance in instances
    ]
    return escape.json_text(
        json.dumps(documents, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )


def accelerators(instance: Instance) -> str:
    if instance.accelerator is None:
        return ABSENT
    return f"{instance.accelerator_count} x {instance.accelerator}"


def _fields(instance: Instance) -> dict[str, str | float | None]:
    """The columns of a file of prices."""
    return {name: getattr(instance, {"instance": "name"}.get(name, name)) for name in COLUMNS}


def _figure(value: float | None) -> str:
    """A figure as in the catalog: prices are not rounded."""
    return ABSENT if value is None else f"{value:.10g}"


def _figure_cell(value: float | None) -> DraftCell:
    return DraftCell(_figure(value))


def _gib(value: float | None) -> str:
    return ABSENT if value is None else f"{_figure(value)} GiB"


def _price(value: float | None) -> str:
    return "not known" if value is None else f"${_figure(value)}/h"


def _spot(instance: Instance) -> str:
    """The median, the range, where and when."""
    low, high = instance.spot_low_usd_per_hour, instance.spot_high_usd_per_hour
    parts = [
        None if low is None or high is None else f"${_figure(low)} to ${_figure(high)}",
        instance.spot_zone,
        instance.spot_as_of,
    ]
    told = ", ".join(part for part in parts if part)
    return _price(instance.spot_usd_per_hour) + (f" ({told})" if told else "")


def _committed(usd_per_hour: float | None, instance: Instance) -> str:
    kind = f" ({instance.commitment})" if usd_per_hour is not None and instance.commitment else ""
    return _price(usd_per_hour) + kind
