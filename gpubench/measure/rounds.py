"""Measures cells in rounds. Each round measures every cell, so that a change of the machine over
time does not look like a difference between cells. docs/comparing.md explains repeats.

A plan is a list of rounds, and a round is a list of turns. Each turn is one measurement, and
becomes one document. What the run directory holds already is not measured again.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from random import Random

from gpubench.errors import GpubenchError, InputError
from gpubench.measure.cell import Bench
from gpubench.measure.claims import Claims
from gpubench.measure.engine_key import engine_key
from gpubench.measure.fresh import THIS_PROCESS
from gpubench.measure.isolated import EngineProcesses
from gpubench.measure.limits import Limits
from gpubench.measure.measured_cell import MeasuredCell
from gpubench.measure.progress import Progress
from gpubench.measure.time_left import TimeLeft, run_seconds
from gpubench.results.result import Repeat, Result
from gpubench.results.run_directory import RunDirectory, Superseded, repeat_name
from gpubench.spec.cell import Cell
from gpubench.spec.repetition import Repetition
from gpubench.system.interrupts import raise_if_received
from gpubench.system.machine import Machine


@dataclass(frozen=True, eq=False)
class RepeatedCell:
    """A cell, and where the documents of its repeats are. It is equal to no other."""

    cell: Cell
    key: str
    directory: RunDirectory


@dataclass(frozen=True)
class Turn:
    """One measurement of a plan."""

    of: RepeatedCell
    number: int  # which repeat of its cell it is, from 1
    # How many machines were lost while they measured it. None: not known.
    lost_attempts: int | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The name of its document, without a suffix."""
        return repeat_name(self.of.key, self.number)

    def document(self) -> Result:
        """See RunDirectory.read."""
        return self.of.directory.read(self.name)

    def stored(self) -> Result | None:
        """Its document, which another machine may have written; None if there is none yet."""
        try:
            return self.document()
        except InputError:
            return None


Round = Sequence[Turn]


def shuffled_rounds(
    cells: Sequence[RepeatedCell], count: int, group_of: Callable[[RepeatedCell], Hashable]
) -> list[Round]:
    """`count` rounds that measure each cell once. A single round has the order of `cells`.

    Otherwise the order of each odd round is shuffled, and the next round has the reverse order. So
    the turns of a cell in these two rounds have the same mean time as those of every other cell,
    and a change of the machine that is linear in time cancels. Cells of one group stay together:
    the groups are shuffled, and the cells in each. The same cells have the same order each time.
    """
    if count == 1:
        return [[Turn(cell, 1) for cell in cells]]
    groups: dict[Hashable, list[RepeatedCell]] = {}
    for cell in cells:
        groups.setdefault(group_of(cell), []).append(cell)
    random = Random(" ".join(cell.key for cell in cells))
    rounds: list[Round] = []
    order: list[RepeatedCell] = []
    for number in range(1, count + 1):
        if number % 2 == 1:
            members = [random.sample(group, len(group)) for group in groups.values()]
            random.shuffle(members)
            order = list(chain.from_iterable(members))
        else:
            order = order[::-1]
        rounds.append([Turn(cell, number) for cell in order])
    return rounds


def own_group(cell: RepeatedCell) -> Hashable:
    """Each cell is a group of its own."""
    return cell


def engine_group(cell: RepeatedCell) -> Hashable:
    """Cells that share an engine are a group."""
    if cell.cell.service is not None:
        return cell
    return repr(engine_key(cell.cell))  # a part of the key is a dictionary, which has no hash


def missing_turns(rounds: Sequence[Round]) -> frozenset[Turn]:
    """The turns whose documents do not exist, are damaged, or hold an error.

    Raises what RunDirectory.stored raises.
    """
    names: dict[RunDirectory, list[str]] = defaultdict(list)
    for turn in chain.from_iterable(rounds):
        names[turn.of.directory].append(turn.name)
    stored = {directory: directory.stored(names[directory]) for directory in names}
    return frozenset(
        turn for turn in chain.from_iterable(rounds) if turn.name not in stored[turn.of.directory]
    )


def measure_rounds(
    rounds: Sequence[Round],
    missing: frozenset[Turn],
    machine: Machine,
    progress: Progress,
    repetition: Repetition,
    end_on_failure: bool = False,
    processes: EngineProcesses | None = None,
    claims: Claims | None = None,
) -> bool:
    """Measure the missing turns of a plan. False if Ctrl-C ended it.

    Each document is written before the next measurement begins. A cell that fails is stored with
    its error, and the plan continues. `claims` are the leases of the engines; without them the
    caller holds the locks of the directories.

    `until` and `max_time_s` of `repetition` may end the plan after a round. Its `repeats` is not
    read: the plan says how often each cell is measured. With `end_on_failure`, the plan also ends
    after a round in which each measurement of a cell failed. `processes` measures the cells that
    run foreign code; without it, they are measured in this process. Raises GpubenchError if a
    document cannot be written, or if a batch hangs in this process.
    """
    repeats = Counter(turn.of for round_ in rounds for turn in round_)
    round_of = {turn: number for number, round_ in enumerate(rounds, 1) for turn in round_}
    _tell_plan(rounds, missing, progress)
    series = secrets.token_hex(4)
    left = TimeLeft(turn.of for turn in missing)
    limits = Limits(repeats, repetition)
    failed: dict[RepeatedCell, list[bool]] = {}
    measured: set[Turn] = set()
    done = 0

    def measure_each(turns: Iterable[Turn], measure: Measure) -> None:
        for turn in turns:
            repeat = Repeat(
                number=turn.number,
                of=repeats[turn.of],
                round=round_of[turn],
                series=series,
                process=THIS_PROCESS,
            )
            progress.cell_begins(len(measured) + 1, turn.of.cell.spec, left.seconds())
            began = time.monotonic()
            try:
                result = measure(turn, repeat)
            except Superseded as error:
                progress.superseded(str(error))
                raise_if_received()  # Ctrl-C, while it was measured
                continue
            elapsed_s = time.monotonic() - began
            measured.add(turn)
            left.ended(turn.of, elapsed_s)
            progress.cell_ended(result, elapsed_s)
            limits.add(turn.of, _figure(result))
            failed.setdefault(turn.of, []).append(result.error is not None)

    try:
        with _measurer(rounds, machine, progress, repetition.fresh, processes) as measure:
            for number, round_ in enumerate(rounds, 1):
                if limits.end_before(number):
                    break
                failed.clear()
                open_ = [turn for turn in round_ if turn in missing]
                measure_each(open_ if claims is None else claims.turns(open_), measure)
                if limits.wants_figures:
                    if claims is not None:
                        measure_each(claims.rest(), measure)
                    for turn in round_:
                        if turn not in measured and (result := turn.stored()) is not None:
                            limits.add(turn.of, _figure(result))
                done = number
                if end_on_failure and any(map(all, failed.values())):
                    break
            if claims is not None:
                measure_each(claims.rest(), measure)
    except KeyboardInterrupt:
        return False
    if len(rounds) > 1:
        unreached = [(each.cell.spec, width) for each, width in limits.unreached()]
        progress.rounds_ended(done, len(rounds), unreached)
    return True


def _figure(result: Result) -> float | None:
    """What the repeats are compared by; None if it failed."""
    return None if result.error else result.throughput_per_second


def _tell_plan(rounds: Sequence[Round], missing: frozenset[Turn], progress: Progress) -> None:
    if len(rounds) == 1 or not missing:
        return
    seconds = [run_seconds(turn.of.cell) for turn in missing]
    known = [each for each in seconds if each is not None]
    cells = {turn.of for round_ in rounds for turn in round_}
    run_s = sum(known) if len(known) == len(seconds) else None
    progress.rounds_planned(len(cells), len(rounds), run_s)


Measure = Callable[[Turn, Repeat], Result]


@contextmanager
def _measurer(
    rounds: Sequence[Round],
    machine: Machine,
    progress: Progress,
    fresh: bool,
    processes: EngineProcesses | None,
) -> Iterator[Measure]:
    """A function that measures a turn and writes its document."""
    several_engines = len({engine_group(turn.of) for turn in rounds[0]}) > 1
    last_round = 0
    with ExitStack() as stack:
        bench = stack.enter_context(Bench(machine, progress))
        if fresh and processes is None:
            processes = stack.enter_context(EngineProcesses(machine, progress, fresh=True))

        def measure(turn: Turn, repeat: Repeat) -> Result:
            nonlocal last_round
            if several_engines and repeat.round != last_round:
                # Otherwise the last engine of a round would also be the first of the next, and
                # what it decides once would be in two rounds.
                bench.forget_engine()
                if processes is not None:
                    processes.end_process()
            last_round = repeat.round
            cell, directory = turn.of.cell, turn.of.directory
            stored = repeat if repeat.of > 1 or fresh else None
            if processes is not None and (fresh or cell.service is None):

                def store(measured: MeasuredCell) -> None:
                    directory.store(turn.name, measured.files)

                return processes.measure(cell, stored, store, turn.lost_attempts).result

            def keep(result: Result) -> None:
                result.repeat = stored
                result.lost_attempts = turn.lost_attempts
                directory.write(turn.name, result, result.samples)

            if bench.has_hung_batch:
                raise GpubenchError(
                    "a batch of the last cell hung; its thread still runs and would disturb the "
                    "following cells: run the same command again to continue, or with --fresh"
                )
            return bench.measure(cell, keep)

        yield measure
