"""Downloads from price interfaces, with the standard library.

A download is repeated after a passing failure: status 408, 429 or 5xx, a time-out, a broken
connection, or an answer that is shorter than its Content-Length. The wait doubles each time, from
one second; Retry-After is respected up to a minute. Redirects are not followed, because a header
with a key would go to the other host.
"""

from __future__ import annotations

import http.client
import io
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from gpubench.errors import GpubenchError, InputError, reason_of
from gpubench.files.untrusted import parse_json

Parsed = TypeVar("Parsed")

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_WAIT_S = 60.0
_MOST_JSON_BYTES = 16 << 20


@dataclass(frozen=True)
class Downloads:
    """How to download. Tests replace `sleep`."""

    sleep: Callable[[float], None] = field(default=time.sleep)
    timeout_s: float = 30.0  # of each wait for the network
    attempts: int = 5

    def read(
        self,
        url: str,
        parse: Callable[[BinaryIO], Parsed],
        most_bytes: int,
        headers: Mapping[str, str] | None = None,
    ) -> Parsed:
        """What `parse` makes of the body. After a failure it gets a new body from its beginning.

        Raises GpubenchError if there is no complete answer of at most `most_bytes`.
        """
        place = _place(url)
        opener = urllib.request.build_opener(_NoRedirect)
        request = urllib.request.Request(
            url,
            headers={"User-Agent": "gpubench", "Accept-Encoding": "identity", **(headers or {})},
        )
        reason = ""
        for attempt in range(self.attempts):
            wait_s = min(2.0**attempt, _LONGEST_WAIT_S)
            try:
                with opener.open(request, timeout=self.timeout_s) as response:
                    body = _Body(response, most_bytes, place)
                    parsed = parse(io.BufferedReader(body, 1 << 20))
                    body.check_complete()
                    return parsed
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _PASSING:
                    raise GpubenchError(_refused(place, error.code)) from None
                reason = f"status {error.code}"
                wait_s = max(wait_s, _retry_after_s(error.headers.get("Retry-After")))
            except urllib.error.URLError as error:
                reason = (
                    reason_of(error.reason) if isinstance(error.reason, OSError) else str(error)
                )
            except (OSError, http.client.HTTPException) as error:
                reason = reason_of(error)
            if attempt + 1 < self.attempts:
                self.sleep(wait_s)
        raise GpubenchError(
            f"{place} gave no complete answer in {self.attempts} attempts: {reason}; no price was "
            "changed; try again later, or check the network"
        )

    def json(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A JSON object of at most 16 MiB. Raises GpubenchError for any other answer."""
        data = self.read(url, lambda body: body.read(), _MOST_JSON_BYTES, headers)
        place = _place(url)
        try:
            document = parse_json(data.decode(), place)
        except InputError as error:
            problem = str(error)
        except UnicodeDecodeError:
            problem = f"{place}: it is not UTF-8"
        else:
            if isinstance(document, dict):
                return document
            problem = f"{place}: it is not a JSON object"
        raise GpubenchError(
            f"{problem}; no price was changed; a proxy or a login page may have answered instead"
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class _Body(io.RawIOBase):
    """The body of an answer. http.client itself does not notice that a body ends too early."""

    def __init__(self, response: http.client.HTTPResponse, most_bytes: int, place: str) -> None:
        self._response = response
        self._left = most_bytes
        self._place = place
        length = response.headers.get("Content-Length")
        self._missing = int(length) if length and length.isdigit() else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._response.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise GpubenchError(
                f"{self._place}: the answer is larger than expected; no price was changed; this "
                "version of gpubench may be too old for it"
            )
        if self._missing is not None:
            self._missing -= len(data)
        if not data:
            self.check_complete()
        buffer[: len(data)] = data
        return len(data)

    def check_complete(self) -> None:
        if self._missing is not None and self._missing > 0:
            raise OSError(f"the answer ended {self._missing} bytes too early")


def _place(url: str) -> str:
    """The URL without its query, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _refused(place: str, status: int) -> str:
    hints = {
        400: "the region, the filter or the key is wrong",
        401: "the key is missing or wrong",
        403: "the region is wrong, or the key may not read prices",
        404: "the region is wrong",
    }
    hint = hints.get(status, "the interface may have moved" if status < 400 else "try again later")
    return f"{place} answered with status {status}: {hint}; no price was changed"


def _retry_after_s(text: str | None) -> float:
    return min(float(text), _LONGEST_WAIT_S) if text and text.isdigit() else 0.0
