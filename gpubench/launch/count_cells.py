"""Counts the cells of a launch that are measured, from the documents in its directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gpubench.errors import InputError
from gpubench.launch.files import LaunchFiles, ResolvedCell, in_parallel
from gpubench.launch.manifest import Job
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run, repeat_name


@dataclass
class Counts:
    """Measurements: with repeats, each repeat counts."""

    wanted: int = 0  # without those that are left out
    measured: int = 0
    failed: int = 0  # have a document with an error, but were not interrupted
    left_out: int = 0
    impossible: Counter[str] = field(default_factory=Counter)  # why -> how many

    @property
    def missing(self) -> int:
        """Those that a further start of a worker can measure."""
        return self.wanted - self.measured - self.failed - self.impossible.total()

    def add(self, other: Counts) -> None:
        self.wanted += other.wanted
        self.measured += other.measured
        self.failed += other.failed
        self.left_out += other.left_out
        self.impossible += other.impossible


@dataclass(frozen=True)
class Counted:
    by_job: dict[str, Counts]  # by the digest of the job
    documents: list[Result]  # of these jobs


def count_cells(files: LaunchFiles, jobs: Sequence[Job], repeats: int) -> Counted:
    """What is measured of these jobs, whichever launch has measured it.

    A machine that begins a job writes how its documents are named. A job without this file is
    missing. If machines of one type differ, for example in their CPU, each has documents of its
    own, and the best one counts. Raises InputError if the directory cannot be read.
    """
    names = frozenset(files.names())
    resolved = files.resolved(job.digest for job in jobs)
    directory = open_run(files.url)

    def document(name: str) -> Result | None:
        try:
            return directory.read(name)
        except InputError:  # damaged, or removed meanwhile: it is measured again
            return None

    wanted = {
        name
        for machines in resolved.values()
        for machine in machines
        for cell in machine.cells
        if cell.key is not None
        for number in range(1, repeats + 1)
        if f"{(name := repeat_name(cell.key, number))}.json" in names
    }
    ordered = sorted(wanted)
    found = dict(zip(ordered, in_parallel(document, ordered), strict=True))
    counted = {}
    for job in jobs:
        machines = [each for each in resolved[job.digest] if len(each.cells) == len(job.cells)]
        counts = Counts()
        for number in range(len(job.cells)):
            counts.add(_count([machine.cells[number] for machine in machines], repeats, found))
        counted[job.digest] = counts
    return Counted(counted, [result for result in found.values() if result is not None])


def _count(
    machines: Iterable[ResolvedCell], repeats: int, found: dict[str, Result | None]
) -> Counts:
    """One cell, as each machine resolved it. Without any, it is missing."""
    each_machine = []
    for cell in machines:
        counts = Counts(wanted=repeats)
        if cell.left_out:
            counts = Counts(left_out=repeats)
        elif cell.key is None:
            counts.impossible[cell.reason or "unknown"] = repeats
        else:
            results = [found.get(repeat_name(cell.key, n)) for n in range(1, repeats + 1)]
            stored = [each for each in results if each is not None]
            counts.measured = sum(each.error is None for each in stored)
            counts.failed = sum(
                each.error is not None and not each.error.is_interruption for each in stored
            )
        each_machine.append(counts)
    return max(each_machine, key=_rank, default=Counts(wanted=repeats))


def _rank(counts: Counts) -> tuple[int, ...]:
    """A cell that a machine can measure is missing, even if another one cannot measure it."""
    return counts.measured, counts.failed, counts.missing, counts.left_out
