"""Measures jobs of a manifest on this machine.

The machine fills in the defaults of the cells, and writes how their documents are named. Cells that
the directory has already are not measured again. A worker keeps a record of its time, from which
the bill of the launch is made.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from gpubench.cells.grid import PlannedCells, untrusted_code
from gpubench.cells.resolve import resolve
from gpubench.errors import InputError
from gpubench.launch.files import SCHEMA, LaunchFiles, ResolvedCell, ResolvedJob
from gpubench.launch.manifest import Job, LaunchedCell, Manifest
from gpubench.launch.record import KeptRecord
from gpubench.measure.claims import WaitFor
from gpubench.measure.environment import own_version
from gpubench.measure.isolated import EngineProcesses
from gpubench.measure.progress import Listeners, Progress
from gpubench.measure.sweep import measure_share
from gpubench.pricing.cost import check_prices
from gpubench.results.run_directory import RunDirectory, open_run
from gpubench.spec.cell import Cell
from gpubench.spec.isolation import TOGETHER, Isolation
from gpubench.spec.repetition import Repetition
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine


@dataclass(frozen=True)
class WorkerWishes:
    """What the command line of a worker says."""

    launch: str | None = None  # None: the only one in the directory
    instance: str | None = None  # None: what the machine says, or the only one of the manifest
    index: int | None = None  # of this machine in its fleet; None: it takes jobs that are free
    machines: int = 1  # of the fleet
    max_time_s: float | None = None  # also counts earlier starts with the same index
    allow_code: bool = False
    isolation: Isolation = TOGETHER


@dataclass
class WorkerOutcome:
    measured: int = 0  # measurements that this worker made
    failed: int = 0  # measurements that ended with an error
    left_to_others: int = 0  # measurements on which other workers work
    impossible: int = 0  # cells that this machine cannot measure
    unpriced: set[str] = field(default_factory=set)  # prices that this machine does not know
    out_of_time: bool = False
    interrupted: bool = False


def work(url: str, machine: Machine, wishes: WorkerWishes, progress: Progress) -> WorkerOutcome:
    """Measure the jobs of this machine. `progress` is told the name of each cell, as in a sweep.

    Raises InputError before anything is measured: for a manifest that is missing, damaged, or of
    another version; for another type of instance; for code without `allow_code`; for a directory
    that cannot be written. Raises GpubenchError if it can no longer be written.
    """
    files = LaunchFiles(url)
    manifest = files.manifest(wishes.launch)
    _refuse_other_version(manifest)
    instance = _instance(manifest, wishes.instance, machine)
    machine = replace(machine, instance=instance or machine.instance)
    jobs = _own_jobs(manifest.jobs_of(instance), wishes)
    for job in jobs:
        for cell in job.cells:
            _refuse_code(cell.spec, wishes.allow_code)
    directory = open_run(url)
    used_s = _used_seconds(files, manifest, instance, wishes.index)
    with ExitStack() as stack:
        stack.enter_context(directory.locked(shared=True))
        directory.check_writable()
        record = stack.enter_context(KeptRecord(files, manifest, instance, wishes.index))
        listeners = Listeners(record, progress)
        processes = None
        if wishes.isolation.isolate:
            processes = stack.enter_context(
                EngineProcesses(machine, listeners, max_cell_s=wishes.isolation.max_cell_s)
            )
        worker = _Worker(files, directory, manifest, machine, wishes, listeners, processes, used_s)
        with _ends_after(worker.left_s) as is_over:
            try:
                worker.measure(jobs)
            except KeyboardInterrupt:  # it came between two cells
                worker.outcome.interrupted = True
        outcome = worker.outcome
        outcome.out_of_time |= is_over()
        outcome.measured, outcome.failed = record.counts
        record.end(outcome)
    return outcome


@contextmanager
def _ends_after(seconds: float | None) -> Iterator[Callable[[], bool]]:
    """Send this process Ctrl-C if the block takes longer, so that the cell in work is kept.

    The block gets a function that says whether this has happened.
    """
    is_over = False

    def end(number: int, frame: object) -> None:
        nonlocal is_over
        is_over = True
        signal.raise_signal(signal.SIGINT)

    if seconds is None:
        yield lambda: False
        return
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(0.0, seconds))  # 0: never; no job begins then
    try:
        yield lambda: is_over
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _now_s() -> float:
    return time.monotonic()


class _Worker:
    def __init__(
        self,
        files: LaunchFiles,
        directory: RunDirectory,
        manifest: Manifest,
        machine: Machine,
        wishes: WorkerWishes,
        progress: Progress,
        processes: EngineProcesses | None,
        used_s: float,
    ) -> None:
        self._files, self._directory = files, directory
        self._manifest, self._machine = manifest, machine
        self._wishes, self._progress, self._processes = wishes, progress, processes
        self._resolved = resolve if processes is None else processes.resolve
        self._end_s = None if wishes.max_time_s is None else _now_s() + wishes.max_time_s - used_s
        self._took_s: list[float] = []  # the jobs until now
        self.outcome = WorkerOutcome()

    def measure(self, jobs: Sequence[Job]) -> None:
        """Measure these jobs, first those on which no other worker works.

        At the end it waits for what lost workers held: their leases have not expired yet. A machine
        with a number waits for all others, since its jobs are nobody else's.
        """
        left = []
        for job in jobs:
            if self._is_over():
                return
            planned = self._resolve(job)
            if planned.cells and self._measure_job(planned, "none"):
                left.append(planned)
        for planned in left:
            if self._is_over():
                return
            wait: WaitFor = "unless-alive" if self._wishes.index is None else "all"
            self.outcome.left_to_others += self._measure_job(planned, wait)

    def _measure_job(self, planned: PlannedCells, wait: WaitFor) -> int:
        """How many of its measurements are left to other workers."""
        began = _now_s()
        share = measure_share(
            planned,
            self._directory,
            self._machine,
            self._progress,
            Repetition(self._manifest.repeats),
            self._processes,
            wait=wait,
        )
        self.outcome.interrupted = not share.complete
        if share.begun and wait == "none":
            self._took_s.append(_now_s() - began)
        return share.left_to_others

    @property
    def left_s(self) -> float | None:
        """Until the limit on the time of this machine. None: it has none."""
        return None if self._end_s is None else self._end_s - _now_s()

    def _is_over(self) -> bool:
        """Whether no other job begins.

        That is so after Ctrl-C, and if the next job would end after the limit, provided that it
        takes the mean of those before.
        """
        mean_s = sum(self._took_s) / len(self._took_s) if self._took_s else 0.0
        if self.left_s is not None and self.left_s <= mean_s:
            self.outcome.out_of_time = True
        return self.outcome.interrupted or self.outcome.out_of_time

    def _resolve(self, job: Job) -> PlannedCells:
        """The cells of a job on this machine. Writes the names of their documents."""
        cells: dict[str, Cell] = {}
        skipped: dict[str, int] = {}
        resolved = []
        for launched in job.cells:
            found = self._resolve_cell(launched)
            if isinstance(found, Cell):
                key = found.spec.key(self._machine.identity)
                cells.setdefault(key, found)
                resolved.append(ResolvedCell(key=key))
                continue
            reason, left_out = found
            skipped[reason] = skipped.get(reason, 0) + 1
            self.outcome.impossible += not left_out
            resolved.append(ResolvedCell(key=None, reason=reason, left_out=left_out))
        self._files.write_resolved(
            job.digest,
            self._machine.identity,
            ResolvedJob(schema_number=SCHEMA, cells=tuple(resolved)),
        )
        return PlannedCells(list(cells.values()), skipped)

    def _resolve_cell(self, launched: LaunchedCell) -> Cell | tuple[str, bool]:
        """The cell on this machine; or why there is none, and whether the sweep leaves it out."""
        if launched.only_on not in {None, self._machine.kind}:
            return f"the sweep measures it only on {launched.only_on}", True
        known = tuple(filter(_is_price, launched.spec.instance))
        self.outcome.unpriced.update(set(launched.spec.instance) - set(known))
        changes: dict[str, object] = {"instance": known}
        if self._wishes.allow_code:
            changes["allow_code"] = True
        try:
            return self._resolved(launched.spec.model_copy(update=changes), self._machine)
        except InputError as error:
            return str(error), launched.skip_unavailable


def _is_price(name: str) -> bool:
    """Whether this machine knows a price. The launch may have read a file that is not here."""
    try:
        check_prices((name,))
    except InputError:
        return False
    return True


def _refuse_code(spec: Spec, allow_code: bool) -> None:
    """Raises InputError for a model that runs code, since another person may have launched it."""
    found = None if allow_code else untrusted_code(spec, frozenset(Spec.model_fields))
    if found:
        setting, reason = found
        raise InputError(
            f"{setting} of this launch: {reason}; if you trust it, add --allow-code to the worker"
        )


def _refuse_other_version(manifest: Manifest) -> None:
    if manifest.gpubench != own_version():
        raise InputError(
            f"launch '{manifest.name}' was written by gpubench {manifest.gpubench}, and this is "
            f"{own_version()}; use the same version on all machines, or launch again"
        )


def _instance(manifest: Manifest, asked: str | None, machine: Machine) -> str | None:
    """The type of instance whose jobs this machine measures. Raises InputError if it has none."""
    known = [each for each in manifest.instances if each is not None]
    if asked is not None and asked not in known:
        named = f"it has {', '.join(known)}" if known else "it names no instance; leave it out"
        raise InputError(f"--instance {asked}: launch '{manifest.name}' has no job for it; {named}")
    if asked is not None and machine.instance not in {None, asked}:
        raise InputError(
            f"--instance {asked}: this machine is a {machine.instance}; start this worker on the "
            "other type, so that the machine that measures is the one that is priced"
        )
    if asked is not None:
        return asked
    if machine.instance in known:
        return machine.instance
    if None in manifest.instances:
        return None
    if machine.instance is None and len(known) == 1:
        return known[0]
    this = f"this machine is a {machine.instance}" if machine.instance else "say which this is"
    raise InputError(
        f"launch '{manifest.name}' has jobs for {', '.join(known)}, and {this}"
        + ("" if machine.instance else ", with --instance TYPE")
    )


def _own_jobs(jobs: Sequence[Job], wishes: WorkerWishes) -> list[Job]:
    """The jobs of a machine: every n-th if it has a number, else all, from a random one on."""
    if wishes.index is None:
        # Workers that begin at different jobs seldom want the same one.
        begin = time.monotonic_ns() % len(jobs) if jobs else 0
        return [*jobs[begin:], *jobs[:begin]]
    if not 0 <= wishes.index < wishes.machines:
        raise InputError(
            f"--index {wishes.index}: with --machines {wishes.machines} it is 0 to "
            f"{wishes.machines - 1}"
        )
    return list(jobs[wishes.index :: wishes.machines])


def _used_seconds(
    files: LaunchFiles, manifest: Manifest, instance: str | None, index: int | None
) -> float:
    """The time of earlier starts of the same machine of a fleet, for example before a spot loss."""
    if index is None:
        return 0.0
    return sum(
        record.seconds
        for record in files.workers(manifest.name).values()
        if (record.instance, record.index) == (instance, index)
    )
