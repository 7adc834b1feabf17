"""The address of a model on a server: parses --server.

    grpc://HOST:PORT/MODEL[/VERSION]        also grpcs, http and https
    http://HOST:PORT/BASE/v2/models/MODEL[/versions/VERSION]

The second form is for a server behind a proxy that adds a path before `v2`. With `--model
kserve:NAME` the path can be left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

Protocol = Literal["grpc", "http"]

SERVER_HELP = "write it like grpc://HOST:8001/MODEL or http://HOST:8000/MODEL/VERSION"

_SCHEMES: dict[str, tuple[Protocol, bool]] = {
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
}
_DEFAULT_PORTS = {"http": 80, "https": 443, "grpcs": 443}
_LONG_PATH = re.compile(
    r"(?P<base>.*)/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/?"
)
_SHORT_PATH = re.compile(r"(?:/(?P<model>[^/]+)(?:/(?P<version>[^/]+))?)?/?")
_VERSION = re.compile(r"[\w.\-]+", re.ASCII)
_HOST = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?", re.ASCII)
_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|::1", re.ASCII)


@dataclass(frozen=True)
class ServerUrl:
    """A model on a server. It contains no secret: an address with a password is refused."""

    text: str  # as it was given
    protocol: Protocol
    tls: bool
    host: str
    port: int
    base: str  # HTTP: the path before "/v2"; usually empty
    model: str | None  # None: it is in the name of the model, kserve:NAME
    version: str  # empty: the server chooses it

    @property
    def address(self) -> str:
        """HOST:PORT, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_this_machine(self) -> bool:
        """Whether the address is a loopback address: the server shares the cores of the client."""
        return _LOOPBACK.fullmatch(self.host) is not None


def is_host(text: str) -> bool:
    """Whether this can be the name or the address of a host, without brackets.

    Libraries of HTTP raise errors of many types for other texts.
    """
    return ":" in text or (len(text) <= 253 and _HOST.fullmatch(text) is not None)


def parse_server_url(text: str) -> ServerUrl:
    """The parts of a server's address.

    Raises ValueError, which says what is wrong and how to write it. The message never contains the
    text, since that may hold a password.
    """
    if re.fullmatch(r"[!-~]+", text) is None:
        raise ValueError(f"it has spaces or characters outside ASCII; {SERVER_HELP}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"its host or port is not valid; {SERVER_HELP}") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"it does not begin with {', '.join(_SCHEMES)}; {SERVER_HELP}")
    if "@" in parts.netloc:
        raise ValueError(
            "it contains a user or a password, and results store it; remove them, and give a token "
            "in an environment variable (docs/serving.md)"
        )
    if "?" in text or "#" in text:
        raise ValueError(f"nothing may follow ? or # in it; {SERVER_HELP}")
    if not host or not is_host(host):
        raise ValueError(f"it names no host that can exist; {SERVER_HELP}")
    port = port or _DEFAULT_PORTS.get(parts.scheme)
    if port is None:
        raise ValueError(f"it names no port, such as 8001 for Triton; {SERVER_HELP}")
    protocol, tls = _SCHEMES[parts.scheme]
    found = _LONG_PATH.fullmatch(parts.path) if protocol == "http" else None
    base = found["base"] if found else ""
    found = found or _SHORT_PATH.fullmatch(parts.path)
    if found is None:
        raise ValueError(f"its path has more than a model and a version; {SERVER_HELP}")
    version = unquote(found["version"] or "")
    if version and _VERSION.fullmatch(version) is None:
        raise ValueError("its version has characters other than letters, digits, '.', '_' and '-'")
    model = unquote(found["model"]) if found["model"] else None
    return ServerUrl(text, protocol, tls, host, port, base, model, version)
