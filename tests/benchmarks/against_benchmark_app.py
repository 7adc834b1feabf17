"""OpenVINO on the CPU: gpubench compared with OpenVINO's own benchmark_app.

Both execute the same network with the same shapes, streams, threads, infer requests and precision.
benchmark_app calls the network with the same input again and again, so it is what a harness can
reach. The two measure in turn, in several rounds. The ratio is the median of the ratios of the
rounds. The target is at least 0.98.

    python tests/benchmarks/against_benchmark_app.py [--models resnet50] [--precisions fp32,int8]
        [--batch 1] [--seconds 10] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import openvino
from common import print_table

from gpubench.cells.resolve import resolve
from gpubench.engines.openvino import network
from gpubench.engines.openvino.engine import compile_properties
from gpubench.measure.engine import Prepared, prepare
from gpubench.measure.executors import torch_executors
from gpubench.measure.run import measured_run
from gpubench.models.base import load
from gpubench.report.format import number
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.statistics import analyse
from gpubench.system.machine import this_machine

BENCHMARK_APP = "from openvino.tools.benchmark.main import main; main()"
TYPES = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


@dataclass(frozen=True)
class Contest:
    """A cell that both measure."""

    cell: Cell
    prepared: Prepared
    command: list[str]  # of benchmark_app

    def ours(self) -> float:
        """Inferences per second as `gpubench run` reports them."""
        run = measured_run(self.cell, torch_executors(self.prepared.workers(self.cell)))
        assert run.error is None, run.error
        analysis = analyse(run.samples, run.loop, inferences_per_request=self.cell.batch)
        assert analysis.throughput_per_second is not None
        return analysis.throughput_per_second

    def theirs(self) -> float:
        """Inferences per second as benchmark_app reports them."""
        finished = subprocess.run(
            self.command,
            env=os.environ | {"CI": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"Throughput:\s+([\d.]+) FPS", finished.stdout)
        assert found, finished.stdout + finished.stderr
        return float(found[1])


def contest(
    model: str, precision: str, workers: int, folder: Path, asked: argparse.Namespace
) -> Contest:
    """Build the engine of gpubench, and write the same network for benchmark_app to `folder`."""
    spec = make_spec(
        {
            "model": model,
            "runtime": "openvino",
            "precision": precision,
            "batch": asked.batch,
            "workers": workers,
            "duration": asked.seconds,
            "warmup": 1,
            "device": "cpu",
        }
    )
    cell = resolve(spec, this_machine())
    prepared = prepare(cell, lambda stage: None)
    path, _ = network.file_of(load(cell), cell)
    read, _memory = network.read(path)
    shapes = [list(tensor.shape) for tensor in prepared.engines["cpu"].pool[0]]
    read.reshape(dict(enumerate(shapes)))
    xml = folder / f"{model}-{precision}.xml"
    openvino.save_model(read, xml, compress_to_fp16=False)
    properties = compile_properties(cell)
    config = folder / "config.json"
    config.write_text(
        json.dumps({"CPU": {"ENABLE_HYPER_THREADING": properties["ENABLE_HYPER_THREADING"]}})
    )
    options = {
        "-m": xml,
        "-d": "CPU",
        "-hint": "none",
        "-api": "async",
        "-nstreams": properties["NUM_STREAMS"],
        "-nthreads": properties["INFERENCE_NUM_THREADS"],
        "-nireq": workers,
        "-infer_precision": TYPES[precision],
        "-t": round(asked.seconds),
        "-load_config": config,
    }
    flags = [str(part) for option in options.items() for part in option]
    return Contest(cell, prepared, [sys.executable, "-c", BENCHMARK_APP, *flags])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="resnet50,bert-base")
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    machine = this_machine()
    print(f"{machine.cores} x {machine.cpu}, OpenVINO {openvino.__version__}")
    rows = []
    with TemporaryDirectory() as folder:
        for model in asked.models.split(","):
            for precision in asked.precisions.split(","):
                for workers in sorted({1, machine.cores}):
                    both = contest(model, precision, workers, Path(folder), asked)
                    pairs = [(both.ours(), both.theirs()) for _ in range(asked.rounds)]
                    ratios = [ours / theirs for ours, theirs in pairs]
                    rows.append(
                        [
                            f"{model} {precision}",
                            f"{workers} x {both.cell.threads}",
                            number(median(ours for ours, _ in pairs)),
                            number(median(theirs for _, theirs in pairs)),
                            f"{median(ratios):.3f}",
                            f"{min(ratios):.3f} to {max(ratios):.3f}",
                        ]
                    )
    columns = ("model", "workers x threads", "gpubench /s", "benchmark_app /s", "ratio", "range")
    print_table(f"batch {asked.batch}, {asked.rounds} rounds", columns, rows)


if __name__ == "__main__":
    main()
