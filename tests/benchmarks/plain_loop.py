"""`gpubench run` over the loop that a user would write: batch 1, one client, on the CPU.

The loop calls the model in the main thread of a fresh process, in inference mode, with the same
number of threads and the same inputs, and has no queue. `gpubench run` is a fresh process too. Both
run in turn, several times, and the medians are compared. 1.00 means that gpubench costs nothing.

    python tests/benchmarks/plain_loop.py [--models mobilenet,resnet50] [--runtimes eager]
                                          [--rounds 3] [--seconds 4]
"""

from __future__ import annotations

import argparse
import json
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

from gpubench.machine import this_machine

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
_WARMUP_S = 2.0
_POOL = 64  # distinct requests, as many as gpubench makes of these sizes


def gpubench_run(model: str, runtime: str, seconds: float) -> tuple[float, float]:
    """(inferences per second, cores used), as `gpubench run` reports them."""
    command = [
        *(sys.executable, "-P", "-m", "gpubench.cli", "run", *MODELS[model]),
        *("--runtime", runtime, "--device", "cpu", "--warmup", f"{_WARMUP_S}s"),
        *("--duration", f"{seconds}s", "--quiet", "--json", "-"),
    ]
    result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert result["error"] is None, result["error"]
    return result["throughput_per_second"], result["harness"]["cpu_cores"]


def plain_loop(model: str, runtime: str, seconds: float) -> tuple[float, float]:
    """The same of the loop, in a process of its own."""
    command = [sys.executable, __file__, "--loop", model, runtime, str(seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    per_second, cores = output.split()[-2:]
    return float(per_second), float(cores)


def loop(model: str, runtime: str, seconds: float) -> None:
    """Print what `plain_loop` reads."""
    warnings.simplefilter("ignore")
    import torch

    from gpubench.models.base import load, seeded
    from gpubench.spec import make_spec

    flags = MODELS[model]
    names = (flag.removeprefix("--").replace("-", "_") for flag in flags[::2])
    spec = make_spec(dict(zip(names, flags[1::2], strict=True)) | {"device": "cpu"})
    torch.set_num_threads(this_machine().cores)
    loaded = load(spec)
    generator = seeded(spec.seed + 1)
    requests = [loaded.make_inputs(generator, 1) for _ in range(_POOL)]
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    forward = _FORWARD[runtime](loaded.module, requests[0])
    with torch.no_grad() if runtime == "compile" else torch.inference_mode():
        _calls(forward, requests, _WARMUP_S)
        busy, started = time.process_time(), time.monotonic()
        count = _calls(forward, requests, seconds)
        elapsed = time.monotonic() - started
    print(count / elapsed, (time.process_time() - busy) / elapsed)


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
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(plain_loop(model, runtime, seconds))
        ours.append(gpubench_run(model, runtime, seconds))
    ratios = [mine / loops for (mine, _), (loops, _) in zip(ours, theirs, strict=True)]
    cells = [model, runtime]
    for side in (theirs, ours):
        cells += [f"{median(rate for rate, _ in side):.4g}", f"{median(c for _, c in side):.2f}"]
    return [*cells, f"{median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--loop", nargs=3, metavar=("MODEL", "RUNTIME", "SECONDS"))
    arguments = parser.parse_args()
    if arguments.loop:
        model, runtime, seconds = arguments.loop
        loop(model, runtime, float(seconds))
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
