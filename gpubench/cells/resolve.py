"""From what was asked to what will be measured: defaults filled in, the impossible refused.

Everything here happens before a model is loaded. Torch is imported only where an accelerator has to
be looked at.
"""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path

from gpubench.cells.foreign_code import brings_code
from gpubench.engines import refusals
from gpubench.errors import InputError
from gpubench.models.local_files import onnx_data
from gpubench.registry import RUNTIMES, local_path, model_entry
from gpubench.spec.spec import Spec
from gpubench.system import gpus, packages, torch_gpus
from gpubench.system.machine import Machine
from gpubench.system.torch_gpus import TorchGpu

DEFAULT_DURATION_S = 10.0

# Its due time, its stamps, and its row while the samples are put in order.
_SCHEDULED_REQUEST_BYTES = 250


def resolve(spec: Spec, machine: Machine) -> Spec:
    """`spec` with every default that depends on the machine filled in.

    Raises InputError, with the reason and the fix, for what this machine cannot measure.
    """
    refuse_missing_model(spec)
    spec = _in_its_own_precision(spec)
    refuse_by_its_file(spec)
    devices = _devices(spec, machine)
    spec = spec.model_copy(update={"device": ",".join(devices)})
    workers = spec.workers or _default_workers(spec)
    clients = workers if spec.clients is None and not spec.open_loop else spec.clients
    synthetic = spec.model == "synthetic"
    settings: dict[str, object] = {
        "clients": clients,
        "workers": workers,
        "depth": spec.depth or _default_depth(spec, clients, workers),
        "threads": _threads(spec, workers, machine.cores) if not synthetic else None,
        "seq_len": spec.seq_len or _default_seq_len(spec),
        "duration": _duration(spec),
    }
    if synthetic:
        settings["service_time"] = 1e-3 if spec.service_time is None else spec.service_time
        settings["service_dist"] = spec.service_dist or "constant"
    resolved = spec.model_copy(update=settings)
    _refuse_impossible(resolved, machine)
    return resolved


def threads_note(spec: Spec, cores: int) -> str:
    """How the CPU's cores are shared out, for the result."""
    return f"{cores} cores, {spec.workers} workers, {spec.threads} intra-op threads in each"


def _in_its_own_precision(spec: Spec) -> Spec:
    """An ONNX file runs in the precision that it was made in, unless the user names another."""
    if not spec.model.lower().endswith(".onnx"):
        return spec
    if reason := packages.missing("onnxruntime", "onnx"):
        raise InputError(f"--runtime {spec.runtime}: {reason}")
    if "precision" in spec.model_fields_set:
        return spec
    from gpubench.models.onnx_signature import signature

    return spec.model_copy(update={"precision": signature(Path(spec.model)).precision})


def refuse_by_its_file(spec: Spec) -> None:
    """Raises InputError for what can be seen in the model's own file, without importing torch."""
    if not spec.allow_code and (reason := brings_code(spec)):
        raise InputError(f"--model {spec.model}: {reason}; if you trust it, add --allow-code")
    known = model_entry(spec.model)
    if known is None or known.checks is None:
        return
    if reason := importlib.import_module(known.checks).refusal(spec):
        raise InputError(reason)


def _default_seq_len(spec: Spec) -> int | None:
    known = model_entry(spec.model)
    if known is None or known.seq_len is None or not spec.model.endswith("/"):
        return known.seq_len if known else None
    from gpubench.models.huggingface_folder import default_seq_len

    return default_seq_len(spec.model, known.seq_len)


def _default_workers(spec: Spec) -> int:
    """1 on a CPU; 2 on each GPU, or 1 where there are not clients enough for 2."""
    if spec.device == "cpu":
        return 1
    gpus = len(spec.devices)
    if spec.open_loop:
        return 2 * gpus
    return gpus if spec.clients is None or spec.clients < 2 * gpus else 2 * gpus


def _default_depth(spec: Spec, clients: int | None, workers: int) -> int:
    """2 on a GPU, so that one batch is copied while another is computed.

    1 where every client already waits for a batch in flight: there is nothing to fill a second one.
    """
    if spec.device == "cpu":
        return 1
    per_batch = spec.dynamic_batch_limits()[0] // spec.batch
    return 2 if clients is None or clients > workers * per_batch else 1


def _threads(spec: Spec, workers: int, cores: int) -> int:
    return spec.threads or max(1, cores // workers)


def _duration(spec: Spec) -> float | None:
    if spec.duration is None and spec.requests is None:
        return DEFAULT_DURATION_S
    return spec.duration


def _devices(spec: Spec, machine: Machine) -> tuple[str, ...]:
    """('cpu',) or GPUs by number. Never the CPU in place of a GPU that is there but unusable."""
    wanted, synthetic = spec.device, spec.model == "synthetic"
    if wanted == "cpu" or (wanted == "auto" and not machine.gpus):
        return ("cpu",)
    if synthetic and wanted == "auto":
        return ("cpu",)  # its service time is known; it needs no device
    if synthetic:  # torch plays no part
        return _chosen(wanted, len(gpus.visible_gpus()))
    if not machine.gpus and not _driver_shows_gpus():
        raise InputError(
            f"--device {wanted}: this machine has no NVIDIA device; use --device cpu or auto"
        )
    seen = torch_gpus.torch_gpus()
    chosen = _chosen(wanted, len(seen))
    for gpu in dict.fromkeys(seen[_number(device)] for device in chosen):
        if reason := torch_gpus.unusable(gpu):
            raise InputError(reason)
        _refuse_precision_on_gpu(spec, gpu)
    return chosen


def _driver_shows_gpus() -> bool:
    """The driver may show what the kernel does not, as under WSL and in some sandboxes."""
    try:
        return bool(gpus.visible_gpus())
    except gpus.NoCuda:
        return False


def _chosen(wanted: str, count: int) -> tuple[str, ...]:
    """The devices that --device names, of `count` GPUs."""
    if wanted == "all":
        return tuple(f"cuda:{number}" for number in range(count))
    numbers = [0] if wanted in {"auto", "cuda"} else [_number(name) for name in wanted.split(",")]
    for number in numbers:
        if number >= count:
            names = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
            raise InputError(f"--device cuda:{number}: this machine has {names}")
    return tuple(f"cuda:{number}" for number in numbers)


def _number(device: str) -> int:
    return int(device.removeprefix("cuda:"))


def _refuse_precision_on_gpu(spec: Spec, gpu: TorchGpu) -> None:
    if spec.precision == "tf32" and not gpu.has_tf32:
        raise InputError(
            f"--precision tf32: {gpu.name} has no TF32 (it came with Ampere); use fp32 or amp"
        )
    if spec.precision == "bf16" and not gpu.native_bf16 and not spec.allow_emulated:
        raise InputError(
            f"--precision bf16: {gpu.name} only emulates it; use fp16, or add --allow-emulated"
        )


def native_precision(spec: Spec, machine: Machine) -> bool:
    """Whether the spec's device computes in the spec's precision, rather than imitating it."""
    if spec.device == "cpu":
        native = {"amp": "bf16", "bf16": "bf16", "fp16": "fp16"}.get(spec.precision)
        return native is None or machine.computes_natively(native)
    if spec.precision != "bf16":
        return True
    seen = torch_gpus.torch_gpus()
    return all(seen[_number(device)].native_bf16 for device in spec.devices)


def _refuse_impossible(spec: Spec, machine: Machine) -> None:
    if spec.device == "cpu" and spec.model != "synthetic":
        if spec.precision == "tf32":
            raise InputError("--precision tf32: only NVIDIA GPUs from Ampere on have it; use fp32")
        if not spec.allow_emulated and not native_precision(spec, machine):
            if spec.model.lower().endswith(".onnx"):
                raise InputError(
                    f"--precision {spec.precision}: {spec.model} computes in it, and this CPU "
                    f"({machine.cpu}) does not: add --allow-emulated to measure it all the same, "
                    "or give an fp32 file"
                )
            needed = (
                "avx512_fp16 or amx_fp16" if spec.precision == "fp16" else "avx512_bf16 or amx_bf16"
            )
            raise InputError(
                f"--precision {spec.precision}: this CPU ({machine.cpu}) has no {needed} and only "
                "emulates it, 40 to 60 times slower; use fp32, or add --allow-emulated"
            )
    if spec.device == "cpu" and spec.depth != 1:
        raise InputError(
            f"--depth {spec.depth}: a worker on a CPU has one batch in flight; use --workers for "
            "more parallel executions"
        )
    if spec.device != "cpu":
        _refuse_idle_gpus(spec)
    largest, _ = spec.dynamic_batch_limits()
    if largest % spec.batch:
        raise InputError(
            f"--dynamic-batch: MAX {largest} is no multiple of the {spec.batch} samples that "
            "each request brings; choose one"
        )
    _refuse_beyond_memory(spec)
    _refuse_bad_trace(spec)
    if spec.model == "synthetic":
        return
    reason = refusals.on_cpu(spec) if spec.device == "cpu" else None
    if reason := reason or importlib.import_module(RUNTIMES[spec.runtime].file).refusal(spec):
        raise InputError(f"--runtime {spec.runtime}: {reason}")
    _refuse_missing_weights(spec)


def _refuse_idle_gpus(spec: Spec) -> None:
    """All GPUs of a cell do the same work: as many workers each, and at least a client."""
    gpus, workers = len(spec.devices), spec.workers or 1
    if workers % gpus:
        below, above = workers // gpus * gpus, (workers // gpus + 1) * gpus
        fitting = f"{below} or {above}" if below else str(above)
        raise InputError(
            f"--workers {workers}: they cannot be shared out evenly among {gpus} GPUs; "
            f"use {fitting}"
        )
    if spec.clients is not None and spec.clients < gpus:
        raise InputError(
            f"--clients {spec.clients}: too few to keep {gpus} GPUs busy; use {gpus} or more, or "
            "one GPU with --device cuda:0"
        )


def _refuse_beyond_memory(spec: Spec) -> None:
    """A schedule lies in memory whole, and so do the stamps of its requests."""
    if spec.rate is None or spec.arrivals.startswith("trace:"):
        return
    requests = (spec.requests or spec.rate * (spec.duration or 0.0)) + spec.rate * spec.warmup
    needed = requests * _SCHEDULED_REQUEST_BYTES
    if needed > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2:
        raise InputError(
            f"--rate {spec.rate:g}: {requests:.3g} requests need {needed / 1e9:.3g} GB, more than "
            "half of this machine's memory; lower --rate, --duration or --warmup"
        )


def _refuse_bad_trace(spec: Spec) -> None:
    pattern, _, path = spec.arrivals.partition(":")
    if pattern != "trace":
        return
    requests = _requests_of_trace(path)
    if spec.requests is not None and spec.requests > requests:
        raise InputError(
            f"--requests {spec.requests}: the trace has {requests} arrivals, and it is measured "
            "whole; remove --requests, or give a longer trace"
        )


@functools.cache  # all cells of a sweep may have the same, and it may be long
def _requests_of_trace(path: str) -> int:
    from gpubench.spec.trace import read_trace

    requests = len(read_trace(Path(path)))
    needed = requests * _SCHEDULED_REQUEST_BYTES
    if needed > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2:
        raise InputError(
            f"--arrivals trace:{path}: its requests need {needed / 1e9:.3g} GB, more than half of "
            "this machine's memory; shorten it"
        )
    return requests


def refuse_missing_model(spec: Spec) -> None:
    """Raises InputError where the model's name is the path of a file that is not there, or is not
    all there."""
    path = local_path(spec.model)
    if path is not None and not os.path.exists(path):  # nor where it may not be looked at
        raise InputError(f"--model {spec.model}: there is no {path}; give the path of one")
    if path is not None and os.path.isdir(path) and not path.endswith("/"):
        raise InputError(f"--model {spec.model}: {path} is a folder; give a file")
    if path is not None:
        _refuse_special(f"--model {spec.model}", path)
        onnx_data(Path(path))
    if spec.inputs_file is not None and not os.path.isfile(spec.inputs_file):
        raise InputError(
            f"--inputs-file {spec.inputs_file}: there is no such file; give one that numpy.savez "
            "has written"
        )


def _refuse_missing_weights(spec: Spec) -> None:
    weights = spec.weights
    if weights in {"random", "pretrained"} or weights.startswith("hub:"):
        return
    if not os.path.exists(weights):
        raise InputError(
            f"--weights {weights}: no such file or folder; use random, pretrained, hub:ID or a path"
        )
    _refuse_special(f"--weights {weights}", weights)


def _refuse_special(setting: str, path: str) -> None:
    """Raises InputError for a pipe, which might be waited for, or a device, which might not end."""
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise InputError(f"{setting}: {path} is no regular file; give one, or a folder")
