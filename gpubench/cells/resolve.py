"""Turns a Spec into a Cell: fills in the defaults, and refuses what this machine cannot measure.

All of this happens before a model is loaded. Torch is imported only if the cell is for a GPU.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from gpubench.cells.devices import chosen_devices
from gpubench.cells.refuse import refuse_code, refuse_impossible, refuse_missing_model
from gpubench.errors import InputError
from gpubench.registry import RUNTIMES, model_entry
from gpubench.spec.cell import (
    BatchLimits,
    Cell,
    ClosedLoad,
    OpenLoad,
    ServiceTime,
    TraceLoad,
    Training,
)
from gpubench.spec.cpus import parse_cpus
from gpubench.spec.input_shapes import parse_dims, parse_input_shape
from gpubench.spec.server_url import parse_server_url
from gpubench.spec.spec import Spec
from gpubench.system import packages
from gpubench.system.machine import Machine

if TYPE_CHECKING:
    from gpubench.spec.trace import Trace

DEFAULT_DURATION_S = 10.0
# Default connections to a server: at most this many in a closed loop, and this many in an open one.
MOST_CONNECTIONS = 32
OPEN_CONNECTIONS = 8
# With --warmup auto, the queue of an open loop settles for this time after the system has settled.
USUAL_WARMUP_S: float = Spec.model_fields["warmup"].default


def resolve(spec: Spec, machine: Machine) -> Cell:
    """The cell that this machine measures for `spec`.

    Raises InputError, with the reason and the fix, if this machine cannot measure it.
    """
    cell = fill_in(spec, machine)
    refuse_impossible(cell, machine)
    return cell


def fill_in(spec: Spec, machine: Machine) -> Cell:
    """The cell of `spec`, with the defaults that depend on the machine or on the model's file.

    Raises InputError if the model's file cannot be used, or if a device is missing or cannot be
    used. It does not check whether the machine can measure the cell; `resolve` does.
    """
    refuse_missing_model(spec)
    spec = _with_precision_of_file(spec)
    refuse_code(spec)
    devices = chosen_devices(spec, machine)
    spec = spec.model_copy(update={"device": ",".join(devices)})
    workers = spec.workers or _default_workers(spec)
    clients = workers if spec.clients is None and not spec.open_loop else spec.clients
    settings: dict[str, object] = {
        "clients": clients,
        "workers": workers,
        "depth": spec.depth or _default_depth(spec, clients, workers),
        "seq_len": spec.seq_len or _default_seq_len(spec),
        "duration": _duration(spec),
    }
    if spec.synthetic:
        settings["threads"] = None
        settings["service_time"] = 1e-3 if spec.service_time is None else spec.service_time
        settings["service_dist"] = spec.service_dist or "constant"
    elif spec.trains:
        replicas = spec.replicas or (len(devices) if spec.on_gpus else 1)
        settings |= training_settings(spec, replicas)
        settings["threads"] = spec.threads or max(1, _cores(spec, machine) // replicas)
    elif not spec.served:
        settings["threads"] = spec.threads or max(1, _cores(spec, machine) // workers)
    return cell_of(spec.model_copy(update=settings))


def training_settings(spec: Spec, replicas: int) -> dict[str, object]:
    """The settings of training with their defaults, for this number of replicas."""
    return {
        "optimizer": spec.optimizer or "adamw",
        "accumulate": spec.accumulate or 1,
        "replicas": replicas,
    }


def _cores(spec: Spec, machine: Machine) -> int:
    """The number of cores on which the cell runs."""
    if spec.cpus is None:
        return machine.cores
    return min(machine.cores, len(parse_cpus(spec.cpus)))


def cell_of(spec: Spec) -> Cell:
    """The cell of a spec in which all defaults are filled in."""
    samples, delay_s = spec.dynamic_batch_limits()
    known = model_entry(spec.model)
    assert known is not None
    assert spec.workers is not None
    assert spec.depth is not None
    service = None
    if spec.service_time is not None and spec.service_dist is not None:
        service = ServiceTime(round(spec.service_time * 1e9), spec.service_dist)
    return Cell(
        spec=spec,
        model=spec.model,
        model_entry=known,
        weights=spec.weights,
        batch=spec.batch,
        seq_len=spec.seq_len,
        given_inputs=None if spec.input_shape is None else parse_input_shape(spec.input_shape),
        dims={} if spec.dim is None else parse_dims(spec.dim),
        inputs_file=None if spec.inputs_file is None else Path(spec.inputs_file),
        service=service,
        seed=spec.seed,
        allow_code=spec.allow_code,
        eval=spec.eval,
        eval_metric=spec.eval_metric,
        max_drop=spec.max_drop,
        runtime=spec.runtime,
        runtime_entry=RUNTIMES[spec.runtime],
        precision=spec.precision,
        precision_given="precision" in spec.model_fields_set,
        memory_format=spec.memory_format,
        sparsity=spec.sparsity,
        devices=spec.devices,
        server=None if spec.server is None else parse_server_url(spec.server),
        inputs=spec.inputs,
        workers=spec.workers,
        depth=spec.depth,
        threads=spec.threads or 1,
        cpus=None if spec.cpus is None else parse_cpus(spec.cpus),
        wait=spec.wait,
        load=_load(spec),
        load_seed=spec.seed if spec.load_seed is None else spec.load_seed,
        batch_limits=BatchLimits(samples // spec.batch, samples, round(delay_s * 1e9)),
        warmup_s=None if spec.warmup == "auto" else spec.warmup,
        cool_to_c=spec.cool_to,
        training=_training(spec),
    )


def _training(spec: Spec) -> Training | None:
    if not spec.trains:
        return None
    assert spec.optimizer is not None
    assert spec.accumulate is not None
    assert spec.replicas is not None
    return Training(spec.optimizer, spec.accumulate, spec.checkpointing, spec.replicas)


def _load(spec: Spec) -> ClosedLoad | OpenLoad | TraceLoad:
    pattern, _, argument = spec.arrivals.partition(":")
    if spec.clients is not None:
        return ClosedLoad(spec.clients, spec.requests, spec.duration)
    if pattern == "trace":
        return TraceLoad(_trace(argument), spec.rate)
    assert spec.rate is not None
    burst = int(argument) if pattern == "burst" else 1
    requests = spec.requests or max(1, round(spec.rate * (spec.duration or 0.0)))
    settling_s = USUAL_WARMUP_S if spec.warmup == "auto" else spec.warmup
    return OpenLoad(
        arrivals=cast(Literal["poisson", "constant", "burst"], pattern),
        rate_per_second=spec.rate,
        burst=burst,
        settling=_whole_bursts(round(spec.rate * settling_s), burst),
        requests=_whole_bursts(requests, burst),
    )


def _whole_bursts(requests: int, burst: int) -> int:
    return -(-requests // burst) * burst


def _trace(path: str) -> Trace:
    """The trace in a file. The cells of a sweep share it, since a trace may be long."""
    try:
        status = os.stat(path)
        state = (status.st_mtime_ns, status.st_size)
    except OSError:  # read_trace raises an error with the reason
        state = (0, 0)
    return _read_trace(path, state)


@functools.lru_cache(maxsize=4)
def _read_trace(path: str, state: tuple[int, int]) -> Trace:
    from gpubench.spec.trace import read_trace  # it imports NumPy

    return read_trace(Path(path))


def _with_precision_of_file(spec: Spec) -> Spec:
    """`spec` with the precision of its ONNX file, unless the user has chosen a precision."""
    if not spec.model.lower().endswith(".onnx"):
        return spec
    if reason := packages.missing("onnxruntime", "onnx"):
        raise InputError(f"--runtime {spec.runtime}: {reason}")
    if "precision" in spec.model_fields_set:
        return spec
    from gpubench.models.onnx_signature import read_signature

    return spec.model_copy(update={"precision": read_signature(Path(spec.model)).precision})


def _default_seq_len(spec: Spec) -> int | None:
    known = model_entry(spec.model)
    if known is None or known.seq_len is None or not spec.model.endswith("/"):
        return known.seq_len if known else None
    from gpubench.models.huggingface_folder import default_seq_len

    return default_seq_len(spec.model, known.seq_len)


def _default_workers(spec: Spec) -> int:
    """1 on a CPU and for training. 2 on each GPU, or 1 if there are too few clients for 2.

    With a server, a worker is a connection: one for each client, as far as one process can serve
    them.
    """
    if spec.trains:
        return 1
    if spec.served:
        return min(spec.clients or 1, MOST_CONNECTIONS) if not spec.open_loop else OPEN_CONNECTIONS
    if not spec.on_gpus:
        return 1
    gpus = len(spec.devices)
    if spec.open_loop:
        return 2 * gpus
    return gpus if spec.clients is None or spec.clients < 2 * gpus else 2 * gpus


def _default_depth(spec: Spec, clients: int | None, workers: int) -> int:
    """2 on a GPU: one batch is copied while another is computed. 1 on a CPU or with a server.

    Also 1 if one batch per worker takes the requests of all clients: no second batch can form.
    """
    if not spec.on_gpus:
        return 1
    per_batch = spec.dynamic_batch_limits()[0] // spec.batch
    return 2 if clients is None or clients > workers * per_batch else 1


def _duration(spec: Spec) -> float | None:
    if spec.duration is None and spec.requests is None:
        return DEFAULT_DURATION_S
    return spec.duration
