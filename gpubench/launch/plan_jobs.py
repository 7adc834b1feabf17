"""From sweep files to jobs: all cells of one engine on one type of instance.

Synthetic cells have no engine. At most _MOST_SYNTHETIC of them are a job.

The machines that measure are not here. So a cell stays as it was asked for, and the machine that
measures it fills in the defaults. What can be known of a machine from the list of prices (GPUs, and
how many) is checked here, before anything starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gpubench.cells.grid import MAX_CELLS, Grid, expand, refuse_too_many
from gpubench.cells.resolve import DEFAULT_DURATION_S, cell_of, training_settings
from gpubench.errors import InputError
from gpubench.launch.manifest import Job, LaunchedCell
from gpubench.measure.engine_key import engine_settings
from gpubench.pricing.catalog import Catalog, Instance
from gpubench.pricing.cost import check_machines
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec

_MOST_SYNTHETIC = 20
_OTHER_ACCELERATORS = ("Inferentia2", "Trainium")


@dataclass(frozen=True)
class PlannedJobs:
    jobs: list[Job]  # by type of instance, in the order in which the sweep names the types
    skipped: dict[str, int]  # why cells are left out -> how many
    hardware: dict[str, Instance]  # of each type of instance
    price_names: dict[str, str]  # under which the sweep names each type first


def plan_jobs(grids: Sequence[Grid], catalog: Catalog, max_cells: int = MAX_CELLS) -> PlannedJobs:
    """The jobs of a sweep. Each cell is measured once on each type of instance that it names.

    Several prices of one type (in other regions, or with other terms) price one measurement.

    Raises InputError if a cell is not valid, if an instance is unknown or cannot measure a cell, if
    there are too many cells, or if there is none.
    """
    refuse_too_many(grids, max_cells)
    price_names: dict[str, str] = {}
    hardware: dict[str, Instance] = {}
    skipped: Counter[str] = Counter()
    # For each type of instance and engine, the cells in their first order, each once.
    jobs: dict[str | None, dict[str, dict[Spec, LaunchedCell]]] = {}
    for grid in grids:
        for spec in expand(grid):
            for instance, asked in _on_each_instance(spec, catalog, hardware).items():
                if instance is not None:
                    price_names.setdefault(instance, asked.instance[0])
                row = None if instance is None else hardware[instance]
                if row is not None and grid.only_on not in {None, _kind(row)}:
                    continue
                if row is not None and (reason := _impossible(asked, row)):
                    if not grid.skip_unavailable:
                        raise InputError(f"{grid.origin}: {reason}")
                    skipped[reason] += 1
                    continue
                engine = repr(engine_settings(as_asked(asked)))
                cells = jobs.setdefault(instance, {}).setdefault(engine, {})
                cells.setdefault(asked, _launched(asked, grid, row))
    planned = [
        Job(instance=instance, index=index, cells=cells)
        for instance, engines in jobs.items()
        for index, cells in enumerate(_parts(engines.values()))
    ]
    if not planned:
        raise InputError(
            "this sweep has no cell for these instances; see its only_on and unavailable, or give "
            "another --instance"
        )
    count = sum(len(job.cells) for job in planned)
    if count > max_cells:
        raise InputError(
            f"these grids have {count:,} cells on all instances together, and the limit is "
            f"{max_cells:,}; shorten a list, or raise --max-cells"
        )
    return PlannedJobs(planned, dict(skipped), hardware, price_names)


def _parts(
    engines: Iterable[dict[Spec, LaunchedCell]],
) -> Iterator[tuple[LaunchedCell, ...]]:
    for engine in engines:
        cells = tuple(engine.values())
        size = _MOST_SYNTHETIC if cells[0].spec.synthetic else len(cells)
        for begin in range(0, len(cells), size):
            yield cells[begin : begin + size]


def as_asked(spec: Spec) -> Cell:
    """The cell of a spec, with the smallest values for what its machine decides.

    It tells which cells share an engine, and how long their windows are. It is never measured.
    """
    clients = (spec.clients or spec.workers or 1) if not spec.open_loop else None
    settings: dict[str, object] = {
        "workers": spec.workers or 1,
        "depth": spec.depth or 1,
        "clients": clients,
        "duration": spec.duration
        if spec.duration is not None or spec.requests is not None
        else DEFAULT_DURATION_S,
    }
    if spec.trains:
        settings |= training_settings(spec, spec.replicas or 1)
    if spec.arrivals.startswith("trace:"):  # the file may be on the machine that measures
        settings |= {"arrivals": "poisson", "rate": spec.rate or 1.0}
    return cell_of(spec.model_copy(update=settings))


def unfinished(jobs: Iterable[Job], complete: set[str]) -> list[Job]:
    """The jobs without those whose digests are in `complete`, with new indices."""
    by_instance: dict[str | None, list[Job]] = {}
    for job in jobs:
        if job.digest not in complete:
            by_instance.setdefault(job.instance, []).append(job)
    return [
        job.model_copy(update={"index": index})
        for left in by_instance.values()
        for index, job in enumerate(left)
    ]


def _on_each_instance(
    spec: Spec, catalog: Catalog, hardware: dict[str, Instance]
) -> dict[str | None, Spec]:
    """The spec for each type of instance that it names, with the prices of this type alone.

    The types are added to `hardware`.
    """
    if not spec.instance:
        return {None: spec}
    check_machines(spec)
    names: dict[str | None, list[str]] = {}
    for name in spec.instance:
        row = catalog.find(name)
        names.setdefault(row.name, []).append(name)
        hardware.setdefault(row.name, row)
    return {
        instance: spec.model_copy(update={"instance": tuple(prices)})
        for instance, prices in names.items()
    }


def _launched(spec: Spec, grid: Grid, row: Instance | None) -> LaunchedCell:
    """Without what is decided already, so that equal cells of several grids are equal."""
    settings: dict[str, object] = {"spec": spec}
    if row is None and grid.only_on is not None:
        settings["only_on"] = grid.only_on
    if grid.skip_unavailable:
        settings["skip_unavailable"] = True
    return LaunchedCell.model_validate(settings)


def gpu_count(row: Instance) -> int:
    """The GPUs of a machine, without accelerators on which gpubench cannot measure."""
    is_gpu = row.accelerator is not None and row.accelerator not in _OTHER_ACCELERATORS
    return row.accelerator_count if is_gpu else 0


def _kind(row: Instance) -> str:
    return "cuda" if gpu_count(row) else "cpu"


def _impossible(spec: Spec, row: Instance) -> str | None:
    """Why this type of instance cannot measure a cell; None if it may be able to."""
    gpus = gpu_count(row)
    device = f"--device {spec.device}: {row.name}"
    if spec.device not in {"auto", "cpu"} and not gpus:
        return f"{device} has no GPU that gpubench can use; choose cpu, or another instance"
    numbers = [int(each[5:]) for each in spec.devices if each.startswith("cuda:")]
    if max(numbers, default=0) >= max(gpus, 1):
        have = "1 GPU, cuda:0" if gpus == 1 else f"{gpus} GPUs, cuda:0 to cuda:{gpus - 1}"
        return f"{device} has {have}; choose one of these, or another instance"
    return None
