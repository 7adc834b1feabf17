"""Results as CSV: full precision, units in the names, empty if a figure is absent.

There is one row for each cell (or for each of its repeats) and price. A cell with prices of two
instances has two rows; a cell without a price has one row with empty cost columns.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable
from io import StringIO

from gpubench.pricing import age
from gpubench.report.escape import csv_field
from gpubench.report.notes import price_name, verdict
from gpubench.report.serving import server_software
from gpubench.report.settings import weights
from gpubench.results.result import (
    Accuracy,
    Cost,
    DeviceReport,
    Interval,
    Latency,
    Numerics,
    Result,
    ServerReport,
)
from gpubench.statistics.percentiles import PERCENTS, percentile_key

# Columns for the answers that a model names, and for percentiles that a report asked for.
_MOST_ANSWERS = 32
_MOST_PERCENTILES = 32

CsvField = str | int | float | bool | None


def text(cells: Iterable[tuple[str, Result]]) -> str:
    """`cells` are (key, result)."""
    return to_csv([row for key, result in cells for row in rows(key, result)])


def rows(key: str, result: Result) -> list[dict[str, CsvField]]:
    """One row for each price of a cell, or a single one if it has none."""
    costs: list[Cost | None] = [*result.costs] or [None]
    return [{"cell": key, **result_fields(result, cost)} for cost in costs]


def to_csv(fields: list[dict[str, CsvField]]) -> str:
    """A column for every key of any row. None and absent keys are empty fields."""
    out = StringIO()
    columns = dict.fromkeys(name for row in fields for name in row)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_field(name) for name in columns])
    writer.writerows([csv_field(row.get(name)) for name in columns] for row in fields)
    return out.getvalue()


def interval_fields(name: str, interval: Interval | None) -> dict[str, CsvField]:
    """Two columns for the ends of an interval: 'NAME_low', 'NAME_high'."""
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def result_fields(result: Result, cost: Cost | None) -> dict[str, CsvField]:
    """The columns of one cell at one price."""
    spec, environment, requests = result.spec, result.environment, result.requests
    latency = result.latency_ms
    # The hardware of a server is not known, and that of its client was not measured.
    measured = None if spec.served else environment
    row: dict[str, CsvField] = {
        "time_utc": environment.time,
        "model": spec.model,
        "weights": weights(result),
        "runtime": spec.runtime,
        "precision": spec.precision,
        "native_precision": result.engine.native_precision,
        "memory_format": spec.memory_format,
        "batch_samples": spec.batch,
        "sequence_length_tokens": spec.seq_len,
        "device": spec.device,
        "inputs": spec.inputs,
        "clients": spec.clients,
        "rate_requests_per_second": spec.rate,
        "arrivals": spec.arrivals if spec.clients is None else None,
        "workers": spec.workers,
        "threads_per_worker": spec.threads,
        "depth": spec.depth,
        "dynamic_batch": spec.dynamic_batch,
        "wait": spec.wait,
        "seed": spec.seed,
        "load_seed": spec.load_seed,
        "warmup_seconds": result.window.warmup_seconds,
        "window_seconds": result.window.seconds,
        "offered_requests": requests.offered,
        "completed_requests": requests.completed,
        "unfinished_requests": requests.unfinished,
        "failed_requests": requests.failed,
        "offered_requests_per_second": result.offered_per_second,
        "throughput_inferences_per_second": result.throughput_per_second,
        **interval_fields("throughput_inferences_per_second", result.throughput_interval),
        "latency_mean_ms": latency.mean,
        "latency_min_ms": latency.min,
        "latency_max_ms": latency.max,
    }
    for name in ("p50", "p90", "p95", "p99"):
        row[f"latency_{name}_ms"] = getattr(latency, name)
        row |= interval_fields(f"latency_{name}_ms", getattr(latency, f"{name}_interval"))
    return row | {
        **_device_fields(result.device),
        "answers_agree": result.answers_agree,
        **_numerics_fields(result.numerics),
        "verdict": verdict(result),
        "reasons": "; ".join(reason.code for reason in result.verdict.reasons),
        "error": f"{result.error.stage}: {result.error.message}" if result.error else None,
        "instance_priced": cost.instance if cost else None,
        "usd_per_hour": cost.usd_per_hour if cost else None,
        "usd_per_million_inferences": cost.usd_per_million if cost else None,
        **interval_fields(
            "usd_per_million_inferences", cost.usd_per_million_interval if cost else None
        ),
        "measured_here": cost.measured_here if cost else None,
        "extrapolated": cost.extrapolated if cost else None,
        "hardware_note": cost.hardware_note if cost else None,
        "price_as_of": cost.price_as_of if cost else None,
        "price_source": cost.price_source if cost else None,
        "instance_measured": measured.instance if measured else None,
        "cpu": measured.cpu if measured else None,
        "cores": measured.cores if measured else None,
        "gpus": "; ".join(measured.gpus) if measured else None,
        "gpubench_version": environment.gpubench,
        "torch_version": environment.torch,
        "driver_version": environment.driver,
        "sparsity": spec.sparsity,
        "parameters": result.engine.parameters,
        "flops_per_inference": result.engine.flops,
        "achieved_flops_per_second": result.achieved.flops_per_second,
        "achieved_peak_share": result.achieved.peak_share,
        "achieved_peak_source": result.achieved.peak_source,
        "peak_host_bytes": result.memory.peak_host_bytes,
        "peak_device_bytes": result.memory.peak_device_bytes,
        "peak_device_bytes_of": result.memory.peak_device_of,
        "build_peak_host_bytes": result.engine.build_peak_host_bytes,
        "artifact_bytes": result.engine.artifact_bytes,
        **_more_latency_fields(latency),
        **_repeats_fields(result),
        "price_name": price_name(cost) if cost else None,
        "price_region": cost.region if cost else None,
        "price_term": cost.term if cost and cost.instance else None,
        "price_is_old": age.is_old(cost.price_as_of) if cost else None,
        **_electricity_fields(result),
        **_accuracy_fields(result.accuracy),
        **_server_fields(result.server),
        **_edge_fields(result),
        **_training_fields(result),
        "usd_per_epoch": cost.usd_per_epoch if cost else None,
    }


def _more_latency_fields(latency: Latency) -> dict[str, CsvField]:
    """P99.9, the upper bounds, the slowest request, and the percentiles that were asked for."""
    worst = latency.worst
    return {
        "latency_p99_9_ms": latency.p99_9,
        **interval_fields("latency_p99_9_ms", latency.p99_9_interval),
        **{
            f"latency_{key}_at_most_ms": getattr(latency, f"{key}_at_most")
            for key in map(percentile_key, PERCENTS)
        },
        "slowest_ms": worst.latency_ms if worst else None,
        "slowest_at_seconds": worst.at_seconds if worst else None,
        "slowest_longest_stage": worst.longest_stage if worst else None,
        "slowest_longest_stage_ms": worst.longest_stage_ms if worst else None,
        **{
            f"latency_{name}_ms": value
            for name, value in itertools.islice(
                (latency.other_percentiles or {}).items(), _MOST_PERCENTILES
            )
        },
    }


def _repeats_fields(result: Result) -> dict[str, CsvField]:
    """Empty fields if the cell was measured once. `spread` is relative to the figure."""
    repeats = result.repeats
    fields: dict[str, CsvField] = {
        "repeat_number": result.repeat.number if result.repeat else None,
        "repeats": repeats.count if repeats else None,
        "repeats_failed": repeats.failed if repeats else None,
        "repeats_processes": repeats.processes if repeats else None,
    }
    for name, figure in (
        ("throughput", repeats.throughput_per_second if repeats else None),
        ("latency_p95", repeats.p95_ms if repeats else None),
    ):
        unit = "inferences_per_second" if name == "throughput" else "ms"
        fields |= {
            f"{name}_spread": figure.spread if figure else None,
            **interval_fields(f"{name}_between_{unit}", figure.interval if figure else None),
            **interval_fields(f"{name}_inside_{unit}", figure.interval_inside if figure else None),
        }
    return fields


def _numerics_fields(numerics: Numerics | None) -> dict[str, CsvField]:
    """As in the JSON document. The answers of a user's own model may add columns."""
    figures = dict.fromkeys(Numerics.model_fields) | (numerics.model_dump() if numerics else {})
    named = itertools.islice(figures.items(), len(Numerics.model_fields) + _MOST_ANSWERS)
    return {
        f"numerics_{name}": figure if isinstance(figure, (int, float, bool, str)) else None
        for name, figure in named
    }


def _electricity_fields(result: Result) -> dict[str, CsvField]:
    use, gpus = result.electricity, result.device.gpus if result.device else []
    notes = (f"{gpu.device} {gpu.energy_note}" for gpu in gpus if gpu.energy_note)
    return {
        "gpu_energy_notes": "; ".join(notes),
        "electricity_usd_per_million_inferences": use.usd_per_million if use else None,
        "grams_co2_per_million_inferences": use.grams_co2_per_million if use else None,
    }


def _edge_fields(result: Result) -> dict[str, CsvField]:
    """The cores, their energy, and the wait until they were cool. Empty fields where unknown."""
    energy, cooling = result.cpu_energy, result.window.cooling
    return {
        "cpus": result.harness.cpus,
        "cpu_power_watts": energy.power_w if energy else None,
        "cpu_energy_joules_per_inference": energy.energy_j_per_inference if energy else None,
        "cpu_energy_note": energy.note if energy else None,
        "cool_to_celsius": result.spec.cool_to,
        "cooled_celsius": cooling.temperature_c if cooling else None,
        "cooling_seconds": cooling.waited_seconds if cooling else None,
    }


def _accuracy_fields(accuracy: Accuracy | None) -> dict[str, CsvField]:
    """Shares: 0.01 is one percentage point. Empty fields if --eval was not given."""
    return {
        "accuracy_metric": accuracy.metric if accuracy else None,
        "accuracy": accuracy.value if accuracy else None,
        **interval_fields("accuracy", accuracy.interval if accuracy else None),
        "accuracy_samples": accuracy.samples if accuracy else None,
        "accuracy_reference": accuracy.reference if accuracy else None,
        "accuracy_drop": accuracy.drop if accuracy else None,
        **interval_fields("accuracy_drop", accuracy.drop_interval if accuracy else None),
        "accuracy_data": accuracy.data.name if accuracy else None,
    }


def _server_fields(server: ServerReport | None) -> dict[str, CsvField]:
    """Empty fields if this machine executed the model."""
    counted = server.statistics if server else None
    return {
        "server": server.url if server else None,
        "server_software": server_software(server) if server else None,
        "server_client_ms": server.client_ms if server else None,
        "server_network_ms": server.network_ms if server else None,
        "server_queue_ms": counted.queue_ms if counted else None,
        "server_compute_input_ms": counted.compute_input_ms if counted else None,
        "server_compute_infer_ms": counted.compute_infer_ms if counted else None,
        "server_compute_output_ms": counted.compute_output_ms if counted else None,
        "server_note": server.note if server else None,
    }


def _training_fields(result: Result) -> dict[str, CsvField]:
    """Empty fields for an inference, but for its task."""
    spec, stages, training = result.spec, result.stages_ms, result.training
    return {
        "task": spec.task,
        "optimizer": spec.optimizer,
        "accumulate": spec.accumulate,
        "checkpointing": spec.checkpointing if spec.trains else None,
        "replicas": spec.replicas,
        "forward_p50_ms": stages.forward.p50 if stages.forward else None,
        "backward_p50_ms": stages.backward.p50 if stages.backward else None,
        "optimizer_p50_ms": stages.optimizer.p50 if stages.optimizer else None,
        "samples_per_step": training.samples_per_step if training else None,
        "tokens_per_second": training.tokens_per_second if training else None,
        "scaling_efficiency": training.scaling_efficiency if training else None,
        "training_loss": training.loss if training else None,
        "toy_first_loss": training.toy_first_loss if training else None,
        "toy_last_loss": training.toy_last_loss if training else None,
        "trains": training.trains if training else None,
    }


def _device_fields(device: DeviceReport | None) -> dict[str, CsvField]:
    """The state of the GPUs. Fields are empty if it is unknown, and on a CPU."""
    device = device or DeviceReport()
    each = (
        f"{gpu.device} {gpu.throughput_per_second}"
        for gpu in device.gpus
        if gpu.throughput_per_second is not None
    )
    return {
        "throughput_by_gpu_inferences_per_second": "; ".join(each),
        "gpu_power_watts": device.power_w,
        "gpu_energy_joules_per_inference": device.energy_j_per_inference,
        "gpu_throttled_share": device.throttled_share,
        "gpu_sm_clock_mean_mhz": device.clocks.sm_mhz.mean if device.clocks.sm_mhz else None,
        "gpu_temperature_max_celsius": device.temperature_c,
    }
