"""Many processes measure one sweep of synthetic cells into one directory of an S3 server of moto.

    python tests/benchmarks/shared_directory.py --cells 10000 --processes 8

Prints how many cells were lost, how many were measured twice, and the time for each cell: the wall
time of all processes together, divided by the number of cells. Server and processes share the cores
of this machine, so a real store with a network has other times. The CPU time, which other programs
disturb less, contains the start of the processes. With --kill N, N of the processes are killed
(SIGKILL) at random moments and started again. With --local, the directory is local.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
from moto_server import started

# Each process starts with the imports done and without threads.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["gpubench.measure.sweep", "pyarrow.parquet", "s3fs"])


def serve(pipe: Connection) -> None:
    """A server of moto, until the other end of the pipe says that it is no longer needed."""
    with started() as server:
        bucket = server.new_bucket()
        pipe.send((server.variables, f"s3://{bucket}/run"))
        pipe.recv()
        pipe.send(time.process_time())


@contextmanager
def s3_directory() -> Iterator[str]:
    near, far = PROCESSES.Pipe()
    server = PROCESSES.Process(target=serve, args=(far,), daemon=True)
    server.start()
    try:
        variables, url = near.recv()
        os.environ.update(variables)
        yield url
        near.send("end")
        print(f"the server used {near.recv():.1f} s of CPU time")
    finally:
        server.terminate()
        server.join()


def measure(directory: str, cells: int, log: Path, environment: dict[str, str]) -> None:
    """One process of the sweep. It logs each cell that it has stored."""
    os.environ.update(environment)
    # Each process stands for a machine, which has its own cores.
    os.environ["GPUBENCH_LOCK_DIR"] = ""
    import gpubench.files.leases as leases
    from gpubench.cells.grid import parse_grids, sweep_cells
    from gpubench.measure.progress import Progress
    from gpubench.measure.sweep import measure_share
    from gpubench.results.result import Result
    from gpubench.results.run_directory import open_run
    from gpubench.system.machine import this_machine

    grid = {
        "model": "synthetic",
        "service_time": "0",
        "warmup": 0,
        "requests": 10,
        "workers": 1,
        "wait": "block",
        "seed": list(range(cells)),
    }

    class Log(Progress):
        def cell_ended(self, result: Result, elapsed_s: float) -> None:
            with log.open("a") as file:
                file.write(f"{result.spec.seed} {result.lost_attempts} {elapsed_s}\n")

        def superseded(self, reason: str) -> None:
            with log.open("a") as file:
                file.write(f"superseded {reason}\n")

    machine = this_machine()
    planned = sweep_cells(parse_grids(grid, "the program"), machine)
    times = leases.LeaseTimes(poll_s=1.0)
    run_directory = open_run(directory)
    with run_directory.locked(shared=True):
        run_directory.check_writable()
        measure_share(planned, run_directory, machine, Log(), wait="none", times=times)
    with log.open("a") as file:
        file.write(f"cpu {time.process_time()} s\n")


def run(directory: str, cells: int, processes: int, kills: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{number}.log" for number in range(processes)]

        def start(log: Path) -> BaseProcess:
            process = PROCESSES.Process(target=measure, args=(directory, cells, log, environment))
            process.start()
            return process

        began = time.monotonic()
        running = {log: start(log) for log in logs}
        for _ in range(kills):
            time.sleep(random.uniform(1.0, 10.0))
            log = random.choice(logs)
            if running[log].is_alive():
                running[log].kill()
                running[log].join()
                running[log] = start(log)
        for process in running.values():
            process.join()
        # Without waiting, a process may end while another one still holds what was lost.
        last = start(Path(folder) / "last.log")
        last.join()
        elapsed_s = time.monotonic() - began
        report(directory, cells, processes, kills, elapsed_s, sorted(Path(folder).glob("*.log")))


def report(
    directory: str, cells: int, processes: int, kills: int, elapsed_s: float, logs: list[Path]
) -> None:
    from gpubench.results.run_directory import open_run

    measured: Counter[str] = Counter()
    superseded = lost_attempts = 0
    measuring_s = cpu_s = 0.0
    for log in logs:
        for line in log.read_text().splitlines():
            seed, lost, rest = line.split(" ", 2)
            if seed == "superseded":
                superseded += 1
            elif seed == "cpu":
                cpu_s += float(lost)
            else:
                measured[seed] += 1
                lost_attempts += int(lost)
                measuring_s += float(rest)
    contents = open_run(directory).read_all()
    seeds = {str(result.spec.seed) for _, result in contents.cells}
    left = [name for name in open_run(directory).file_names() if name.startswith(".")]
    print(f"{cells:,} cells, {processes} processes, {kills} kills: {directory}")
    print(f"lost: {cells - len(seeds)}; damaged documents: {len(contents.problems)}")
    print(f"stored twice: {sum(count - 1 for count in measured.values())}")
    print(f"measured, and not stored because another process was faster: {superseded}")
    print(f"attempts that were lost with a process, according to the results: {lost_attempts}")
    print(f"leases and test files that remain: {len(left)}")
    print(f"{elapsed_s:.1f} s, {1000 * elapsed_s / cells:.1f} ms for each cell")
    measuring_ms = 1000 * measuring_s / cells / processes
    print(f"of this time, measuring and storing: {measuring_ms:.1f} ms for each cell")
    print(f"the processes that were not killed used {cpu_s:.1f} s of CPU time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--kill", type=int, default=0, metavar="N")
    parser.add_argument("--local", action="store_true")
    given = parser.parse_args()
    if given.local:
        with tempfile.TemporaryDirectory() as directory:
            run(directory, given.cells, given.processes, given.kill)
        return
    with s3_directory() as url:
        run(url, given.cells, given.processes, given.kill)


if __name__ == "__main__":
    main()
