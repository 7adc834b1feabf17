"""The status of a launch, counted from the files in its directory. No service is asked."""

from __future__ import annotations

from dataclasses import dataclass

from gpubench.launch.count_cells import Counts, count_cells
from gpubench.launch.files import LaunchFiles, WorkerRecord
from gpubench.launch.manifest import Submission


@dataclass(frozen=True)
class InstanceStatus:
    """One type of instance."""

    instance: str | None
    counts: Counts
    workers: int  # starts of workers
    running: int  # of these, without an end; a worker that was lost is among them
    seconds: float  # of all workers
    usd: float | None  # None: its price is not known


@dataclass(frozen=True)
class LaunchStatus:
    name: str
    created: str
    spot: bool
    max_usd: float | None
    instances: tuple[InstanceStatus, ...]
    workers: dict[str, WorkerRecord]  # by their ids, in the order in which they began
    submissions: tuple[Submission, ...]

    @property
    def complete(self) -> bool:
        """Whether each cell is measured, failed or impossible: no worker would measure more."""
        return not any(each.counts.missing for each in self.instances)

    @property
    def usd(self) -> float | None:
        """The bill until now. None: a price is not known."""
        bills = [each.usd for each in self.instances]
        known = [bill for bill in bills if bill is not None]
        return sum(known) if len(known) == len(bills) else None


def launch_status(url: str, launch: str | None) -> LaunchStatus:
    """Raises InputError if there is no such launch, or if the directory cannot be read."""
    files = LaunchFiles(url)
    manifest = files.manifest(launch)
    counted = count_cells(files, manifest.jobs, manifest.repeats).by_job
    workers = files.workers(manifest.name)
    instances = []
    for instance in manifest.instances:
        counts = Counts()
        for job in manifest.jobs_of(instance):
            counts.add(counted[job.digest])
        own = [record for record in workers.values() if record.instance == instance]
        seconds = sum(record.seconds for record in own)
        price = manifest.price_of(instance)
        instances.append(
            InstanceStatus(
                instance=instance,
                counts=counts,
                workers=len(own),
                running=sum(record.ended is None for record in own),
                seconds=seconds,
                usd=None if price is None else seconds / 3600 * price,
            )
        )
    return LaunchStatus(
        name=manifest.name,
        created=manifest.created,
        spot=manifest.spot,
        max_usd=manifest.max_usd,
        instances=tuple(instances),
        workers=dict(sorted(workers.items(), key=lambda each: (each[1].began, each[0]))),
        submissions=manifest.submissions,
    )
