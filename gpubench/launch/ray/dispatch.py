"""Gives the jobs of a sweep to the nodes of a Ray cluster, and stores what they measure."""

from __future__ import annotations

import platform
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gpubench.launch.ray.admission import other_answer, refusal
from gpubench.launch.ray.jobs import MOST_REQUEUES, RoundJobs
from gpubench.launch.ray.messages import NodeCell
from gpubench.launch.ray.node import software_versions
from gpubench.launch.ray.plan import NodeType
from gpubench.launch.ray.workers import NodeEvent, NodeProcess, NodeProcesses
from gpubench.measure.assemble import Attempt, assemble
from gpubench.measure.fresh import THIS_PROCESS
from gpubench.measure.limits import Limits
from gpubench.measure.progress import Progress
from gpubench.measure.rounds import RepeatedCell, Turn, engine_group, missing_turns, shuffled_rounds
from gpubench.measure.time_left import TimeLeft, run_seconds
from gpubench.report.format import count
from gpubench.results.result import Environment, Failure, Repeat, Result, parse_result
from gpubench.results.run_directory import CellFiles, cell_files
from gpubench.spec.repetition import Repetition
from gpubench.system.interrupts import Deferral
from gpubench.system.machine import Machine

NODE_WAIT_S = 300.0  # for a node of a type, while the cluster has none
NO_CELL = "the sweep has no cell for its kind of machine"
_POLL_S = 1.0
_LOOK_FOR_NODES_S = 2.0


@dataclass
class _Work:
    """What a process was given and has not measured yet."""

    turns: Sequence[Turn]
    has_begun: bool = False  # the first of them
    began_s: float = 0.0


class RaySweep:
    """A sweep while it is measured. `measure` does it all."""

    def __init__(
        self,
        processes: NodeProcesses,
        type_of: Mapping[RepeatedCell, str],
        types: Mapping[str, NodeType],
        asked: bytes,
        progress: Progress,
        node_wait_s: float,
    ) -> None:
        """`type_of` has the cells, and the node type that measures each.

        `types` are the node types by identity, with their answers to `asked`. A node that joins
        later must answer the same. The caller holds the lock of the directory.
        """
        self._processes, self._type_of, self._progress = processes, type_of, progress
        self._types, self._asked = types, asked
        self._node_wait_s = node_wait_s
        self._series = secrets.token_hex(4)
        self._work: dict[NodeProcess, _Work] = {}
        self._looked_s = time.monotonic()
        self._absent_since_s: dict[str, float] = {}  # node types without a node
        self._begun = self._repeats = self._round = 0

    def measure(self, repetition: Repetition, skipped: Mapping[str, int]) -> bool:
        """Measure what the directory does not hold. False if Ctrl-C ended it."""
        cells = list(self._type_of)
        rounds = shuffled_rounds(cells, repetition.repeats, engine_group)
        missing = missing_turns(rounds)
        self._progress.planned(len(missing), len(rounds) * len(cells) - len(missing), skipped)
        if len(rounds) > 1 and missing:
            self._progress.rounds_planned(len(cells), len(rounds), self._run_seconds(missing))
        self._repeats, self._fresh = len(rounds), repetition.fresh
        self._left = TimeLeft(turn.of for turn in missing)
        self._limits = Limits(cells, repetition)
        done = 0
        try:
            for number, round_ in enumerate(rounds, 1):
                if self._limits.end_before(number):
                    break
                self._round = number
                for turn in round_ if self._limits.wants_figures else ():
                    if turn not in missing:
                        self._limits.add(turn.of, turn.document().throughput_per_second)
                self._measure_round([turn for turn in round_ if turn in missing])
                done = number
        except KeyboardInterrupt:
            self._keep_what_arrived()
            return False
        if len(rounds) > 1:
            unreached = [(each.cell.spec, width) for each, width in self._limits.unreached()]
            self._progress.rounds_ended(done, len(rounds), unreached)
        return True

    def _run_seconds(self, missing: frozenset[Turn]) -> float | None:
        """The warm-ups and windows of the node type that takes the longest."""
        seconds: dict[str, float] = defaultdict(float)
        for turn in missing:
            turn_s = run_seconds(turn.of.cell)
            if turn_s is None:
                return None
            seconds[self._type_of[turn.of]] += turn_s
        return max((each / self._nodes(name) for name, each in seconds.items()), default=None)

    def _nodes(self, node_type: str) -> int:
        """The nodes of a type; at least 1."""
        return max(1, [each.identity for each in self._members()].count(node_type))

    def _members(self) -> list[NodeProcess]:
        """The processes that may get jobs."""
        return [each for each in self._processes.all if each.answers]

    def _measure_round(self, turns: Sequence[Turn]) -> None:
        self._jobs = RoundJobs(turns, self._type_of)
        while self._work or self._jobs.waiting():
            self._look_for_nodes()
            for process in self._members():
                if process.pending is None:
                    self._give_job(process)
            self._processes.wait(_POLL_S)
            self._take_events()

    def _take_events(self) -> None:
        """What a node has measured is stored before a Ctrl-C interrupts."""
        with Deferral() as deferral:
            deferral.begin()
            for event in self._processes.events():
                self._take(event)
        if deferral.pressed:
            raise KeyboardInterrupt

    def _keep_what_arrived(self) -> None:
        """After Ctrl-C: store what the nodes have measured by now."""
        with Deferral() as deferral:
            deferral.begin()
            has_more = True
            while has_more:
                events = [each for each in self._processes.events() if each.process in self._work]
                for event in events:
                    if event.what in {"began", "measured"}:
                        self._take(event)
                has_more = any(event.what == "measured" for event in events)

    def _take(self, event: NodeEvent) -> None:
        process = event.process
        if event.what == "joined":
            self._admit(process)
        elif event.what == "planned":
            if reason := other_answer(process.answers, self._types[process.identity].answers):
                self._leave_out(process, reason)
        elif event.what == "began":
            self._begin(process)
        elif event.what == "ended":
            del self._work[process]
        elif event.what == "lost":
            self._lose(process, event.reason)
        elif event.files is not None:
            self._keep(process, event.files)

    # Nodes.

    def _look_for_nodes(self) -> None:
        """Start processes on nodes that have joined or lost theirs, and give up after the limit."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_FOR_NODES_S:
            return
        self._looked_s = now_s
        self._processes.start_missing()
        present = {each.identity for each in self._members()}
        is_starting = len(self._members()) < len(self._processes.all)
        for node_type in self._jobs.waiting():
            if node_type in present or is_starting:  # that process may be of this type
                self._absent_since_s.pop(node_type, None)
            elif now_s - self._absent_since_s.setdefault(node_type, now_s) >= self._node_wait_s:
                self._give_up(node_type)

    def _admit(self, process: NodeProcess) -> None:
        """A process has started after the sweep has begun."""
        if process.identity not in self._types:
            self._leave_out(process, NO_CELL)
        elif reason := refusal(process.known_facts, process.instance):
            self._leave_out(process, reason)
        else:
            self._processes.plan(process, self._asked)

    def _leave_out(self, process: NodeProcess, reason: str) -> None:
        self._progress.node_told(process.name, f"left out: {reason}")
        self._processes.leave_out(process)

    def _lose(self, process: NodeProcess, reason: str) -> None:
        work = self._work.pop(process, _Work(()))
        given_up = self._jobs.take_back(work.turns, work.has_begun) if work.turns else None
        again = len(work.turns) - (given_up is not None)
        what = f"; {count(again, 'cell')} of it to be measured again" if again else ""
        self._progress.node_told(process.name, f"lost: {reason}{what}")
        if given_up is not None:
            times = MOST_REQUEUES + 1
            self._fail(process, given_up, f"{process.name}: {reason}; this was attempt {times}")

    def _give_up(self, node_type: str) -> None:
        for turn in self._jobs.give_up(node_type):
            self._fail(
                None, turn, f"no node that could measure it was left for {self._node_wait_s:g} s"
            )

    # Cells.

    def _give_job(self, process: NodeProcess) -> None:
        turns = self._jobs.take(process.identity)
        if not turns:
            return
        self._work[process] = _Work(turns)
        cells = [
            NodeCell(
                spec=turn.of.cell.spec,
                allow_code=turn.of.cell.allow_code,
                repeat=self._repeat(turn),
            )
            for turn in turns
        ]
        self._processes.measure(process, cells)

    def _repeat(self, turn: Turn) -> Repeat | None:
        if self._repeats == 1 and not self._fresh:
            return None
        return Repeat(
            number=turn.number,
            of=self._repeats,
            round=self._round,
            series=self._series,
            process=THIS_PROCESS,
        )

    def _begin(self, process: NodeProcess) -> None:
        work = self._work[process]
        work.has_begun, work.began_s = True, time.monotonic()
        self._begun += 1
        left_s = self._left.seconds()
        if left_s is not None:
            left_s /= max(1, len(self._members()))
        spec = work.turns[0].of.cell.spec
        self._progress.node_cell_begins(process.name, self._begun, spec, left_s)

    def _keep(self, process: NodeProcess, files: CellFiles) -> None:
        """Store a cell that a node has measured."""
        work = self._work[process]
        turn = work.turns[0]
        result = parse_result(files.document.decode(), process.name)
        result.lost_attempts = self._jobs.lost[turn]
        turn.of.directory.store(turn.name, replace(files, document=result.to_json().encode()))
        work.turns, work.has_begun = work.turns[1:], False
        elapsed_s = time.monotonic() - work.began_s
        self._left.ended(turn.of, elapsed_s)
        self._ended(process.name, turn, result, elapsed_s)

    def _fail(self, process: NodeProcess | None, turn: Turn, reason: str) -> None:
        """Store the error of a cell that no node has measured."""
        failure = Failure(stage="process", message=reason)
        machine = self._types[self._type_of[turn.of]].machine
        result = assemble(turn.of.cell, _environment(machine), Attempt(error=failure))
        result.repeat = self._repeat(turn)
        result.lost_attempts = self._jobs.lost[turn]
        turn.of.directory.store(turn.name, cell_files(result, None))
        self._ended("no node" if process is None else process.name, turn, result, 0.0)

    def _ended(self, node: str, turn: Turn, result: Result, elapsed_s: float) -> None:
        self._progress.measured(result)
        self._progress.node_cell_ended(node, result, elapsed_s)
        self._limits.add(turn.of, None if result.error else result.throughput_per_second)


def _environment(machine: Machine) -> Environment:
    """That of a node, for a cell that it has not measured. Its software is that of this program."""
    versions = software_versions()
    return Environment(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        gpubench=versions["gpubench"] or "source tree",
        python=platform.python_version(),
        platform=machine.platform,
        torch=versions["torch"],
        torchvision=versions["torchvision"],
        transformers=versions["transformers"],
        cpu=machine.cpu,
        cores=machine.cores,
        gpus=list(machine.gpus),
        instance=machine.instance,
    )
