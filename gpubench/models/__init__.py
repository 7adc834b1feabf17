"""The models that gpubench knows by name.

This table is read by every command, so it imports nothing: the file that loads a model is imported
only when the model is measured. To add a model, write one file with a `load` function like those
beside this one, and add its line here (see docs/extending.md).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubench.spec import Spec


@dataclass(frozen=True)
class Preset:
    """One model by name, or a family of a user's own models by the form of their names."""

    file: str | None  # module with load(spec) -> LoadedModel; None: the core makes it up itself
    seq_len: int | None = None  # default tokens per sequence; None: the model takes no text
    max_seq_len: int | None = None
    runs_code: bool = False  # loading it runs code that the name points to
    has_weights: bool = False  # they come with it
    takes_shape: bool = False  # it does not say what its inputs look like
    has_dims: bool = False  # it says so, and may leave dimensions free
    takes_inputs_file: bool = False  # requests can be made of arrays in a file
    runtimes: tuple[str, ...] | None = None  # None: all; the first one is taken where none is given
    # Module with refusal(spec) -> str | None: what can be refused by looking at the model's file,
    # without importing torch. It is asked before anything is loaded.
    checks: str | None = None
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
_FUNCTION = Preset(
    "gpubench.models.own", runs_code=True, has_weights=True, checks="gpubench.models.own_source"
)
_OWN: dict[str, Preset] = {
    r"(?!hub:).+\.py:[A-Za-z_]\w*": _FUNCTION,
    r"(?!hub:)[A-Za-z_][\w.]*:[A-Za-z_]\w*": _FUNCTION,
    r"(?i:.+\.(pt|pth|ts|jit))": Preset(
        "gpubench.models.torchscript_file",
        runs_code=True,
        has_weights=True,
        takes_shape=True,
        takes_inputs_file=True,
        runtimes=("torchscript", "eager"),
        checks="gpubench.models.torch_archive",
    ),
    r"(?i:.+\.onnx)": Preset(
        "gpubench.models.onnx_file",
        has_weights=True,
        has_dims=True,
        takes_inputs_file=True,
        runtimes=("onnxruntime", "tensorrt", "tensorrt-rtx"),
        checks="gpubench.models.onnx_signature",
    ),
    r"(?i:.+\.plan)": Preset(
        "gpubench.models.plan_file",
        runs_code=True,
        has_weights=True,
        runtimes=("tensorrt", "tensorrt-rtx"),
        states_precision=False,
    ),
    r"hub:.+|.+/": Preset(
        "gpubench.models.huggingface",
        seq_len=128,
        max_seq_len=1 << 20,
        takes_inputs_file=True,
        checks="gpubench.models.huggingface_folder",
    ),
}


def preset(model: str) -> Preset | None:
    """What is known of `model` by its name alone; None where it is no name of a model."""
    if model in MODELS:
        return MODELS[model]
    matching = (own for form, own in _OWN.items() if re.fullmatch(form, model))
    return next(matching, None)


def needs_code(spec: Spec) -> str | None:
    """Why loading the spec's model runs code that somebody else may have written.

    None where it runs none but gpubench's and that of installed libraries. Asked of the parsed
    settings, so that it does not matter how they were written.
    """
    known = preset(spec.model)
    if known is None or known.runs_code:
        return f"{spec.model} runs code"
    return brings_code(spec)


def brings_code(spec: Spec) -> str | None:
    """As `needs_code`, where the name of the model does not show it: in a folder's config.json."""
    from gpubench.models.huggingface_folder import code_in, read_config

    for folder in (spec.model, spec.weights):
        config = read_config(Path(folder)) if os.path.isdir(folder) else None
        if config is not None and (code := code_in(config)):
            return f"the config.json of {folder} {code}"
    return None


def local_path(model: str) -> str | None:
    """The file or folder that the name of a user's own model points to; None where it does not."""
    if model in MODELS or model.startswith("hub:"):
        return None
    if re.fullmatch(r"(?i:.+\.(pt|pth|ts|jit|onnx|plan))|.+/", model):
        return model
    place, _, _ = model.rpartition(":")
    return place if place.endswith(".py") else None
