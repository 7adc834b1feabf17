"""The models that gpubench knows by name.

This table is read by every command, so it imports nothing: the file that loads a model is imported
only when the model is measured. To add a model, write one file with a `load` function like those
beside this one, and add its line here (see docs/extending.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """One model by name, or a family of a user's own models by the form of their names."""

    file: str | None  # module with load(spec) -> LoadedModel; None: the core makes it up itself
    seq_len: int | None = None  # default tokens per sequence; None: the model takes no text
    max_seq_len: int | None = None
    runs_code: bool = False  # loading it runs code that the name points to
    has_weights: bool = False  # they come with it
    takes_shape: bool = False  # it does not say what its inputs look like
    runtimes: tuple[str, ...] | None = None  # None: all
    states_precision: bool = True  # False: a file made in one, which only its maker knows
    convolutional: bool = False  # most of its operations are convolutions


MODELS: dict[str, Preset] = {
    "bert-base": Preset("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "bert-large": Preset("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "distilbert": Preset("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "resnet50": Preset("gpubench.models.resnet", convolutional=True),
    "synthetic": Preset(None),
}

# A user's own models, by what is written for --model.
_OWN: dict[str, Preset] = {
    r"(?!hub:).+\.py:[A-Za-z_]\w*": Preset("gpubench.models.own", runs_code=True, has_weights=True),
    r"(?!hub:)[A-Za-z_][\w.]*:[A-Za-z_]\w*": Preset(
        "gpubench.models.own", runs_code=True, has_weights=True
    ),
    r".+\.(pt|ts)": Preset(
        "gpubench.models.torchscript_file",
        runs_code=True,
        has_weights=True,
        takes_shape=True,
        runtimes=("torchscript", "eager"),
    ),
    r".+\.onnx": Preset(
        "gpubench.models.onnx_file",
        has_weights=True,
        runtimes=("onnxruntime", "tensorrt", "tensorrt-rtx"),
    ),
    r".+\.plan": Preset(
        "gpubench.models.plan_file",
        runs_code=True,
        has_weights=True,
        runtimes=("tensorrt", "tensorrt-rtx"),
        states_precision=False,
    ),
    r"hub:.+|.+/": Preset("gpubench.models.huggingface", seq_len=128, max_seq_len=1 << 20),
}


def preset(model: str) -> Preset | None:
    """What is known of `model` by its name alone; None where it is no name of a model."""
    if model in MODELS:
        return MODELS[model]
    matching = (own for form, own in _OWN.items() if re.fullmatch(form, model))
    return next(matching, None)


def local_path(model: str) -> str | None:
    """The file or folder that the name of a user's own model points to; None where it does not."""
    if model in MODELS or model.startswith("hub:"):
        return None
    if re.fullmatch(r".+\.(pt|ts|onnx|plan)|.+/", model):
        return model
    place, _, _ = model.rpartition(":")
    return place if place.endswith(".py") else None
