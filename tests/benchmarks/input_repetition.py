"""How often ordinary models are blamed for a cache of their inputs, and how often one is found.

python tests/benchmarks/input_repetition.py 50
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import gpubench

MODELS = '''
import torch

import gpubench


class Cached(torch.nn.Module):
    """Half of the work is done again for a repeated input, so it saves only half of the time."""

    def __init__(self):
        super().__init__()
        self.layers = convolutions().module
        self.known = {}

    def forward(self, x):
        key = hash(x.numpy().tobytes())
        if key not in self.known:
            self.known[key] = self.layers(x)
        return self.known[key] + self.layers(x)


def floats(*shape):
    return lambda generator, samples: (torch.randn(samples, *shape, generator=generator),)


def convolutions():
    layers = [torch.nn.Conv2d(3, 32, 3)]
    for _ in range(3):
        layers += [torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3)]
    return gpubench.OwnModel(torch.nn.Sequential(*layers), floats(3, 64, 64))


def embedding():
    words = lambda generator, samples: (
        torch.randint(0, 100_000, (samples, 64), generator=generator),
    )
    return gpubench.OwnModel(torch.nn.EmbeddingBag(100_000, 64), words)


def copy_of_4_MB():
    return gpubench.OwnModel(torch.nn.ReLU(), floats(1024, 1024))


def half_cached():
    return gpubench.OwnModel(Cached(), floats(3, 64, 64))
'''


def table(runs: int, path: Path) -> Iterator[str]:
    yield "| model | ms a request | compared | new inputs slower: median | blamed |"
    yield "|---|---|---|---|---|"
    for function in ("convolutions", "embedding", "copy_of_4_MB", "half_cached"):
        results = [
            gpubench.run(
                model=f"{path}:{function}", runtime="eager", device="cpu", threads=1,
                warmup="200ms", duration="800ms", load_seed=run,
            )
            for run in range(runs)
        ]  # fmt: skip
        found = [each.inputs.new_inputs_slower for each in results if each.inputs]
        slower = [each for each in found if each is not None]
        blamed = [
            any(reason.code == "inputs-cached" for reason in each.verdict.reasons)
            for each in results
        ]
        ms = np.median([each.latency_ms.p50 or np.nan for each in results])
        yield (
            f"| {function} | {ms:.3g} | {len(slower)} of {runs} | {np.median(slower):.1%} "
            f"| {np.mean(blamed):.0%} |"
        )


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "models.py"
        path.write_text(MODELS)
        for line in table(runs, path):
            print(line, flush=True)


if __name__ == "__main__":
    main()
