"""Where metrics are served and sent: what the flags say."""

from __future__ import annotations

from urllib.parse import urlsplit

from gpubench.errors import InputError

_LOCAL = "127.0.0.1"
_MOST_PORT = 65535


def parse_address(text: str) -> tuple[str, int]:
    """The host and the port of PORT or HOST:PORT. An IPv6 address has brackets: [::1]:9400.

    Port 0 stands for a free one. Raises InputError for anything else.
    """
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InputError(
            f"--metrics-port: '{text}' cannot be used; an IPv6 address has brackets: [::1]:9400"
        )
    valid = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= _MOST_PORT
    if not valid or bool(colon) > bool(host) or not host.isprintable() or " " in host:
        raise InputError(
            f"--metrics-port: '{text}' cannot be used; give a port, such as 9400, or HOST:PORT"
        )
    return host or _LOCAL, int(port)


def url_of(host: str, port: int) -> str:
    """Where the metrics of this address are."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"


def parse_url(text: str, flag: str, example: str, path: str = "") -> str:
    """A URL of HTTP or HTTPS, with `path` if it has none. Raises InputError for anything else."""
    text = text.strip()
    try:
        url = urlsplit(text)
        usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text or url.query or url.fragment:
        raise InputError(f"{flag}: '{text}' cannot be used; give a URL such as {example}")
    if url.username is not None or url.password is not None:
        raise InputError(
            f"{flag}: the URL has a user name or a password, which other users of the machine can "
            "read; remove them"
        )
    return text if url.path.strip("/") else text.rstrip("/") + path
