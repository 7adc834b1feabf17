"""Refuses cells that this machine cannot measure, before anything is loaded.

Each error is one line with the reason and with what to change.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from gpubench.cells.devices import native_precision, without_sparse_kernels
from gpubench.cells.foreign_code import brings_code
from gpubench.engines import refusals
from gpubench.errors import InputError
from gpubench.models.labelled_parquet import read_labels
from gpubench.models.local_files import onnx_data
from gpubench.models.own_source import missing_function
from gpubench.registry import MODELS, RUNTIMES, local_path
from gpubench.spec.cell import Cell, ClosedLoad, OpenLoad, TraceLoad
from gpubench.spec.cpus import cpus_text, missing_cores
from gpubench.spec.spec import Spec
from gpubench.system.affinity import usable_now
from gpubench.system.machine import Machine
from gpubench.system.temperature import thermometer

# Memory of one request in an open loop: its due time, its time stamps, and the copy of its row
# while the samples are sorted.
_SCHEDULED_REQUEST_BYTES = 250


def refuse_missing_model(spec: Spec) -> None:
    """Raises InputError if a file is missing: the model, its external data, or --inputs-file."""
    path = local_path(spec.model)
    if path is not None and not os.path.exists(path):  # also False without access to its folder
        raise InputError(
            f"--model {spec.model}: there is no {path}; give the path of an existing model"
        )
    if path is not None and os.path.isdir(path) and not path.endswith("/"):
        raise InputError(f"--model {spec.model}: {path} is a folder; give a file")
    if path is not None:
        _refuse_special(f"--model {spec.model}", path)
        onnx_data(Path(path))
    if spec.inputs_file is not None and not os.path.isfile(spec.inputs_file):
        raise InputError(
            f"--inputs-file {spec.inputs_file}: there is no such file; give a file that "
            "numpy.savez has written"
        )


def refuse_labelled_data(cell: Cell) -> None:
    """Raises InputError if --eval names no function, or a file that is no labelled data.

    The labels of a file are read, and its columns are compared with the inputs of the model as far
    as these are known without loading it.
    """
    if cell.eval is None:
        return
    if cell.spec.eval_is_function:
        if reason := missing_function(cell.eval, "--eval"):
            raise InputError(reason)
        return
    labelled = read_labels(Path(cell.eval))
    labelled.refuse_missing(_input_names(cell), cell.model)


def _input_names(cell: Cell) -> tuple[str, ...]:
    """The names of the model's inputs; empty if they are known only when it is loaded."""
    if cell.model.lower().endswith(".onnx"):
        from gpubench.models.onnx_signature import read_signature

        return tuple(input_.name for input_ in read_signature(Path(cell.model)).inputs)
    return cell.model_entry.input_names


def refuse_code(spec: Spec) -> None:
    """Raises InputError if the model's folder contains code and the user has not allowed it."""
    if not spec.allow_code and (reason := brings_code(spec)):
        raise InputError(f"--model {spec.model}: {reason}; if you trust it, add --allow-code")


def refuse_by_its_file(cell: Cell) -> None:
    """Raises InputError if the model's file does not fit the cell. Does not import torch."""
    checks = cell.model_entry.checks
    if checks is not None and (reason := importlib.import_module(checks).refusal(cell)):
        raise InputError(reason)


def refuse_impossible(cell: Cell, machine: Machine) -> None:
    """Raises InputError, with the reason and the fix, if this machine cannot measure the cell."""
    refuse_by_its_file(cell)
    refuse_labelled_data(cell)
    _refuse_missing_cores(cell)
    if cell.on_cpu:
        _refuse_on_cpu(cell, machine)
    elif cell.training is None:
        _refuse_idle_gpus(cell)
    if cell.training is not None:
        _refuse_replicas(cell, cell.training.replicas, machine)
    if cell.batch_limits.samples % cell.batch:
        raise InputError(
            f"--dynamic-batch: MAX is {cell.batch_limits.samples}, which is not a multiple of the "
            f"{cell.batch} samples in each request (--batch); choose a multiple"
        )
    if isinstance(cell.load, OpenLoad):
        _refuse_long_schedule(cell.load)
    if isinstance(cell.load, TraceLoad):
        _refuse_trace(cell.load, cell.spec.requests)
    _refuse_without_sensor(cell)
    if cell.memory_format != "contiguous":
        _refuse_memory_format(cell)
    if cell.sparsity != "none":
        _refuse_sparsity(cell)
    if cell.service is not None:  # no model is executed
        return
    reason = refusals.on_cpu(cell) if cell.on_cpu else None
    if reason := reason or importlib.import_module(cell.runtime_entry.file).refusal(cell):
        raise InputError(f"--runtime {cell.runtime}: {reason}")
    _refuse_missing_weights(cell.weights)


def _refuse_missing_cores(cell: Cell) -> None:
    usable = usable_now()
    if cell.cpus is not None and (missing := missing_cores(cell.cpus, usable)):
        raise InputError(
            f"--cpus {cell.spec.cpus}: this process may not run on {missing}, only on "
            f"{cpus_text(usable)}; choose from these"
        )


def _refuse_without_sensor(cell: Cell) -> None:
    """Raises InputError if --cool-to asks for a temperature that cannot be read."""
    if cell.cool_to_c is None:
        return
    setting = f"--cool-to {cell.cool_to_c:g}C"
    if cell.accelerator is not None:
        raise InputError(f"{setting}: only CPUs and NVIDIA GPUs show a temperature; remove it")
    if thermometer(cell.devices) is None:
        raise InputError(
            f"{setting}: no temperature of {_described(cell)} can be read here, as in most virtual "
            "machines and some containers; remove it"
        )


def _described(cell: Cell) -> str:
    return "the CPU" if cell.computes_on_cpu else ", ".join(cell.devices)


def _refuse_memory_format(cell: Cell) -> None:
    """Raises InputError if it is known without loading the model that it has no such format.

    Whether a user's own model takes images is known only when it is loaded.
    """
    if cell.service is not None or (cell.model in MODELS and cell.seq_len is not None):
        raise InputError(
            f"--memory-format {cell.memory_format}: it is for models that take images, and "
            f"{cell.model} takes none; remove it"
        )
    if cell.runtime_entry.takes_memory_format:
        return
    others = [
        name
        for name, runtime in RUNTIMES.items()
        if runtime.takes_memory_format and name in (cell.model_entry.runtimes or RUNTIMES)
    ]
    remedy = f"choose --runtime {' or '.join(others)}, or remove it" if others else "remove it"
    raise InputError(
        f"--memory-format {cell.memory_format}: {cell.runtime} chooses the memory format itself; "
        f"{remedy}"
    )


def _refuse_sparsity(cell: Cell) -> None:
    """Raises InputError if the cell's device, runtime, precision or model has no sparse kernels."""
    setting = f"--sparsity {cell.sparsity}"
    if cell.on_cpu and cell.server is None:
        raise InputError(
            f"{setting}: CPUs have no kernels for it; it needs an NVIDIA GPU from Ampere on "
            "(A100, A10G, L4, H100); remove it"
        )
    if cell.service is not None or cell.model_entry.convolutional:
        raise InputError(
            f"{setting}: it is for linear layers, and {cell.model} has none or very few; remove it"
        )
    supported = cell.runtime_entry.sparse_precisions
    if not supported:
        names = [
            name
            for name, runtime in RUNTIMES.items()
            if runtime.sparse_precisions and name in (cell.model_entry.runtimes or RUNTIMES)
        ]
        remedy = f"choose --runtime {' or '.join(names)}, or remove it" if names else "remove it"
        raise InputError(f"{setting}: {cell.runtime} has no kernels for it; {remedy}")
    if cell.precision not in supported:
        raise InputError(
            f"{setting}: {cell.runtime} has kernels for it in {', '.join(supported)}, and not in "
            f"{cell.precision}; choose one of them with --precision"
        )
    if gpu := without_sparse_kernels(cell):
        raise InputError(
            f"{setting}: {gpu} has no kernels for it, which came with Ampere (A100, A10G); remove "
            "it, or choose another --device"
        )


def _refuse_on_cpu(cell: Cell, machine: Machine) -> None:
    if cell.service is None and cell.computes_on_cpu:
        _refuse_precision_on_cpu(cell, machine)
    if cell.inputs == "pinned":
        raise InputError("--inputs pinned: only GPUs copy from pinned memory; use --inputs host")
    if cell.depth != 1:
        raise InputError(
            f"--depth {cell.depth}: only workers of NVIDIA GPUs have several batches in flight; "
            "use --workers for more parallel executions"
        )


def _refuse_precision_on_cpu(cell: Cell, machine: Machine) -> None:
    if cell.precision == "tf32":
        raise InputError("--precision tf32: only NVIDIA GPUs from Ampere on have it; use fp32")
    if cell.spec.allow_emulated or native_precision(cell, machine):
        return
    if cell.model.lower().endswith(".onnx"):
        raise InputError(
            f"--precision {cell.precision}: {cell.model} computes in {cell.precision}, and this "
            f"CPU ({machine.cpu}) only emulates it; add --allow-emulated to measure it in spite of "
            "that, or give an fp32 file"
        )
    needed = "avx512_fp16 or amx_fp16" if cell.precision == "fp16" else "avx512_bf16 or amx_bf16"
    raise InputError(
        f"--precision {cell.precision}: this CPU ({machine.cpu}) has no {needed} and only "
        "emulates it, 40 to 60 times slower; use fp32, or add --allow-emulated"
    )


def _refuse_idle_gpus(cell: Cell) -> None:
    """Raises InputError if a GPU of the cell would have less work than the others, or none.

    Every GPU needs the same number of workers, and at least one client.
    """
    gpus, workers = len(cell.devices), cell.workers
    if workers % gpus:
        below, above = workers // gpus * gpus, (workers // gpus + 1) * gpus
        fitting = f"{below} or {above}" if below else str(above)
        raise InputError(
            f"--workers {workers}: {gpus} GPUs cannot have the same number of workers; "
            f"use {fitting}"
        )
    if isinstance(cell.load, ClosedLoad) and cell.load.clients < gpus:
        raise InputError(
            f"--clients {cell.load.clients}: too few to keep {gpus} GPUs busy; use {gpus} or more, "
            "or one GPU with --device cuda:0"
        )


def _refuse_replicas(cell: Cell, replicas: int, machine: Machine) -> None:
    """Raises InputError if a replica would have no GPU, or no core, of its own."""
    if not cell.on_cpu and replicas != len(cell.devices):
        raise InputError(
            f"--replicas {replicas}: on GPUs each replica has a GPU of its own, and --device "
            f"{','.join(cell.devices)} names {len(cell.devices)}; remove --replicas, or name as "
            "many GPUs"
        )
    cores = cell.cores_of(machine.cores)
    if cell.on_cpu and replicas > cores:
        where = "this machine" if cell.cpus is None else f"--cpus {cell.spec.cpus}"
        raise InputError(
            f"--replicas {replicas}: each needs a core of its own, and {where} has {cores}; "
            f"use {cores} or fewer"
        )


def _refuse_long_schedule(load: OpenLoad) -> None:
    """Raises InputError if a schedule does not fit into memory.

    All due times, and all time stamps of the requests, are in memory during the run.
    """
    requests = load.settling + load.requests
    needed = requests * _SCHEDULED_REQUEST_BYTES
    if needed > _half_of_the_memory():
        raise InputError(
            f"--rate {load.rate_per_second:g}: {requests:.3g} requests need {needed / 1e9:.3g} GB, "
            "more than half of this machine's memory; lower --rate, --duration or --warmup"
        )


def _refuse_trace(load: TraceLoad, requests: int | None) -> None:
    arrivals = len(load.trace.seconds)
    needed = arrivals * _SCHEDULED_REQUEST_BYTES
    if needed > _half_of_the_memory():
        raise InputError(
            f"--arrivals trace:{load.trace.path}: its requests need {needed / 1e9:.3g} GB, more "
            "than half of this machine's memory; shorten it"
        )
    if requests is not None and requests > arrivals:
        raise InputError(
            f"--requests {requests}: the trace has {arrivals} arrivals; remove --requests, or "
            "give a longer trace"
        )
    load.trace.scale(load.rate_per_second)


def _half_of_the_memory() -> float:
    """Half of this machine's memory, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def _refuse_missing_weights(weights: str) -> None:
    if weights in {"random", "pretrained"} or weights.startswith("hub:"):
        return
    if not os.path.exists(weights):
        raise InputError(
            f"--weights {weights}: no such file or folder; use random, pretrained, hub:ID or a path"
        )
    _refuse_special(f"--weights {weights}", weights)


def _refuse_special(setting: str, path: str) -> None:
    """Raises InputError for a pipe or a device file.

    Reading a pipe may wait for ever, and a device file may have no end.
    """
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise InputError(
            f"{setting}: {path} is not a regular file; give a regular file or a folder"
        )
