"""`gpubench train` compared with the training loop that a user would write, on a CPU.

The loop trains the same model in the main thread of its own process, with equal batches, the same
optimiser and number of threads: forward, loss, backward, step, zero_grad. Another process makes the
steps that `gpubench train` makes. They measure in turn, many times, while the other one sleeps, and
the ratio of each pair is computed. 1.00 means that gpubench adds no cost; the target is 0.98.

Both keep the memory that they have freed. With the settings of glibc, gradients may go back to the
system in each step, and the page faults of the next step take up to a third of its time. Whether
they do depends on the thread and on what was allocated before, so the ratio would be that of two
layouts of memory.

    python tests/benchmarks/training_step.py [--models mlp,resnet50] [--rounds 9] [--seconds 3]
                                             [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from statistics import median

from common import print_table
from plain_loop import Side, answer, spec_of

from gpubench.cells.resolve import resolve
from gpubench.system.machine import this_machine

MODELS = "mlp,bert-base 16,resnet50"
_BATCHES = {"mlp": 64}
_WARMUP_S = 0.5
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}


def serve_gpubench(model: str, seconds: float, threads: int) -> None:
    from gpubench.measure.run import measured_run
    from gpubench.measure.shared import Shared
    from gpubench.measure.stage_times import StageTimes
    from gpubench.measure.training import prepared_training

    machine = this_machine()
    batch = _BATCHES.get(model, 1)
    window = {"warmup": _WARMUP_S, "duration": seconds, "threads": threads}
    cell = resolve(spec_of(model, task="train", batch=batch, **window), machine)
    shared = Shared(keep=False)
    with prepared_training(cell, machine, lambda _: None, shared, StageTimes()) as prepared:

        def measure() -> tuple[float, float]:
            run = measured_run(cell, prepared.executors())
            completed = run.samples.completed_ns
            return (len(completed) - 1) / (completed[-1] - completed[0]) * 1e9, run.cpu_cores

        answer(measure)


def serve_loop(model: str, seconds: float, threads: int) -> None:
    import torch

    from gpubench.engines.precision import set_fp32_arithmetic
    from gpubench.models.base import as_tuple, load, seeded

    cell = resolve(spec_of(model, task="train", batch=_BATCHES.get(model, 1)), this_machine())
    torch.set_num_threads(threads)
    set_fp32_arithmetic("fp32")
    loaded = load(cell)
    module = loaded.module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    generator = seeded(cell.seed + 1)
    batches = [loaded.make_inputs(generator, cell.batch) for _ in range(16)]
    shapes = [each.shape for each in as_tuple(module(*batches[0]))]
    answers = bool(loaded.answers)

    def target(shape: torch.Size) -> torch.Tensor:
        if answers:
            return torch.randint(shape[1], shape[:1], generator=generator)
        return torch.randn(shape, generator=generator)

    targets = [[target(shape) for shape in shapes] for _ in batches]
    of = torch.nn.functional.cross_entropy if answers else torch.nn.functional.mse_loss

    def steps(duration: float) -> int:
        count, ends = 0, time.monotonic() + duration
        while time.monotonic() < ends:
            outputs = as_tuple(module(*batches[count % len(batches)]))
            pairs = zip(outputs, targets[count % len(batches)], strict=True)
            loss = torch.stack([of(output, target) for output, target in pairs]).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            count += 1
        return count

    def measure() -> tuple[float, float]:
        steps(_WARMUP_S)
        busy, started = time.process_time(), time.monotonic()
        count = steps(seconds)
        elapsed = time.monotonic() - started
        return count / elapsed, (time.process_time() - busy) / elapsed

    answer(measure)


def row(model: str, rounds: int, *words: str) -> list[str]:
    sides = [Side(__file__, name, model, *words) for name in ("loop", "gpubench")]
    for side in sides:
        side.measure()  # loads, builds and warms up
    pairs = [[side.measure() for side in sides] for _ in range(rounds)]
    for side in sides:
        side.close()
    ratios = sorted(ours[0] / loop[0] for loop, ours in pairs)
    cells = [model, str(_BATCHES.get(model, 1))]
    for side_of in zip(*pairs, strict=True):
        cells += [f"{median(rate for rate, _ in side_of):.4g}"]
        cells += [f"{median(cores for _, cores in side_of):.2f}"]
    return [*cells, f"{median(ratios):.3f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    parser.add_argument("--side", nargs=4, metavar=("SIDE", "MODEL", "SECONDS", "THREADS"))
    arguments = parser.parse_args()
    if arguments.side:
        side, model, seconds, threads = arguments.side
        serve = serve_loop if side == "loop" else serve_gpubench
        serve(model, float(seconds), int(threads))
        return
    os.environ.update(_KEEP_MEMORY)  # for both sides
    machine = this_machine()
    print(f"{machine.cores} x {machine.cpu}")
    columns = ("model", "batch", "loop /s", "cores", "gpubench /s", "cores", "ratio", "range")
    rows = []
    for model in arguments.models.split(","):
        words = str(arguments.seconds), str(arguments.threads)
        rows.append(row(model, arguments.rounds, *words))
        print(*rows[-1], file=sys.stderr, flush=True)
    print_table("Steps per second, fp32, AdamW, eager", columns, rows)


if __name__ == "__main__":
    main()
