"""Throughput of every runtime that this machine has, over eager's, in one run.

All are fed the same inputs through the same queue, in turn, several times; medians are compared. A
runtime whose outputs differ from the fp32 reference is marked.

    python tests/benchmarks/runtimes.py [--models bert-base,resnet50] [--batch 1] [--rounds 3]
"""

from __future__ import annotations

import argparse
from statistics import median

from common import print_table

from gpubench import _drive, _plan
from gpubench._prepare import prepare
from gpubench.engines import RUNTIMES
from gpubench.errors import GpubenchError
from gpubench.machine import Machine, this_machine
from gpubench.report.format import number
from gpubench.spec import Spec
from gpubench.statistics import ClosedLoop, analyse
from gpubench.verdicts import LEAST_COSINE

PRECISIONS = ("fp32", "int8")


def throughput(spec: Spec, rounds: int) -> tuple[float, float | None, float]:
    """(inferences per second, cosine to the fp32 reference, seconds to build)."""
    prepared = prepare(spec, lambda stage: None)
    figures = []
    for _ in range(rounds):
        driven = _drive.drive(spec, _drive.torch_executors(prepared.workers(spec)))
        if driven.error is not None:
            raise GpubenchError(driven.error)
        assert spec.clients is not None
        analysis = analyse(
            driven.samples, ClosedLoop(spec.clients), inferences_per_request=spec.batch
        )
        assert analysis.throughput_per_second is not None
        figures.append(analysis.throughput_per_second)
    return median(figures), prepared.numerics.cosine, prepared.build_seconds


def rows(model: str, arguments: argparse.Namespace, machine: Machine) -> list[list[str]]:
    base: float | None = None
    table = []
    for precision in PRECISIONS:
        for runtime in RUNTIMES:
            asked = Spec(
                model=model,
                runtime=runtime,
                precision=precision,
                batch=arguments.batch,
                requests=arguments.requests,
                warmup=1,
                device="cpu",
            )
            try:
                figure, cosine, seconds = throughput(
                    _plan.resolve(asked, machine), arguments.rounds
                )
            except GpubenchError as error:
                print(f"{model} {runtime} {precision}: {error}")
                continue
            base = base or figure
            wrong = cosine is not None and cosine < LEAST_COSINE
            table.append(
                [
                    f"{runtime} {precision}",
                    number(figure),
                    f"{figure / base:.2f}",
                    ("–" if cosine is None else f"{cosine:.4f}") + (" wrong" if wrong else ""),
                    f"{seconds:.1f}",
                ]
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="bert-base,resnet50")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine = this_machine()
    print(f"{machine.cores} x {machine.cpu}")
    columns = ("runtime", "inferences /s", "over eager", "cosine", "build s")
    for model in arguments.models.split(","):
        print_table(f"{model}, batch {arguments.batch}", columns, rows(model, arguments, machine))


if __name__ == "__main__":
    main()
