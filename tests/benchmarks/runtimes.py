"""Throughput of every runtime of this machine, divided by that of eager mode, in one run.

All engines are built first. Then each receives the same inputs through the same queue, in turn, in
several rounds, and the medians are compared. An engine is marked if its outputs differ from those
of the fp32 model.

    python tests/benchmarks/runtimes.py [--models bert-base,resnet50] [--batch 1] [--rounds 3]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from statistics import median

from common import print_table

from gpubench.cells.resolve import resolve
from gpubench.errors import GpubenchError
from gpubench.measure.engine import Prepared, prepare
from gpubench.measure.executors import torch_executors
from gpubench.measure.run import measured_run
from gpubench.measure.shared import Shared
from gpubench.registry import RUNTIMES
from gpubench.report.format import number
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.statistics import analyse
from gpubench.statistics.verdicts import outputs_differ
from gpubench.system.machine import Machine, this_machine

PRECISIONS = ("fp32", "amp", "bf16", "int8")


@dataclass
class Contender:
    """The engine of a runtime, and its figures of each round in inferences per second."""

    name: str
    cell: Cell
    prepared: Prepared
    figures: list[float] = field(default_factory=list)

    def measure(self) -> None:
        cell = self.cell
        run = measured_run(cell, torch_executors(self.prepared.workers(cell)))
        if run.error is not None:
            raise GpubenchError(run.error)
        analysis = analyse(run.samples, run.loop, inferences_per_request=cell.batch)
        assert analysis.throughput_per_second is not None
        self.figures.append(analysis.throughput_per_second)

    def row(self, base: float) -> list[str]:
        figure, numerics = median(self.figures), self.prepared.numerics
        wrong = outputs_differ(numerics, self.cell.precision) is not None
        cosine = "–" if numerics is None else number(numerics.cosine)
        return [
            self.name,
            number(figure),
            f"{number(min(self.figures))} to {number(max(self.figures))}",
            f"{figure / base:.2f}",
            cosine + (" wrong" if wrong else ""),
            f"{self.prepared.build_seconds:.1f}",
        ]


def contenders(model: str, arguments: argparse.Namespace, machine: Machine) -> list[Contender]:
    """The runtimes that this machine can run. The reason is printed for the others."""
    ready = []
    shared = Shared(keep=True)
    for precision in PRECISIONS:
        for runtime in RUNTIMES:
            name = f"{runtime} {precision}"
            try:
                asked = make_spec(
                    {
                        "model": model,
                        "runtime": runtime,
                        "precision": precision,
                        "batch": arguments.batch,
                        "requests": arguments.requests,
                        "warmup": 1,
                        "device": "cpu",
                    }
                )
                cell = resolve(asked, machine)
                ready.append(Contender(name, cell, prepare(cell, lambda stage: None, shared)))
            except GpubenchError as error:
                print(f"{model} {name}: {error}", flush=True)
    return ready


def rows(model: str, arguments: argparse.Namespace, machine: Machine) -> list[list[str]]:
    ready = contenders(model, arguments, machine)
    for _ in range(arguments.rounds):
        for contender in ready:
            contender.measure()
    return [contender.row(median(ready[0].figures)) for contender in ready]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="bert-base,resnet50")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine = this_machine()
    print(f"{machine.cores} x {machine.cpu}")
    columns = ("runtime", "inferences /s", "range", "over eager", "cosine", "build s")
    for model in arguments.models.split(","):
        print_table(f"{model}, batch {arguments.batch}", columns, rows(model, arguments, machine))


if __name__ == "__main__":
    main()
