"""gpubench against a plain loop of tritonclient, and a bare engine against a served one.

The server is MLServer on this machine, so client and server share its cores. The plain loop has a
thread and a client for each connection, which send different requests and read the answers. Both
sides measure in turn, and the ratio of each pair is computed. 1.00: gpubench adds no cost. The CPU
time of a request, that of the whole process, differs less between runs on a busy machine.

    python tests/benchmarks/serving_tax.py [--rounds 7] [--seconds 2] [--connections 1,4]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
from common import print_table

import gpubench

sys.path.append(str(Path(__file__).parents[1] / "python"))
import model_server

_POOL = 64  # distinct requests
_WARMUP_S = 0.3
# Samples in a request: 16 bytes, and 602 kB as for an image of 3 x 224 x 224.
_BATCHES = (1, 37_632)
_MODEL = """
import torch
import gpubench


class Twice(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def twice():
    return gpubench.OwnModel(Twice(), lambda g, n: (torch.rand(n, 4, generator=g),))
"""


def plain_loop(url: str, batch: int, connections: int, seconds: float) -> tuple[float, float]:
    """(requests per second, CPU seconds of a request) of threads that call tritonclient."""
    protocol, _, address = url.partition("://")
    library = importlib.import_module(f"tritonclient.{protocol}")
    pool = [np.random.default_rng(n).random((batch, 4), np.float32) for n in range(_POOL)]
    in_json = {"binary_data": False} if protocol == "http" else {}
    counts = [0] * connections
    opens, ends = threading.Event(), threading.Event()

    def send(number: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        host = address.partition("/")[0]
        client = (
            library.InferenceServerClient(host, channel_args=options)
            if protocol == "grpc"
            else library.InferenceServerClient(host)
        )
        turn = 0
        while not ends.is_set():
            array = pool[turn % _POOL]
            sent = library.InferInput("x", array.shape, "FP32")
            sent.set_data_from_numpy(array, **in_json)
            asked = [library.InferRequestedOutput("y", **in_json)]
            client.infer("twice", [sent], outputs=asked).as_numpy("y")
            turn += 1
            counts[number] += opens.is_set()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    time.sleep(_WARMUP_S)
    began, cpu_began = time.monotonic(), time.process_time()
    opens.set()
    time.sleep(seconds)
    ends.set()
    elapsed, cpu = time.monotonic() - began, time.process_time() - cpu_began
    for thread in threads:
        thread.join()
    return sum(counts) / elapsed, cpu / sum(counts)


def measured(url: str, model: str, batch: int, connections: int, seconds: float) -> gpubench.Result:
    result = gpubench.run(
        model=model,
        server=url,
        batch=batch,
        clients=connections,
        workers=connections,
        warmup=_WARMUP_S,
        duration=seconds,
    )
    assert result.error is None, result.error
    return result


def compare(url: str, batch: int, connections: int, rounds: int, seconds: float) -> list[str]:
    ratios, rates, cpu_ratios = [], [], []
    for _ in range(rounds):
        plain, plain_cpu = plain_loop(url, batch, connections, seconds)
        result = measured(url, "kserve:twice", batch, connections, seconds)
        assert result.throughput_per_second is not None
        assert result.harness.cpu_cores is not None
        ours = result.throughput_per_second / batch
        ratios.append(ours / plain)
        rates.append(ours)
        cpu_ratios.append(result.harness.cpu_cores / ours / plain_cpu)
    return [
        url.partition(":")[0],
        f"{16 * batch / 1e3:,.3g} kB",
        str(connections),
        f"{median(rates):,.0f}",
        f"{median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        f"{median(cpu_ratios):.2f}",
    ]


def tax(server: model_server.ModelServer, model: str, seconds: float) -> list[list[str]]:
    """The bare engine, and the same model on the server."""
    rows = []
    bare = gpubench.run(model=model, runtime="eager", device="cpu", duration=seconds)
    assert bare.latency_ms.p50 is not None
    rows.append(["eager", f"{bare.latency_ms.p50:.3f}", "–", "–", str(bare.answers_agree)])
    for protocol in ("grpc", "http"):
        served = measured(server.url(protocol, "twice"), model, 1, 1, seconds)
        about = served.server
        assert about is not None
        rows.append(
            [
                f"kserve over {protocol}",
                f"{served.latency_ms.p50 or 0:.3f}",
                f"{about.round_trip_ms or 0:.3f}",
                f"{about.client_ms or 0:.3f}",
                str(served.answers_agree),
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", default="1,4")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.py"
        own.write_text(_MODEL)
        models = Path(folder) / "models"
        models.mkdir()
        with model_server.running(models) as server:
            rows = [
                compare(server.url(protocol, "twice"), batch, count, given.rounds, given.seconds)
                for protocol, batch in (("grpc", 1), ("grpc", _BATCHES[1]), ("http", 1))
                for count in map(int, given.connections.split(","))
            ]
            print_table(
                "gpubench and a plain loop of tritonclient",
                ["protocol", "request", "connections", "requests /s", "of the plain loop", "range",
                 "CPU, of the plain loop"],
                rows,
            )  # fmt: skip
            print_table(
                "A bare engine and a served one",
                ["runtime", "P50 ms", "round trip ms", "client ms", "answers agree"],
                tax(server, f"{own}:twice", given.seconds),
            )


if __name__ == "__main__":
    main()
