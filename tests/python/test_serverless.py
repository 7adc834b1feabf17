"""The handler of a serverless function, in real processes: over HTTP, and in AWS Lambda's runtime.

A platform on this machine starts a process for each call that finds none free, as the services do.
The Runtime API of Lambda is a server on this machine; its client is Amazon's own, awslambdaric.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gpubench.measure.cold_url import CallOptions, cold_url
from gpubench.serverless import VARIABLE, MeasuredFunction

APP = Path(__file__).parents[2] / "examples" / "serverless" / "app.py"
MODEL = """
import torch

def small():
    return torch.nn.Linear(8, 2), torch.rand(4, 8)
"""
STAGES = ["interpreter", "imports", "weights", "build", "first_inference"]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The environment variables of a process of the function."""
    (tmp_path / "own.py").write_text(MODEL)
    (tmp_path / "function.json").write_text(
        json.dumps({"model": f"{tmp_path / 'own.py'}:small", "runtime": "eager", "device": "cpu"})
    )
    return {**os.environ, VARIABLE: str(tmp_path / "function.json"), "HOST": "127.0.0.1"}


class Platform:
    """Starts processes of the function, and gives each of them one call at a time."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = {**variables, "PORT": "0"}
        self._free: queue.LifoQueue[int] = queue.LifoQueue()
        self.processes: list[subprocess.Popen[str]] = []

    def call(self, body: bytes) -> tuple[int, bytes]:
        try:
            port = self._free.get_nowait()
        except queue.Empty:
            port = self.start()
        try:
            return request(port, "POST", body)
        finally:
            self._free.put(port)

    def start(self) -> int:
        command = [sys.executable, "-P", str(APP)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self._variables)
        self.processes.append(process)
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("gpubench: serving on port "):
                return int(line.split()[-1])
        raise AssertionError(said)


def request(port: int, method: str, body: bytes = b"") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request(method, "/", body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def serving_at(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *_: object) -> None:
        pass

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))


def test_cold_and_warm_calls_of_real_processes_are_told_apart(settings: dict[str, str]) -> None:
    platform = Platform(settings)

    class Front(Quiet):
        def do_POST(self) -> None:
            status, answer = platform.call(self.body())
            self.reply(status, answer)

    try:
        with serving_at(Front) as port:
            result = cold_url(
                f"http://127.0.0.1:{port}/",
                CallOptions(parallel=2, warm_calls=3, inferences=2, memory_bytes=1 << 30),
            )
        assert len(platform.processes) == 2
        assert result.function is not None
        calls = result.function.calls
        assert [call.cold for call in calls] == [True, True, False, False, False]
        assert len({call.process for call in calls[:2]}) == 2
        for call, start in zip(calls[:2], result.starts, strict=True):
            assert call.error is None
            assert list(start.seconds.stages()) == STAGES
            assert start.ready_seconds is not None
            assert start.ready_seconds == pytest.approx(sum(start.seconds.stages().values()))
            assert call.started_for_it is True
            assert call.round_trip_ms is not None
            assert call.round_trip_ms > 1e3 * start.ready_seconds
            assert call.outside_ms is not None
            assert call.outside_ms >= 0
        assert result.function.warm is not None
        assert result.function.warm.count == 3
        assert result.spec.runtime == "eager"
        assert result.engine.parameters == 18
    finally:
        for process in platform.processes:
            process.terminate()
    # A platform stops a container with SIGTERM.
    assert [process.wait() for process in platform.processes] == [0, 0]


def test_health_checks_and_bad_requests_leave_the_process_cold(settings: dict[str, str]) -> None:
    platform = Platform(settings)
    try:
        port = platform.start()
        assert request(port, "GET") == (200, b'{"status": "ready"}')
        for body, reason in (
            (b"[]", 'send {"inferences": 1}'),
            (b'{"model": "resnet50"}', 'send {"inferences": 1}'),
            (b'{"inferences": 101}', "from 1 to 100"),
            (b'{"inferences": true}', "from 1 to 100"),
            (b"\xff", "this is not JSON"),
        ):
            status, answer = request(port, "POST", body)
            assert status == 400
            assert reason in json.loads(answer)["error"]
        assert request(port, "POST", b" " * 100_000)[0] == 413
        _, first = request(port, "POST")
        _, second = request(port, "POST", b'{"inferences": 3}')
        assert [json.loads(each)["cold"] for each in (first, second)] == [True, False]
        assert len(json.loads(second)["inference_ms"]) == 3
    finally:
        for process in platform.processes:
            process.kill()
            process.wait()


def test_in_the_runtime_of_lambda(settings: dict[str, str]) -> None:
    """A direct invocation, two calls of a function URL, and a request that is not allowed."""
    pytest.importorskip("awslambdaric", reason="it is in the extra test")
    encoded = base64.b64encode(b'{"inferences": 3}').decode()
    events = iter(
        [
            {"inferences": 2},
            {"requestContext": {}, "body": None},
            {"requestContext": {}, "body": encoded, "isBase64Encoded": True},
            {"inferences": 0},
        ]
    )
    answers: list[Any] = []
    done = threading.Event()

    class RuntimeApi(Quiet):
        """The part of Lambda's Runtime API that gives out events and takes answers."""

        def do_GET(self) -> None:
            event = next(events, None)
            if event is None:
                done.set()
                threading.Event().wait()  # as Lambda freezes a process without events
            self.reply(
                200,
                json.dumps(event).encode(),
                Content_Type="application/json",  # the client crashes without it
                Lambda_Runtime_Aws_Request_Id=str(len(answers)),
                Lambda_Runtime_Deadline_Ms="9999999999999",
                Lambda_Runtime_Invoked_Function_Arn="arn:aws:lambda:eu-west-1:1:function:f",
            )

        def do_POST(self) -> None:
            answers.append((self.path, json.loads(self.body())))
            if self.path.endswith("/error"):
                done.set()
            self.reply(202, b"{}")

    with serving_at(RuntimeApi) as port:
        variables = {
            **settings,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008",
            "PYTHONPATH": str(APP.parent),
        }
        command = [sys.executable, "-m", "awslambdaric", "app.handler"]
        process = subprocess.Popen(command, env=variables, cwd=APP.parent)

        def watch() -> None:
            process.wait()
            done.set()

        ended = threading.Thread(target=watch)
        ended.start()
        done.wait(120)
        status = process.poll()
        process.kill()
        ended.join()
    assert status is None, "the process ended before it had answered all events"
    assert [path.rpartition("/")[2] for path, _ in answers] == ["response"] * 4
    direct, empty, from_url, refused = (answer for _, answer in answers)
    assert [each["cold"] for each in (direct, empty, from_url)] == [True, False, False]
    assert [len(each["inference_ms"]) for each in (direct, empty, from_url)] == [2, 1, 3]
    assert direct["memory_bytes"] == 3008 << 20
    assert direct["process"] == from_url["process"]
    assert refused["statusCode"] == 400


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", f"{VARIABLE} is not set"),
        ("{", f"{VARIABLE}:1: this is not JSON"),
        ('{"model": "reset50"}', "did you mean resnet50?"),
        ("/no/such/file.json", "/no/such/file.json cannot be read: No such file"),
        ("/dev/zero", "it is a device; give a regular file"),
        ('{"model": "synthetic"}', "synthetic has no weights and no engine"),
        ('{"model": "resnet50", "cpus": "0"}', "cpus: a function has the cores that it is given"),
        ('{"model": "/no/such.pt", "allow_code": true}', "/no/such.pt"),
    ],
)
def test_a_function_that_cannot_start_answers_with_the_reason(
    value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    answer = MeasuredFunction.start().handle_event({"inferences": 1})
    assert reason in answer["error"]["message"]
    assert answer["error"]["stage"] in {"settings", "weights"}


def test_an_inference_that_fails_is_answered_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model answers its first request, which is that of the start, and no other."""
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "class Once(torch.nn.Linear):\n"
        "    def forward(self, inputs):\n"
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        if self.calls > 1:\n"
        "            raise RuntimeError('no memory is left')\n"
        "        return super().forward(inputs)\n"
        "def once():\n"
        "    return Once(8, 2), torch.rand(4, 8)\n"
    )
    settings = {"model": f"{tmp_path / 'own.py'}:once", "runtime": "eager", "device": "cpu"}
    monkeypatch.setenv(VARIABLE, json.dumps(settings))
    answer = MeasuredFunction.start().answer({})
    assert answer["error"] == {
        "stage": "inference",
        "message": "RuntimeError: no memory is left",
    }
