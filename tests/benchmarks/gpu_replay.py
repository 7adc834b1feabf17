"""The cost of the harness on a GPU, as ratios to bare C++ loops (bare_replay.cpp) of the same run.

Rounds of the harness and of the bare loops alternate, and the medians of the rounds are compared.
The model is a kernel of known duration. The code also runs on a simulated GPU, where its figures
mean nothing.

    python tests/benchmarks/gpu_replay.py [--rounds 5] [--json figures.json]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
from common import all_parts, print_table

from gpubench import core
from gpubench.paths import cmake_dir, include_dir

SAMPLE_BYTES = 3 * 224 * 224 * 2  # an image in fp16
REPLY_BYTES = 1000 * 2
Figures = dict[str, float]


class BareReplay:
    """The loops of bare_replay.cpp. Each raises RuntimeError if the driver fails."""

    def __init__(self) -> None:
        source = Path(__file__).with_name("bare_replay.cpp")
        archive = cmake_dir().parents[1] / "libgpubench_core.a"
        with tempfile.TemporaryDirectory() as folder:
            shared = Path(folder) / "bare_replay.so"
            own_headers = Path(__file__).parents[2] / "csrc" / "src"  # of streams, events, graphs
            flags = ["-O3", "-DNDEBUG", "-std=c++17", "-shared", "-fPIC"]
            flags += [f"-I{include_dir()}", f"-I{own_headers}"]
            links = [str(archive), "-ldl", "-pthread"]
            command = [os.environ.get("CXX", "c++"), *flags, str(source), *links]
            subprocess.run([*command, "-o", str(shared)], check=True)
            self._library = ctypes.CDLL(str(shared))
        size, time, address = ctypes.c_size_t, ctypes.c_int64, ctypes.c_void_p
        for name, types in {
            "bare_replay": [ctypes.c_int, address, time, size, size, size, size, size],
            "bare_launches": [ctypes.c_int, address, time, size, size],
            "bare_copy": [ctypes.c_int, size, size],
            "bare_fill": [ctypes.c_int, size, size],
        }.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = ctypes.c_double, types

    def replay(
        self,
        what: int | Sequence[int],
        in_flight: int,
        sizes: tuple[int, int],
        batches: int,
        pieces: int = 1,
    ) -> float:
        """Batches per second with the harness's driver calls; sizes: bytes in and out.

        `what`: a kernel of so many nanoseconds, or one executable graph for each in flight. The
        inputs are copied in so many pieces.
        """
        return self._call("bare_replay", *_graphs(what), in_flight, *sizes, pieces, batches)

    def launches(self, what: int | Sequence[int], in_flight: int, batches: int) -> float:
        """Batches per second of graph launches without copies."""
        return self._call("bare_launches", *_graphs(what), in_flight, batches)

    def copy(self, size: int, copies: int) -> float:
        """Bytes per second of plain pinned copies to the device."""
        return self._call("bare_copy", size, copies)

    def fill(self, size: int, copies: int) -> float:
        """Bytes per second of one thread that copies into pinned memory."""
        return self._call("bare_fill", size, copies)

    def _call(self, name: str, *arguments: int | ctypes.Array[ctypes.c_void_p] | None) -> float:
        rate = float(getattr(self._library, name)(0, *arguments))
        if rate < 0:
            raise RuntimeError(f"{name}: the driver refused a call")
        return rate


def _graphs(what: int | Sequence[int]) -> tuple[ctypes.Array[ctypes.c_void_p] | None, int]:
    if isinstance(what, int):
        return None, what
    return (ctypes.c_void_p * len(what))(*what), 0


def harness(
    executor: core.Executor,
    *,
    in_flight: int,
    max_batch: int,
    batches: int,
    wait: Literal["spin", "yield", "block"] = "spin",
) -> core.Outcome:
    """A closed loop that keeps `in_flight` batches in flight, after a short warm-up."""
    runner = core.Runner([executor], wait=wait)
    try:
        for count in (min(batches, 100), batches):
            outcome = runner.run(
                core.ClosedLoop(in_flight * max_batch),
                max_batch=max_batch,
                max_delay_ns=10**9 if max_batch > 1 else 0,
                stop_after_completions=count * max_batch,
                capacity=(count + 10 * in_flight) * max_batch,
            )
    finally:
        runner.close()
    if outcome.error is not None:
        raise RuntimeError(outcome.error)
    return outcome


def batches_per_second(outcome: core.Outcome) -> float:
    (timeline,) = outcome.timelines
    return len(timeline.size) / (outcome.end_ns - outcome.start_ns) * 1e9


def synthetic(
    service_ns: int, depth: int, requests: int, *, pinned: bool = False, size: int = SAMPLE_BYTES
) -> core.cuda.SyntheticExecutor:
    return core.cuda.SyntheticExecutor(
        0,
        service_ns,
        depth=depth,
        max_batch=requests,
        request_bytes=size,
        reply_bytes=REPLY_BYTES,
        pinned_inputs=pinned,
    )


def replay(bare: BareReplay, rounds: int, figures: Figures, *, pinned: bool) -> None:
    rows = []
    for service_ns, depth, requests in (
        (0, 1, 1),
        (0, 2, 1),
        (200_000, 1, 1),
        (200_000, 2, 1),
        (5_000_000, 2, 32),
        *([(0, 1, 32)] if pinned else []),
    ):
        batches = max(50, 300_000_000 // (service_ns + 100_000))
        sizes = (SAMPLE_BYTES * requests, REPLY_BYTES * requests)
        ours, calls, launches = [], [], []
        for _ in range(rounds):
            executor = synthetic(service_ns, depth, requests, pinned=pinned)
            assert executor.fills_inputs == (not pinned)
            outcome = harness(executor, in_flight=depth, max_batch=requests, batches=batches)
            ours.append(batches_per_second(outcome))
            pieces = requests if pinned else 1
            calls.append(bare.replay(service_ns, depth, sizes, batches, pieces))
            launches.append(bare.launches(service_ns, depth, batches))
        ratio = median(o / c for o, c in zip(ours, calls, strict=True))
        added_us = median(1e6 / o - 1e6 / c for o, c in zip(ours, calls, strict=True)) / requests
        name = f"{service_ns / 1e3:g} us, {depth} in flight, {requests} requests"
        of = f"{name}, pinned inputs" if pinned else name
        figures[f"throughput over bare calls: {of}"] = ratio
        figures[f"us added per request: {of}"] = added_us
        rows.append(
            [
                name,
                f"{median(ours):,.0f}",
                f"{ratio:.3f}",
                f"{added_us:+.2f}",
                f"{median(o / g for o, g in zip(ours, launches, strict=True)):.3f}",
            ]
        )
    columns = ["kernel, batches", "batches/s", "over bare calls", "us added a request"]
    title = "Replay of graphs, inputs in pinned memory" if pinned else "Replay of graphs"
    print_table(title, [*columns, "over bare launches"], rows)
    if pinned:
        print(
            "Bare calls are the same calls of the driver. Target: less than 2 us added a request."
        )
        return
    print("Bare launches make no copies and read no events. Bare calls do, but write no inputs:")
    print("with 2 in flight the harness does that while the device works, as long as it keeps up.")


def copies(bare: BareReplay, rounds: int, figures: Figures) -> None:
    """32 requests that the queue joined need one copy. From pinned memory they need 32."""
    requests, batches = 32, 50
    size = SAMPLE_BYTES * requests
    rows = []
    for inputs in ("host", "pinned"):
        ratios, speeds = [], []
        for _ in range(rounds):
            executor = synthetic(0, 1, requests, pinned=inputs == "pinned")
            outcome = harness(executor, in_flight=1, max_batch=requests, batches=batches)
            (timeline,) = outcome.timelines
            assert timeline.device_ns is not None
            copied_ns = timeline.device_ns[:, 1] - timeline.device_ns[:, 0]
            ours = size / float(np.median(copied_ns)) * 1e9
            speeds.append(ours)
            ratios.append(ours / bare.copy(size, batches))
        of = ", pinned inputs" if inputs == "pinned" else ""
        figures[f"h2d of 32 requests over one plain copy{of}"] = median(ratios)
        speed = f"{median(speeds) / 1e9:.2f}"
        target = "0.9" if inputs == "host" else ""
        rows.append([inputs, f"{size / 1e6:.1f} MB", speed, f"{median(ratios):.3f}", target])
    columns = ["inputs", "bytes", "GB/s", "over one copy", "target"]
    print_table("Copy of 32 joined requests", columns, rows)


def fill(bare: BareReplay, rounds: int, figures: Figures) -> None:
    """The CPU gathers inputs about as fast as one memcpy of one thread copies as many bytes.

    The clients send the same requests again, so both copy the same bytes each time.
    """
    rows = []
    for size, requests in ((SAMPLE_BYTES, 1), (SAMPLE_BYTES, 32), (64 * SAMPLE_BYTES, 1)):
        ratios, speeds = [], []
        for _ in range(rounds):
            executor = synthetic(0, 1, requests, size=size)
            outcome = harness(executor, in_flight=1, max_batch=requests, batches=50)
            (timeline,) = outcome.timelines
            filled_ns = float(np.median(timeline.submitted_ns - timeline.departed_ns))
            speeds.append(size * requests / filled_ns * 1e9)
            ratios.append(speeds[-1] / bare.fill(size * requests, 50))
        name = f"{requests} of {size / 1e6:.1f} MB"
        figures[f"fill over one memcpy: {name}"] = median(ratios)
        figures[f"fill GB/s: {name}"] = median(speeds) / 1e9
        rows.append([name, f"{median(speeds) / 1e9:.2f}", f"{median(ratios):.3f}", "0.8"])
    columns = ["requests of a batch", "GB/s", "over memcpy of one thread", "target"]
    print_table("Gathering inputs in pinned memory", columns, rows)


def waiting(figures: Figures) -> None:
    rows = []
    modes: tuple[Literal["spin", "yield", "block"], ...] = ("spin", "yield", "block")
    for wait in modes:
        executor = synthetic(1_000_000, 2, 1)
        outcome = harness(executor, in_flight=2, max_batch=1, batches=500, wait=wait)
        cores = outcome.cpu_seconds / (outcome.end_ns - outcome.start_ns) * 1e9
        figures[f"cores busy: {wait}"] = cores
        rows.append([wait, f"{cores:.2f}", f"{batches_per_second(outcome):,.0f}"])
    print_table("CPU use while a kernel of 1 ms runs", ["wait", "cores", "batches/s"], rows)


def event_clock(figures: Figures) -> None:
    rows = []
    for row in core.cuda.check_event_clock(0, [10_000, 100_000, 1_000_000, 10_000_000], 21):
        figures[f"event error ns: {row.length_ns} ns"] = row.error_ns
        names = ("length_ns", "kernel_ns", "event_ns", "empty_ns", "error_ns", "largest_error_ns")
        rows.append([*(f"{getattr(row, name):,}" for name in names), f"{2000 + row.tick_ns:,}"])
    columns = ["asked ns", "kernel's timer", "events", "empty kernel", "error", "largest", "limit"]
    print_table("Events against the spin kernel", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    device = core.cuda.devices()[0]
    print(f"{device.name}, driver for CUDA {core.cuda.driver_version()}")
    bare, figures, rounds = BareReplay(), Figures(), arguments.rounds

    def save() -> None:
        if arguments.json:
            found = {"gpu": device.name, "figures": figures}
            arguments.json.write_text(json.dumps(found, indent=1))

    parts = {
        "event clock": lambda: event_clock(figures),
        "replay": lambda: replay(bare, rounds, figures, pinned=False),
        "replay, pinned inputs": lambda: replay(bare, rounds, figures, pinned=True),
        "fill": lambda: fill(bare, rounds, figures),
        "copies": lambda: copies(bare, rounds, figures),
        "waiting": lambda: waiting(figures),
    }
    sys.exit(all_parts(parts, save))


if __name__ == "__main__":
    main()
