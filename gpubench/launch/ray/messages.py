"""What the program of `sweep --on ray` and its nodes tell each other, as JSON.

Ray itself pickles what it carries. gpubench gives it only bytes, so that neither side depends on
how the classes of the other one look.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, TypeAdapter

from gpubench.results.result import Repeat
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeFacts(_Message):
    """What a node says about itself before it gets anything to do."""

    machine: Machine  # its instance is that of the cloud, or else that of its label in Ray
    versions: dict[str, str | None]  # of the software; None: not installed
    priority: int  # nice value of the process that measures; 0 is the usual one


class NodeSettings(_Message):
    """How the nodes measure, as a person asked for it."""

    isolate: bool  # each engine in a process of its own
    max_cell_s: float
    fresh: bool  # each repeat in a process of its own


class AskedCell(_Message):
    """One cell of the sweep, as it was asked for. A node fills in the defaults."""

    spec: Spec  # `instance` names all prices that are asked for
    allow_code: bool  # of the spec, which leaves it out of documents
    origin: str  # for messages: "sweep.yaml, grid 2"
    only_on: str | None = None  # "cpu" or "cuda": for such machines alone
    skip_unavailable: bool = False


class NodeAnswer(_Message):
    """What a node says about an AskedCell. Both are None if it is for other machines."""

    cell: Spec | None = None  # all defaults are filled in
    refusal: str | None = None  # why this machine cannot measure it


class NodeCell(_Message):
    """One measurement of a job."""

    spec: Spec  # all defaults are filled in
    allow_code: bool
    repeat: Repeat | None  # part of the document; its `process` is replaced


ASKED = TypeAdapter(list[AskedCell])
ANSWERS = TypeAdapter(list[NodeAnswer])
JOB = TypeAdapter(list[NodeCell])
