"""Whether a node of a Ray cluster may measure: its software, its label, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence

from gpubench.launch.ray.messages import NodeAnswer, NodeFacts
from gpubench.launch.ray.node import software_versions


def refusal(facts: NodeFacts, stated_instance: str | None) -> str | None:
    """Why figures of this node would mislead, and the fix; None if they do not.

    `stated_instance` is the type of instance that Ray's description of the node names.
    """
    here, there = software_versions(), facts.versions
    differing = [name for name in here if here[name] != there.get(name)]
    if differing:
        text = ", ".join(f"{name} {there.get(name)} (here {here[name]})" for name in differing)
        return f"it has other versions: {text}; install the same on all nodes and here"
    own = facts.machine.instance
    if stated_instance not in {None, own}:
        return f"it is a {own}, and Ray describes it as {stated_instance}; correct its label"
    return None


def remark(facts: NodeFacts) -> str | None:
    """What may disturb the measurement on this node; None if nothing is known."""
    if facts.priority <= 0:
        return None
    return (
        f"Ray gives its processes a low priority (nice {facts.priority}), so other programs slow "
        "them down; set RAY_worker_niceness=0 where its ray start runs"
    )


def other_answer(answers: Sequence[NodeAnswer], expected: Sequence[NodeAnswer]) -> str | None:
    """Why a node does not fit to the others of its type, which answer as `expected`.

    One of them may lack the file of a model. None if the answers are equal.
    """
    for one, other in zip(answers, expected, strict=True):
        if one != other:
            if one.refusal is not None:
                return f"it cannot measure what other nodes of its type can: {one.refusal}"
            return (
                "it can measure what other nodes of its type cannot: "
                f"{other.refusal or 'its defaults for a cell differ'}"
            )
    return None
