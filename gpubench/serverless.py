"""A model as a serverless function, which answers with the cold and warm times of its process.

    function = MeasuredFunction.start()
    handler = function.handle_event          # AWS Lambda: handler(event, context)
    serve(function, "0.0.0.0", 8080)         # or a container that answers HTTP: Cloud Run

The model is loaded, built and run once while the process starts, before the first request. The
stages of this start are those of `gpubench cold`. The settings of the model come from the
environment variable GPUBENCH_FUNCTION_SPEC: a JSON object, or the path of a JSON file. A request
says only how many inferences it wants: {"inferences": 3}. docs/serverless.md has the rest.
"""

from __future__ import annotations

from gpubench.measure.cold_child import FIRST_LINE_NS, StartClock  # first: it reads the clock

# isort: split
import base64
import binascii
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

from gpubench.errors import InputError, one_line
from gpubench.files.untrusted import MOST_JSON_BYTES, parse_json, read_regular
from gpubench.spec.parse import make_spec
from gpubench.system.process_start import process_began_ns

if TYPE_CHECKING:
    from gpubench.measure.cold_start import Started
    from gpubench.results.function_answer import FunctionAnswer
    from gpubench.spec.spec import Spec

VARIABLE = "GPUBENCH_FUNCTION_SPEC"
_LAMBDA_MEMORY = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"  # MiB; Lambda sets it
_MOST_REQUEST_BYTES = 64 << 10
_REQUEST_TIMEOUT_S = 30.0  # for a client that sends nothing


class MeasuredFunction:
    """The model of this process. It answers one request at a time, on the thread of its start."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(16)
        self._requests = 0
        self._open = ExitStack()  # holds the engine until the process ends
        self._stages: dict[str, float] = {}  # nanoseconds
        self._stage = "settings"
        self._failure: dict[str, Any] | None = None  # the answer if the start failed
        began_ns = process_began_ns()
        self._began_ns = FIRST_LINE_NS if began_ns is None else min(began_ns, FIRST_LINE_NS)
        if began_ns is not None:
            self._stages["interpreter"] = FIRST_LINE_NS - self._began_ns

    @classmethod
    def start(cls) -> MeasuredFunction:
        """Load, build and run the model that the environment variable names.

        If that fails, the function answers every request with the reason. A process that ends
        would be started again and again, and the caller would not learn the reason.
        """
        function = cls()
        try:
            function._load(spec_of_environment())
        except Exception as error:  # of any library
            function._failure = _failed(function._stage, error)
        return function

    def _load(self, spec: Spec) -> None:
        self._stage = "imports"
        clock = StartClock(self._note)
        from gpubench.cells.resolve import resolve
        from gpubench.measure.cold_start import description, started
        from gpubench.measure.environment import environment
        from gpubench.results import function_answer
        from gpubench.system.machine import this_machine

        clock.enter("excluded")  # a server knows its settings
        machine = this_machine()
        for name in ("cpus", "cool_to"):
            if getattr(spec, name) is not None:
                raise InputError(f"{name}: a function has the cores that it is given; remove it")
        cell = resolve(spec, machine)
        if len(cell.devices) > 1:
            raise InputError(f"device {','.join(cell.devices)}: a function has one; name one")
        where = environment(machine, cell)
        clock.enter("imports")
        self._ready: Started = self._open.enter_context(started(cell, clock))
        self._fixed: dict[str, Any] = {
            "spec": cell.spec,
            "environment": where,
            "engine": description(self._ready, cell),
            "memory_bytes": _memory_bytes(),
            "start": self._start(),
        }
        self._make = function_answer.FunctionAnswer.model_validate

    def _note(self, fields: Mapping[str, Any]) -> None:
        """Receives the stages of the start as they end."""
        if "stage" in fields:
            spent = ((fields["stage"], fields["ns"]), ("excluded", fields["excluded_ns"]))
            for stage, spent_ns in spent:
                self._stages[stage] = self._stages.get(stage, 0) + spent_ns
            self._stage = fields["next"]
            if self._stage == "excluded":
                self._stage = "request" if "weights" in self._stages else "settings"

    def _start(self) -> dict[str, Any]:
        seconds = {name: spent_ns / 1e9 for name, spent_ns in self._stages.items()}
        excluded_s = seconds.pop("excluded")
        return {
            "seconds": seconds,
            "ready_seconds": sum(seconds.values()),
            "excluded_seconds": excluded_s,
            "from_cache": self._ready.engine.from_cache,
        }

    def answer(self, request: object) -> dict[str, Any]:
        """Make the inferences of a request, and tell how long they took, as plain JSON values.

        If the start or an inference failed, the answer has the key `error` with the reason. Raises
        InputError for a request that is not allowed.
        """
        received_ns = time.monotonic_ns()
        if self._failure is not None:
            return self._failure
        inferences = _inferences(request)
        self._requests += 1
        inference_ms = []
        try:
            for _ in range(inferences):
                began_ns = time.monotonic_ns()
                self._ready.infer()
                inference_ms.append((time.monotonic_ns() - began_ns) / 1e6)
        except Exception as error:  # of any library
            return _failed("inference", error)
        made: FunctionAnswer = self._make(
            {
                **self._fixed,
                "process": self._process,
                "request": self._requests,
                "cold": self._requests == 1,
                "age_seconds": (received_ns - self._began_ns) / 1e9,
                "inference_ms": inference_ms,
                "peak_host_bytes": self._ready.peak.bytes(),
                "handler_ms": (time.monotonic_ns() - received_ns) / 1e6,
            }
        )
        return made.model_dump(mode="json", by_alias=True)

    def handle_event(self, event: object, context: object = None) -> dict[str, Any]:
        """The handler of AWS Lambda, for direct invocations and for function URLs.

        A function URL wraps the request in an event with the text `body`, and takes a dictionary
        without a status code as the JSON of an answer with status 200. Source: "Invoking Lambda
        function URLs" of the AWS Lambda Developer Guide.
        """
        try:
            return self.answer(_body(event) if _is_of_a_url(event) else event)
        except InputError as error:
            return {"statusCode": 400, "body": json.dumps({"error": str(error)})}


def _failed(stage: str, error: Exception) -> dict[str, Any]:
    """The answer of a function that failed. The log of the platform gets the reason, too."""
    message = one_line(error)
    print(f"gpubench: {stage}: {message}", file=sys.stderr, flush=True)
    return {"schema": 1, "kind": "function", "error": {"stage": stage, "message": message}}


def spec_of_environment() -> Spec:
    """The settings in GPUBENCH_FUNCTION_SPEC. Raises InputError."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        raise InputError(
            f'{VARIABLE} is not set; give the settings as JSON, like {{"model": "resnet50"}}, or '
            "the path of a JSON file"
        )
    origin = VARIABLE
    if not text.startswith("{"):
        origin = text
        try:
            text = read_regular(Path(text), MOST_JSON_BYTES).decode()
        except OSError as error:
            raise InputError(f"{VARIABLE}: {origin} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{VARIABLE}: {origin} is not text; give a JSON file") from None
    settings = parse_json(text, origin)
    if not isinstance(settings, dict):
        raise InputError(f'{origin}: settings are an object, like {{"model": "resnet50"}}')
    spec = make_spec(settings, origin)
    if spec.synthetic:
        raise InputError(f"{origin}: synthetic has no weights and no engine; give a model")
    return spec


def _memory_bytes() -> int | None:
    """The memory that this process may use: what Lambda says, or the limit of its container."""
    text = os.environ.get(_LAMBDA_MEMORY, "")
    if text.isascii() and text.isdecimal():
        return int(text) << 20
    from gpubench.system.machine import memory_limit_bytes

    return memory_limit_bytes()


def _inferences(request: object) -> int:
    """How many inferences a request wants. Raises InputError for a request that is not allowed."""
    from gpubench.results.function_answer import MOST_INFERENCES

    asked = {} if request is None else request
    if not isinstance(asked, dict) or not asked.keys() <= {"inferences"}:
        raise InputError('the request is not allowed; send {"inferences": 1}')
    number = asked.get("inferences", 1)
    if type(number) is not int or not 1 <= number <= MOST_INFERENCES:
        raise InputError(f"inferences: give a whole number from 1 to {MOST_INFERENCES}")
    return number


def _is_of_a_url(event: object) -> bool:
    return isinstance(event, dict) and "requestContext" in event


def _body(event: Any) -> object:
    """The request in the event of a function URL. Raises InputError."""
    text = event.get("body") or "{}"
    if not isinstance(text, str) or len(text) > _MOST_REQUEST_BYTES:
        raise InputError("the body of the request is too long, or is not text")
    try:
        data = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else None
        return parse_json(text if data is None else data.decode(), "request")
    except (binascii.Error, UnicodeDecodeError):
        raise InputError("the body of the request is not base64 of a text") from None


def serve(function: MeasuredFunction, host: str, port: int) -> None:
    """Answer HTTP until the process ends: POST makes inferences, GET says that it is ready.

    It answers one request at a time, and the next ones wait. So let the platform send one request
    at a time to each process. Ends at SIGTERM, with which platforms stop a container.
    """

    class Handler(_HttpHandler):
        served = function

    with _Server((host, port), Handler) as server:
        # As the first process of a container, this one would ignore the signal.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print(f"gpubench: serving on port {server.server_address[1]}", file=sys.stderr, flush=True)
        server.serve_forever()


class _Server(TCPServer):
    """As http.server.HTTPServer, which also asks a name server for the name of this machine."""

    allow_reuse_address = True


class _HttpHandler(BaseHTTPRequestHandler):
    served: MeasuredFunction
    timeout = _REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        """For health checks. It is no request of the function, so the next one is still cold."""
        self._send(200, {"status": "ready"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        is_number = length.isascii() and length.isdecimal() and len(length) < 10
        if not is_number or int(length) > _MOST_REQUEST_BYTES:
            self._send(413, {"error": f"send at most {_MOST_REQUEST_BYTES} bytes"})
            return
        try:
            text = self.rfile.read(int(length)).decode(errors="replace")
            answer = self.served.answer(parse_json(text or "{}", "request"))
        except InputError as error:
            self._send(400, {"error": str(error)})
            return
        self._send(500 if "error" in answer else 200, answer)

    def _send(self, status: int, document: Mapping[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Writes no line for each request: the platform has its own log."""
