"""The tables of a sweep: one row for each cell, one table for each machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gpubench.report import repeats, training
from gpubench.report.accuracy import accuracy_columns, accuracy_facts, accuracy_remarks
from gpubench.report.format import (
    ABSENT,
    gibibytes,
    integer,
    milliseconds,
    number,
    percent,
    usd,
    with_interval,
)
from gpubench.report.latency import (
    DEFAULT_PERCENTS,
    few_requests,
    latency_remarks,
    percentile,
)
from gpubench.report.notes import (
    answer_notes,
    contradicting_meters,
    cost_notes,
    failure_note,
    lost_note,
    price_name,
    prices,
    reason_notes,
    verdict,
)
from gpubench.report.serving import server_columns, server_facts, server_remarks
from gpubench.report.settings import (
    FilledColumn,
    machine_name,
    settings_columns,
    settings_order,
    shared_settings,
    software,
)
from gpubench.report.table import Column, DraftCell, Table, make_table
from gpubench.report.warm_up import warm_up_remarks
from gpubench.results.result import Cost, Result, StageSummary
from gpubench.statistics.percentiles import Percent, percentile_name
from gpubench.statistics.repeats import combined, grouped
from gpubench.statistics.scaling import with_scaling

_HEADLINE: Percent = 95
_PERCENTILE_DROP_ORDER: dict[Percent, int] = {50: 2, 99: 1}

LEGEND = (
    "{} /s and $/million count samples, not requests; ± is the 95% interval. "
    "ms is the round trip of a request, over n requests."
)
ARITHMETIC = "FLOP/s count the products of the fp32 model: two for each multiply-add."
STAGES = "preprocess, compute and postprocess are the mean times of these stages of a request."
_ELECTRICITY = (
    "electricity and gCO2: from the energy of the {} alone. The price of a cloud instance, or of "
    "owned hardware, already contains its electricity."
)
_CPU_ENERGY = (
    "CPU W and joules on a CPU are those of its packages, with all their cores, by the "
    "counters of RAPL."
)
HOW_TO_PRICE = (
    "No price: the machine does not say which instance it is. To price these results without "
    "measuring again: gpubench report DIR --instance NAME (names: gpubench prices list), "
    "or --usd-per-hour X."
)


def result_tables(
    results: Sequence[Result],
    *,
    each_repeat: bool = False,
    percents: Sequence[Percent] = DEFAULT_PERCENTS,
) -> list[Table]:
    """One table for each combination of machine and software, and one more if some cells train.

    It has one row for each cell, or one for each of its repeats.
    """
    return [_table(_rows(group, each_repeat), each_repeat, percents) for group in by_table(results)]


def _rows(results: Sequence[Result], each_repeat: bool) -> list[Result]:
    groups = grouped(results)
    rows = [r for group in groups for r in group] if each_repeat else list(map(combined, groups))
    return with_scaling(rows)


def by_machine(results: Iterable[Result]) -> list[list[Result]]:
    """Results grouped by machine and software, in the order of the rows of a table."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        machine = result.environment.model_dump_json(exclude={"time"})
        groups.setdefault(machine, []).append(result)
    return [sorted(group, key=settings_order) for group in groups.values()]


def by_table(results: Iterable[Result]) -> list[list[Result]]:
    """As `by_machine`, with training apart: it has other settings and figures than inferences."""
    groups = []
    for group in by_machine(results):
        parts = ([r for r in group if r.spec.trains == trains] for trains in (False, True))
        groups += [part for part in parts if part]
    return groups


def _table(results: list[Result], each_repeat: bool, percents: Sequence[Percent]) -> Table:
    columns = [
        *settings_columns(results),
        *(repeats.each_repeat_column if each_repeat else repeats.count_column)(results),
        figure_column(f"{training.counted(results)} /s", throughput_text),
        *repeats.interval_columns(results),
        *(percentile_column(percent, results) for percent in percents),
        *stage_columns(results),
        figure_column("n", _completed, drop_order=3),
        *(figure_column(title, text, drop_order=5) for title, text in training.figures(results)),
        *_arithmetic_column(results),
        *_device_columns(results),
        *memory_columns(results),
        *server_columns(results),
        *accuracy_columns(results),
        *cost_columns(results),
        *(figure_column(title, text) for title, text in training.epoch_figures(results)),
        FilledColumn(Column("verdict", "left"), verdict_cell(results)),
    ]
    return make_table(
        columns=[filled.column for filled in columns],
        rows=[[filled.cell(result) for filled in columns] for result in results],
        facts=_facts(results),
        remarks=_remarks(results, percents),
    )


def _facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    environment = results[0].environment
    facts = [
        ("machine", machine_name(environment)),
        *server_facts(results),
        ("software", software(environment)),
        ("all cells", shared_settings(results)),
    ]
    peaks = dict.fromkeys(r.achieved.peak_source for r in results if r.achieved.peak_source)
    if peaks:
        facts.append(("peak", "; ".join(peaks)))
    facts += accuracy_facts(results)
    costs = costs_of(results)
    return [*facts, ("prices", prices(costs))] if costs else facts


def _remarks(results: Sequence[Result], percents: Sequence[Percent]) -> list[str]:
    has_arithmetic = any(r.achieved.flops_per_second is not None for r in results)
    has_price = bool(costs_of(results))
    return [
        LEGEND.format(training.counted(results)),
        *training.remarks(results),
        *repeats.remarks(results),
        *warm_up_remarks(results),
        *([ARITHMETIC] if has_arithmetic else []),
        *([STAGES] if stage_columns(results) else []),
        *([_CPU_ENERGY] if any(_cpu_power(r) != ABSENT for r in results) else []),
        *electricity_remarks(results),
        *server_remarks(results),
        *accuracy_remarks(results),
        *([] if has_price else [HOW_TO_PRICE]),
        *(latency_remarks(results[0], percents) if len(results) == 1 else []),
    ]


def electricity_remarks(results: Sequence[Result]) -> list[str]:
    """What the energy of the columns about electricity is. Empty if there are none."""
    on_gpus = {result.device is not None for result in results if result.electricity}
    if not on_gpus:
        return []
    names = ("GPUs, or CPU packages," if len(on_gpus) > 1 else "GPUs", "CPU packages")
    return [_ELECTRICITY.format(names[True not in on_gpus])]


def _completed(result: Result) -> str:
    completed = result.requests.completed
    is_unknown = result.error is not None or result.throughput_per_second is not None
    return integer(None if is_unknown and not completed else completed)


def throughput_text(result: Result) -> str:
    return with_interval(result.throughput_per_second, result.throughput_interval)


def _no_notes(_: Result) -> tuple[str, ...]:
    return ()


def figure_column(
    title: str,
    value: Callable[[Result], str],
    drop_order: int = 0,
    notes: Callable[[Result], tuple[str, ...]] = _no_notes,
) -> FilledColumn:
    return FilledColumn(
        Column(title, drop_order=drop_order), lambda result: DraftCell(value(result), notes(result))
    )


def percentile_column(percent: Percent, results: Sequence[Result]) -> FilledColumn:
    """A latency percentile. The headline figure has its interval if there are repeats."""
    has_interval = percent == _HEADLINE and any(result.repeats for result in results)

    def cell(result: Result) -> DraftCell:
        value = percentile(result.latency_ms, percent)
        if value is None:
            return DraftCell(ABSENT, few_requests(result, percent))
        interval = result.latency_ms.p95_interval if has_interval else None
        return DraftCell(with_interval(value, interval) if interval else milliseconds(value))

    title = f"{percentile_name(percent)} ms"
    return FilledColumn(Column(title, drop_order=_PERCENTILE_DROP_ORDER.get(percent, 0)), cell)


def _arithmetic_column(results: Sequence[Result]) -> list[FilledColumn]:
    """The arithmetic per second and its share of the peak. Empty if all of these results lack it.

    The unit fits the fastest cell.
    """
    rates = [rate for r in results if (rate := r.achieved.flops_per_second) is not None]
    if not rates:
        return []
    unit, size = ("TFLOP/s", 1e12) if max(rates) >= 1e12 else ("GFLOP/s", 1e9)
    has_share = any(r.achieved.peak_share is not None for r in results)

    def text(result: Result) -> str:
        rate = result.achieved.flops_per_second
        if rate is None:
            return ABSENT
        share = result.achieved.peak_share
        figure = number(rate / size, digits=3)
        return figure if share is None else f"{figure} ({percent(share)})"

    title = f"{unit} (of peak)" if has_share else unit
    return [figure_column(title, text, drop_order=8)]


def _device_columns(results: Sequence[Result]) -> list[FilledColumn]:
    """The columns about GPUs and energy that are not empty in all of these results."""
    return [
        figure_column(title, text, drop_order, notes)
        for title, text, drop_order, notes in (
            ("each GPU /s", _each_gpu, 4, _no_notes),
            ("GPU W", _gpu_power, 6, _no_notes),
            ("CPU W", _cpu_power, 6, _no_notes),
            (f"J /{training.counted(results)[:-1]}", _energy, 5, contradicting_meters),
            ("electricity $/million", _electricity_usd, 0, _no_notes),
            ("gCO2 /million", _electricity_grams, 0, _no_notes),
            ("throttled", _throttled, 7, _no_notes),
        )
        if any(text(result) != ABSENT or notes(result) for result in results)
    ]


def electricity_columns(results: Sequence[Result]) -> list[FilledColumn]:
    """The columns about electricity that are not empty in all of these results."""
    return [
        figure_column(title, text)
        for title, text in (
            ("electricity $/million", _electricity_usd),
            ("gCO2 /million", _electricity_grams),
        )
        if any(text(result) != ABSENT for result in results)
    ]


def stage_columns(results: Sequence[Result]) -> list[FilledColumn]:
    """The mean times of preprocessing, the model and postprocessing.

    Empty if the model of none of these results has pre- or postprocessing.
    """
    names = ("preprocess", "compute", "postprocess")
    stages = [result.stages_ms for result in results]
    if not any(each.preprocess or each.postprocess for each in stages):
        return []
    return [figure_column(f"{name} ms", _stage_mean(name)) for name in names]


def _stage_mean(name: str) -> Callable[[Result], str]:
    def text(result: Result) -> str:
        stage: StageSummary | None = getattr(result.stages_ms, name)
        return milliseconds(stage.mean if stage else None)

    return text


def memory_columns(results: Sequence[Result]) -> list[FilledColumn]:
    """The columns about memory that are not empty in all of these results."""
    return [
        figure_column(title, text, drop_order)
        for title, text, drop_order in (("GPU GiB", _gpu_memory, 9), ("host GiB", _host_memory, 10))
        if any(text(result) != ABSENT for result in results)
    ]


def _gpu_memory(result: Result) -> str:
    return gibibytes(result.memory.peak_device_bytes)


def _host_memory(result: Result) -> str:
    return gibibytes(result.memory.peak_host_bytes)


def _each_gpu(result: Result) -> str:
    """The slowest and the fastest of several GPUs."""
    gpus = result.device.gpus if result.device else []
    figures = [gpu.throughput_per_second for gpu in gpus if gpu.throughput_per_second is not None]
    if len(figures) < 2:
        return ABSENT
    slowest, fastest = number(min(figures)), number(max(figures))
    return slowest if slowest == fastest else f"{slowest} to {fastest}"


def _cpu_power(result: Result) -> str:
    return number(result.cpu_energy.power_w if result.cpu_energy else None, digits=3)


def _gpu_power(result: Result) -> str:
    return number(result.device.power_w if result.device else None, digits=3)


def _energy(result: Result) -> str:
    return number(result.energy_j_per_inference, digits=3)


def _electricity_usd(result: Result) -> str:
    return usd(result.electricity.usd_per_million if result.electricity else None)


def _electricity_grams(result: Result) -> str:
    use = result.electricity
    return number(use.grams_co2_per_million if use else None, digits=3)


def _throttled(result: Result) -> str:
    """The share of the window, of the GPU with the largest share."""
    share = result.device.throttled_share if result.device else None
    if share is None:
        return ABSENT
    return "no" if share == 0 else percent(share)


def costs_of(results: Sequence[Result]) -> list[Cost]:
    return [cost for result in results for cost in result.costs]


def cost_columns(results: Sequence[Result]) -> list[FilledColumn]:
    names = dict.fromkeys(price_name(cost) for cost in costs_of(results))
    return [FilledColumn(Column(f"$/million {name}"), _cost_cell(name)) for name in names]


def _cost_cell(name: str) -> Callable[[Result], DraftCell]:
    def cell(result: Result) -> DraftCell:
        for cost in result.costs:
            if price_name(cost) == name:
                return DraftCell(cost_figure(cost), (*cost_notes(cost), *answer_notes(result)))
        return DraftCell(ABSENT)

    return cell


def cost_figure(cost: Cost) -> str:
    if cost.usd_per_million_interval is None:
        return usd(cost.usd_per_million)
    return with_interval(cost.usd_per_million, cost.usd_per_million_interval)


def verdict_cell(results: Sequence[Result]) -> Callable[[Result], DraftCell]:
    reasons = reason_notes(results)
    return lambda result: DraftCell(
        verdict(result), (failure_note(result) or reasons(result)) + lost_note(result)
    )
