"""What a model takes: --input-shape and --dim read, and the inputs of a request as they follow.

It imports nothing of torch, so that settings are checked before anything is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpubench.spec.dtypes import BY_NAME

# One input of one sample: its sizes, its format, and the value of all its elements.
_PART = re.compile(
    r"(?P<sizes>scalar|[1-9][0-9]{0,9}(?:x[1-9][0-9]{0,9})*)"
    r"(?::(?P<dtype>\w+))?(?:=(?P<value>[-+.\w]+))?",
    re.ASCII,
)
_DIM = re.compile(r"(?P<name>[^=]+)=(?P<size>[1-9][0-9]{0,9})", re.ASCII)

SHAPE_HELP = "write it like 3x224x224 or 128:int64+128:int64, one sample without the batch"
DIM_HELP = "write it like time=50, and several like time=50+mels=80"


@dataclass(frozen=True)
class GivenInput:
    """One part of --input-shape."""

    sizes: tuple[int, ...] | None  # None: a single number, which every request has alike
    dtype: str | None  # None: not written
    value: float | None  # of all elements; None: random


@dataclass(frozen=True)
class RequestInput:
    """One input of the requests that are made for a model."""

    name: str
    dtype: str  # see gpubench.spec.dtypes
    sizes: tuple[int, ...]  # the batch left out
    axis: int | None = 0  # the dimension of the batch; None: every request has the same shape
    value: float | None = None  # of all elements; None: random

    def shape(self, samples: int) -> tuple[int, ...]:
        if self.axis is None:
            return self.sizes
        return (*self.sizes[: self.axis], samples, *self.sizes[self.axis :])


@dataclass(frozen=True)
class Request:
    """The inputs of a request, in the model's order."""

    inputs: tuple[RequestInput, ...]
    fixed_batch: int | None = None  # the only number of samples that it may have; None: any

    @property
    def joinable(self) -> bool:
        """Whether requests can be joined to a larger one: the batch is first in every input."""
        return self.fixed_batch is None and all(put.axis == 0 for put in self.inputs)


def parse_input_shape(text: str) -> tuple[GivenInput, ...]:
    """The inputs in order. Raises ValueError with what is wrong and how it is written."""
    return tuple(map(_given_input, text.split("+")))


def _given_input(part: str) -> GivenInput:
    match = _PART.fullmatch(part.strip())
    if match is None:
        raise ValueError(f"'{part}' is not a shape; {SHAPE_HELP}")
    dtype, value = match["dtype"], match["value"]
    if dtype is not None and dtype not in BY_NAME:
        raise ValueError(f"'{dtype}' is not a format; choose from {', '.join(BY_NAME)}")
    if match["sizes"] == "scalar" and value is None:
        raise ValueError(f"'{part}' has no value; write a single number like scalar:int64=16000")
    sizes = None if match["sizes"] == "scalar" else tuple(map(int, match["sizes"].split("x")))
    return GivenInput(sizes, dtype, None if value is None else _number(value, dtype))


def _number(text: str, dtype: str | None) -> float:
    try:
        number = {"true": 1.0, "false": 0.0}.get(text.lower())
        number = float(text) if number is None else number
    except ValueError:
        raise ValueError(f"'{text}' is not a number; write it like scalar:int64=16000") from None
    whole = math.isfinite(number) and number == int(number)
    if dtype is not None and BY_NAME[dtype].kind != "float" and not whole:
        raise ValueError(f"'{text}' is not of {dtype}, which has whole numbers; give one")
    return number


def parse_dims(value: str | Mapping[str, object]) -> dict[str, int]:
    """The sizes of named dimensions, from 'time=50+mels=80' or from a mapping of YAML.

    Raises ValueError with what is wrong and how it is written.
    """
    if isinstance(value, Mapping):
        value = "+".join(f"{name}={size}" for name, size in value.items())
    dims: dict[str, int] = {}
    for part in re.split("[+,]", value):
        match = _DIM.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"'{part}' is not a dimension with its size; {DIM_HELP}")
        if match["name"] in dims:
            raise ValueError(f"{match['name']} is given twice; give it once")
        dims[match["name"]] = int(match["size"])
    return dims


def dims_text(dims: Mapping[str, int]) -> str:
    """How sizes are kept among the settings: always in the same order."""
    return "+".join(f"{name}={dims[name]}" for name in sorted(dims))
