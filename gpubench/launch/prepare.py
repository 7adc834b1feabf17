"""Makes a launch from a sweep: its jobs, its machines, its estimate and its limits."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gpubench.cells.grid import MAX_CELLS, Grid
from gpubench.errors import InputError
from gpubench.launch.count_cells import count_cells
from gpubench.launch.estimate import LaunchEstimate, estimate, refuse_expensive, time_limits
from gpubench.launch.files import SCHEMA, LaunchFiles, now
from gpubench.launch.manifest import NAME, Manifest
from gpubench.launch.plan_jobs import PlannedJobs, gpu_count, plan_jobs, unfinished
from gpubench.launch.services.service import Launch, MachineFleet
from gpubench.measure.environment import own_version
from gpubench.models.local_files import named_paths
from gpubench.pricing.catalog import Catalog
from gpubench.pricing.names import parse_price_name
from gpubench.pricing.price_files import current_catalog
from gpubench.spec.spec import Spec


@dataclass(frozen=True)
class LaunchWishes:
    """What a person asks of a launch, beside the sweep."""

    name: str | None = None  # None: a new one
    repeats: int = 1
    max_cells: int = MAX_CELLS
    machines: int = 1  # at most so many of each type of instance
    spot: bool = False
    max_usd: float | None = None
    max_time_s: float | None = None  # for each machine, from the start of its worker
    allow_code: bool = False


@dataclass(frozen=True)
class PreparedLaunch:
    launch: Launch | None  # None: nothing is left to measure
    estimate: LaunchEstimate | None
    skipped: dict[str, int]  # why cells are left out -> how many
    jobs_before: int  # jobs that are left out, since they are measured already
    files: tuple[str, ...]  # that the machines need under these names
    remarks: tuple[str, ...] = ()  # about prices


def prepare(grids: Sequence[Grid], url: str, wishes: LaunchWishes) -> PreparedLaunch:
    """Nothing is written. Jobs that the directory has completely are left out.

    Raises InputError for a sweep that cannot be launched, for a directory that cannot be read, and
    if the estimate is above `max_usd`.
    """
    name = wishes.name or _new_name()
    if NAME.fullmatch(name) is None:
        raise InputError(
            f"--name '{name}' is not allowed; use at most 40 of a-z, 0-9 and -, with no - at the "
            "ends"
        )
    catalog = current_catalog()
    planned = plan_jobs(grids, catalog, wishes.max_cells)
    counted = count_cells(LaunchFiles(url), planned.jobs, wishes.repeats)
    complete = {
        digest
        for digest, counts in counted.by_job.items()
        if counts.measured + counts.left_out and not (counts.missing or counts.failed)
    }
    jobs = unfinished(planned.jobs, complete)
    files = tuple(
        dict.fromkeys(file for job in jobs for cell in job.cells for file in _files(cell.spec))
    )
    before = len(planned.jobs) - len(jobs)
    if not jobs:
        return PreparedLaunch(None, None, planned.skipped, before, files)
    prices, remarks = _prices(planned, catalog, wishes.spot)
    missing = {digest: counts.missing + counts.failed for digest, counts in counted.by_job.items()}
    estimated = estimate(jobs, wishes.repeats, missing, wishes.machines, counted.documents, prices)
    if wishes.max_usd is not None:
        refuse_expensive(estimated, wishes.max_usd)
    limits = {} if wishes.max_usd is None else time_limits(estimated, wishes.max_usd)
    manifest = Manifest.model_validate(
        {
            "schema_number": SCHEMA,
            "name": name,
            "created": now().isoformat(),
            "gpubench": own_version(),
            "jobs": tuple(jobs),
            "repeats": wishes.repeats,
            "usd_per_hour": {
                instance or "": price for instance, price in prices.items() if price is not None
            },
            "spot": wishes.spot,
            "max_usd": wishes.max_usd,
        }
    )
    fleets = tuple(
        _fleet(each.instance, each.machines, each.jobs, planned, wishes, limits.get(each.instance))
        for each in estimated.fleets
    )
    reached = url if "://" in url else os.path.abspath(url)  # machines have other working folders
    launch = Launch(manifest, reached, fleets, wishes.allow_code)
    return PreparedLaunch(launch, estimated, planned.skipped, before, files, tuple(remarks))


def _files(spec: Spec) -> list[str]:
    pattern, _, trace = spec.arrivals.partition(":")
    paths = [path for path in named_paths(spec) if not path.startswith("hub:")]
    return [*paths, trace] if pattern == "trace" else paths


def _new_name() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M}-{secrets.token_hex(2)}"


def _prices(
    planned: PlannedJobs, catalog: Catalog, spot: bool
) -> tuple[dict[str | None, float | None], list[str]]:
    """The price of an hour of a machine of each type, and what is to say about it.

    A price that is not known is None. If only a spot price is not known, it is the on-demand price.
    """
    of_any = [
        cell.spec.usd_per_hour
        for job in planned.jobs
        for cell in job.cells
        if job.instance is None and cell.spec.usd_per_hour is not None
    ]
    prices: dict[str | None, float | None] = {None: max(of_any, default=None)}
    remarks = []
    for instance, row in planned.hardware.items():
        region = parse_price_name(planned.price_names[instance]).region
        name = f"{row.qualified_name}@{region}" if region else row.qualified_name
        prices[instance] = _price(catalog, f"{name}:spot" if spot else name)
        if spot and prices[instance] is None:
            prices[instance] = _price(catalog, name)
            remarks.append(
                f"the spot price of {instance} is not known; its on-demand price is used, which "
                "is higher (gpubench prices refresh may get it)"
            )
    return prices, remarks


def _price(catalog: Catalog, name: str) -> float | None:
    try:
        return catalog.find_price(name)[2]
    except InputError:
        return None


def _fleet(
    instance: str | None,
    machines: int,
    jobs: int,
    planned: PlannedJobs,
    wishes: LaunchWishes,
    limit_s: int | None,
) -> MachineFleet:
    limits = [limit for limit in (limit_s, wishes.max_time_s) if limit is not None]
    time_limit_s = int(min(limits)) if limits else None
    if instance is None:
        return MachineFleet(None, machines, jobs, spot=wishes.spot, time_limit_s=time_limit_s)
    row = planned.hardware[instance]
    return MachineFleet(
        instance=instance,
        machines=machines,
        jobs=jobs,
        gpus=gpu_count(row),
        vcpus=row.vcpus,
        memory_gib=row.memory_gib,
        provider=row.provider,
        region=parse_price_name(planned.price_names[instance]).region,
        spot=wishes.spot,
        time_limit_s=time_limit_s,
    )
