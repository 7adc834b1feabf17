"""What people read about launches: the estimate before, and the status."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from gpubench.launch.estimate import FleetEstimate
from gpubench.launch.files import WorkerRecord
from gpubench.launch.prepare import PreparedLaunch
from gpubench.launch.status import InstanceStatus, LaunchStatus
from gpubench.report.format import ABSENT, count, elapsed, usd
from gpubench.report.table import Column, DraftCell, Table, make_table

_SILENT_S = 300.0  # a worker writes its record every minute


def estimate_lines(prepared: PreparedLaunch) -> Iterator[str]:
    """One line for each type of instance, the sum, and what is assumed."""
    for reason, cells in prepared.skipped.items():
        yield f"left out {count(cells, 'cell')}: {reason}"
    if prepared.jobs_before:
        engines = count(prepared.jobs_before, "engine")
        yield f"left out {engines}: all their cells are measured in this directory"
    estimated = prepared.estimate
    if estimated is None or prepared.launch is None:
        yield "nothing is left to measure: the directory has all of it"
        return
    for fleet in estimated.fleets:
        yield _fleet_line(fleet)
    total = f"together: about {elapsed(estimated.seconds)}"
    if estimated.usd is not None:
        total += f" and ${usd(estimated.usd)}"
    else:
        total += "; what it costs is not known, since a price is not known"
    yield total
    yield from estimated.assumptions
    yield from prepared.remarks
    manifest = prepared.launch.manifest
    limits = {f.instance: f.time_limit_s for f in prepared.launch.fleets}
    for fleet in estimated.fleets:
        limit_s = limits[fleet.instance]
        if limit_s is None:
            continue
        line = f"{_name(fleet.instance)}: each machine ends after {elapsed(limit_s)}"
        if manifest.max_usd is not None:
            line += f", so that all cost at most ${usd(manifest.max_usd)}"
        if limit_s < fleet.longest_s:
            line += (
                f"; the estimate for one of them is {elapsed(fleet.longest_s)}, so it may not "
                "finish"
            )
        yield line


def _fleet_line(fleet: FleetEstimate) -> str:
    line = (
        f"{_name(fleet.instance)}: {count(fleet.measurements, 'measurement')}, "
        f"{count(fleet.jobs, 'engine')}, {count(fleet.machines, 'machine')}, "
        f"about {elapsed(fleet.seconds)}"
    )
    if fleet.usd is None or fleet.usd_per_hour is None:
        return f"{line}; its price is not known"
    return f"{line}, ${usd(fleet.usd)} at ${usd(fleet.usd_per_hour)} an hour"


def _name(instance: str | None) -> str:
    return instance or "any machine"


def status_tables(status: LaunchStatus) -> list[Table]:
    """A row for each type of instance, and one for each worker."""
    return [_cells(status), *([_workers(status)] if status.workers else [])]


def _cells(status: LaunchStatus) -> Table:
    columns = [
        Column("instance", "left", is_key=True),
        *map(Column, ("wanted", "measured", "failed", "impossible", "missing")),
        *map(Column, ("workers", "running", "time", "$")),
    ]
    rows = [
        [
            DraftCell(_name(each.instance)),
            *(
                DraftCell(f"{number:,}")
                for number in (
                    *(each.counts.wanted, each.counts.measured, each.counts.failed),
                    *(each.counts.impossible.total(), each.counts.missing),
                    *(each.workers, each.running),
                )
            ),
            DraftCell(elapsed(each.seconds)),
            DraftCell(_bill(each)),
        ]
        for each in status.instances
    ]
    facts = [("launch", f"{status.name}, {status.created}")]
    return make_table(columns, rows, facts, _remarks(status))


def _bill(each: InstanceStatus) -> str:
    return ABSENT if each.usd is None else usd(each.usd)


def _remarks(status: LaunchStatus) -> Iterator[str]:
    for each in status.instances:
        for reason, number in each.counts.impossible.items():
            yield f"{_name(each.instance)} cannot measure {count(number, 'cell')}: {reason}"
    if status.usd is not None:
        yield (
            f"Bill so far: ${usd(status.usd)}, the time of all workers at the prices of the "
            "launch. The time before a worker begins is not in it."
        )
    yield "Complete." if status.complete else "Not complete."


def _workers(status: LaunchStatus) -> Table:
    columns = [
        Column("worker", "left", is_key=True),
        Column("instance", "left"),
        Column("host", "left", drop_order=2),
        Column("number"),
        Column("measured"),
        Column("failed"),
        Column("time"),
        Column("last seen", "left", drop_order=1),
        Column("state", "left"),
    ]
    rows = [
        [
            DraftCell(identifier),
            DraftCell(_name(record.instance)),
            DraftCell(record.host),
            DraftCell(ABSENT if record.index is None else str(record.index)),
            DraftCell(f"{record.measured:,}"),
            DraftCell(f"{record.failed:,}"),
            DraftCell(elapsed(record.seconds)),
            DraftCell(record.last_seen.isoformat(timespec="seconds")),
            DraftCell(_state(record)),
        ]
        for identifier, record in status.workers.items()
    ]
    return make_table(columns, rows)


def _state(record: WorkerRecord) -> str:
    """A worker that was lost says nothing more. Its clock may differ from that of this machine."""
    if record.ended is not None:
        return ": ".join(filter(None, (record.ended, record.message)))
    silent_s = (datetime.now(UTC) - record.last_seen).total_seconds()
    return "running" if silent_s < _SILENT_S else f"silent for {elapsed(silent_s)}"
