"""One worker process on each node of a Ray cluster, and what these processes report.

    start_missing()   a process on each node that has none; it says what its node is (joined)
    plan()            asks each process what it can measure (planned)
    measure()         gives a process a job (began, measured, ended)
    events()          what has happened since: the words in brackets above, or lost

A process that ends, or whose node leaves the cluster, is reported as lost, and forgotten.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from gpubench.errors import one_line
from gpubench.launch.ray.cluster import Cluster, RayNode
from gpubench.launch.ray.messages import (
    ANSWERS,
    JOB,
    NodeAnswer,
    NodeCell,
    NodeFacts,
    NodeSettings,
)
from gpubench.launch.ray.node import CellReport
from gpubench.results.run_directory import CellFiles

_START_S = 60.0  # a node that is busy with other work is left out after this time
_MOST_DEATHS = 3  # of processes of a node, one after another, before it is left out

Happening = Literal["joined", "planned", "began", "measured", "ended", "lost"]


@dataclass(eq=False)
class NodeProcess:
    """The worker process of a node."""

    node: RayNode
    handle: Any
    instance: str | None  # the type that the cluster's description of the node names
    pending: Any  # what it was asked last and has not answered; None if it is free
    asked: Literal["facts", "plan", "measure", "nothing"] = "facts"
    since: float = field(default_factory=time.monotonic)
    facts: NodeFacts | None = None
    answers: Sequence[NodeAnswer] = ()

    @property
    def known_facts(self) -> NodeFacts:
        """What it has said about itself. Only for a process that has joined."""
        assert self.facts is not None
        return self.facts

    @property
    def identity(self) -> str:
        """The node type. Only for a process that has joined."""
        return self.known_facts.machine.identity

    @property
    def name(self) -> str:
        """For people: "10.0.0.5 (g5.xlarge)"."""
        instance = self.instance if self.facts is None else self.facts.machine.instance
        return f"{self.node.name} ({instance})" if instance else self.node.name


@dataclass(frozen=True)
class NodeEvent:
    what: Happening
    process: NodeProcess
    files: CellFiles | None = None  # of "measured"
    reason: str = ""  # of "lost"


class NodeProcesses:
    """The worker processes of a cluster. The end of the block ends them."""

    def __init__(
        self,
        cluster: Cluster,
        instances: frozenset[str],
        settings: NodeSettings,
        *,
        others: bool,
        exclusive: bool,
    ) -> None:
        """`instances` are the types that the sweep names.

        With `others`, it is also for other nodes. Without, nodes of which Ray says that they are of
        another type are left alone.
        """
        self._cluster, self._instances = cluster, instances
        self._others, self._exclusive = others, exclusive
        self._settings = settings.model_dump_json().encode()
        self.all: list[NodeProcess] = []
        self._deaths: Counter[str] = Counter()  # by node, since it last measured a cell
        self._left_out: set[str] = set()  # nodes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self.all):
            self.end(process)

    def start_missing(self) -> None:
        """Start a process on each node of the cluster that has none and was not left out."""
        taken = {process.node.id for process in self.all} | self._left_out
        for node in self._cluster.nodes():
            instance = node.instance(self._instances)
            is_other = instance is not None and instance not in self._instances
            if node.id not in taken and (self._others or not is_other):
                arguments = (instance, self._settings)
                handle = self._cluster.start(node, arguments, self._exclusive)
                self.all.append(NodeProcess(node, handle, instance, handle.facts.remote()))

    def plan(self, process: NodeProcess, asked: bytes) -> None:
        """Ask what it can measure. `asked` are AskedCells in JSON."""
        self._ask(process, "plan", process.handle.plan.remote(asked))

    def measure(self, process: NodeProcess, cells: list[NodeCell]) -> None:
        """Give it a job."""
        job = JOB.dump_json(cells, exclude_unset=True)
        # Each report comes as soon as there is one. Source: "Ray Generators" of its documentation.
        method = process.handle.measure.options(num_returns="streaming")
        self._ask(process, "measure", method.remote(job))

    def leave_out(self, process: NodeProcess) -> None:
        """End it, and start no other one on its node."""
        self.end(process)
        self.leave_out_node(process.node)

    def leave_out_node(self, node: RayNode) -> None:
        """Start no process on this node any more."""
        self._left_out.add(node.id)

    def end(self, process: NodeProcess) -> None:
        """End it, with the processes that it has started."""
        import ray

        with suppress(Exception):  # the connection may be lost
            ray.kill(process.handle)
        self.all.remove(process)

    def wait(self, timeout_s: float) -> None:
        """Wait until a process has an answer, at most `timeout_s`."""
        import ray

        pending = [each.pending for each in self.all if each.pending is not None]
        if pending:
            ray.wait(pending, timeout=timeout_s)
        else:
            time.sleep(timeout_s)

    def events(self) -> list[NodeEvent]:
        """What has happened, at most once for each process. It does not wait."""
        import ray

        pending = {each.pending: each for each in self.all if each.pending is not None}
        if not pending:
            return []
        ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
        return [self._event(pending[each]) for each in ready] + self._overdue()

    def _ask(self, process: NodeProcess, asked: Literal["plan", "measure"], pending: Any) -> None:
        process.asked, process.pending, process.since = asked, pending, time.monotonic()

    def _event(self, process: NodeProcess) -> NodeEvent:
        """What a process has answered."""
        import ray
        from ray.exceptions import RayError

        try:
            if process.asked == "measure":
                return self._measured(process, ray.get(next(process.pending)))
            answer = ray.get(process.pending)
        except StopIteration:
            process.asked, process.pending = "nothing", None
            return NodeEvent("ended", process)
        except RayError as error:
            return self._lost(process, _why(error))
        process.pending = None
        if process.asked == "facts":
            process.facts = NodeFacts.model_validate_json(answer)
            return NodeEvent("joined", process)
        process.answers = ANSWERS.validate_json(answer)
        return NodeEvent("planned", process)

    def _measured(self, process: NodeProcess, files: CellReport) -> NodeEvent:
        if files is None:
            return NodeEvent("began", process)
        self._deaths[process.node.id] = 0
        return NodeEvent("measured", process, CellFiles(*files))

    def _overdue(self) -> list[NodeEvent]:
        """Processes that could not be started, because other work holds their nodes."""
        now = time.monotonic()
        return [
            self._lost(
                process,
                f"it was not free within {_START_S:g} s: other work of the cluster holds its CPUs "
                "or GPUs",
            )
            for process in list(self.all)
            if process.asked == "facts" and process.pending and now - process.since > _START_S
        ]

    def _lost(self, process: NodeProcess, reason: str) -> NodeEvent:
        self.end(process)
        self._deaths[process.node.id] += 1
        if self._deaths[process.node.id] >= _MOST_DEATHS:
            self.leave_out_node(process.node)
        return NodeEvent("lost", process, reason=reason)


def _why(error: Exception) -> str:
    """One line: why a process does not answer."""
    from ray.exceptions import OutOfMemoryError

    cause = getattr(error, "cause", None)  # an error that its Python code has raised
    if isinstance(cause, Exception):
        return f"its process failed: {one_line(cause)}"
    if "node has died" in str(error):  # Ray says it in its text alone
        return "its node has left the cluster"
    if isinstance(error, OutOfMemoryError):
        return "Ray has ended its process, because its node had too little memory"
    return "its process has ended"
