"""The keys of a result document are a contract: scripts are written against them."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from factories import DRIFT, failed, result
from pydantic import ValidationError

from gpubench.errors import InputError
from gpubench.results.result import SCHEMA, Lag, Stages, StageSummary, parse_result

# Every key of schema 1. A key may be added here. Removing one needs a new schema number.
KEYS: dict[str, set[str]] = {
    "": {
        "schema",
        "spec",
        "environment",
        "engine",
        "window",
        "requests",
        "offered_per_second",
        "throughput_per_second",
        "throughput_interval",
        "latency_ms",
        "stages_ms",
        "harness",
        "verdict",
        "device",
        "numerics",
        "achieved",
        "memory",
        "inputs",
        "costs",
        "seconds",
        "sample_file",
        "error",
    },
    "environment": {
        "time",
        "gpubench",
        "python",
        "torch",
        "cuda",
        "driver",
        "cpu",
        "cores",
        "gpus",
        "instance",
    },
    "engine": {
        "parameters",
        "flops",
        "load_seconds",
        "build_seconds",
        "first_inference_seconds",
        "artifact_bytes",
        "captured",
    },
    "window": {"seconds", "warmup_seconds", "warmup"},
    "seconds": {
        "load",
        "flops",
        "reference",
        "build",
        "check",
        "inputs",
        "capture",
        "start",
        "warmup",
        "measure",
        "analyse",
        "other",
        "total",
        "shared",
    },
    "requests": {"offered", "completed", "unfinished", "failed", "padded"},
    "latency_ms": {
        "mean",
        "min",
        "max",
        "p50",
        "p90",
        "p95",
        "p99",
        "p50_interval",
        "p90_interval",
        "p95_interval",
        "p99_interval",
    },
    "stages_ms": {
        "preprocess",
        "queue",
        "batching",
        "fill",
        "submit",
        "h2d",
        "compute",
        "d2h",
        "return",
        "postprocess",
    },
    "stages_ms.queue": {"mean", "p50", "p95"},
    "harness": {"lag_us", "cpu_cores", "littles_law_residual", "executor"},
    "harness.lag_us": {"p50", "p99"},
    "verdict": {"status", "reasons"},
    "verdict.reasons.0": {"code", "figure", "limit", "remedy"},
    "achieved": {"flops_per_second", "peak_share", "peak_source"},
    "memory": {"peak_host_bytes", "peak_device_bytes"},
    "costs.0": {
        "instance",
        "measured_here",
        "extrapolated",
        "usd_per_hour",
        "usd_per_million",
        "usd_per_million_interval",
        "price_as_of",
        "price_source",
    },
}

FLAGS = {
    "model",
    "weights",
    "runtime",
    "precision",
    "batch",
    "seq_len",
    "device",
    "inputs",
    "clients",
    "rate",
    "arrivals",
    "workers",
    "depth",
    "dynamic_batch",
    "wait",
    "warmup",
    "duration",
    "requests",
    "seed",
    "instance",
    "usd_per_hour",
}


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def document() -> dict[str, Any]:
    summary = StageSummary(mean=1.0, p50=1.0, p95=1.0)
    measured = result(instance="c7i.xlarge", reasons=(DRIFT,))
    measured.stages_ms = Stages.model_validate({"queue": summary, "return": summary})
    measured.harness.lag_us = Lag(p50=0.1, p99=10.0)
    parsed: dict[str, Any] = json.loads(measured.to_json(), parse_constant=refuse)
    return parsed


def part(root: Any, place: str) -> Any:
    for step in filter(None, place.split(".")):
        root = root[int(step)] if step.isdigit() else root[step]
    return root


@pytest.mark.parametrize("place", KEYS)
def test_every_key_of_the_contract_is_there(place: str) -> None:
    assert set(part(document(), place)) >= KEYS[place]


def test_the_spec_has_a_key_for_every_flag() -> None:
    assert set(document()["spec"]) >= FLAGS


def test_the_schema_number_is_the_first_key() -> None:
    assert next(iter(document())) == "schema"
    assert document()["schema"] == SCHEMA == 1


def test_what_was_not_measured_is_null() -> None:
    absent = json.loads(failed().to_json(), parse_constant=refuse)
    assert absent["throughput_per_second"] is None
    assert absent["throughput_interval"] is None
    assert set(absent["stages_ms"].values()) == {None}
    assert absent["latency_ms"]["p95"] is None
    assert absent["costs"] == []
    assert set(absent["error"]) == {"stage", "message"}
    assert document()["error"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_rather_than_written(value: float) -> None:
    with pytest.raises(ValidationError):
        result(throughput=value)


def test_a_document_reads_back_as_the_result_that_was_written() -> None:
    measured = result(instance="c7i.xlarge", reasons=(DRIFT,))
    assert parse_result(measured.to_json(), "test") == measured


def test_a_key_that_a_later_version_added_is_kept() -> None:
    newer = document() | {"added_later": 1}
    again = json.loads(parse_result(json.dumps(newer), "test").to_json())
    assert again["added_later"] == 1


@pytest.mark.parametrize("fill", ["{}", "[[]]", '{"aa":{}}', '"ab"', "1.5", '{"a":{"b":[1]}}'])
def test_reading_takes_a_known_multiple_of_the_size(fill: str) -> None:
    """docs/security.md states it: 100 times the size of a document, whoever wrote it."""
    known = result().to_json().rstrip("}\n")
    text = known + ', "more": [' + ", ".join([fill] * 20_000) + "]}"
    tracemalloc.start()
    parse_result(text, "document")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * len(text)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ('{"schema": 1, "schema": 1}', "the key 'schema' is there twice"),
        ('{"schema": 1, "more": ' + "[" * 50 + "]" * 50 + "}", "nested deeper than 32 levels"),
        ("[" * 100_000, "nested too deeply"),
        ('{"schema": ' + "9" * 5000 + "}", "a number has 5,000 digits; at most 19 are allowed"),
        ('{"schema": NaN}', "NaN is not JSON"),
        ('{"schema": -Infinity}', "-Infinity is not JSON"),
        ('{"latency_ms": {"p95": 1e308}}', "latency_ms.p95: 1e\\+308 is too large"),
        ('{"latency_ms": [0, 1e999]}', "latency_ms.1: inf is too large"),
        ('{"a": 1,\n "b": }', ":2: this is not JSON: Expecting value"),
        ("", ":1: this is not JSON"),
        ('{"schema": 1, "costs": [' + "0, " * 200_000 + "0]}", "more than 100,000 values"),
        (
            "{" + "".join(f'"{number}": 0, ' for number in range(90_000)) + '"1": 0}',
            "the key '1' is there twice",
        ),
    ],
)
def test_a_document_that_is_no_result_is_one_line_with_its_place(
    changed: str, expected: str
) -> None:
    with pytest.raises(InputError, match=expected) as refusal:
        parse_result(changed, "run/cell.json")
    assert str(refusal.value).startswith("run/cell.json")
    assert "\n" not in str(refusal.value)
