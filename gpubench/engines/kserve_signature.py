"""Matches the inputs and outputs of a model with those that a server describes.

By name if both have the same names, otherwise by order. Numbers are converted within their kind:
int64 to INT32, float32 to FP16. Anything else that differs is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors, torch_dtype
from gpubench.models.labelled_data import input_names
from gpubench.serving.describe import PROTOCOL_NAMES, ServedModel, ServedTensor
from gpubench.spec.dtypes import BY_NAME


@dataclass(frozen=True)
class SentInput:
    """An input as it is sent. It is the input of the model at `place`."""

    place: int
    name: str
    datatype: str  # as the protocol names it
    dtype: torch.dtype


def sent_inputs(model: LoadedModel, example: Tensors, served: ServedModel) -> tuple[SentInput, ...]:
    """How each input of the model is sent, in the order of the model.

    `example` is a request of the model. Raises GpubenchError, with both signatures, if the server
    takes other inputs.
    """
    names = input_names(model, len(example))
    ours = [_as_served(name, tensor) for name, tensor in zip(names, example, strict=True)]
    if not served.inputs:  # the server does not describe them
        theirs = list(ours)
    elif {each.name for each in served.inputs} == set(names):
        by_name = {each.name: each for each in served.inputs}
        theirs = [by_name[name] for name in names]
    else:
        theirs = list(served.inputs)
    if len(ours) != len(theirs) or not all(map(_fits, example, ours, theirs)):
        raise GpubenchError(
            f"--server: the model takes {_listed(ours)}, and {served.name} on the server takes "
            f"{_listed(served.inputs)}; serve the same model, or change --batch, --seq-len or "
            "--input-shape"
        )
    return tuple(
        SentInput(place, each.name, each.datatype, torch_dtype(each.dtype.name))
        for place, each in enumerate(theirs)
        if each.dtype is not None
    )


def _as_served(name: str, tensor: torch.Tensor) -> ServedTensor:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return ServedTensor(name, PROTOCOL_NAMES.get(dtype, dtype), tuple(tensor.shape))


def _fits(tensor: torch.Tensor, ours: ServedTensor, theirs: ServedTensor) -> bool:
    """Whether the server takes the input."""
    given = BY_NAME.get(str(tensor.dtype).removeprefix("torch."))
    if given is None or theirs.dtype is None or given.kind != theirs.dtype.kind:
        return False
    if given.kind == "integer":
        limits = torch.iinfo(torch_dtype(theirs.dtype.name))
        if tensor.numel() and not (
            limits.min <= int(tensor.min()) and int(tensor.max()) <= limits.max
        ):
            return False
    return len(ours.dims) == len(theirs.dims) and all(
        taken in {None, size} for size, taken in zip(ours.dims, theirs.dims, strict=True)
    )


def received_outputs(model: LoadedModel, served: ServedModel) -> tuple[str, ...]:
    """The names of the outputs, in the order of the model.

    Empty if the server does not describe them: they are then taken in the order of its answers.
    Outputs that are text are left out. Raises GpubenchError if no other is left, and for BF16,
    which NumPy does not have.
    """
    names = [each.name for each in served.outputs if each.datatype != "BYTES"]
    if any(each.datatype == "BF16" for each in served.outputs) or (served.outputs and not names):
        raise GpubenchError(
            f"--server: {served.name} returns {_listed(served.outputs)}, and NumPy has no such "
            "numbers; serve a model that returns FP32 or FP16"
        )
    if set(names) == set(model.output_names):
        return model.output_names
    return tuple(names)


def _listed(tensors: tuple[ServedTensor, ...] | list[ServedTensor]) -> str:
    return " and ".join(map(str, tensors)) or "nothing"
