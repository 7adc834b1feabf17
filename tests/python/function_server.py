"""A server on this machine that answers as a serverless function does, with scripted answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from factories import G5, environment

SPEC: dict[str, Any] = {"model": "resnet50", "device": "cpu", "workers": 1, "threads": 2}


def answer(
    process: int = 1, request: int = 1, age_seconds: float = 60.0, **changed: Any
) -> dict[str, Any]:
    """What the handler answers. Its times are shorter than any real call."""
    return {
        "schema": 1,
        "kind": "function",
        "process": f"{process:032x}",
        "request": request,
        "cold": request == 1,
        "age_seconds": age_seconds,
        "start": {
            "seconds": {"interpreter": 0.25, "imports": 2.0, "first_inference": 0.75},
            "ready_seconds": 3.0,
            "excluded_seconds": 0.5,
            "from_cache": False,
        },
        "handler_ms": 1e-6,
        "inference_ms": [5e-7],
        "memory_bytes": 2 << 30,
        "peak_host_bytes": 1 << 30,
        "spec": SPEC,
        "environment": environment(G5).model_dump(mode="json"),
        "engine": {"weights": "random (seed 0)"},
        **changed,
    }


@dataclass
class Reply:
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def as_reply(document: object, status: int = 200) -> Reply:
    return Reply(json.dumps(document).encode(), status)


@dataclass
class FunctionServer:
    url: str = ""
    paths: list[str] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)  # their JSON
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(reply: Callable[[int], Reply]) -> Iterator[FunctionServer]:
    """Answers request n (from 1) with `reply(n)`."""
    served = FunctionServer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                served.requests.append(json.loads(body))
                served.paths.append(self.path)
                served.headers.append(dict(self.headers))
                made = reply(len(served.requests))
            self.send_response(made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, format: str, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/function"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def in_turn(*documents: object) -> Callable[[int], Reply]:
    """These answers in turn; the last one is repeated."""
    return lambda number: as_reply(documents[min(number, len(documents)) - 1])


def one_process() -> Callable[[int], Reply]:
    """The answers of a single process: the first of them is cold."""
    return lambda number: as_reply(answer(request=number))
