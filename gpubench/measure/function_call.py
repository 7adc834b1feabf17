"""One call of a serverless function over HTTP, and a burst of calls at the same moment.

Each call has a connection of its own, which is open before the clock of the round trip starts. An
answer is data from elsewhere: its size and its time are limited, and redirects are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from gpubench.errors import GpubenchError, InputError, reason_of, shorten
from gpubench.results.function_answer import MOST_ANSWER_BYTES, FunctionAnswer, parse_answer
from gpubench.results.result import Failure
from gpubench.spec.server_url import is_host

_HINTS = {
    401: "the call needs credentials: set GPUBENCH_FUNCTION_AUTHORIZATION, or give --aws-sigv4",
    403: "the caller may not invoke the function: check its permissions, and the credentials in "
    "GPUBENCH_FUNCTION_AUTHORIZATION or of --aws-sigv4",
    404: "there is no function at this URL; check it",
    429: "the service limits the concurrent calls of the function: give a smaller --parallel, or "
    "raise its limit",
    502: "the function failed or has too little memory; its log has the reason",
    503: "the service has no instance for the call; its log has the reason",
    504: "the function ran into the time limit of the service; raise it",
}


@dataclass(frozen=True)
class FunctionUrl:
    """A URL that was checked."""

    secure: bool
    host: str
    port: int | None
    target: str  # the path and the query, as they are sent

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{'https' if self.secure else 'http'}://{host}{port}"

    @property
    def shown(self) -> str:
        """Without the query, which may hold a key."""
        return self.origin + self.target.partition("?")[0]

    @property
    def is_local(self) -> bool:
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"


def parse_function_url(text: str) -> FunctionUrl:
    """Raises InputError for a URL that cannot be called."""
    wanted = "give the URL of the function, like https://name.example.com/"
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise InputError(f"--url: this is no URL; {wanted}") from None
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not is_host(host):
        raise InputError(f"--url: it does not begin with https:// and a name; {wanted}")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "--url: it holds a name or a password; remove them, and give what the function expects "
            "in the variable GPUBENCH_FUNCTION_AUTHORIZATION"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or any(ord(each) <= 32 for each in target):
        raise InputError("--url: it has characters that a URL cannot have; percent-encode them")
    return FunctionUrl(parts.scheme == "https", host, port, target)


@dataclass(frozen=True)
class Called:
    """What came of one call: an answer, or an error."""

    time: str  # UTC, ISO 8601
    answer: FunctionAnswer | None = None
    connect_ms: float | None = None
    round_trip_ms: float | None = None
    error: Failure | None = None


Headers = Callable[[bytes], Mapping[str, str]]  # for the body of a request


def burst(
    url: FunctionUrl, inferences: int, parallel: int, timeout_s: float, headers: Headers
) -> list[Called]:
    """Call the function `parallel` times at the same moment.

    The calls are sent when all of them have a connection. A call that has no answer after
    `timeout_s` gets an error. Ctrl-C ends all of them at once.
    """
    together = threading.Barrier(parallel)
    calls = [_Call(url, inferences, timeout_s, headers, together) for _ in range(parallel)]
    try:
        for call in calls:
            call.start()
        for call in calls:
            call.join()
    except BaseException:
        together.abort()
        for call in calls:
            call.end()
        raise
    return [call.called() for call in calls]


class _Call(threading.Thread):
    """One call. `end` may be called from another thread at any moment.

    Nobody can end a thread that looks up a name or connects. So the process does not wait for it.
    """

    def __init__(
        self,
        url: FunctionUrl,
        inferences: int,
        timeout_s: float,
        headers: Headers,
        together: threading.Barrier,
    ) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._inferences = inferences
        self._timeout_s = timeout_s
        self._headers = headers
        self._together = together
        self._ended = False
        self._result: Called | Exception | None = None
        # Without a port, the library takes the last part of an IPv6 address as the port.
        port = (443 if url.secure else 80) if url.port is None else url.port
        self._connection = (
            http.client.HTTPSConnection(
                url.host, port, timeout=timeout_s, context=ssl.create_default_context()
            )
            if url.secure
            else http.client.HTTPConnection(url.host, port, timeout=timeout_s)
        )

    def run(self) -> None:
        try:
            self._result = self._make()
        except Exception as error:
            self._result = error

    def called(self) -> Called:
        """What came of the call, after its end."""
        if isinstance(self._result, Exception):
            raise self._result
        assert self._result is not None
        return self._result

    def end(self) -> None:
        """End the call if it has no answer yet."""
        self._ended = True
        connected = self._connection.sock
        if connected is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _make(self) -> Called:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        connect_ms = None
        try:
            try:
                began_ns = time.monotonic_ns()
                self._connection.connect()
                connect_ms = (time.monotonic_ns() - began_ns) / 1e6
            finally:
                self._together.wait()  # also if it failed: the others wait for it
            round_trip_ms, text = self._exchange()
            found = parse_answer(text, self._url.shown)
        except (OSError, http.client.HTTPException) as error:
            return Called(now, error=self._unanswered(error, connect_ms))
        except GpubenchError as error:
            return Called(now, error=Failure(stage="answer", message=str(error)))
        finally:
            self._connection.close()
        if isinstance(found, Failure):
            message = f"the function failed: {' '.join(found.message.split())}"
            return Called(now, error=Failure(stage=found.stage, message=shorten(message)))
        if found.handler_ms > round_trip_ms or len(found.inference_ms) != self._inferences:
            message = f"{self._url.shown}: the times in the answer contradict the call"
            return Called(now, error=Failure(stage="answer", message=message))
        return Called(now, found, connect_ms, round_trip_ms)

    def _exchange(self) -> tuple[float, str]:
        """(round trip in ms, text of the answer)."""
        body = json.dumps({"inferences": self._inferences}).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "gpubench",
            "Accept-Encoding": "identity",
            **self._headers(body),
        }
        watch = threading.Timer(self._timeout_s, self.end)  # an answer may come byte by byte
        watch.daemon = True
        watch.start()
        try:
            began_ns = time.monotonic_ns()
            self._connection.request("POST", self._url.target, body, headers)
            response = self._connection.getresponse()
            data = response.read(MOST_ANSWER_BYTES + 1)
            round_trip_ms = (time.monotonic_ns() - began_ns) / 1e6
        finally:
            watch.cancel()
        if len(data) > MOST_ANSWER_BYTES:
            raise GpubenchError(
                f"{self._url.shown}: the answer is larger than {MOST_ANSWER_BYTES >> 10} KiB; it "
                "is not that of gpubench's handler"
            )
        text = data.decode(errors="replace")
        if response.status != 200 and not _is_our_failure(response.status, text):
            raise GpubenchError(self._refused(response.status))
        return round_trip_ms, text

    def _refused(self, status: int) -> str:
        hint = _HINTS.get(status, "the log of the function has the reason")
        if 300 <= status < 400:
            hint = "it moved: give the URL that it names, since redirects are not followed"
        return f"{self._url.shown} answered with status {status}: {hint}"

    def _unanswered(self, error: Exception, connect_ms: float | None) -> Failure:
        if connect_ms is None:
            message = (
                f"{self._url.shown} cannot be reached: {reason_of(error)}; check the URL and the "
                "network"
            )
            return Failure(stage="connect", message=message)
        reason = reason_of(error)
        if self._ended or isinstance(error, TimeoutError):
            reason = f"no answer within {self._timeout_s:g} s; give a longer --timeout"
        return Failure(stage="answer", message=f"{self._url.shown}: {reason}")


def _is_our_failure(status: int, text: str) -> bool:
    """Whether this is the answer of a process of ours whose start failed."""
    return status == 500 and '"kind": "function"' in text
