"""What processes for each engine cost: the same sweep in them, and in one process, in turn.

Each round measures the sweep three times, each time with a new command: in one process
(`--no-isolate`), in processes that a template forks (`--isolate`), and in processes that are
started anew for each cell (`--fresh`). The ratios are those of two sweeps of the same round, so the
machine matters little; no other program should run. A ratio of throughputs that differs from 1 by
more than those of the sweeps in one process differ from each other would be a cost of isolation.
CPU is the CPU time of an inference.

    python tests/benchmarks/isolation_cost.py --rounds 5 [--device cuda:0]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import print_table

from gpubench.results.result import Result
from gpubench.results.run_directory import open_run

MODELS = """
import torch
import torchvision

def linear():
    return torch.nn.Linear(256, 256), torch.randn(1, 256)

def mobilenet():
    model = torchvision.models.mobilenet_v3_small(weights=None).eval()
    return model, torch.randn(1, 3, 224, 224)
"""
WAYS = {"in one process": "--no-isolate", "forked": "--isolate", "new": "--fresh"}
FIRST = "in one process"
FIGURES = ("per s", "P50", "CPU")


def sweep(way: str, settings: list[str], output: Path) -> tuple[float, float]:
    """Measure the sweep into `output`.

    Returns the seconds of the whole command, and its CPU seconds with those of its processes.
    """
    command = [sys.executable, "-P", "-m", "gpubench.cli", "sweep", WAYS[way], "--quiet"]
    command += [*settings, "--output", str(output)]
    began, cpu_before = time.monotonic(), _cpu_of_children()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began, _cpu_of_children() - cpu_before


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cells(output: Path) -> dict[str, Result]:
    found = {key.partition("-")[0]: result for key, result in open_run(output).read_all().cells}
    assert all(result.error is None for result in found.values())
    return found


def name_of(result: Result) -> str:
    model = result.spec.model.rpartition(":")[2]
    return f"{model}, batch {result.spec.batch}, clients {result.spec.clients}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", default="1,4")
    parser.add_argument("--clients", default="1,2")
    parser.add_argument("--duration", default="3s")
    parser.add_argument("--warmup", default="1s")
    parser.add_argument("--requests", default=None, help="of each cell, instead of --duration")
    asked = parser.parse_args()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu_seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    results: dict[str, list[dict[str, Result]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "models.py"
        file.write_text(MODELS)
        settings = ["--model", f"{file}:linear,{file}:mobilenet,resnet50", "--batch", asked.batch]
        settings += ["--clients", asked.clients, "--device", asked.device]
        length = (
            ["--requests", asked.requests] if asked.requests else ["--duration", asked.duration]
        )
        settings += ["--warmup", asked.warmup, *length]
        for number in range(asked.rounds):
            ways = list(WAYS)[:: -1 if number % 2 else 1]
            for way in ways:
                output = Path(folder) / f"{number} {way}"
                took_s, used_s = sweep(way, settings, output)
                seconds[way].append(took_s)
                cpu_seconds[way].append(used_s)
                results[way].append(cells(output))
                print(f"round {number + 1}, {way}: {took_s:.1f} s, CPU {used_s:.1f} s", flush=True)
    rows = []
    for key, result in results[FIRST][0].items():
        row = [name_of(result)]
        for way in list(WAYS)[1:]:
            both = [
                (mine[key], first[key])
                for mine, first in zip(results[way], results[FIRST], strict=True)
            ]
            row.append(ratio([(per_second(a), per_second(b)) for a, b in both]))
            row.append(ratio([(p50_ms(a), p50_ms(b)) for a, b in both]))
            row.append(ratio([(cpu_s(a), cpu_s(b)) for a, b in both]))
        throughputs = [per_second(each[key]) for each in results[FIRST]]
        row.append(
            f"{min(throughputs) / median(throughputs):.2f} to "
            f"{max(throughputs) / median(throughputs):.2f}"
        )
        rows.append(row)
    columns = ("cell", *(f"{way}: {what}" for way in list(WAYS)[1:] for what in FIGURES))
    print_table(f"Ratio to {FIRST}, median", (*columns, f"per s {FIRST}"), rows)
    for name, taken in (("time", seconds), ("CPU time", cpu_seconds)):
        for way in list(WAYS)[1:]:
            both_s = list(zip(taken[way], taken[FIRST], strict=True))
            more_s = median(a - b for a, b in both_s)
            print(f"{name} of the whole sweep, {way}: {ratio(both_s)} of {FIRST}, {more_s:+.1f} s")


def per_second(result: Result) -> float:
    assert result.throughput_per_second is not None
    return result.throughput_per_second


def p50_ms(result: Result) -> float:
    assert result.latency_ms.p50 is not None
    return result.latency_ms.p50


def cpu_s(result: Result) -> float:
    """CPU seconds of an inference: other programs on the machine change it less than the others."""
    assert result.harness.cpu_cores is not None
    return result.harness.cpu_cores / per_second(result)


def ratio(pairs: list[tuple[float, float]]) -> str:
    """The median of the ratios."""
    return f"{median(a / b for a, b in pairs):.3f}"


if __name__ == "__main__":
    main()
