"""The table of a sweep: one row a cell, one table a machine.

What all cells of a machine share is said once above the table; what differs is a column. So the
table stays narrow, and nothing that a reader needs to believe it is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpubench.report.format import (
    ABSENT,
    count,
    milliseconds,
    seconds,
    usd,
    with_interval,
)
from gpubench.report.table import Column, Draft, Table, make_table
from gpubench.result import Cost, Environment, Reason, Result

PRECISIONS = ("fp32", "tf32", "amp", "fp16", "bf16")

HOW_TO_PRICE = (
    "No price: the machine does not say which instance it is. These results can be priced without "
    "measuring again: gpubench report DIR --instance NAME (gpubench prices list has the names) "
    "or --usd-per-hour X."
)
LEGEND = (
    "inferences /s and $/million count samples, not requests; ± is the 95% interval. "
    "ms is a request's round trip, over n requests."
)


def result_tables(results: Sequence[Result]) -> list[Table]:
    """One table for each machine and software that measured."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        machine = result.environment.model_dump_json(exclude={"time"})
        groups.setdefault(machine, []).append(result)
    return [_table(sorted(group, key=_order)) for group in groups.values()]


def cell_name(result: Result) -> str:
    """A cell in a few words: 'bert-base torchscript fp32, batch 4, 2 clients, 2 workers'."""
    spec = result.spec
    words = [f"{spec.model} {spec.runtime} {spec.precision}", f"batch {spec.batch}", _load(result)]
    if spec.workers is not None:
        words.append(count(spec.workers, "worker"))
    return ", ".join(words)


def machine_name(environment: Environment) -> str:
    """A machine in a few words: the instance where it says so, GPUs, cores."""
    parts = [environment.instance] if environment.instance else []
    parts += [f"{amount} x {name}" for name, amount in Counter(environment.gpus).items()]
    parts.append(f"{count(environment.cores, 'core')} of {environment.cpu}")
    return " · ".join(parts if environment.gpus else [*parts, "no GPU"])


def software(environment: Environment) -> str:
    names = ("gpubench", "torch", "torchvision", "transformers", "cuda", "driver", "python")
    versions = ((name, getattr(environment, name)) for name in names)
    return " · ".join(f"{name} {version}" for name, version in versions if version)


def verdict(result: Result) -> str:
    return "failed" if result.error else result.verdict.status


def _order(result: Result) -> tuple[str | int | float, ...]:
    spec = result.spec
    return (
        spec.model,
        spec.weights,
        spec.seq_len or 0,
        spec.runtime,
        PRECISIONS.index(spec.precision),
        spec.batch,
        spec.clients or 0,
        spec.rate or 0,
        spec.workers or 0,
    )


def _table(results: list[Result]) -> Table:
    varying = [setting for setting in _SETTINGS if len(_values(setting, results)) > 1]
    figures = [*_settings_columns(results, varying), *_FIGURES, *_cost_columns(results)]
    figures.append(_Figure(Column("verdict", "left"), _verdict_cell(results)))
    return make_table(
        columns=[figure.column for figure in figures],
        rows=[[figure.cell(result) for figure in figures] for result in results],
        facts=_facts(results, varying),
        remarks=[LEGEND] if any(result.costs for result in results) else [LEGEND, HOW_TO_PRICE],
    )


@dataclass(frozen=True)
class _Figure:
    """A column and how a result fills it."""

    column: Column
    cell: Callable[[Result], Draft]


def _plain(title: str, value: Callable[[Result], str], drop_order: int = 0) -> _Figure:
    column = Column(title, drop_order=drop_order)
    return _Figure(column, lambda result: Draft(value(result)))


# --- settings -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """Something a cell was measured with.

    `value` is None where it does not apply to a cell; `phrase` is None where a value that all cells
    share needs no mention.
    """

    title: str
    value: Callable[[Result], str | None]
    phrase: Callable[[str], str | None]


def _is_synthetic(result: Result) -> bool:
    return result.spec.model == "synthetic"


def _window(result: Result) -> str | None:
    spec = result.spec
    requests = count(spec.requests, "request") if spec.requests else None
    duration = seconds(spec.duration) if spec.duration else None
    if requests and duration:
        return f"{requests} or {duration}"
    return requests or duration


def _service(result: Result) -> str | None:
    spec = result.spec
    if spec.service_time is None:
        return None
    return f"{spec.service_dist or 'constant'} {seconds(spec.service_time)}"


_SETTINGS = (
    _Setting("runtime", lambda r: None if _is_synthetic(r) else r.spec.runtime, str),
    _Setting(
        "weights", lambda r: None if _is_synthetic(r) else r.spec.weights, "{} weights".format
    ),
    _Setting("service time", _service, "service time {}".format),
    _Setting(
        "seq. length",
        lambda r: str(r.spec.seq_len) if r.spec.seq_len else None,
        "sequence length {}".format,
    ),
    _Setting("device", lambda r: r.spec.device, "device {}".format),
    _Setting(
        "inputs", lambda r: None if _is_synthetic(r) else r.spec.inputs, "inputs on the {}".format
    ),
    _Setting(
        "arrivals",
        lambda r: r.spec.arrivals if r.spec.clients is None else None,
        "{} arrivals".format,
    ),
    _Setting(
        "dynamic batch",
        lambda r: r.spec.dynamic_batch or "off",
        lambda value: None if value == "off" else f"dynamic batch {value}",
    ),
    _Setting(
        "depth",
        lambda r: str(r.spec.depth) if r.spec.depth else None,
        lambda value: None if value == "1" else f"depth {value}",
    ),
    _Setting("wait", lambda r: r.spec.wait, "wait {}".format),
    _Setting("warm-up", lambda r: seconds(r.spec.warmup), "warm-up {}".format),
    _Setting("window", _window, "window {}".format),
    _Setting("seed", lambda r: str(r.spec.seed), "seed {}".format),
)


def _values(setting: _Setting, results: Sequence[Result]) -> list[str]:
    """Different values of a setting, in order of appearance."""
    values = (setting.value(result) for result in results)
    return list(dict.fromkeys(value for value in values if value is not None))


def _settings_columns(results: Sequence[Result], varying: Sequence[_Setting]) -> list[_Figure]:
    columns = [_Figure(Column("model", "left"), lambda r: Draft(r.spec.model))]
    columns += [
        _Figure(Column(setting.title, "left"), _setting_cell(setting)) for setting in varying
    ]
    columns += [
        _Figure(Column("precision", "left"), _precision_cell),
        _plain("batch", lambda r: str(r.spec.batch)),
    ]
    if not _clients_are_workers(results) and any(r.spec.clients for r in results):
        columns.append(_plain("clients", lambda r: number_or_absent(r.spec.clients)))
    if any(r.spec.clients is None for r in results):
        columns.append(_plain("rate /s", _rate))
    columns.append(_plain("workers", lambda r: number_or_absent(r.spec.workers)))
    if len(_threads(results)) > 1 and _cores_shared_out(results) is None:
        columns.append(_plain("threads", lambda r: number_or_absent(r.spec.threads)))
    return columns


def _setting_cell(setting: _Setting) -> Callable[[Result], Draft]:
    return lambda result: Draft(setting.value(result) or ABSENT)


def _precision_cell(result: Result) -> Draft:
    if _is_synthetic(result):
        return Draft(ABSENT)
    if result.engine.native_precision:
        return Draft(result.spec.precision)
    note = f"{result.spec.precision} is emulated here: hardware that has it is far faster"
    return Draft(result.spec.precision, (note,))


def number_or_absent(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def _load(result: Result) -> str:
    if result.spec.clients is not None:
        return count(result.spec.clients, "client")
    return f"{_rate(result)} requests/s"


def _rate(result: Result) -> str:
    if result.spec.clients is not None:
        return ABSENT
    return f"{result.spec.rate:,g}" if result.spec.rate is not None else "as traced"


def _clients_are_workers(results: Sequence[Result]) -> bool:
    return all(r.spec.clients is not None and r.spec.clients == r.spec.workers for r in results)


def _threads(results: Sequence[Result]) -> set[int | None]:
    return {result.spec.threads for result in results}


def _cores_shared_out(results: Sequence[Result]) -> int | None:
    """How many CPU threads the workers share, where that is the same in every cell."""
    totals = {(r.spec.threads or 0) * (r.spec.workers or 0) for r in results}
    return totals.pop() or None if len(totals) == 1 else None


# --- figures ------------------------------------------------------------------------------------


def _completed(result: Result) -> str:
    return (
        ABSENT
        if result.error and not result.requests.completed
        else f"{result.requests.completed:,}"
    )


_FIGURES = (
    _plain(
        "inferences /s", lambda r: with_interval(r.throughput_per_second, r.throughput_interval)
    ),
    _plain("P50 ms", lambda r: milliseconds(r.latency_ms.p50), drop_order=2),
    _plain("P95 ms", lambda r: milliseconds(r.latency_ms.p95)),
    _plain("P99 ms", lambda r: milliseconds(r.latency_ms.p99), drop_order=1),
    _plain("n", _completed, drop_order=3),
)


def _cost_columns(results: Sequence[Result]) -> list[_Figure]:
    return [
        _Figure(Column(f"$/million {name}"), _cost_cell(name)) for name in _price_names(results)
    ]


def _price_names(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(price_name(cost) for result in results for cost in result.costs))


def price_name(cost: Cost) -> str:
    """What was priced: an instance, or a price by hand."""
    return cost.instance or f"at ${usd(cost.usd_per_hour)}/h"


def _cost_cell(name: str) -> Callable[[Result], Draft]:
    def cell(result: Result) -> Draft:
        for cost in result.costs:
            if price_name(cost) == name:
                figure = with_interval(cost.usd_per_million, cost.usd_per_million_interval)
                if cost.usd_per_million_interval is None:
                    figure = usd(cost.usd_per_million)
                return Draft(figure, cost_notes(cost))
        return Draft(ABSENT)

    return cell


def cost_notes(cost: Cost) -> tuple[str, ...]:
    """What a reader must know before relying on a price."""
    notes = []
    name = price_name(cost)
    difference = f": {cost.hardware_note}" if cost.hardware_note else ""
    if cost.instance is None:
        if cost.hardware_note:
            notes.append(f"{name}{difference}")
    elif cost.measured_here is None:
        notes.append(f"{name}: priced, but the machine does not say that it is one")
    elif not cost.measured_here:
        notes.append(f"{name}: not the hardware measured{difference}")
    elif cost.hardware_note:
        notes.append(f"{name}: measured on a part of it{difference}")
    if cost.extrapolated:
        notes.append(f"{name}: extrapolated from the GPUs measured to all that are billed")
    return tuple(notes)


# --- verdict ------------------------------------------------------------------------------------


def _verdict_cell(results: Sequence[Result]) -> Callable[[Result], Draft]:
    """Reasons that differ in nothing but their figure share one note."""
    figures: dict[str, list[float | str]] = {}
    for result in results:
        for reason in result.verdict.reasons:
            if reason.figure is not None:
                figures.setdefault(_without_figure(reason), []).append(reason.figure)

    def note(reason: Reason) -> str:
        seen = figures.get(_without_figure(reason))
        text = f"{_words(reason.code)}{': ' + _range(seen) if seen else ''}"
        if reason.limit is not None:
            text += f" (limit {_figure(reason.limit)})"
        return f"{text}; {reason.remedy}"

    def cell(result: Result) -> Draft:
        if result.error:
            message = " ".join(result.error.message.split())
            return Draft("failed", (f"failed in {result.error.stage}: {message}",))
        return Draft(result.verdict.status, tuple(map(note, result.verdict.reasons)))

    return cell


def _without_figure(reason: Reason) -> str:
    return reason.model_dump_json(exclude={"figure"})


def _words(code: str) -> str:
    return code.replace("_", " ")


def _range(figures: Sequence[float | str]) -> str:
    numbers = [figure for figure in figures if not isinstance(figure, str)]
    if len(numbers) < len(figures) or min(numbers) == max(numbers):
        return ", ".join(dict.fromkeys(map(_figure, figures)))
    return f"{_figure(min(numbers))} to {_figure(max(numbers))}"


def _figure(figure: float | str) -> str:
    if isinstance(figure, str):
        return figure
    return f"{figure:,.3g}" if abs(figure) < 1000 else f"{figure:,.0f}"


# --- what all cells share -----------------------------------------------------------------------


def _facts(results: Sequence[Result], varying: Sequence[_Setting]) -> list[tuple[str, str]]:
    environment = results[0].environment
    facts = [
        ("machine", machine_name(environment)),
        ("software", software(environment)),
        ("all cells", " · ".join(_shared(results, varying))),
    ]
    if prices := _prices(results):
        facts.append(("prices", prices))
    return facts


def _shared(results: Sequence[Result], varying: Sequence[_Setting]) -> list[str]:
    phrases = []
    for setting in _SETTINGS:
        values = _values(setting, results)
        if setting not in varying and values and (phrase := setting.phrase(values[0])):
            phrases.append(phrase)
    if _clients_are_workers(results):
        phrases.append("clients = workers")
    shared_out = _cores_shared_out(results)
    threads = _threads(results)
    if len(threads) == 1 and None not in threads:
        phrases.append(f"{count(results[0].spec.threads or 0, 'CPU thread')} in each worker")
    elif shared_out is not None:
        phrases.append(f"{count(shared_out, 'CPU thread')} shared out among the workers")
    if any(r.spec.precision == "fp32" and r.spec.device != "cpu" for r in results):
        phrases.append("fp32 has TF32 off")
    return phrases


def _prices(results: Sequence[Result]) -> str:
    """Each price used; those of one source share its mention."""
    sources: dict[str, list[str]] = {}
    for cost in (cost for result in results for cost in result.costs):
        source = ", ".join(part for part in (cost.price_source, cost.price_as_of) if part)
        text = f"{cost.instance or 'by hand'} ${cost.usd_per_hour:g}/h"
        texts = sources.setdefault(source, [])
        if text not in texts:
            texts.append(text)
    return "; ".join(
        ", ".join(texts) + (f" ({source})" if source else "") for source, texts in sources.items()
    )
