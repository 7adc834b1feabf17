"""A server with what Triton has and MLServer lacks: binary tensors over HTTP, statistics, the
configuration of a model, and models that are not ready. It is no Triton, and only follows the
documents of its protocol. Its one model gives y = 2 x.

The times in its statistics are invented: each request adds the same nanoseconds.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

QUEUE_NS, INPUT_NS, INFER_NS, OUTPUT_NS = 40_000, 10_000, 120_000, 30_000
EXTENSIONS = ["binary_tensor_data", "statistics", "model_configuration"]
_TENSOR = {"datatype": "FP32", "shape": [-1, 4]}


@dataclass
class Model:
    """The state of the model `twice`, and what goes wrong with it."""

    ready: bool = True
    max_batch: int = 0
    inputs: list[dict[str, Any]] = field(default_factory=lambda: [{"name": "x", **_TENSOR}])
    outputs: list[dict[str, Any]] = field(default_factory=lambda: [{"name": "y", **_TENSOR}])
    token: str | None = None
    fails_after: int | None = None  # requests; then it answers with an error
    hangs_up_after: int | None = None  # requests; then it closes the connection
    counted_for_each: float = 1.0  # requests that it counts for each request
    requests: int = 0
    connections: set[object] = field(default_factory=set)
    inputs_seen: set[bytes] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def infer(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with self.lock:
            self.requests += 1
            self.inputs_seen.add(x.tobytes())
        if self.fails_after is not None and self.requests > self.fails_after:
            raise RuntimeError("CUDA error: out of memory")
        return 2 * x

    @property
    def hangs_up(self) -> bool:
        return self.hangs_up_after is not None and self.requests >= self.hangs_up_after

    def metadata(self) -> dict[str, Any]:
        return {
            "name": "twice",
            "versions": ["1"],
            "platform": "fake",
            "inputs": self.inputs,
            "outputs": self.outputs,
        }

    def statistics(self) -> dict[str, Any]:
        counted = int(self.requests * self.counted_for_each)

        def total(each_ns: int) -> dict[str, int]:
            return {"count": counted, "ns": each_ns * counted}

        stats = {
            "name": "twice",
            "version": "1",
            "inference_count": counted,
            "execution_count": counted,
            "inference_stats": {
                "success": total(QUEUE_NS + INPUT_NS + INFER_NS + OUTPUT_NS),
                "queue": total(QUEUE_NS),
                "compute_input": total(INPUT_NS),
                "compute_infer": total(INFER_NS),
                "compute_output": total(OUTPUT_NS),
            },
        }
        return {"model_stats": [stats]}


SERVER = {"name": "fake triton", "version": "0.1", "extensions": EXTENSIONS}


@contextmanager
def over_http(model: Model, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve over HTTP. Yields the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise the header and the body are two packets, and the second one waits for the
        # acknowledgement of the first, up to 40 ms.
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if model.token and self.headers["authorization"] != f"Bearer {model.token}":
                return self._send(401, {"error": f"not valid: {self.headers['authorization']}"})
            path = self.path.replace("/versions/1", "").strip("/")
            answers: dict[str, Any] = {
                "v2": SERVER,
                "v2/models/twice": model.metadata(),
                "v2/models/twice/config": {"max_batch_size": model.max_batch},
                "v2/models/twice/stats": model.statistics(),
            }
            if path == "v2/models/twice/ready":
                return self._send(200 if model.ready else 400, {})
            if path in answers:
                return self._send(200, answers[path])
            return self._send(404, {"error": f"unknown: {path}"})

        def do_POST(self) -> None:
            model.connections.add(self.client_address)
            body = self.rfile.read(int(self.headers["content-length"]))
            if model.hangs_up:
                self.close_connection = True
                return
            header = json.loads(body[: int(self.headers["inference-header-content-length"])])
            [given] = header["inputs"]
            raw = body[-given["parameters"]["binary_data_size"] :]
            try:
                y = model.infer(np.frombuffer(raw, np.float32).reshape(given["shape"]))
            except RuntimeError as error:
                return self._send(500, {"error": str(error)})
            size = {"binary_data_size": y.nbytes}
            output = {"name": "y", "datatype": "FP32", "shape": y.shape, "parameters": size}
            answer = {"model_name": "twice", "model_version": "1", "outputs": [output]}
            return self._send(200, answer, y.tobytes())

        def _send(self, status: int, answer: Any, binary: bytes = b"") -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text) + len(binary)))
            if binary:
                self.send_header("Inference-Header-Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text + binary)
            self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def over_grpc(model: Model, credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    """Serve over gRPC. Yields the port."""

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        def ServerMetadata(self, request: Any, context: Any) -> Any:
            self._check(context)
            return service_pb2.ServerMetadataResponse(**SERVER)

        def ModelReady(self, request: Any, context: Any) -> Any:
            return service_pb2.ModelReadyResponse(ready=model.ready)

        def ModelMetadata(self, request: Any, context: Any) -> Any:
            if request.name != "twice" or request.version not in {"", "1"}:
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")
            return json_format.ParseDict(model.metadata(), service_pb2.ModelMetadataResponse())

        def ModelConfig(self, request: Any, context: Any) -> Any:
            found = service_pb2.ModelConfigResponse()
            found.config.max_batch_size = model.max_batch
            return found

        def ModelStatistics(self, request: Any, context: Any) -> Any:
            return json_format.ParseDict(model.statistics(), service_pb2.ModelStatisticsResponse())

        def ModelInfer(self, request: Any, context: Any) -> Any:
            self._check(context)
            model.connections.add(context.peer())
            shape = tuple(request.inputs[0].shape)
            x = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(shape)
            try:
                y = model.infer(x)
            except RuntimeError as error:
                context.abort(grpc.StatusCode.INTERNAL, str(error))
            answer = service_pb2.ModelInferResponse(model_name="twice", model_version="1")
            answer.outputs.add(name="y", datatype="FP32", shape=y.shape)
            answer.raw_output_contents.append(y.tobytes())
            return answer

        def _check(self, context: Any) -> None:
            sent = dict(context.invocation_metadata()).get("authorization")
            if model.token and sent != f"Bearer {model.token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, f"not valid: {sent}")

    server = grpc.server(ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
