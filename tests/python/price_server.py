"""A server on this machine that answers as the price interfaces do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data" / "prices"


@dataclass(frozen=True)
class Reply:
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    claimed_length: int | None = None  # Content-Length, if it is not that of the body


@dataclass
class PriceServer:
    """Answers each request with the next reply; the last one is repeated."""

    replies: list[Reply]
    url: str = ""
    paths: list[str] = field(default_factory=list)  # of the requests, with their queries
    headers: list[dict[str, str]] = field(default_factory=list)

    def next(self) -> Reply:
        return self.replies[min(len(self.paths), len(self.replies)) - 1]


def data(*names: str) -> list[Reply]:
    """Files of tests/data/prices as replies."""
    return [Reply((DATA / name).read_bytes()) for name in names]


@contextmanager
def serve(replies: list[Reply]) -> Iterator[PriceServer]:
    answers = PriceServer(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.paths.append(self.path)
            answers.headers.append(dict(self.headers))
            reply = answers.next()
            self.send_response(reply.status)
            length = reply.claimed_length
            self.send_header("Content-Length", str(len(reply.body) if length is None else length))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "127.0.0.1")
            yield answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
