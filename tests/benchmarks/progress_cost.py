"""What the live display costs: the lag of requests with it and without it, in pairs of runs.

Each run is a process of its own that measures the same open loop of the model 'synthetic'. In one
run of a pair, standard error is a terminal, so the display is on. In the other it is a file. The
ratio of the two is printed, so the machine matters little: no other program should run.

    python tests/benchmarks/progress_cost.py [PAIRS]
"""

from __future__ import annotations

import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PAIRS = 10
COMMAND = [
    *(sys.executable, "-P", "-m", "gpubench.cli", "run", "--model", "synthetic"),
    *("--service-time", "200us", "--rate", "1000", "--warmup", "1s", "--duration", "5s"),
]


def measure(on_a_terminal: bool) -> tuple[float, float]:
    """The P50 and the P99 of the lag in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [*COMMAND, "--json", str(result)]
        if on_a_terminal:
            seen = _run_on_a_terminal(command)
            assert b"measure, from" in seen, "there was no display"
        else:
            subprocess.run(command, check=True, capture_output=True)
        lag = json.loads(result.read_text())["harness"]["lag_us"]
    return lag["p50"], lag["p99"]


def _run_on_a_terminal(command: list[str]) -> bytes:
    main, side = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                seen.append(os.read(main, 65536))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=read)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=side, env=os.environ | {"TERM": "xterm"}
    ) as child:
        os.close(side)
        reader.start()
    reader.join()
    os.close(main)
    if child.returncode:
        sys.exit(f"gpubench ended with status {child.returncode}")
    return b"".join(seen)


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    ratios: list[tuple[float, float]] = []
    for number in range(pairs):
        order = (True, False) if number % 2 else (False, True)
        lag = {on: measure(on) for on in order}
        ratios.append((lag[True][0] / lag[False][0], lag[True][1] / lag[False][1]))
        print(
            f"pair {number + 1}: lag P99 with the display {lag[True][1]:.1f} us, without it "
            f"{lag[False][1]:.1f} us",
            flush=True,
        )
    for name, index in (("P50", 0), ("P99", 1)):
        each = sorted(ratio[index] for ratio in ratios)
        print(
            f"lag {name} with the display / without it: median {statistics.median(each):.2f}, "
            f"from {each[0]:.2f} to {each[-1]:.2f} in {pairs} pairs"
        )


if __name__ == "__main__":
    main()
