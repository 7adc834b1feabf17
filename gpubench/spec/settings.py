"""The types of all settings, as a program or a person writes them.

`Spec(...)`, `gpubench.run(...)` and `gpubench.search(...)` take these keywords. Editors complete
them and type checkers check them. `spec.py` has what each one means, and its limits.
"""

# Without `from __future__ import annotations`: with it, Required has no effect at run time.
from typing import Literal, Required, TypeAlias, TypedDict

# fp64 is what some ONNX files compute in; nothing is converted to it.
Precision = Literal["fp32", "tf32", "amp", "fp16", "bf16", "int8", "fp8", "fp64"]
MemoryFormat = Literal["contiguous", "channels_last"]
Sparsity = Literal["none", "2:4"]
Inputs = Literal["device", "host", "pinned"]
Wait = Literal["spin", "yield", "block"]
ServiceDistribution = Literal["constant", "exponential"]
EvalMetric = Literal["auto", "top1", "f1", "exact-match"]
Task = Literal["inference", "train"]
Optimizer = Literal["adamw", "sgd"]

# Where the inputs are, in a sentence.
INPUTS_ARE: dict[str, str] = {
    "device": "on the device",
    "host": "on the host",
    "pinned": "in pinned memory",
}

Time: TypeAlias = str | float  # "250us" or "2s"; a number is in seconds


class Settings(TypedDict, total=False):
    """The keywords of `Spec`, each with the types that it accepts."""

    model: Required[str]
    weights: str
    input_shape: str | None
    dim: str | dict[str, int] | None
    inputs_file: str | None
    runtime: str
    precision: Precision
    memory_format: MemoryFormat
    sparsity: Sparsity
    batch: int
    seq_len: int | None
    device: str
    server: str | None
    inputs: Inputs
    clients: int | None
    rate: float | None
    arrivals: str
    workers: int | None
    depth: int | None
    threads: int | None
    cpus: str | int | None
    dynamic_batch: str | None
    wait: Wait
    warmup: Time
    cool_to: str | float | None
    duration: Time | None
    requests: int | None
    seed: int
    load_seed: int | None
    allow_emulated: bool
    allow_code: bool
    service_time: Time | None
    service_dist: ServiceDistribution | None
    eval: str | None
    eval_metric: EvalMetric
    max_drop: str | float | None
    instance: str | list[str] | tuple[str, ...]
    usd_per_hour: float | None
    task: Task
    optimizer: Optimizer | None
    accumulate: int | None
    checkpointing: bool
    replicas: int | None
    dataset_size: int | None
