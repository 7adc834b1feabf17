"""Which cells of a sweep are measured on which nodes of a Ray cluster.

Nodes with equal `Machine.identity` are a node type; they share cells. A cell that names instances
is measured once on each of these types of instance. Any other cell is measured once on each node
type that can measure it. So a table has one row for each machine that could be rented.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpubench.cells.grid import Grid, expand, refuse_too_many
from gpubench.cells.resolve import cell_of
from gpubench.errors import InputError
from gpubench.launch.ray.messages import AskedCell, NodeAnswer
from gpubench.pricing.cost import check_machines
from gpubench.pricing.names import parse_price_name
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine

_MOST_REASONS = 3  # in one error


@dataclass(frozen=True, eq=False)
class NodeType:
    """The nodes whose machines are equal, and what they say about each asked cell."""

    machine: Machine
    nodes: int
    answers: Sequence[NodeAnswer]

    @property
    def identity(self) -> str:
        return self.machine.identity

    @property
    def instance(self) -> str | None:
        return self.machine.instance

    @property
    def name(self) -> str:
        """For people."""
        return self.instance or self.identity


@dataclass(frozen=True)
class ClusterPlan:
    """What the cluster measures."""

    cells: dict[str, list[Cell]]  # by the identity of the node type; all different
    skipped: dict[str, int]  # why cells are left out -> how many


def asked_cells(grids: Sequence[Grid], max_cells: int) -> list[AskedCell]:
    """Every cell of the grids, before any machine has been asked.

    Raises InputError if a cell is not valid, if there are more than `max_cells`, or if the price of
    an instance is not known.
    """
    refuse_too_many(grids, max_cells)
    asked = []
    for grid in grids:
        for spec in expand(grid):
            check_machines(spec)
            asked.append(
                AskedCell(
                    spec=spec,
                    allow_code=spec.allow_code,
                    origin=grid.origin,
                    only_on=grid.only_on,
                    skip_unavailable=grid.skip_unavailable,
                )
            )
    return asked


def wanted_instances(asked: Iterable[AskedCell]) -> frozenset[str]:
    """The types of instance that the sweep names: "g5.xlarge", without provider or region."""
    prices = {name for each in asked for name in each.spec.instance}
    return frozenset(parse_price_name(name).instance for name in prices)


def names_all_instances(asked: Iterable[AskedCell]) -> bool:
    """Whether no cell is for other machines than those that the sweep names."""
    return all(each.spec.instance for each in asked)


def chosen_types(types: Iterable[NodeType]) -> list[NodeType]:
    """The node types that measure. Of those of the same instance, it is the one with most nodes.

    A cloud sells different processors as one type of instance.
    """
    by_instance: dict[str, NodeType] = {}
    for each in sorted(types, key=lambda each: (-each.nodes, each.identity)):
        by_instance.setdefault(each.name, each)
    return sorted(by_instance.values(), key=lambda each: each.identity)


def plan_cells(asked: Sequence[AskedCell], types: Sequence[NodeType]) -> ClusterPlan:
    """The cells of each node type.

    Raises InputError, which lists what no node can measure, and if nothing is left to measure.
    """
    types = sorted(types, key=lambda type_: type_.name)
    found: dict[str, dict[Spec, Cell]] = {each.identity: {} for each in types}
    skipped: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for number, each in enumerate(asked):
        reasons = _absent(each, types) if each.spec.instance else []
        is_measured = False
        for type_ in types:
            answer = type_.answers[number]
            if answer.refusal is not None:
                reasons.append(f"{answer.refusal} (on {type_.name})")
            if answer.cell is not None:
                spec = answer.cell.model_copy(update={"allow_code": each.allow_code})
                found[type_.identity].setdefault(spec, cell_of(spec))
                is_measured = True
        # Of a cell that names no instance, it is enough that one node type measures it.
        if each.skip_unavailable or (is_measured and not each.spec.instance):
            skipped.update(reasons)
        else:
            refused.update(f"{each.origin}: {reason}" for reason in reasons)
    if refused:
        raise InputError(_listed(refused))
    plan = ClusterPlan(
        {name: list(cells.values()) for name, cells in found.items() if cells}, skipped
    )
    if not plan.cells:
        raise InputError(
            "this sweep has no cell for the nodes of this cluster; see its only_on and "
            "unavailable, or give another --device or --precision"
        )
    return plan


def _absent(asked: AskedCell, types: Sequence[NodeType]) -> list[str]:
    """One line for each type of instance that the cell names and that no node is."""
    present = {each.instance for each in types}
    wanted = sorted(wanted_instances([asked]))
    return [
        f"no node is a {name}; add one to the cluster, or label the nodes that are"
        for name in wanted
        if name not in present
    ]


def _listed(refused: Counter[str]) -> str:
    """One line. `refused` counts the cells of each reason."""
    reasons = list(refused)
    shown = "; ".join(reasons[:_MOST_REASONS])
    rest = len(reasons) - _MOST_REASONS
    more = f"; and {rest} more reasons" if rest > 0 else ""
    return f"no node of the cluster can measure {refused.total()} of the cells: {shown}{more}"
