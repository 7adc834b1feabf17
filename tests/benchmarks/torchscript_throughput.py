"""ResNet50, batch 1, TorchScript on the CPU: gpubench compared with torch's ThroughputBenchmark.

`torch.utils.ThroughputBenchmark` calls a TorchScript module from C++ threads, without Python and
without a queue. A harness cannot cost less. Both run the same module on the same input in this
process, with the same number of calling threads and of intra-op threads. They run in turn, several
times, and the medians are compared.

    python tests/benchmarks/torchscript_throughput.py [--requests 130] [--rounds 5]
"""

from __future__ import annotations

import argparse
from statistics import median

import torch
from torch.utils.throughput_benchmark import ThroughputBenchmark

from gpubench.cells.resolve import resolve
from gpubench.measure.engine import Prepared, prepare
from gpubench.measure.executors import torch_executors
from gpubench.measure.run import measured_run
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.statistics import analyse
from gpubench.system.machine import this_machine


def ours(prepared: Prepared, cell: Cell) -> float:
    """Inferences per second as `gpubench run` reports them."""
    run = measured_run(cell, torch_executors(prepared.workers(cell)))
    assert run.error is None, run.error
    analysis = analyse(run.samples, run.loop)
    assert analysis.throughput_per_second is not None
    return analysis.throughput_per_second


def theirs(prepared: Prepared, cell: Cell) -> float:
    torch.set_num_threads(cell.threads)
    place = prepared.engines["cpu"]
    benchmark = ThroughputBenchmark(place.engine.forward)
    benchmark.add_input(*place.pool[0])
    with torch.inference_mode():
        stats = benchmark.benchmark(
            num_calling_threads=cell.workers, num_warmup_iters=10, num_iters=cell.spec.requests
        )
    return float(stats.iters_per_second)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=130)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    machine = this_machine()
    print(f"{machine.cores} x {machine.cpu}, torch {torch.__version__}")
    print(f"{'workers':>7} {'threads':>7} {'ours/s':>8} {'theirs/s':>8} {'ratio':>6}")
    for workers in sorted({1, machine.cores}):
        asked = Spec(
            model="resnet50", workers=workers, requests=arguments.requests, warmup=1, device="cpu"
        )
        cell = resolve(asked, machine)
        prepared = prepare(cell, lambda stage: None)
        pairs = [(ours(prepared, cell), theirs(prepared, cell)) for _ in range(arguments.rounds)]
        mine, peer = median(a for a, _ in pairs), median(b for _, b in pairs)
        ratio = median(a / b for a, b in pairs)
        print(f"{workers:>7} {cell.threads:>7} {mine:>8.2f} {peer:>8.2f} {ratio:>6.3f}")


if __name__ == "__main__":
    main()
