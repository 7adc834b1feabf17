"""A real model server for the tests: MLServer, which speaks the KServe v2 protocol.

It has no binary tensors over HTTP, no statistics and no configuration of models. `fake_triton.py`
has these.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).parents[1] / "data" / "model_server"
_START_S = 60.0

_FLOATS = {"datatype": "FP32", "shape": [-1, 4]}
_TWICE = {"inputs": [{"name": "x", **_FLOATS}], "outputs": [{"name": "y", **_FLOATS}]}
SETTINGS: dict[str, dict[str, object]] = {
    "twice": {**_TWICE, "implementation": "served_models.Twice", "parameters": {"version": "3"}},
    # Undescribed: a server may leave out the inputs and outputs of a model.
    "silent": {"implementation": "served_models.Twice"},
    "weighted": {
        "implementation": "served_models.Weighted",
        "inputs": [
            {"name": "weights", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "ids", "datatype": "INT32", "shape": [-1, -1]},
        ],
        "outputs": [
            {"name": "product", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "sum", "datatype": "FP32", "shape": [-1, 1]},
        ],
    },
    "text": {
        "implementation": "served_models.Twice",
        "inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1]}],
    },
}


@dataclass(frozen=True)
class ModelServer:
    http_port: int
    grpc_port: int

    def url(self, protocol: str, model: str) -> str:
        port = self.grpc_port if protocol == "grpc" else self.http_port
        return f"{protocol}://127.0.0.1:{port}/{model}"


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def running(folder: Path) -> Iterator[ModelServer]:
    """A server that has loaded all models. Its settings and its log are in `folder`."""
    http_port, grpc_port, metrics_port = free_ports(3)
    settings = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": 0,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    for name, model in SETTINGS.items():
        (folder / name).mkdir()
        described = json.dumps({"name": name, **model})
        (folder / name / "model-settings.json").write_text(described)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder)],
            env=os.environ | {"PYTHONPATH": str(MODELS)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(server, http_port, folder / "log")
        yield ModelServer(http_port, grpc_port)
    finally:
        server.terminate()
        server.wait(20)


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while server.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)  # nothing tells when a port is open
        finally:
            connection.close()
    raise RuntimeError(f"MLServer did not start:\n{log.read_text()}")
