"""Many synthetic cells through a Ray cluster of two nodes on this machine: the overhead of a cell,
and whether cells are lost or measured twice. It can also kill worker processes of Ray meanwhile.

    python tests/benchmarks/ray_sweep.py 10000
    python tests/benchmarks/ray_sweep.py 400 --kills 50     # kill -9 at 50 random moments
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

os.environ["GPUBENCH_LOCK_DIR"] = ""  # both nodes are this machine: they shall not wait in turn
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

import ray
from ray.cluster_utils import Cluster
from ray_processes import worker_processes

from gpubench.cells.grid import parse_grids
from gpubench.launch.ray.sweep import sweep_on_ray
from gpubench.measure.progress import Progress
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run

NODES = 2


class Counted(Progress):
    def __init__(self, kills: int, cells: int) -> None:
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.failed = 0
        chosen = random.Random(7)
        # Between the first and the last tenth of the cells, so that each kill meets some work.
        self._kill_at = sorted(chosen.randint(cells // 10, cells * 9 // 10) for _ in range(kills))
        self._delay = chosen
        self.killed = 0
        self.measuring_s = 0.0  # what the same cells take without Ray, on the same busy machine

    def node_cell_ended(self, node: str, result: Result, elapsed_s: float) -> None:
        self.ended[f"{result.spec.load_seed}"] += 1
        self.measuring_s += 0.0 if result.seconds is None else result.seconds.total
        self.failed += result.error is not None
        while self._kill_at and self._kill_at[0] <= self.ended.total():
            self._kill_at.pop(0)
            threading.Timer(self._delay.uniform(0, 0.05), self._kill).start()

    def _kill(self) -> None:
        if found := worker_processes(os.getpid()):
            os.kill(self._delay.choice(found), signal.SIGKILL)
            self.killed += 1

    def node_told(self, node: str, what: str) -> None:
        self.lost[what.partition(";")[0]] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=int)
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    for _ in range(NODES):
        cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
    grid = {
        **{"model": "synthetic", "service_time": "10us", "warmup": 0, "requests": 50},
        **{"load_seed": list(range(given.cells))},
    }
    counted = Counted(given.kills, given.cells)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        # Ray prints a paragraph for each process that ends.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            sweep_on_ray(parse_grids(grid, "benchmark"), folder, "auto", counted, given.cells)
        elapsed_s = time.monotonic() - began
        kept = Counter(
            str(result.spec.load_seed)
            for _, result in open_run(folder).read_all().cells
            if result.error is None
        )
    ray.shutdown()
    cluster.shutdown()
    print(f"cells              {given.cells:,} on {NODES} nodes of this machine")
    print(f"documents          {len(kept):,}, with an error {counted.failed}")
    print(f"lost               {given.cells - len(kept) - counted.failed}")
    print(f"reported twice     {sum(count > 1 for count in counted.ended.values())}")
    print(f"processes killed   {counted.killed}")
    for what, count in counted.lost.items():
        print(f"    {count} x {what}")
    overhead_s = elapsed_s - counted.measuring_s / NODES
    print(f"time               {elapsed_s:.1f} s, {1e3 * elapsed_s / given.cells:.1f} ms a cell")
    print(
        f"    of it not in the measurement of a cell {1e3 * overhead_s / given.cells:.1f} ms a cell"
    )


if __name__ == "__main__":
    main()
