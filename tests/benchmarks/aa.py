"""A/A for real: how often a comparison of a thing with itself finds a difference.

Each pair is a comparison as `gpubench ab` makes it: rounds of A, B, B, A and B, A, A, B. A and B
have the same settings, so every difference that `compare` finds is false. The rate should be at
most 5%. The systems are:

    null      the synthetic model without work: gpubench alone
    sleeping  a model that sleeps for a millisecond
    spinning  the synthetic model, which spins for a millisecond
    torch     three linear layers in TorchScript, some tenths of a millisecond

The table also has what the intervals inside single runs would claim: those of the first run of A
and the first run of B. `test` is the rate at which the paired test finds a difference; `different`
is lower, because compare prefers "no difference larger than 2%".

Each job has a core of its own and measures one pair after another. A repeat takes about 0.35 s, so
a pair of three rounds takes 4 s, and 200 pairs of four systems take 55 minutes divided by the
number of jobs: 7 minutes with 8 jobs. In one process A and B share the engine, so they also share
what an engine decides once. With --fresh each repeat is a new process: about 15 s a pair for null
and spinning, and 60 s for the two with torch.

Each pair is written to --output when it is measured (JSON lines), and --show prints the table of
such a file. Nothing is resampled: every pair is measured.

    python tests/benchmarks/aa.py [--pairs 200] [--rounds 3] [--jobs 8] [--requests 130] [--fresh]
        [--systems null,sleeping,spinning,torch] [--output aa.jsonl]
    python tests/benchmarks/aa.py --show aa.jsonl
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.queues import Queue
from pathlib import Path

from common import print_table

from gpubench.cells.resolve import resolve
from gpubench.doctor.same_thing import SMALL_MODEL
from gpubench.errors import GpubenchError
from gpubench.measure.two_sides import measure_two_sides
from gpubench.planning.compare import Pair, compare
from gpubench.spec.spec import Spec
from gpubench.statistics.comparison import LEVEL
from gpubench.statistics.repeatability import claims_difference
from gpubench.system.machine import this_machine

MODELS = Path(__file__).with_name("aa_models.py")
COMMON = Spec(model="synthetic", device="cpu", warmup=0.1)
SYSTEMS: dict[str, dict[str, object]] = {
    "null": {"service_time": 0.0},
    "sleeping": {"model": f"{MODELS}:sleeping", "runtime": "eager"},
    "spinning": {"service_time": 1e-3},
    "torch": {"model": SMALL_MODEL.spec.model},
}
NULL_REQUESTS = 100  # times as many, since they take no time
FIGURES = ("throughput", "p95")

Json = dict[str, object]


def spec(system: str, requests: int) -> Spec:
    if system == "null":
        requests *= NULL_REQUESTS
    return COMMON.model_copy(update={**SYSTEMS[system], "requests": requests})


def measure_pair(system: str, requests: int, rounds: int, fresh: bool) -> Json:
    """In a job: measure A and B, and compare them."""
    began = time.monotonic()
    machine = this_machine()
    cell = resolve(spec(system, requests), machine)
    sides = measure_two_sides(cell, cell, machine, rounds, fresh=fresh)
    (pair,) = compare(sides.a, sides.b).pairs
    return {
        "system": system,
        "cpu": machine.cpu,
        "rounds": rounds,
        "fresh": fresh,
        "requests": requests,
        "seconds": time.monotonic() - began,
        "throughput": figure(pair, "throughput"),
        "p95": figure(pair, "p95"),
    }


def figure(pair: Pair, name: str) -> Json:
    found = pair.figures[name]
    assert found.estimate is not None
    assert found.tested is not None
    sides = []
    for first in (pair.a_repeats[0], pair.b_repeats[0]):
        if name == "throughput":
            sides.append((first.throughput_per_second, first.throughput_interval))
        else:
            sides.append((first.latency_ms.p95, first.latency_ms.p95_interval))
    (a, a_interval), (b, b_interval) = sides
    claim = None
    if a is not None and b is not None and a_interval is not None and b_interval is not None:
        claim = claims_difference(a, a_interval, b, b_interval)
    return {
        "answer": found.answer,
        "p_difference": found.tested.p_difference,
        "ratio": found.estimate.ratio,
        "standard_error": found.estimate.standard_error,
        "single_runs_claim": claim,
    }


def show(lines: Sequence[Json]) -> None:
    rows = []
    for system in SYSTEMS:
        pairs = [line for line in lines if line["system"] == system]
        for name in FIGURES:
            figures = [line[name] for line in pairs]
            if figures:
                rows.append([system, name, str(len(figures)), *cells(figures)])
    columns = ["system", "figure", "pairs", "test (95% interval)", "different", "equivalent"]
    columns += ["undecided", "single runs claim"]
    kinds = sorted({"a new process each" if line["fresh"] else "one process" for line in lines})
    rounds = sorted({str(line["rounds"]) for line in lines})
    title = f"A/A: {' or '.join(rounds)} rounds of A, B, B, A, {' or '.join(kinds)}"
    print_table(f"{title} ({lines[0]['cpu']})", columns, rows)


def cells(figures: Sequence[object]) -> list[str]:
    count = len(figures)
    of = [dict(each) for each in figures if isinstance(each, dict)]
    tested = sum(each["p_difference"] <= LEVEL for each in of)
    answers = [each["answer"] for each in of]
    alike = {kind: answers.count(kind) for kind in ("equivalent", "undecided")}
    claims = [each["single_runs_claim"] for each in of if each["single_runs_claim"] is not None]
    return [
        rate(tested, count, with_interval=True),
        rate(count - sum(alike.values()), count),
        *(rate(number, count) for number in alike.values()),
        rate(sum(claims), len(claims)) if claims else "-",
    ]


def rate(found: int, count: int, with_interval: bool = False) -> str:
    text = f"{found} ({found / count:.1%})"
    if with_interval:
        low, high = binomial_interval(found, count)
        text += f" [{low:.1%}, {high:.1%}]"
    return text


def binomial_interval(found: int, count: int) -> tuple[float, float]:
    """95%, of the true share: E. B. Wilson, J. American Statistical Association 22, 1927."""
    z = 1.96
    centre = (found + z * z / 2) / (count + z * z)
    half = z / (count + z * z) * math.sqrt(found * (count - found) / count + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def _take_core(cores: Queue[int]) -> None:
    """In a new job: use one core alone, before torch counts the cores."""
    os.sched_setaffinity(0, {cores.get()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--pairs", type=int, default=200, help="of each system")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=130)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="each repeat in a new process")
    parser.add_argument("--output", type=Path, default=Path("aa.jsonl"))
    parser.add_argument("--show", type=Path, help="print the table of this file, measure nothing")
    options = parser.parse_args()
    if options.show is None:
        measure(options)
    text = (options.show or options.output).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    if not lines:
        raise SystemExit("no pair was measured")
    show(lines)


def measure(options: argparse.Namespace) -> None:
    usable = sorted(os.sched_getaffinity(0))
    jobs = min(options.jobs, len(usable))
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for core in usable[:: len(usable) // jobs][:jobs]:  # neighbours may be one physical core
        cores.put(core)
    # One pair of each system after another, so that a part of the time gives all systems.
    systems = options.systems.split(",") * options.pairs
    began = time.monotonic()
    with (
        ProcessPoolExecutor(jobs, context, _take_core, (cores,)) as pool,
        options.output.open("w") as file,
    ):
        futures = [
            pool.submit(measure_pair, system, options.requests, options.rounds, options.fresh)
            for system in systems
        ]
        for done, future in enumerate(as_completed(futures), 1):
            try:
                file.write(json.dumps(future.result()) + "\n")
            except GpubenchError as error:  # the other pairs are still of use
                print(f"a pair failed: {error}", flush=True)
            file.flush()
            if done % 20 == 0:
                left_s = (time.monotonic() - began) / done * (len(futures) - done)
                print(f"{done} of {len(futures)} pairs, {left_s:.0f} s left", flush=True)


if __name__ == "__main__":
    main()
