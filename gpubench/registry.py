"""The names of models and runtimes, and the module with the code of each.

Every command reads these tables, so this file imports no other file of gpubench. The module that
loads a model or builds an engine is imported only when one is measured. To add a model or a
runtime, write one file like those in `models/` or `engines/`, and add its line here (see
docs/extending.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ModelEntry:
    """A model with a name, or a kind of users' models, whose names have the same form."""

    file: str | None  # module with load(spec) -> LoadedModel; None: the core simulates it
    seq_len: int | None = None  # default tokens per sequence; None: its inputs are not text
    max_seq_len: int | None = None
    runs_code: bool = False  # loading it runs code from the user's files
    has_weights: bool = False  # it contains its own weights
    takes_shape: bool = False  # it does not describe its inputs, so a shape is given
    has_dims: bool = False  # it describes its inputs, and dimensions may be free
    takes_inputs_file: bool = False  # requests can be made from arrays in a file
    runtimes: tuple[str, ...] | None = None  # None: all; the first is the default
    # Module with refusal(spec) -> str | None. It reads the file of the model without importing
    # torch, and is called before anything is loaded.
    checks: str | None = None
    states_precision: bool = True  # False: the precision of the file is unknown
    convolutional: bool = False  # most of its operations are convolutions
    input_names: tuple[str, ...] = ()  # the inputs of its module, in order; empty: not known here


_BERT = ModelEntry(
    "gpubench.models.bert",
    seq_len=128,
    max_seq_len=512,
    input_names=("input_ids", "attention_mask", "token_type_ids"),
)
MODELS: dict[str, ModelEntry] = {
    "bert-base": _BERT,
    "bert-large": _BERT,
    "distilbert": replace(_BERT, input_names=_BERT.input_names[:2]),
    "resnet50": ModelEntry("gpubench.models.resnet", convolutional=True, input_names=("x",)),
    "synthetic": ModelEntry(None),
}

# A user's own models, by a regular expression for the value of --model.
_FUNCTION = ModelEntry(
    "gpubench.models.own", runs_code=True, has_weights=True, checks="gpubench.models.own_source"
)
_FUNCTION_NAMES = (
    r"(?!hub:|kserve:).+\.py:[A-Za-z_]\w*",
    r"(?!hub:|kserve:)[A-Za-z_][\w.]*:[A-Za-z_]\w*",
)
_OWN: dict[str, ModelEntry] = {
    r"kserve:[^/]+": ModelEntry(
        "gpubench.models.served",
        has_weights=True,
        has_dims=True,
        takes_inputs_file=True,
        runtimes=("kserve",),
        checks="gpubench.models.served_requests",
    ),
    **dict.fromkeys(_FUNCTION_NAMES, _FUNCTION),
    r"(?i:.+\.(pt|pth|ts|jit))": ModelEntry(
        "gpubench.models.torchscript_file",
        runs_code=True,
        has_weights=True,
        takes_shape=True,
        takes_inputs_file=True,
        runtimes=("torchscript", "eager", "kserve"),
        checks="gpubench.models.torch_archive",
    ),
    r"(?i:.+\.onnx)": ModelEntry(
        "gpubench.models.onnx_file",
        has_weights=True,
        has_dims=True,
        takes_inputs_file=True,
        runtimes=("onnxruntime", "tensorrt", "tensorrt-rtx", "openvino", "kserve"),
        checks="gpubench.models.onnx_requests",
    ),
    r"(?i:.+\.plan)": ModelEntry(
        "gpubench.engines.tensorrt.plan_file",
        runs_code=True,
        has_weights=True,
        runtimes=("tensorrt", "tensorrt-rtx"),
        states_precision=False,
    ),
    r"hub:.+|(?!kserve:).+/": ModelEntry(
        "gpubench.models.huggingface",
        seq_len=128,
        max_seq_len=1 << 20,
        takes_inputs_file=True,
        checks="gpubench.models.huggingface_folder",
    ),
}


def model_entry(model: str) -> ModelEntry | None:
    """The entry of a model, found by its name. None if it is not the name of a model."""
    if model in MODELS:
        return MODELS[model]
    matching = (own for form, own in _OWN.items() if re.fullmatch(form, model))
    return next(matching, None)


def is_function(name: str) -> bool:
    """Whether a setting names a function: FILE.py:function or module:function."""
    return any(re.fullmatch(form, name) for form in _FUNCTION_NAMES)


def local_path(model: str) -> str | None:
    """The file or folder in the name of a user's own model. None if the name has none."""
    if model in MODELS or model.startswith(("hub:", "kserve:")):
        return None
    if re.fullmatch(r"(?i:.+\.(pt|pth|ts|jit|onnx|plan))|.+/", model):
        return model
    place, _, _ = model.rpartition(":")
    return place if place.endswith(".py") else None


@dataclass(frozen=True)
class RuntimeEntry:
    """A runtime: the software that executes a model."""

    file: str  # module with build(model, cell) -> Engine and refusal(cell) -> str | None
    # Its machine code depends on the number of workers and threads.
    compiled_for_workers: bool = False
    # Its engines are built for the batch sizes that dynamic batching may form.
    built_for_batches: bool = False
    # It captures CUDA graphs itself, in cells with one worker and one batch size.
    captures_itself: bool = False
    # It executes models in the memory format of --memory-format. Others choose a layout themselves.
    takes_memory_format: bool = False
    # The precisions in which it has kernels for 2:4 sparse weights.
    sparse_precisions: tuple[str, ...] = ()
    # The developers of gpubench have run it on a real GPU: docs/cuda.md says on which.
    run_on_gpus: bool = False
    # Precisions in which it executes an fp32 ONNX file, besides tf32, int8 and fp8.
    of_fp32_files: tuple[str, ...] = ()
    # Its own names of accelerators that are no NVIDIA GPUs, such as "tpu", for --device. Its file
    # finds out whether the machine has them.
    accelerators: tuple[str, ...] = ()
    # Its CPU threads sleep while they wait for work, so idle ones show nothing about the harness.
    threads_sleep: bool = False


RUNTIMES: dict[str, RuntimeEntry] = {
    "eager": RuntimeEntry(
        "gpubench.engines.eager",
        takes_memory_format=True,
        sparse_precisions=("fp16", "bf16"),
        run_on_gpus=True,
    ),
    "torchscript": RuntimeEntry(
        "gpubench.engines.torchscript", takes_memory_format=True, run_on_gpus=True
    ),
    "compile": RuntimeEntry(
        "gpubench.engines.compile",
        compiled_for_workers=True,
        takes_memory_format=True,
        run_on_gpus=True,
    ),
    "aotinductor": RuntimeEntry(
        "gpubench.engines.aotinductor", compiled_for_workers=True, run_on_gpus=True
    ),
    "onnxruntime": RuntimeEntry("gpubench.engines.onnxruntime", captures_itself=True),
    "executorch": RuntimeEntry("gpubench.engines.executorch"),
    "tensorrt": RuntimeEntry(
        "gpubench.engines.tensorrt.engine",
        built_for_batches=True,
        sparse_precisions=("fp16", "bf16", "int8"),
    ),
    "tensorrt-rtx": RuntimeEntry("gpubench.engines.tensorrt.engine", built_for_batches=True),
    "openvino": RuntimeEntry(
        "gpubench.engines.openvino.engine",
        compiled_for_workers=True,
        built_for_batches=True,
        of_fp32_files=("bf16", "fp16"),
        accelerators=("igpu", "npu"),
    ),
    "kserve": RuntimeEntry("gpubench.engines.kserve"),
    "neuron": RuntimeEntry("gpubench.engines.neuron", accelerators=("neuron",)),
    # Its pool of CPU threads is that of all workers.
    "jax": RuntimeEntry("gpubench.engines.jax", compiled_for_workers=True, accelerators=("tpu",)),
    "xla": RuntimeEntry(
        "gpubench.engines.xla",
        compiled_for_workers=True,  # a process of torch_xla has one number of threads
        accelerators=("tpu",),
        threads_sleep=True,
    ),
}
