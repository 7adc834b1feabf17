"""How the command ends if a signal comes while it starts, by the time of the signal.

    python -P tests/benchmarks/interrupted_start.py --tries 200

Each try starts `gpubench run` and sends it a signal after a delay, from 0 to --until seconds. It
counts exit statuses and tracebacks. Before the command has its own handlers, Python and the system
handle a signal. The process then ends by the signal (status -2, -15 or -1), or, if Python already
has its handler of SIGINT, with a traceback of Python's own start.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sysconfig
import time
from collections import Counter
from pathlib import Path

GPUBENCH = Path(sysconfig.get_path("scripts")) / "gpubench"
COMMAND = [str(GPUBENCH), "run", "--model", "synthetic", "--duration", "1h", "--quiet"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--until", type=float, default=1.0, help="seconds")
    parser.add_argument("--signal", default="SIGINT")
    asked = parser.parse_args()
    number = signal.Signals[asked.signal]
    ended: Counter[tuple[int, str]] = Counter()
    tracebacks: list[float] = []
    for attempt in range(asked.tries):
        delay_s = asked.until * attempt / asked.tries
        process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay_s)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
        kind = "silent"
        if b"Traceback" in stderr or b"Exception ignored" in stderr:
            kind = "traceback"
            tracebacks.append(delay_s)
        elif stderr:
            kind = "one line" if stderr.count(b"gpubench:") == 1 else "other"
        ended[process.returncode, kind] += 1
    for (status, kind), count in sorted(ended.items()):
        print(f"status {status:4}  {kind:9}  {count}")
    if tracebacks:
        shown = ", ".join(f"{delay_s * 1e3:.0f}" for delay_s in tracebacks)
        print(f"tracebacks after {shown} ms")


if __name__ == "__main__":
    main()
