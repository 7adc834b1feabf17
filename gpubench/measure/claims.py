"""Which turns of a sweep this process measures, when others measure the same sweep.

Several machines may work on one run directory, and several processes of a machine. Each takes the
lease of an engine (and of the number of the repeat) before it measures the cells of this engine.
What another one measures meanwhile is postponed. docs/many_machines.md describes the leases.

A sweep that nobody else works on has the order of its plan. As soon as a process meets the work of
another one, it goes on at a random engine. So processes meet rarely, and cells that are neighbours
in the plan, which share a model, are still mostly measured one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING, Literal

from gpubench.errors import GpubenchError
from gpubench.files.leases import Lease, LeaseHeld, LeaseLost, Leases, lease_key
from gpubench.measure.engine_key import engine_settings
from gpubench.results.run_directory import RunDirectory, Superseded

if TYPE_CHECKING:
    from gpubench.measure.progress import Progress
    from gpubench.measure.rounds import RepeatedCell, Turn


# For which work of others a sweep waits at its end: for none, for that of processes that are not
# known to be alive, or for all of it.
WaitFor = Literal["none", "unless-alive", "all"]
# To meet another process is to take a lease in vain, and to look what it is about.
_REQUESTS_TO_MEET = 3
_NAMES_OF_A_REQUEST = 1000  # of Amazon S3


@dataclass(frozen=True)
class _Claim:
    """Turns of one engine, which follow each other in the plan."""

    key: str  # of the lease
    turns: tuple[Turn, ...]


@dataclass
class Claims:
    """The leases of a sweep. Used as a context manager, it releases what is held at the end."""

    directory: RunDirectory
    machine: str  # its identity
    leases: Leases
    group_of: Callable[[RepeatedCell], Hashable]
    progress: Progress
    wait: WaitFor  # at the end, for what others measure
    random: Random = field(default_factory=Random)
    begun: int = 0  # turns that this process has measured, or measures
    _postponed: list[_Claim] = field(default_factory=list)
    _by_others: set[Turn] = field(default_factory=set)  # stored meanwhile
    _found_leases: bool = False  # of others, when the sweep began
    _names: int = 0  # of the files in the directory, when it was listed last
    _met: int = 0  # how often the work of another process was met since then

    def __enter__(self) -> Claims:
        self.leases.__enter__()
        self._found_leases = self.leases.look(self.directory.file_names())
        return self

    def __exit__(self, *error: object) -> None:
        self.directory.before_store = None
        self.leases.__exit__(*error)
        if error[0] is None and self._found_leases:
            with suppress(GpubenchError):  # what remains disturbs nobody
                self.leases.look(self.directory.file_names(), remove=True)

    def turns(self, missing: Sequence[Turn]) -> Iterator[Turn]:
        """The turns that this process measures now, in this order.

        The lease of a turn is held until the next one is asked for. Raises GpubenchError if the
        directory can no longer be written.
        """
        left = [_Claim(key, tuple(turns)) for key, turns in groupby(missing, key=self._lease_key)]
        yield from self._taken(left)

    @property
    def left_to_others(self) -> int:
        """The turns that this process has not measured, since others have their leases."""
        return sum(len(claim.turns) for claim in self._postponed)

    def rest(self) -> Iterator[Turn]:
        """The postponed turns that this process has to measure after all.

        If `wait` is "all", this ends when each of them is stored, by whoever measured it. What
        others have stored of an interrupted measurement does not count.
        """
        told = False
        while self._postponed or self._postpone_interrupted():
            tried, self._postponed = self._postponed, []
            held: list[LeaseHeld] = []
            yield from self._taken(self._open(tried), held)
            if not self._postponed:
                continue
            all_alive = bool(held) and all(each.is_alive for each in held)
            if self.wait == "none" or (self.wait == "unless-alive" and all_alive):
                return
            if held and not told:
                told = True
                self.progress.waits_for(held[0].holder, self.left_to_others)
            time.sleep(self.leases.times.poll_s)

    def _postpone_interrupted(self) -> bool:
        """Postpone the turns of which others have stored an interrupted measurement meanwhile."""
        turns, self._by_others = self._by_others, set()
        names = self.directory.interrupted(turn.name for turn in turns)
        again = [turn for turn in turns if turn.name in names]
        self._postponed = [_Claim(self._lease_key(turn), (turn,)) for turn in again]
        return bool(again)

    def _taken(self, left: list[_Claim], held: list[LeaseHeld] | None = None) -> Iterator[Turn]:
        while left:
            claim, *left = left
            try:
                lease = self.leases.take(claim.key, claim.turns[0].name)
            except LeaseHeld as error:
                self._postponed.append(claim)
                if held is not None:
                    held.append(error)
                left = self._elsewhere(left)
                continue
            except OSError as error:
                raise self.directory.cannot_write(error) from error
            with lease:
                self.directory.before_store = partial(self._confirm, lease)
                met = False
                for number, turn in enumerate(claim.turns):
                    if self.directory.written_meanwhile(turn.name):
                        self._by_others.add(turn)
                        met = True
                        continue
                    if number:
                        try:
                            lease.begin(turn.name)
                        except OSError as error:
                            raise self.directory.cannot_write(error) from error
                    self.begun += 1
                    lost = lease.lost_attempts(turn.name)
                    lost += self.directory.interrupted_attempts(turn.name)
                    yield replace(turn, lost_attempts=lost)
                    if lease.is_lost:
                        self._postponed.append(replace(claim, turns=claim.turns[number:]))
                        met = True
                        break
            if met:
                left = self._elsewhere(left)

    def _confirm(self, lease: Lease, key: str) -> None:
        """Raises Superseded if another process has taken the lease."""
        try:
            lease.confirm()
        except LeaseLost:
            raise Superseded(
                f"{self.directory.url}/{key}.json: this process was stopped for so long that "
                "another one has begun to measure the cell"
            ) from None

    def _elsewhere(self, left: list[_Claim]) -> list[_Claim]:
        """The claims that may still be open, beginning at a random one."""
        self._met += 1
        # To list a large directory takes more requests than to meet others a few times.
        if self._met * _REQUESTS_TO_MEET * _NAMES_OF_A_REQUEST >= self._names:
            left = self._open(left)
        start = self.random.randrange(len(left)) if left else 0
        return left[start:] + left[:start]

    def _open(self, claims: Iterable[_Claim]) -> list[_Claim]:
        """The claims without the turns that somebody else has stored meanwhile."""
        names = self.directory.file_names()
        self._names, self._met = len(names), 0
        stored = self.directory.appeared(names)
        found = []
        for claim in claims:
            turns = tuple(turn for turn in claim.turns if turn.name not in stored)
            self._by_others.update(turn for turn in claim.turns if turn.name in stored)
            if turns:
                found.append(replace(claim, turns=turns))
        return found

    def _lease_key(self, turn: Turn) -> str:
        # A cell that shares no engine is its own group. The lease is then for this cell alone.
        cell = turn.of
        shared = cell.key if self.group_of(cell) is cell else engine_settings(cell.cell)
        return lease_key(self.machine, shared, turn.number)
