"""`gpubench sweep --on ray`: the nodes of a Ray cluster measure, and this process plans and writes.

    grids -> asked cells -> answers of the nodes -> plan -> rounds -> jobs -> documents

The files of each cell come back through Ray, and this process writes them into the run directory.
So the nodes need no shared storage. docs/ray.md explains what a person sees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from gpubench.cells.grid import MAX_CELLS, Grid
from gpubench.errors import InputError
from gpubench.launch.ray.admission import other_answer, refusal, remark
from gpubench.launch.ray.cluster import connected
from gpubench.launch.ray.dispatch import NO_CELL, NODE_WAIT_S, RaySweep
from gpubench.launch.ray.messages import ASKED, NodeSettings
from gpubench.launch.ray.plan import (
    NodeType,
    asked_cells,
    chosen_types,
    names_all_instances,
    plan_cells,
    wanted_instances,
)
from gpubench.launch.ray.workers import NodeProcess, NodeProcesses
from gpubench.measure.progress import Progress
from gpubench.measure.rounds import RepeatedCell
from gpubench.measure.sweep import SweepOutcome, stored_results
from gpubench.results.run_directory import open_run
from gpubench.spec.isolation import TOGETHER, Isolation
from gpubench.spec.repetition import ONCE, Repetition

_POLL_S = 1.0


def sweep_on_ray(
    grids: Sequence[Grid],
    output: str | Path,
    where: str,
    progress: Progress | None = None,
    max_cells: int = MAX_CELLS,
    repetition: Repetition = ONCE,
    isolation: Isolation = TOGETHER,
    *,
    share_nodes: bool = False,
    node_wait_s: float = NODE_WAIT_S,
) -> SweepOutcome:
    """Measure every cell of `grids` that `output` does not hold yet, on the nodes of a cluster.

    `where` is what `gpubench.launch.ray.cluster.parse_on` returns. A cell that fails, or whose node
    is lost too often, is stored with its error, and the sweep continues. On Ctrl-C every cell that
    a node has measured is stored, the cells in work are not, and the sweep ends.

    Raises InputError before anything is measured: if a cell is not valid or no node can measure it,
    if the cluster cannot be reached or its versions differ, if the directory cannot be written.
    Raises GpubenchError if it can no longer be written.
    """
    progress = progress or Progress()
    asked = asked_cells(grids, max_cells)
    directory = open_run(output)
    settings = NodeSettings(
        isolate=isolation.isolate, max_cell_s=isolation.max_cell_s, fresh=repetition.fresh
    )
    with (
        connected(where) as cluster,
        NodeProcesses(
            cluster,
            wanted_instances(asked),
            settings,
            others=not names_all_instances(asked),
            exclusive=not share_nodes,
        ) as processes,
    ):
        if not cluster.nodes():
            raise InputError(
                "--on ray: the cluster has no node with CPUs or GPUs for work; add one (ray start)"
            )
        message = ASKED.dump_json(asked, exclude_unset=True)
        types = chosen_types(_node_types(message, processes, progress))
        plan = plan_cells(asked, types)
        for process in list(processes.all):
            if process.identity not in plan.cells:
                progress.node_told(process.name, f"left out: {NO_CELL}")
                processes.leave_out(process)
        wanted = {
            RepeatedCell(cell, cell.spec.key(identity), directory): identity
            for identity, cells in plan.cells.items()
            for cell in cells
        }
        with directory.locked():
            directory.check_writable()
            measuring = {each.identity: each for each in types if each.identity in plan.cells}
            sweep = RaySweep(processes, wanted, measuring, message, progress, node_wait_s)
            complete = sweep.measure(repetition, plan.skipped)
    return SweepOutcome(stored_results(list(wanted), directory, complete), not complete)


def _node_types(asked: bytes, processes: NodeProcesses, progress: Progress) -> list[NodeType]:
    """Ask every node what it is and what it can measure.

    Raises InputError if the software of a node differs, if nodes that should be equal answer
    differently, or if no node is free.
    """
    processes.start_missing()
    lost: list[str] = []
    while any(each.pending is not None for each in processes.all):
        processes.wait(_POLL_S)
        for event in processes.events():
            process = event.process
            if event.what == "lost":
                processes.leave_out_node(process.node)
                progress.node_told(process.name, f"left out: {event.reason}")
                lost.append(f"{process.name}: {event.reason}")
            elif event.what == "joined":
                if reason := refusal(process.known_facts, process.instance):
                    raise InputError(f"--on ray: node {process.name}: {reason}")
                if hint := remark(process.known_facts):
                    progress.node_told(process.name, hint)
                processes.plan(process, asked)
    if lost and not processes.all:
        raise InputError(f"--on ray: no node can measure; {'; '.join(lost[:3])}")
    alike: dict[str, list[NodeProcess]] = defaultdict(list)
    for process in processes.all:
        first = (alike[process.identity] or [process])[0]
        alike[process.identity].append(process)
        if reason := other_answer(process.answers, first.answers):
            raise InputError(f"--on ray: node {process.name}: {reason}; make the nodes alike")
    return [
        NodeType(each[0].known_facts.machine, len(each), each[0].answers) for each in alike.values()
    ]
