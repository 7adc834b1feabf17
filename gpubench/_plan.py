"""From what was asked to what will be measured: defaults filled in, the impossible refused.

Everything here happens before a model is loaded. Torch is imported only where an accelerator has to
be looked at.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path

from gpubench.engines import RUNTIMES
from gpubench.errors import InputError
from gpubench.machine import Machine
from gpubench.models import preset
from gpubench.spec import Spec

DEFAULT_DURATION_S = 10.0

# Its due time, its stamps, and its row while the samples are put in order.
_SCHEDULED_REQUEST_BYTES = 250


def resolve(spec: Spec, machine: Machine) -> Spec:
    """`spec` with every default that depends on the machine filled in.

    Raises InputError, with the reason and the fix, for what this machine cannot measure.
    """
    device = _device(spec, machine)
    on_gpu = device != "cpu"
    clients, workers = spec.clients, spec.workers
    if workers is None:
        workers = 1 if not on_gpu else min(clients or (2 if spec.open_loop else 1), 2)
    if clients is None and not spec.open_loop:
        clients = workers
    synthetic = spec.model == "synthetic"
    known = preset(spec.model)
    settings = {
        "device": device,
        "clients": clients,
        "workers": workers,
        "depth": spec.depth or 1,
        "threads": _threads(spec, workers, machine.cores) if not synthetic else None,
        "seq_len": spec.seq_len or (known.seq_len if known else None),
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


def _threads(spec: Spec, workers: int, cores: int) -> int:
    return spec.threads or max(1, cores // workers)


def _duration(spec: Spec) -> float | None:
    if spec.duration is None and spec.requests is None:
        return DEFAULT_DURATION_S
    return spec.duration


def _device(spec: Spec, machine: Machine) -> str:
    """'cpu' or 'cuda:N'. Never the CPU in place of a GPU that is there and cannot be used."""
    wanted = spec.device
    if wanted == "cpu" or (wanted == "auto" and not machine.gpus):
        return "cpu"
    if spec.model == "synthetic" and wanted == "auto":
        return "cpu"  # its service time is the core's own; it needs no device
    if not machine.gpus:
        raise InputError(
            f"--device {wanted}: this machine has no NVIDIA device; use --device cpu or auto"
        )
    if spec.model == "synthetic":
        raise InputError(
            f"--device {wanted}: synthetic runs on the CPU in this version; use --device cpu"
        )
    number = int(wanted.partition(":")[2] or 0)
    gpu = _usable_gpu(number)
    _refuse_precision_on_gpu(spec, gpu)
    return f"cuda:{number}"


@dataclass(frozen=True)
class Gpu:
    name: str
    capability: tuple[int, int]
    native_bf16: bool


def _usable_gpu(number: int) -> Gpu:
    """What torch says of GPU `number`.

    Raises InputError with the remedy where the driver, torch or the GPU do not fit together.
    """
    import torch

    if torch.version.cuda is None:
        raise InputError(
            "this machine has an NVIDIA GPU but the installed torch is a CPU-only build; "
            "install torch with CUDA, or measure the CPU with --device cpu"
        )
    try:
        torch.cuda.init()
        count = torch.cuda.device_count()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the GPU cannot be used ({reason}); update the NVIDIA driver to one for CUDA "
            f"{torch.version.cuda}, or measure the CPU with --device cpu"
        ) from error
    if number >= count:
        names = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
        raise InputError(f"--device cuda:{number}: this machine has {names}")
    name = torch.cuda.get_device_name(number)
    capability = torch.cuda.get_device_capability(number)
    if not _compiled_for(capability, torch.cuda.get_arch_list()):
        raise InputError(
            f"{name} (sm_{capability[0]}{capability[1]}) is not among the architectures of this "
            f"torch ({' '.join(torch.cuda.get_arch_list())}); install a torch built for it, or "
            "measure the CPU with --device cpu"
        )
    with torch.cuda.device(number):
        native_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return Gpu(name, capability, native_bf16)


def _compiled_for(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Machine code runs on the same major version from its minor on, PTX on anything newer."""
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        digits = digits.rstrip("af")
        if not digits.isdigit():
            continue
        built = (int(digits[:-1]), int(digits[-1]))
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
        if kind == "compute" and built <= capability:
            return True
    return False


def _refuse_precision_on_gpu(spec: Spec, gpu: Gpu) -> None:
    if spec.precision == "tf32" and gpu.capability < (8, 0):
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
    import torch

    return spec.precision != "bf16" or torch.cuda.is_bf16_supported(including_emulation=False)


def _refuse_impossible(spec: Spec, machine: Machine) -> None:
    if spec.device == "cpu" and spec.model != "synthetic":
        if spec.precision == "tf32":
            raise InputError("--precision tf32: only NVIDIA GPUs from Ampere on have it; use fp32")
        if not spec.allow_emulated and not native_precision(spec, machine):
            needed = (
                "avx512_fp16 or amx_fp16" if spec.precision == "fp16" else "avx512_bf16 or amx_bf16"
            )
            raise InputError(
                f"--precision {spec.precision}: this CPU ({machine.cpu}) has no {needed} and only "
                "emulates it, 40 to 60 times slower; use fp32, or add --allow-emulated"
            )
    if spec.depth != 1:
        raise InputError(
            "--depth: batches in flight per worker come with CUDA graphs, which this version does "
            "not replay yet; use --workers for more parallel executions"
        )
    largest, _ = spec.dynamic_batch_limits()
    if largest % spec.batch:
        raise InputError(
            f"--dynamic-batch: MAX {largest} is no multiple of the {spec.batch} samples that "
            "each request brings; choose one"
        )
    _refuse_beyond_memory(spec)
    if spec.model == "synthetic":
        return
    if reason := importlib.import_module(RUNTIMES[spec.runtime]).refusal(spec):
        raise InputError(f"--runtime {spec.runtime}: {reason}")
    _refuse_missing_weights(spec)


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


def _refuse_missing_weights(spec: Spec) -> None:
    weights = spec.weights
    if weights in {"random", "pretrained"} or weights.startswith("hub:"):
        return
    if not Path(weights).exists():
        raise InputError(
            f"--weights {weights}: no such file or folder; use random, pretrained, hub:ID or a path"
        )
