"""The settings of the cells of a table.

Settings that are equal in all cells are listed once above the table. Settings that differ are
columns. So the table is narrow and still complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from gpubench.registry import model_entry
from gpubench.report.format import ABSENT, count, integer, seconds
from gpubench.report.table import Column, DraftCell
from gpubench.results.result import Environment, Result
from gpubench.spec.settings import INPUTS_ARE, MemoryFormat, Precision

_PRECISIONS = get_args(Precision)
_MEMORY_FORMATS = get_args(MemoryFormat)


@dataclass(frozen=True)
class FilledColumn:
    """A column, and the function that makes its cell for a result."""

    column: Column
    cell: Callable[[Result], DraftCell]


@dataclass(frozen=True)
class Setting:
    """A setting that becomes a column only if it differs.

    `value` returns None if the setting does not apply to a cell. `phrase` returns None if a value
    that all cells have in common need not be mentioned.
    """

    title: str
    value: Callable[[Result], str | None]
    phrase: Callable[[str], str | None]


def settings_order(result: Result) -> tuple[str | int | float, ...]:
    """Sort key of the rows of a table: models by name, then every setting in rising order."""
    spec = result.spec
    return (
        spec.model,
        spec.weights,
        spec.seq_len or 0,
        spec.service_time or 0,
        spec.trains,
        spec.runtime,
        _PRECISIONS.index(spec.precision),
        _MEMORY_FORMATS.index(spec.memory_format),
        spec.sparsity != "none",
        spec.batch,
        spec.optimizer or "",
        spec.accumulate or 0,
        spec.checkpointing,
        spec.replicas or 0,
        spec.clients or 0,
        spec.rate or 0,
        spec.workers or 0,
        spec.cpus or "",
    )


def machine_name(environment: Environment) -> str:
    """A machine in a few words: the instance type if it is known, GPUs, cores."""
    parts = [environment.instance] if environment.instance else []
    parts += [f"{amount} x {name}" for name, amount in Counter(environment.gpus).items()]
    parts.append(f"{count(environment.cores, 'core')} of {environment.cpu}")
    return " · ".join(parts if environment.gpus else [*parts, "no GPU"])


def measured_on(result: Result) -> str:
    """What executed the model: the machine in a few words, or a server of unknown hardware."""
    if result.spec.served:
        return f"server {result.spec.server}, whose hardware is not known"
    return machine_name(result.environment)


def measured_instance(result: Result) -> str | None:
    """The type of instance that executed the model, if it is known."""
    return None if result.spec.served else result.environment.instance


def software(environment: Environment) -> str:
    """The installed software: 'gpubench 0.1.0 · torch 2.15.0 · ...'."""
    names = ("gpubench", "torch", "torchvision", "transformers", "cuda", "driver", "python")
    versions = ((name, getattr(environment, name)) for name in names)
    return " · ".join(f"{name} {version}" for name, version in versions if version)


def settings_columns(results: Sequence[Result]) -> list[FilledColumn]:
    """Model, precision, batch, load and workers, and all other settings that differ."""
    columns = [
        FilledColumn(Column("model", "left", is_key=True), lambda r: DraftCell(r.spec.model))
    ]
    columns += [
        FilledColumn(Column(setting.title, "left", is_key=True), _setting_cell(setting))
        for setting in _SETTINGS
        if _differs(setting, results)
    ]
    columns += [
        FilledColumn(Column("precision", "left", is_key=True), _precision_cell),
        _key_column("batch", lambda r: str(r.spec.batch)),
    ]
    if not _clients_are_workers(results) and any(r.spec.clients for r in results):
        columns.append(_key_column("clients", lambda r: integer(r.spec.clients)))
    if any(r.spec.clients is None for r in results):
        columns.append(_key_column("rate /s", _rate))
    if not all(r.spec.trains for r in results):
        columns.append(_key_column("workers", lambda r: integer(r.spec.workers)))
    if len(_threads(results)) > 1 and _total_threads(results) is None:
        columns.append(_key_column("threads", lambda r: integer(r.spec.threads)))
    return columns


def labels(results: Sequence[Result]) -> list[str]:
    """Each result in words: 'model resnet50, precision bf16, batch 4, workers 1'."""
    columns = settings_columns(results)
    cells = ([(c.column.title, c.cell(result).text) for c in columns] for result in results)
    return [", ".join(f"{title} {text}" for title, text in row if text != ABSENT) for row in cells]


def shared_settings(results: Sequence[Result]) -> str:
    """Settings that are equal in all cells and have no column: 'torchscript · warm-up 2s'."""
    phrases: list[str | None] = [
        setting.phrase(values[0])
        for setting in _SETTINGS
        if len(values := _values(setting, results)) == 1
    ]
    if _clients_are_workers(results) and not all(r.spec.trains for r in results):
        phrases.append("clients = workers")
    phrases.append(_threads_phrase(results))
    if any(r.spec.precision == "fp32" and r.spec.device.startswith("cuda") for r in results):
        phrases.append("fp32 has TF32 off")
    return " · ".join(phrase for phrase in phrases if phrase)


def _key_column(title: str, value: Callable[[Result], str]) -> FilledColumn:
    return FilledColumn(Column(title, is_key=True), lambda result: DraftCell(value(result)))


def _is_synthetic(result: Result) -> bool:
    return result.spec.model == "synthetic"


def _devices(result: Result) -> str:
    """'cpu', 'cuda:0', or for consecutive GPUs the first and the last: 'cuda:0 to 7'."""
    devices = result.spec.devices
    numbers = [int(name.partition(":")[2]) for name in devices] if len(devices) > 1 else []
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"cuda:{numbers[0]} to {numbers[-1]}"
    return result.spec.device


def _warm_up(result: Result) -> str:
    warmup = result.spec.warmup
    return warmup if isinstance(warmup, str) else seconds(warmup)


def _window(result: Result) -> str | None:
    spec = result.spec
    requests = count(spec.requests, "request") if spec.requests else None
    duration = seconds(spec.duration) if spec.duration else None
    return f"{requests} or {duration}" if requests and duration else requests or duration


_FROM_FUNCTION = "from the model's function"


def weights(result: Result) -> str | None:
    """The origin of a cell's weights, according to its engine, without the seed of random ones.

    The settings show it only for presets. None: unknown, or the model has no weights.
    """
    if _is_synthetic(result):
        return None
    if result.engine.weights is not None:
        return result.engine.weights.removesuffix(f" (seed {result.spec.seed})")
    known = model_entry(result.spec.model)
    return None if known is not None and known.has_weights else result.spec.weights


def _shown_weights(result: Result) -> str | None:
    """`weights`, without the name of a function that the column of the models has already."""
    label = weights(result)
    return _FROM_FUNCTION if label == f"own: {result.spec.model}" else label


def _weights_phrase(label: str) -> str:
    """'random weights', 'weights from model.pt', 'pretrained weights from ID'."""
    if label == _FROM_FUNCTION:
        return f"weights {label}"
    kind, has_source, source = label.partition(": ")
    if not has_source:
        return f"{label} weights"
    is_pretrained = kind in {"hub", "pretrained"}
    return f"{'pretrained ' if is_pretrained else ''}weights from {source}"


def _cores(result: Result) -> str:
    return result.spec.cpus or "all"


def _cooled_to(result: Result) -> str:
    """'60C', or 'any' without --cool-to."""
    most_c = result.spec.cool_to
    return "any" if most_c is None else f"{most_c:g}C"


def _cores_phrase(value: str) -> str | None:
    return None if value == "all" else f"on {'core' if value.isdecimal() else 'cores'} {value}"


def _cooled_phrase(value: str) -> str | None:
    return None if value == "any" else f"cooled to {value}"


def _service(result: Result) -> str | None:
    spec = result.spec
    if spec.service_time is None:
        return None
    return f"{spec.service_dist or 'constant'} {seconds(spec.service_time)}"


_SETTINGS = (
    Setting(
        "task",
        lambda r: r.spec.task,
        lambda value: "steps of training" if value == "train" else None,
    ),
    Setting("runtime", lambda r: None if _is_synthetic(r) else r.spec.runtime, str),
    Setting(
        "memory format",
        lambda r: None if _is_synthetic(r) else r.spec.memory_format,
        lambda value: None if value == "contiguous" else value,
    ),
    Setting(
        "sparsity",
        lambda r: None if _is_synthetic(r) else r.spec.sparsity,
        lambda value: None if value == "none" else f"{value} sparsity",
    ),
    Setting("weights", _shown_weights, _weights_phrase),
    Setting("optimizer", lambda r: r.spec.optimizer, str),
    Setting(
        "accumulate",
        lambda r: str(r.spec.accumulate) if r.spec.trains else None,
        lambda value: None if value == "1" else f"{value} batches a step",
    ),
    Setting(
        "checkpointing",
        lambda r: ("on" if r.spec.checkpointing else "off") if r.spec.trains else None,
        lambda value: "activation checkpointing" if value == "on" else None,
    ),
    Setting(
        "replicas",
        lambda r: str(r.spec.replicas) if r.spec.trains else None,
        lambda value: count(int(value), "replica"),
    ),
    Setting("service time", _service, "service time {}".format),
    Setting(
        "sequence length",
        lambda r: str(r.spec.seq_len) if r.spec.seq_len else None,
        "sequence length {}".format,
    ),
    Setting("input shape", lambda r: r.spec.input_shape, "input shape {}".format),
    Setting("dimensions", lambda r: r.spec.dim, "dimensions {}".format),
    Setting("inputs file", lambda r: r.spec.inputs_file, "inputs from {}".format),
    Setting("labelled data", lambda r: r.spec.eval, lambda value: None),
    Setting("device", _devices, lambda value: None if value == "server" else f"device {value}"),
    # The line about servers has it, since cells without a server may stand in the same table.
    Setting("server", lambda r: r.spec.server, lambda value: None),
    Setting(
        "inputs",
        lambda r: None if _is_synthetic(r) else r.spec.inputs,
        lambda inputs: f"inputs {INPUTS_ARE[inputs]}",
    ),
    Setting(
        "arrivals",
        lambda r: r.spec.arrivals if r.spec.clients is None else None,
        "{} arrivals".format,
    ),
    Setting(
        "dynamic batch",
        lambda r: r.spec.dynamic_batch or "off",
        lambda value: None if value == "off" else f"dynamic batch {value}",
    ),
    Setting(
        "depth",
        lambda r: str(r.spec.depth) if r.spec.depth else None,
        lambda value: None if value == "1" else f"depth {value}",
    ),
    Setting("cores", _cores, _cores_phrase),
    Setting("wait", lambda r: r.spec.wait, "wait {}".format),
    Setting("cooled to", _cooled_to, _cooled_phrase),
    Setting("warm-up", _warm_up, "warm-up {}".format),
    Setting("window", _window, "window {}".format),
    Setting("seed", lambda r: str(r.spec.seed), "seed {}".format),
    Setting(
        "load seed",
        lambda r: None if r.spec.load_seed is None else str(r.spec.load_seed),
        "load seed {}".format,
    ),
)


def _values(setting: Setting, results: Sequence[Result]) -> list[str]:
    """The different values of a setting, in order of appearance."""
    values = (setting.value(result) for result in results)
    return list(dict.fromkeys(value for value in values if value is not None))


def _differs(setting: Setting, results: Sequence[Result]) -> bool:
    return len(_values(setting, results)) > 1


def _setting_cell(setting: Setting) -> Callable[[Result], DraftCell]:
    return lambda result: DraftCell(setting.value(result) or ABSENT)


def _precision_cell(result: Result) -> DraftCell:
    precision = result.spec.precision
    if _is_synthetic(result):
        return DraftCell(ABSENT)
    if result.engine.native_precision:
        return DraftCell(precision)
    return DraftCell(
        precision, (f"{precision} is emulated here; a device that has it is far faster",)
    )


def _rate(result: Result) -> str:
    spec = result.spec
    if spec.clients is not None:
        return ABSENT
    return "as traced" if spec.rate is None else f"{spec.rate:,g}"


def _clients_are_workers(results: Sequence[Result]) -> bool:
    return all(r.spec.clients is not None and r.spec.clients == r.spec.workers for r in results)


def _threads(results: Sequence[Result]) -> set[int | None]:
    return {result.spec.threads for result in results}


def _total_threads(results: Sequence[Result]) -> int | None:
    """CPU threads of all workers together. None if the cells have different numbers."""
    totals = {
        (r.spec.threads or 0) * (r.spec.workers or 0) * (r.spec.replicas or 1) for r in results
    }
    return totals.pop() or None if len(totals) == 1 else None


def _threads_phrase(results: Sequence[Result]) -> str | None:
    threads = _threads(results)
    user = "replica" if all(r.spec.trains for r in results) else "worker"
    if len(threads) == 1:
        each = threads.pop()
        return f"{count(each, 'CPU thread')} in each {user}" if each else None
    total = _total_threads(results)
    return f"{count(total, 'CPU thread')} shared out among the {user}s" if total else None
