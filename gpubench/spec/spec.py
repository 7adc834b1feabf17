"""What to measure: one cell's settings, and the check of everything a user can type.

A `Spec` is immutable, small and free of torch. It checks what can be checked without looking at the
machine: names, ranges, settings that are mutually exclusive. `gpubench.cells.resolve` fills in the
defaults that depend on the machine, and refuses what this machine cannot do.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Annotated, Any, Literal, NoReturn, Unpack, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gpubench.errors import InputError, nearest
from gpubench.registry import MODELS, RUNTIMES, ModelEntry, is_function, model_entry
from gpubench.spec.cpus import cpus_text, parse_cpus
from gpubench.spec.durations import parse_duration
from gpubench.spec.explain import explain
from gpubench.spec.input_shapes import SHAPE_HELP, dims_text, parse_dims, parse_input_shape
from gpubench.spec.server_url import SERVER_HELP, parse_server_url
from gpubench.spec.settings import (
    EvalMetric,
    Inputs,
    MemoryFormat,
    Optimizer,
    Precision,
    ServiceDistribution,
    Settings,
    Sparsity,
    Task,
    Wait,
)
from gpubench.spec.share import parse_share
from gpubench.spec.temperatures import parse_celsius
from gpubench.spec.training import problem, trainable

# Settings that put a price on a measurement and change nothing in it.
PRICING_FIELDS = frozenset({"instance", "usd_per_hour", "dataset_size"})

MOST_SAMPLES = 65536  # in one batch
MOST_USD_PER_HOUR = 1e9

_DYNAMIC_BATCH = re.compile(r"([0-9]{1,9}):(.+)")
_DEVICE = re.compile("auto|cpu|all|cuda|cuda:[0-9]{1,4}(,cuda:[0-9]{1,4})*")


def _duration_or_none(value: Any) -> Any:
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{problem}", {"problem": str(error)}) from None


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):  # yes, no, on, off in YAML; pydantic would take them for 1 and 0
        raise PydanticCustomError("number", "give a number, like 8")
    return value


def _parsed(parse: Callable[[Any], object], *types: type) -> Callable[[Any], Any]:
    """A validator that parses values of these types. A ValueError of `parse` is the reason."""

    def parsed(value: Any) -> Any:
        if not isinstance(value, types):
            return value
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("refused", "{problem}", {"problem": str(error)}) from None

    return parsed


_cpus_or_none = _parsed(lambda value: cpus_text(parse_cpus(value)), str, int)
_celsius_or_none = _parsed(parse_celsius, str, int, float)
_dims_or_none = _parsed(lambda value: dims_text(parse_dims(value)), str, dict)


def _share_or_none(value: Any) -> Any:
    if value is None:
        return None
    try:
        return parse_share(value, "--max-drop")
    except InputError as error:
        problem = str(error).removeprefix("--max-drop ")
        raise PydanticCustomError("refused", "{problem}", {"problem": problem}) from None


def _model_hint(name: str) -> str:
    if name.endswith(".py"):
        return f"name the function in it, as in {name}:classifier"
    if os.path.isdir(name):
        return f"write a folder with / at its end: {name}/"
    if os.path.isfile(name):
        return "the format of a file is known by its ending: .pt, .pth, .ts, .jit, .onnx or .plan"
    return f"{nearest(name, MODELS)}, or a model of your own: see gpubench run --help"


def _auto_or_duration(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    try:
        return parse_duration(value)
    except ValueError as error:
        problem = f"{error}; or auto"
        raise PydanticCustomError("duration", "{problem}", {"problem": problem}) from None


Whole = Annotated[int, BeforeValidator(_no_switch)]
Number = Annotated[float, BeforeValidator(_no_switch)]
Duration = Annotated[float, BeforeValidator(_duration_or_none)]
WarmUpTime = Annotated[float | Literal["auto"], BeforeValidator(_auto_or_duration)]
GivenShare = Annotated[float, BeforeValidator(_share_or_none)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class Spec(BaseModel):
    """Every setting of one cell. Names are those of the command's flags, with underscores."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = Field(
        description="What to run: "
        + ", ".join(MODELS)
        + "; or your own: module:function, FILE.py:function, a TorchScript file (.pt), an ONNX "
        "file, a TensorRT engine (.plan), hub:ID, a Hugging Face folder (with / at its end), or "
        "kserve:NAME, a model that only a server has."
    )
    weights: str = Field(
        default="random",
        description="random (seeded), pretrained (the preset's own), hub:ID, or a path.",
    )
    input_shape: str | None = Field(
        default=None,
        description="Inputs of one sample of a TorchScript or ONNX file, in order: 3x224x224, or "
        "128:int64+128:int64=1 (all elements 1), or 512+scalar:int64=16000.",
    )
    dim: Annotated[str | None, BeforeValidator(_dims_or_none)] = Field(
        default=None,
        description="Sizes of the free dimensions of an ONNX file, by name: time=50+mels=80.",
    )
    inputs_file: str | None = Field(
        default=None,
        description="Real inputs instead of random ones: an .npz file of arrays, by name or in "
        "order, with samples in the first dimension where there is a batch.",
    )
    runtime: str = Field(
        default="torchscript",
        description="What executes the model: "
        + ", ".join(RUNTIMES)
        + ". Without this flag, an ONNX file runs with onnxruntime and a .plan with tensorrt. "
        "kserve is a model server that speaks the KServe v2 protocol: give --server.",
    )
    precision: Precision = Field(
        default="fp32",
        description="Number format. fp32 has TF32 off. Without this flag, an ONNX file runs in its "
        "own format.",
    )
    memory_format: MemoryFormat = Field(
        default="contiguous",
        description="Order of images and of the weights of convolutions in memory: contiguous "
        "(NCHW, as the model makes them) or channels_last (NHWC).",
    )
    sparsity: Sparsity = Field(
        default="none",
        description="2:4 keeps the two largest of each four weights of linear layers, and uses the "
        "sparse kernels of NVIDIA GPUs from Ampere on.",
    )
    batch: Whole = Field(default=1, ge=1, le=MOST_SAMPLES, description="Samples per request.")
    seq_len: Whole | None = Field(
        default=None,
        ge=8,
        description="Tokens per sequence, for text models. [default: 128, or the number of "
        "positions of the model if it has fewer]",
    )
    device: str = Field(
        default="auto",
        description="auto, cpu, cuda:N, or all (every GPU). Some runtimes have others: "
        + "; ".join(
            f"{name} has {' and '.join(entry.accelerators)}"
            for name, entry in RUNTIMES.items()
            if entry.accelerators
        )
        + ".",
    )
    server: str | None = Field(
        default=None,
        description="The model server to measure, and the name of the model on it: "
        "grpc://HOST:8001/MODEL[/VERSION]; also grpcs, http and https.",
    )
    inputs: Inputs = Field(
        default="host",
        description="Where the inputs are when the clock starts: in ordinary memory of the host, "
        "in its pinned memory (from which a GPU copies them without the CPU), or on the device.",
    )
    clients: Whole | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Closed loop: requests in flight. [default: number of workers]",
    )
    rate: Number | None = Field(
        default=None,
        ge=1e-3,
        le=1e9,
        description="Open loop, instead of --clients: requests per second. A trace is scaled to "
        "it.",
    )
    arrivals: str = Field(
        default="poisson", description="Open loop: poisson, constant, burst:N or trace:FILE."
    )
    workers: Whole | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Parallel executions of the model, on all devices together. "
        "[default: 1 on a CPU, up to 2 on each GPU]",
    )
    depth: Whole | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Batches in flight per worker on a GPU. [default: 2 if there are enough "
        "clients]",
    )
    threads: Whole | None = Field(
        default=None,
        ge=1,
        le=1024,  # with many times as many OpenMP ends the process
        description="CPU threads for the forward pass of each worker. [default: cores / workers]",
    )
    cpus: Annotated[str | None, BeforeValidator(_cpus_or_none)] = Field(
        default=None,
        description="Cores on which the process that measures runs: 0-1, or 0,2 (in a sweep 0+2). "
        "[default: all that it may use]",
    )
    dynamic_batch: str | None = Field(
        default=None,
        description="Join waiting requests, up to MAX samples, for at most DELAY, for example "
        "8:2ms.",
    )
    wait: Wait = Field(
        default="spin", description="How a worker waits for the next request and for the device."
    )
    warmup: WarmUpTime = Field(
        default=2.0,
        description="Time before the window, for example 500ms or 2s; or auto: until the speed has "
        "settled, from 2s to 60s.",
    )
    cool_to: Annotated[float | None, BeforeValidator(_celsius_or_none)] = Field(
        default=None,
        description="Before the warm-up, wait until the CPU or the GPUs are at this temperature or "
        "cooler, for example 60C; at most 10 minutes.",
    )
    duration: Duration | None = Field(
        default=None,
        description="Length of the window, for example 30s or 1m. [default: 10s, or until "
        "--requests are done]",
    )
    requests: Whole | None = Field(
        default=None, ge=1, le=10**9, description="Measure at least this many requests."
    )
    seed: Whole = Field(
        default=0, ge=0, lt=2**63, description="Seed of weights, inputs and arrivals."
    )
    load_seed: Whole | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="Seed of arrivals and of synthetic service times. [default: that of --seed]",
    )
    allow_emulated: bool = Field(
        default=False,
        description="Allow a 16-bit precision that this device only emulates, 40 to 60 times "
        "slower.",
    )
    allow_code: bool = Field(
        default=False,
        exclude=True,
        description="Run code that comes with a model: the code of a Hugging Face folder "
        "(auto_map) and, in a sweep, of models that FILE names (module:function, .pt).",
    )
    service_time: Duration | None = Field(
        default=None,
        description="Only for the model synthetic: time per request, for example 250us. 0 is no "
        "work. [default: 1ms]",
    )
    service_dist: ServiceDistribution | None = Field(
        default=None,
        description="Only for the model synthetic: distribution of the service time. "
        "[default: constant]",
    )
    eval: str | None = Field(
        default=None,
        description="Measure the accuracy of the engine on this labelled data, before the window: "
        "a Parquet file, or FILE.py:function or module:function that yields (inputs, labels). See "
        "docs/accuracy.md.",
    )
    eval_metric: EvalMetric = Field(
        default="auto",
        description="What the accuracy is. auto: top1 if a label is one class, exact-match if it "
        "is a start and an end or a list.",
    )
    max_drop: GivenShare | None = Field(
        default=None,
        description="Largest drop of the accuracy from that of the fp32 model. 1% is one "
        "percentage point. The result is suspect unless the drop is certain to be smaller.",
    )
    instance: Names = Field(
        default=(),
        description="Price the measurement on this instance (see gpubench prices list): "
        "NAME[@REGION][:TERM], the term being spot, 1-year or 3-year. Repeatable, or a list. "
        "[default: the instance of this machine, if it is known]",
    )
    usd_per_hour: Number | None = Field(
        default=None,
        ge=0,
        le=MOST_USD_PER_HOUR,
        description="Price the measurement at this price of an hour, in US dollars.",
    )
    task: Task = Field(
        default="inference",
        description="What a request is: an inference, or one step of training (gpubench train).",
    )
    optimizer: Optimizer | None = Field(
        default=None,
        description="Only for training: the optimiser, adamw or sgd (with momentum). "
        "[default: adamw]",
    )
    accumulate: Whole | None = Field(
        default=None,
        ge=1,
        le=MOST_SAMPLES,
        description="Only for training: batches whose gradients are added up in each step. "
        "[default: 1]",
    )
    checkpointing: bool = Field(
        default=False,
        description="Only for training: keep only the inputs of the model's blocks, and compute "
        "their activations again in the backward pass.",
    )
    replicas: Whole | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Only for training: copies of the model that each compute a part of the step "
        "(data parallel). [default: one on each GPU of --device; 1 on a CPU]",
    )
    dataset_size: Whole | None = Field(
        default=None,
        ge=1,
        le=10**15,
        description="Only for training: samples of an epoch. The costs then have the price of one.",
    )

    def __init__(self, **settings: Unpack[Settings]) -> None:
        """Raises InputError: one line that names the setting and the fix.

        `model_validate` and its like raise pydantic's ValidationError, as for every model.
        """
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InputError(explain(error, type(self).model_fields, settings)) from None

    # Without this mark, model_validate would call __init__, and hide the InputError in an error of
    # its own. BaseModel.__init__ bears the same mark.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _runtime_fits_the_file(cls, settings: Any) -> Any:
        """Takes the first runtime of the file's kind if no runtime is given; kserve for a server.

        For training it takes eager.

        It is not the default of the field: `key` leaves out defaults, so a default never changes.
        """
        if not isinstance(settings, dict) or settings.get("runtime") is not None:
            return settings
        if settings.get("server") is not None:
            return {**settings, "runtime": "kserve"}
        known = model_entry(str(settings.get("model")))
        if settings.get("task") == "train" and known is not None and trainable(known):
            return {**settings, "runtime": "eager"}
        if known is None or known.runtimes is None or "torchscript" in known.runtimes:
            return settings
        return {**settings, "runtime": known.runtimes[0]}

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Spec:
        known = model_entry(self.model)
        if known is None:
            _refuse("model", f"unknown model '{self.model}'; {_model_hint(self.model)}")
        if found := problem(self, known):
            _refuse(*found)
        self._runtime_fits(known)
        self._inputs_fit(known)
        self._text_fits(known)
        self._load_fits()
        self._devices_fit()
        self._server_fits()
        self._batches_fit()
        self._evaluation_fits()
        return self

    def _runtime_fits(self, known: ModelEntry) -> None:
        """Runtime, precision, service time and weights, as far as the model decides about them."""
        if self.runtime not in RUNTIMES:
            _refuse(
                "runtime", f"unknown runtime '{self.runtime}'; {nearest(self.runtime, RUNTIMES)}"
            )
        if known.runtimes is not None and self.runtime not in known.runtimes:
            _refuse("runtime", f"{self.model} runs with {' or '.join(known.runtimes)}")
        if not known.states_precision and "precision" not in self.model_fields_set:
            _refuse("precision", f"{self.model} does not say what it was built in; name it")
        for name in ("service_time", "service_dist"):
            if not self.synthetic and getattr(self, name) is not None:
                _refuse(name, f"belongs to --model synthetic, not to {self.model}; remove it")
        if known.has_weights and self.weights != "random":
            _refuse("weights", f"{self.model} brings its own; remove it")

    def _text_fits(self, known: ModelEntry) -> None:
        if self.seq_len is not None and known.max_seq_len is None:
            _refuse("seq_len", f"{self.model} takes no text; remove it")
        if self.seq_len is not None and self.seq_len > (known.max_seq_len or 0):
            _refuse("seq_len", f"{self.model} has {known.max_seq_len} positions; use at most that")

    def _load_fits(self) -> None:
        """A closed loop has clients; an open loop has a rate, or a trace."""
        pattern, _, argument = self.arrivals.partition(":")
        if pattern not in {"poisson", "constant", "burst", "trace"}:
            _refuse(
                "arrivals", f"'{self.arrivals}' is not poisson, constant, burst:N or trace:FILE"
            )
        if pattern in {"poisson", "constant"} and self.arrivals != pattern:
            _refuse("arrivals", f"{pattern} takes no value; write {pattern}, and add --rate")
        if pattern == "burst" and re.fullmatch("[1-9][0-9]{0,8}", argument) is None:
            _refuse("arrivals", "a burst has a size; write it like burst:8")
        if pattern == "trace" and not argument:
            _refuse("arrivals", "a trace has a file; write it like trace:times.txt")
        if self.open_loop and self.clients is not None:
            other = "--rate" if self.rate is not None else "--arrivals trace:FILE"
            _refuse(
                "clients",
                f"it sets a closed loop and {other} an open loop; they are mutually exclusive, "
                "remove one of the two",
            )
        if pattern in {"constant", "burst"} and not self.open_loop:
            _refuse("arrivals", f"{pattern} arrivals need a rate; add --rate")
        if self.duration == 0:
            _refuse("duration", "0 measures nothing; write it like 10s")

    def _devices_fit(self) -> None:
        accelerators = RUNTIMES[self.runtime].accelerators
        if _DEVICE.fullmatch(self.device) is None and not (
            self.served or self.device in accelerators
        ):
            users = [name for name, each in RUNTIMES.items() if self.device in each.accelerators]
            if users:
                _refuse("device", f"{self.device} needs --runtime {' or '.join(users)}")
            names = ["auto", "cpu", "cuda:0", *accelerators]
            _refuse("device", f"'{self.device}' is not a device; use {', '.join(names)} or all")
        if len(set(self.devices)) < len(self.devices):
            _refuse("device", f"'{self.device}' names a GPU twice; name each once")

    def _server_fits(self) -> None:
        """--server and the runtime kserve belong together. A server chooses its own device."""
        if not self.served:
            if self.server is not None:
                _refuse("server", "belongs to --runtime kserve; add that, or remove it")
            return
        if self.server is None:
            _refuse("server", f"--runtime kserve needs a model server; {SERVER_HELP}")
        try:
            server = parse_server_url(self.server)
        except ValueError as error:
            _refuse("server", str(error))
        in_model = self.model.removeprefix("kserve:") if self.model.startswith("kserve:") else None
        if (server.model or in_model) is None:
            _refuse("server", f"it names no model; {SERVER_HELP}")
        if None not in {server.model, in_model} and server.model != in_model:
            _refuse("server", f"it names the model {server.model}, and --model {self.model}")
        if self.device not in {"auto", "server"}:
            _refuse("device", "the server has its own device; remove it")
        if self.threads is not None:
            _refuse("threads", "the server has its own threads; remove it")
        if self.cool_to is not None:
            _refuse("cool_to", "the temperature of the server cannot be read; remove it")
        if self.inputs != "host":
            _refuse("inputs", "requests to a server begin in the memory of the host; remove it")

    def _batches_fit(self) -> None:
        if self.dynamic_batch is not None:
            largest, _ = self.dynamic_batch_limits()
            if largest <= self.batch:
                _refuse("dynamic_batch", f"MAX is {largest}; give more than --batch")
            if largest > MOST_SAMPLES:
                _refuse("dynamic_batch", f"MAX is {largest}; give {MOST_SAMPLES} or less")

    def _inputs_fit(self, known: ModelEntry) -> None:
        """--input-shape, --dim and --inputs-file, as far as possible without reading a file."""
        if known.takes_shape and self.input_shape is None and self.inputs_file is None:
            _refuse(
                "input_shape",
                f"{self.model} does not say what it takes; {SHAPE_HELP}, or give --inputs-file",
            )
        if self.input_shape is not None:
            if not (known.takes_shape or known.has_dims):
                _refuse(
                    "input_shape",
                    "belongs to a TorchScript or ONNX file, or to kserve:NAME, not to "
                    f"{self.model}; remove it",
                )
            try:
                parse_input_shape(self.input_shape)
            except ValueError as error:
                _refuse("input_shape", str(error))
        if self.dim is not None and not known.has_dims:
            _refuse(
                "dim", f"belongs to an ONNX file or to kserve:NAME, not to {self.model}; remove it"
            )
        if self.inputs_file is not None:
            if not known.takes_inputs_file:
                _refuse(
                    "inputs_file",
                    "belongs to a TorchScript or ONNX file, a Hugging Face model or kserve:NAME, "
                    f"not to {self.model}; remove it",
                )
            if self.input_shape is not None:
                _refuse(
                    "input_shape",
                    "--inputs-file has the shapes; they are mutually exclusive, remove one of the "
                    "two",
                )

    def _evaluation_fits(self) -> None:
        """--eval, --eval-metric and --max-drop, as far as possible without reading a file."""
        if self.eval is None:
            for name in ("eval_metric", "max_drop"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    _refuse(name, "it belongs to --eval; give --eval FILE, or remove it")
            return
        if self.synthetic:
            _refuse("eval", "the model synthetic gives no answers; remove it")
        if self.eval.endswith(".py"):
            _refuse("eval", f"name the function in it, as in {self.eval}:samples")

    @property
    def eval_is_function(self) -> bool:
        """Whether --eval names a function, which is code, and not a file of data."""
        return self.eval is not None and is_function(self.eval)

    @property
    def open_loop(self) -> bool:
        """Requests arrive on a schedule, however slow the answers are."""
        return self.rate is not None or self.arrivals.startswith("trace:")

    @property
    def devices(self) -> tuple[str, ...]:
        """What the cell runs on, once it is resolved: ("cpu",) or ("cuda:0", "cuda:1")."""
        return tuple(self.device.split(","))

    @property
    def on_gpus(self) -> bool:
        """Whether NVIDIA GPUs execute the cell, once it is resolved."""
        return self.device.startswith("cuda:")

    @property
    def synthetic(self) -> bool:
        """Whether no model is executed, and the core makes the service times up."""
        return self.model == "synthetic"

    @property
    def served(self) -> bool:
        """Whether a model server executes the model, and not this machine."""
        return self.runtime == "kserve" and not self.synthetic

    @property
    def trains(self) -> bool:
        """Whether a request is a step of training, and not an inference."""
        return self.task == "train"

    @property
    def samples_per_request(self) -> int:
        """Samples that one request counts for in the throughput; for training, those of a step."""
        return self.batch * (self.accumulate or 1) * (self.replicas or 1)

    def dynamic_batch_limits(self) -> tuple[int, float]:
        """(largest batch in samples, longest delay in seconds); (batch, 0) where it is off."""
        if self.dynamic_batch is None:
            return self.batch, 0.0
        match = _DYNAMIC_BATCH.fullmatch(self.dynamic_batch)
        if match is None:
            problem = f"'{self.dynamic_batch}' is not MAX:DELAY; write it like 8:2ms"
            _refuse("dynamic_batch", problem)
        try:
            return int(match[1]), parse_duration(match[2])
        except ValueError as error:
            _refuse("dynamic_batch", str(error))

    def describe(self) -> str:
        """The cell in a few words: 'bert-base torchscript fp32, batch 4, clients 2, workers 2'."""
        if self.clients is not None:
            load = f"clients {self.clients}"
        else:
            load = self.arrivals if self.rate is None else f"{self.arrivals} {self.rate:g}/s"
        layout = "" if self.memory_format == "contiguous" else f" {self.memory_format}"
        sparse = "" if self.sparsity == "none" else f" {self.sparsity} sparse"
        server = f" at {self.server}" if self.served else ""
        if self.trains:
            parts = "".join(
                f", {name} {value}"
                for name, value in (("accumulate", self.accumulate), ("replicas", self.replicas))
                if value not in (None, 1)
            )
            kept = ", checkpointing" if self.checkpointing else ""
            return (
                f"{self.model} train {self.runtime} {self.precision}{layout}, "
                f"batch {self.batch}, {self.optimizer or 'adamw'}{parts}{kept}"
            )
        cores = "" if self.cpus is None else f", cores {self.cpus}"
        return (
            f"{self.model} {self.runtime}{server} {self.precision}{layout}{sparse}, "
            f"batch {self.batch}, {load}, workers {self.workers}{cores}"
        )

    def measured_settings(self) -> dict[str, Any]:
        """The settings that decide what is measured; no prices."""
        return self.model_dump(mode="json", exclude=set(PRICING_FIELDS))

    def key(self, machine: str) -> str:
        """Name of this cell on this machine: 16 hexadecimal digits.

        Two cells have the same key if and only if they have the same measured settings and were
        measured on the same kind of machine; prices play no part. Settings at their default are
        left out, so that a setting added later does not change the keys of older cells.
        """
        chosen = self.model_dump(mode="json", exclude=set(PRICING_FIELDS), exclude_defaults=True)
        text = json.dumps([machine, chosen], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refuse(field: str, problem: str) -> NoReturn:
    raise PydanticCustomError("refused", "{problem}", {"problem": problem, "field": field})


def _document_settings() -> None:
    """Have `help(Spec)` show every setting: its types, its default and what it means."""
    types = get_type_hints(Settings)
    parameters = []
    lines = [Spec.__doc__ or "", ""]
    for name, field in Spec.model_fields.items():
        default = Parameter.empty if field.is_required() else field.default
        parameters.append(
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=types[name])
        )
        lines.append(f"{name}: {field.description}")
    Spec.__signature__ = Signature(parameters)
    Spec.__doc__ = "\n".join(lines)


_document_settings()
