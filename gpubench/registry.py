"""The models and the runtimes that gpubench knows by name, and where the code for each lives.

Every command reads these tables, so this file imports no other file of gpubench. The file that
loads a model or builds an engine is imported only when one is measured. To add a model or a
runtime, write one file like those in `models/` or `engines/`, and add its line here (see
docs/extending.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelEntry:
    """A model by name, or a family of users' models by the form of their names."""

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


MODELS: dict[str, ModelEntry] = {
    "bert-base": ModelEntry("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "bert-large": ModelEntry("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "distilbert": ModelEntry("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "resnet50": ModelEntry("gpubench.models.resnet", convolutional=True),
    "synthetic": ModelEntry(None),
}

# A user's own models, by what is written for --model.
_FUNCTION = ModelEntry(
    "gpubench.models.own", runs_code=True, has_weights=True, checks="gpubench.models.own_source"
)
_OWN: dict[str, ModelEntry] = {
    r"(?!hub:).+\.py:[A-Za-z_]\w*": _FUNCTION,
    r"(?!hub:)[A-Za-z_][\w.]*:[A-Za-z_]\w*": _FUNCTION,
    r"(?i:.+\.(pt|pth|ts|jit))": ModelEntry(
        "gpubench.models.torchscript_file",
        runs_code=True,
        has_weights=True,
        takes_shape=True,
        takes_inputs_file=True,
        runtimes=("torchscript", "eager"),
        checks="gpubench.models.torch_archive",
    ),
    r"(?i:.+\.onnx)": ModelEntry(
        "gpubench.models.onnx_file",
        has_weights=True,
        has_dims=True,
        takes_inputs_file=True,
        runtimes=("onnxruntime", "tensorrt", "tensorrt-rtx"),
        checks="gpubench.models.onnx_signature",
    ),
    r"(?i:.+\.plan)": ModelEntry(
        "gpubench.engines.tensorrt.plan_file",
        runs_code=True,
        has_weights=True,
        runtimes=("tensorrt", "tensorrt-rtx"),
        states_precision=False,
    ),
    r"hub:.+|.+/": ModelEntry(
        "gpubench.models.huggingface",
        seq_len=128,
        max_seq_len=1 << 20,
        takes_inputs_file=True,
        checks="gpubench.models.huggingface_folder",
    ),
}


def model_entry(model: str) -> ModelEntry | None:
    """What is known of `model` by its name alone; None where it is not the name of a model."""
    if model in MODELS:
        return MODELS[model]
    matching = (own for form, own in _OWN.items() if re.fullmatch(form, model))
    return next(matching, None)


def local_path(model: str) -> str | None:
    """The file or folder that the name of a user's own model points to; None where it does not."""
    if model in MODELS or model.startswith("hub:"):
        return None
    if re.fullmatch(r"(?i:.+\.(pt|pth|ts|jit|onnx|plan))|.+/", model):
        return model
    place, _, _ = model.rpartition(":")
    return place if place.endswith(".py") else None


@dataclass(frozen=True)
class RuntimeEntry:
    """A runtime: what executes a model."""

    file: str  # module with build(model, cell) -> Engine and refusal(cell) -> str | None
    # Its machine code is made for the number of workers and of threads that will run it.
    compiled_for_workers: bool = False
    # Its engines are made for the batch sizes that dynamic batching may form.
    built_for_batches: bool = False


RUNTIMES: dict[str, RuntimeEntry] = {
    "eager": RuntimeEntry("gpubench.engines.eager"),
    "torchscript": RuntimeEntry("gpubench.engines.torchscript"),
    "compile": RuntimeEntry("gpubench.engines.compile", compiled_for_workers=True),
    "aotinductor": RuntimeEntry("gpubench.engines.aotinductor", compiled_for_workers=True),
    "onnxruntime": RuntimeEntry("gpubench.engines.onnxruntime"),
    "tensorrt": RuntimeEntry("gpubench.engines.tensorrt.engine", built_for_batches=True),
    "tensorrt-rtx": RuntimeEntry("gpubench.engines.tensorrt.engine", built_for_batches=True),
}
