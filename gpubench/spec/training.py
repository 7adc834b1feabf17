"""The settings of a training step: which it has, and which belong to an inference only.

`--task train` measures one optimiser step as the request. A closed loop with one client and one
worker sends the steps, because a step needs the weights that the previous step has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubench.registry import ModelEntry

if TYPE_CHECKING:
    from gpubench.spec.spec import Spec

TRAINING_RUNTIMES = ("eager", "compile")
TRAINING_PRECISIONS = ("fp32", "tf32", "amp", "bf16")

# Settings that belong to --task train.
TRAINING_FIELDS = ("optimizer", "accumulate", "checkpointing", "replicas", "dataset_size")

# Settings of an inference, and the only value that each may have in training, beside none. The
# settings of an open loop are not here: their message is another one.
_OF_INFERENCE: dict[str, object] = {
    "clients": 1,
    "workers": 1,
    "depth": 1,
    "dynamic_batch": None,
    "eval": None,
    "sparsity": "none",
    "server": None,
}


def trainable(known: ModelEntry) -> bool:
    """Whether a kind of models is a Python module: a file of another format has no gradients."""
    return known.file is not None and known.runtimes is None


def problem(spec: Spec, known: ModelEntry) -> tuple[str, str] | None:
    """(setting, what is wrong with it) if the settings of training do not fit; None if they do."""
    if spec.task != "train":
        for name in TRAINING_FIELDS:
            if getattr(spec, name) not in (None, False):
                return name, "it belongs to a training step; use gpubench train, or remove it"
        return None
    if not trainable(known):
        return "model", (
            f"{spec.model} cannot be trained; give a preset, module:function, FILE.py:function, "
            "hub:ID or a Hugging Face folder"
        )
    if spec.runtime not in TRAINING_RUNTIMES:
        return "runtime", f"a training step runs with {' or '.join(TRAINING_RUNTIMES)}"
    if spec.precision not in TRAINING_PRECISIONS:
        return "precision", (
            f"{spec.precision} is not for training, whose weights are fp32; use "
            f"{', '.join(TRAINING_PRECISIONS[:-1])} or {TRAINING_PRECISIONS[-1]}"
        )
    if spec.open_loop:
        name = "rate" if spec.rate is not None else "arrivals"
        return name, "training steps follow one another without a rate; remove it"
    for name, only in _OF_INFERENCE.items():
        if getattr(spec, name) not in (None, only):
            return name, "training is one client that sends one step after another; remove it"
    return None
