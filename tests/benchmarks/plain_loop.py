"""`gpubench run` compared with the loop that a user would write: batch 1, one client, on a CPU.

The loop calls the model in the main thread of its own process, in inference mode, with the same
number of threads and the same inputs, and without a queue. Another process does what `gpubench run`
does. Each loads and builds its own engine. Then they measure in turn, many times, while the other
one sleeps. The speed of a shared machine changes from second to second, so the ratio of each pair
is computed. 1.00 means that gpubench adds no cost.

    python tests/benchmarks/plain_loop.py [--models mobilenet,resnet50] [--runtimes eager]
                                          [--rounds 9] [--seconds 1.5]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from common import print_table

from gpubench.cells.resolve import resolve
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec
from gpubench.system.machine import this_machine

_FUNCTIONS = Path(__file__).with_name("plain_models.py")
MODELS = {
    "mobilenet": ["--model", f"{_FUNCTIONS}:mobilenet"],
    "resnet50": ["--model", "resnet50"],
    "distilbert": ["--model", "distilbert"],
    "bert-base 128": ["--model", "bert-base", "--seq-len", "128"],
    "bert-base 16": ["--model", "bert-base", "--seq-len", "16"],
    "mlp": ["--model", f"{_FUNCTIONS}:mlp"],
}
RUNTIMES = ("eager", "torchscript", "compile", "onnxruntime")
_WARMUP_S = 0.3
_POOL = 64  # distinct requests, as many as gpubench makes of these sizes


class Side:
    """A process that measures each time it receives a line."""

    def __init__(self, file: str, *words: str) -> None:
        """Start the Python `file` with `--side` and these words."""
        command = [sys.executable, file, "--side", *words]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def measure(self) -> tuple[float, float]:
        """(inferences, or steps, per second; cores used)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        per_second, cores = self._process.stdout.readline().split()
        return float(per_second), float(cores)

    def close(self) -> None:
        self._process.communicate()


def spec_of(model: str, **settings: Any) -> Spec:
    flags = MODELS[model]
    names = (flag.removeprefix("--").replace("-", "_") for flag in flags[::2])
    return make_spec(dict(zip(names, flags[1::2], strict=True)) | {"device": "cpu"} | settings)


def answer(measure: Callable[[], tuple[float, float]]) -> None:
    """Measure once for every line of input, and print the figures."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of libraries goes to stderr
    for _ in sys.stdin:
        print(*measure(), file=output, flush=True)


def serve_gpubench(model: str, runtime: str, seconds: float) -> None:
    from gpubench.measure.cell import Bench

    machine = this_machine()
    asked = spec_of(model, runtime=runtime, warmup=_WARMUP_S, duration=seconds)
    cell, bench = resolve(asked, machine), Bench(machine)

    def measure() -> tuple[float, float]:
        result = bench.measure(cell)
        assert result.error is None, result.error
        assert result.throughput_per_second is not None
        assert result.harness.cpu_cores is not None
        return result.throughput_per_second, result.harness.cpu_cores

    answer(measure)


def serve_loop(model: str, runtime: str, seconds: float) -> None:
    warnings.simplefilter("ignore")
    import torch

    from gpubench.models.base import load, seeded

    cell = resolve(spec_of(model), this_machine())
    torch.set_num_threads(this_machine().cores)
    loaded = load(cell)
    generator = seeded(cell.seed + 1)
    requests = [loaded.make_inputs(generator, 1) for _ in range(_POOL)]
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    forward = _FORWARD[runtime](loaded.module, requests[0])

    def measure() -> tuple[float, float]:
        _calls(forward, requests, _WARMUP_S)
        busy, started = time.process_time(), time.monotonic()
        count = _calls(forward, requests, seconds)
        elapsed = time.monotonic() - started
        return count / elapsed, (time.process_time() - busy) / elapsed

    with torch.no_grad() if runtime == "compile" else torch.inference_mode():
        answer(measure)


def _calls(forward: Callable[..., Any], requests: list[Any], seconds: float) -> int:
    count, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        forward(*requests[count % len(requests)])
        count += 1
    return count


def _torchscript(module: Any, example: Any) -> Any:
    import torch

    trace: Any = torch.jit.trace
    return torch.jit.freeze(trace(module, example, check_trace=False))


def _compile(module: Any, example: Any) -> Any:
    import torch

    torch._inductor.config.freezing = True  # as gpubench does
    with torch.no_grad():
        compiled: Any = torch.compile(module, fullgraph=True, dynamic=False)
        compiled(*example)
    return compiled


def _onnxruntime(module: Any, example: Any) -> Any:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(module, example, path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, options)
    names = [argument.name for argument in session.get_inputs()]
    return lambda *inputs: session.run(
        None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    )


_FORWARD: dict[str, Callable[[Any, Any], Any]] = {
    "eager": lambda module, example: module,
    "torchscript": _torchscript,
    "compile": _compile,
    "onnxruntime": _onnxruntime,
}


def row(model: str, runtime: str, rounds: int, seconds: float) -> list[str]:
    sides = [Side(__file__, name, model, runtime, str(seconds)) for name in ("loop", "gpubench")]
    for side in sides:
        side.measure()  # loads, builds and warms up
    pairs = [[side.measure() for side in sides] for _ in range(rounds)]
    for side in sides:
        side.close()
    ratios = sorted(ours[0] / loop[0] for loop, ours in pairs)
    cells = [model, runtime]
    for side_of in zip(*pairs, strict=True):
        cells += [f"{median(rate for rate, _ in side_of):.4g}"]
        cells += [f"{median(cores for _, cores in side_of):.2f}"]
    return [*cells, f"{median(ratios):.3f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--side", nargs=4, metavar=("SIDE", "MODEL", "RUNTIME", "SECONDS"))
    arguments = parser.parse_args()
    if arguments.side:
        side, model, runtime, seconds = arguments.side
        serve = serve_loop if side == "loop" else serve_gpubench
        serve(model, runtime, float(seconds))
        return
    machine = this_machine()
    print(f"{machine.cores} x {machine.cpu}")
    columns = ("model", "runtime", "loop /s", "cores", "gpubench /s", "cores", "ratio", "range")
    rows = []
    for model in arguments.models.split(","):
        for runtime in arguments.runtimes.split(","):
            rows.append(row(model, runtime, arguments.rounds, arguments.seconds))
            print(*rows[-1], file=sys.stderr, flush=True)
    print_table("Inferences per second", columns, rows)


if __name__ == "__main__":
    main()
