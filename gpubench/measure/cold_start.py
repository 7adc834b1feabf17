"""One start of a configuration, as a server does it: from the imports to settled inferences.

What a server does not do is not done here, or it is in no stage: reference outputs, counting
operations, checking outputs, making many requests.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpubench import cache
from gpubench.cells.devices import native_precision
from gpubench.cells.resolve import cell_of, resolve
from gpubench.engines import memory_format, precision
from gpubench.engines.base import Engine, build
from gpubench.engines.cache_key import KeySearch
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.cold_child import StartClock
from gpubench.measure.environment import environment
from gpubench.measure.streams import execution, joined
from gpubench.models.base import LoadedModel, load, seeded
from gpubench.models.local_files import files_of
from gpubench.results.result import EngineInfo
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.statistics.cold_starts import MOST_INFERENCES, MOST_SETTLING_S
from gpubench.system.machine import this_machine, usable_cores
from gpubench.system.process_memory import ResidentPeak

# What models and runtimes import when they are used. A server has these imports at the top of its
# program, so they belong to the stage of the imports.
_LIBRARIES = {
    "bert-base": ("transformers.models.bert.modeling_bert",),
    "bert-large": ("transformers.models.bert.modeling_bert",),
    "distilbert": ("transformers.models.distilbert.modeling_distilbert",),
    "resnet50": ("torchvision.models",),
    "onnxruntime": ("onnxruntime",),
    "jax": ("jax",),
    "neuron": ("torch_neuronx",),
    "executorch": ("executorch.runtime",),
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx",),
    "openvino": ("openvino",),
}
# Runtimes that execute the modules of torch. They move the module to its device before they build;
# the others do it while they build.
_MOVE_FIRST = ("eager", "torchscript", "compile", "aotinductor")
_NO_FILES = ("/proc/", "/sys/", "/dev/")


def resolved(settings: dict[str, Any]) -> dict[str, object]:
    """The settings with the defaults of this machine filled in, and the environment.

    It imports torch, so the parent lets another process do it: the page cache cannot drop a library
    that the parent uses. A bad setting is returned as "input_error".
    """
    machine = this_machine()
    try:
        spec = Spec.model_validate(settings)
        if spec.served:
            raise InputError(
                "--runtime kserve: a client cannot start a server anew; measure the cold start of "
                "the runtime that it uses"
            )
        cell = resolve(spec, machine)
        if len(cell.devices) > 1:
            raise InputError(
                f"--device {','.join(cell.devices)}: a cold start is that of one device; name one"
            )
    except InputError as error:
        return {"input_error": str(error)}
    return {
        "spec": cell.spec.model_dump(mode="json", exclude_unset=True),
        "environment": environment(machine, cell).model_dump(mode="json"),
    }


def start(settings: dict[str, Any], clock: StartClock, describe: bool) -> Cell:
    """Start the configuration of these resolved settings. `clock` is in the stage of the imports.

    With `describe` the parent is also told what the engine is.

    Raises GpubenchError if the model cannot be loaded or built, and other errors of the runtime.
    """
    cell = cell_of(Spec.model_validate(settings))
    with started(cell, clock) as ready:
        read_bytes = _read_bytes()
        service_ns = _service_times(ready.infer)
    told: dict[str, object] = {
        "service_ns": service_ns,
        "from_cache": ready.engine.from_cache,
        "read_bytes": read_bytes,
        "peak_host_bytes": ready.peak.bytes(),
    }
    if describe:
        told["engine"] = description(ready, cell).model_dump(mode="json")
    clock.write(told)
    return cell


@dataclass(frozen=True)
class Started:
    """A configuration that has answered its first request."""

    model: LoadedModel
    engine: Engine
    infer: Callable[[], object]  # answers one request from host memory, on the thread of the start
    peak: ResidentPeak  # since the end of the imports


@contextmanager
def started(cell: Cell, clock: StartClock) -> Iterator[Started]:
    """Load and build a cell and run it once, and keep its engine until the end of the block.

    `clock` is in the stage of the imports before it, and in no stage of the start after it. Raises
    as `start` does.
    """
    for name in (cell.model_entry.file, cell.runtime_entry.file, *_libraries(cell)):
        with suppress(Exception):  # loading or building explains it
            importlib.import_module(str(name))
    clock.enter("excluded")
    peak = ResidentPeak()
    clock.enter("weights")
    precision.set_fp32_arithmetic(cell.precision)
    torch.set_num_threads(usable_cores())
    model = load(cell)
    clock.enter("excluded")
    _refuse(model, cell)
    if not cell.on_cpu and cell.runtime in _MOVE_FIRST:
        clock.enter("device")
        precision.convert(model.module, cell)
        torch.cuda.synchronize(cell.device)
    clock.enter("build")
    torch.set_num_threads(cell.threads)
    with memory_format.explained(cell), ExitStack() as modes:
        engine = build(model, cell)
        precision.set_fp32_arithmetic(cell.precision)  # exporting and compiling may change it
        modes.enter_context(engine.thread_modes())
        clock.enter("excluded", KeySearch.seconds if engine.from_cache else 0.0)
        open_, infer = _inference(model, engine, cell)
        clock.enter("first_inference")
        open_()
        infer()
        clock.enter("excluded")
        yield Started(model, engine, infer, peak)


def description(ready: Started, cell: Cell) -> EngineInfo:
    """What the engine of a start is."""
    model, engine = ready.model, ready.engine
    return EngineInfo(
        parameters=model.parameters,
        weights=model.weights,
        artifact_bytes=engine.artifact_bytes,
        library=engine.library,
        intra_op_threads=cell.threads if cell.computes_on_cpu else None,
        native_precision=native_precision(cell, this_machine()),
    )


def _libraries(cell: Cell) -> Iterator[str]:
    for name in (cell.model, cell.runtime):
        yield from _LIBRARIES.get(name, ())
    if cell.model_entry.file == "gpubench.models.huggingface":
        yield "transformers.modeling_utils"


def _refuse(model: LoadedModel, cell: Cell) -> None:
    """Raises GpubenchError if the model cannot have the memory format of the cell."""
    if cell.memory_format != "contiguous":
        inputs = model.make_inputs(seeded(0), model.fixed_batch or 1)
        if reason := memory_format.refusal(model, inputs, cell):
            raise GpubenchError(reason)


def _inference(
    model: LoadedModel, engine: Engine, cell: Cell
) -> tuple[Callable[[], None], Callable[[], object]]:
    """(what prepares this thread, what answers one request from host memory)."""
    executing = execution(engine, cell)
    generator = seeded(cell.seed + 1)  # as for the requests of a run
    processing = model.processing
    if processing is None:
        request = engine.cast(model.make_inputs(generator, cell.batch))
        return executing.open, lambda: executing.run([request])
    encoded = processing.make_requests(generator, cell.batch)

    def infer() -> object:
        inputs = joined([engine.cast(processing.preprocess(encoded))])
        return processing.postprocess(executing.run([inputs]))

    return executing.open, infer


def _service_times(infer: Callable[[], object]) -> list[int]:
    """The service times of the inferences after the first one, in nanoseconds."""
    service_ns: list[int] = []
    began_ns = last_ns = time.monotonic_ns()
    while len(service_ns) < MOST_INFERENCES and last_ns - began_ns < MOST_SETTLING_S * 1e9:
        infer()
        now_ns = time.monotonic_ns()
        service_ns.append(now_ns - last_ns)
        last_ns = now_ns
    return service_ns


def _read_bytes() -> int | None:
    """What this process made the kernel read from storage. Source: proc_pid_io(5)."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/io").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "read_bytes":
                return int(value)
    return None


def files_read(cell: Cell, opened: set[str]) -> list[str]:
    """The files that this process has read: those that Python opened or imported, those that are
    mapped into its memory, those of the model, and the engine cache.
    """
    paths = {sys.executable, *opened, *_imported(), *_mapped(), *_in_cache(), *_of_hub(cell)}
    paths |= {str(file) for file in files_of(cell)}
    real = {os.path.realpath(path) for path in paths}
    return sorted(path for path in real if not path.startswith(_NO_FILES) and os.path.isfile(path))


def _imported() -> Iterator[str]:
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        for path in (getattr(spec, "origin", None), getattr(spec, "cached", None)):
            if isinstance(path, str):
                yield path


def _mapped() -> Iterator[str]:
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        _, slash, path = line.partition("/")
        if slash:
            yield f"/{path}"


def _in_cache() -> Iterator[str]:
    entries: list[cache.Entry] = []
    with suppress(InputError):  # a cache that is not used
        entries = cache.entries()
    for entry in entries:
        yield str(entry.path)
        for place, _, names in os.walk(entry.path):
            yield from (os.path.join(place, name) for name in names)


def _of_hub(cell: Cell) -> Iterator[str]:
    """The files of Hugging Face's cache, if the weights come from there.

    Libraries written in Rust read them, so Python sees neither the opening nor the reading.
    """
    if cell.weights != "pretrained" and not f"{cell.model} {cell.weights}".count("hub:"):
        return
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:  # the weights are torchvision's own, which Python opens
        return
    for place, _, names in os.walk(HF_HUB_CACHE):
        yield from (os.path.join(place, name) for name in names)
