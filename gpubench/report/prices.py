"""The catalog as a table."""

from __future__ import annotations

from collections.abc import Iterable

from gpubench.pricing import Instance
from gpubench.report.format import ABSENT
from gpubench.report.table import Column, DraftCell, Table, make_table

_COLUMNS = (
    Column("instance", "left", is_key=True),
    Column("provider", "left"),
    Column("region", "left", drop_order=4),
    Column("accelerators", "left"),
    Column("GiB each", drop_order=2),
    Column("vCPUs"),
    Column("memory GiB", drop_order=3),
    Column("on-demand $/h"),
    Column("spot $/h"),
    Column("as of", "left", drop_order=1),
)


def price_list(instances: Iterable[Instance]) -> Table:
    """One row for each instance. Unknown figures are a dash."""
    return make_table(_COLUMNS, [[DraftCell(text) for text in _row(i)] for i in instances])


def instance_facts(instance: Instance) -> list[tuple[str, str]]:
    """All facts about one instance, as (label, text)."""
    return [
        ("instance", instance.name),
        ("provider", instance.provider),
        ("region", instance.region),
        ("accelerators", "none" if instance.accelerator is None else accelerators(instance)),
        ("memory of each", _gib(instance.accelerator_memory_gib)),
        ("vCPUs", _figure(instance.vcpus)),
        ("memory", _gib(instance.memory_gib)),
        ("on demand", _price(instance.on_demand_usd_per_hour)),
        ("spot", _price(instance.spot_usd_per_hour)),
        ("as of", instance.as_of),
        ("source", instance.source),
    ]


def accelerators(instance: Instance) -> str:
    if instance.accelerator is None:
        return ABSENT
    return f"{instance.accelerator_count} x {instance.accelerator}"


def _row(instance: Instance) -> tuple[str, ...]:
    return (
        instance.name,
        instance.provider,
        instance.region,
        accelerators(instance),
        _figure(instance.accelerator_memory_gib),
        _figure(instance.vcpus),
        _figure(instance.memory_gib),
        _figure(instance.on_demand_usd_per_hour),
        _figure(instance.spot_usd_per_hour),
        instance.as_of,
    )


def _figure(value: float | None) -> str:
    """A figure as in the catalog: prices are not rounded."""
    return ABSENT if value is None else f"{value:.10g}"


def _gib(value: float | None) -> str:
    return ABSENT if value is None else f"{_figure(value)} GiB"


def _price(value: float | None) -> str:
    return "not known" if value is None else f"${_figure(value)}/h"
