"""The whole path from the command line to the result, on a simulated GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from fake_cuda import environment


def gpubench(*arguments: str, **fake: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "gpubench.cli", "run", "--model", "synthetic"]
    variables = environment(**fake)
    return subprocess.run([*command, *arguments], env=variables, capture_output=True, text=True)


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_synthetic_model_runs_on_a_gpu() -> None:
    done = gpubench(
        *("--device", "cuda:0", "--service-time", "2ms", "--clients", "4"),
        *("--requests", "200", "--warmup", "50ms", "--json", "-"),
    )
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert result["error"] is None
    assert result["harness"]["executor"] == "graph"
    assert (result["spec"]["workers"], result["spec"]["depth"]) == (2, 2)
    assert result["environment"]["gpus"] == ["Fake GPU"]
    # Four batches run at the same time, and each takes 2 ms on the device.
    assert result["throughput_per_second"] <= 4 / 2e-3 * 1.001
    assert result["stages_ms"]["compute"]["p50"] == pytest.approx(2, abs=0.001)
    assert result["latency_ms"]["min"] >= 2 - 0.001
    trtexec = result["trtexec_ms"]
    assert trtexec["latency"] == trtexec["gpu_compute"]  # nothing is copied
    assert trtexec["enqueue_mean"] > 0
    assert [clock["contradiction_us"] for clock in result["harness"]["event_clock"]] == [0, 0]


@pytest.mark.parametrize("inputs", ["host", "pinned", "device"])
def test_the_synthetic_model_has_no_inputs_wherever_they_would_be(inputs: str) -> None:
    done = gpubench(
        *("--device", "cuda:0", "--service-time", "100us", "--inputs", inputs),
        *("--requests", "50", "--warmup", "0s", "--json", "-"),
    )
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert result["error"] is None
    assert result["spec"]["inputs"] == inputs
    stages = result["stages_ms"]
    assert (stages["fill"], stages["h2d"], stages["d2h"]) == (None, None, None)


def test_dynamic_batches_of_an_open_loop() -> None:
    done = gpubench(
        *("--device", "cuda:0", "--service-time", "1ms", "--rate", "2000"),
        *("--dynamic-batch", "8:1ms", "--requests", "300", "--warmup", "50ms", "--json", "-"),
    )
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert result["error"] is None
    assert result["requests"]["completed"] > 0
    assert result["requests"]["unfinished"] == result["requests"]["failed"] == 0


def test_all_gpus_of_the_machine_serve_one_load() -> None:
    done = gpubench(
        *("--device", "all", "--service-time", "1ms"),
        *("--requests", "100", "--warmup", "50ms", "--json", "-"),
        devices=2,
    )
    assert done.returncode == 0, done.stderr
    assert result_of(done)["spec"]["device"] == "cuda:0,cuda:1"


def test_a_lost_device_keeps_what_was_measured() -> None:
    done = gpubench(
        *("--device", "cuda:0", "--service-time", "100us", "--workers", "1", "--clients", "2"),
        *("--requests", "100000", "--warmup", "0s", "--json", "-"),
        launch_kills_at=500,
    )
    assert done.returncode == 1
    result = result_of(done)
    assert "CUDA_ERROR_ILLEGAL_ADDRESS (700)" in result["error"]["message"]
    assert result["error"]["stage"] == "measure"
    assert 400 <= result["requests"]["completed"] < 500
    assert result["latency_ms"]["p50"] > 0


def test_what_cannot_be_measured_is_refused_with_a_one_line_error() -> None:
    on_cpu = gpubench("--device", "cpu", "--inputs", "pinned")
    assert (on_cpu.returncode, on_cpu.stdout) == (2, "")
    assert on_cpu.stderr.strip().endswith(
        "--inputs pinned: only GPUs copy from pinned memory; use --inputs host"
    )

    other = gpubench("--device", "cuda:3", devices=2)
    assert (other.returncode, other.stdout) == (2, "")
    assert other.stderr.strip().endswith("--device cuda:3: this machine has cuda:0 to cuda:1")

    variables = os.environ | {"GPUBENCH_TEST_CUDA_DRIVER": "libno_such_driver.so"}
    command = [sys.executable, "-P", "-m", "gpubench.cli", "run", "--model", "synthetic"]
    none = subprocess.run(
        [*command, "--device", "cuda:0"], env=variables, capture_output=True, text=True
    )
    assert (none.returncode, none.stdout) == (2, "")
    assert none.stderr.count("\n") == 1
    assert "--device cpu" in none.stderr
