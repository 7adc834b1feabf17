"""What --metrics-port, --metrics-push and --metrics-otlp accept."""

import pytest

from gpubench.errors import InputError
from gpubench.monitor.addresses import parse_address, parse_url, url_of


@pytest.mark.parametrize(
    ("text", "host", "port", "url"),
    [
        ("9400", "127.0.0.1", 9400, "http://127.0.0.1:9400/metrics"),
        ("0.0.0.0:0", "0.0.0.0", 0, "http://0.0.0.0:0/metrics"),
        ("[::1]:9400", "::1", 9400, "http://[::1]:9400/metrics"),
        ("localhost:65535", "localhost", 65535, "http://localhost:65535/metrics"),
    ],
)
def test_an_address_is_a_port_or_a_host_and_a_port(
    text: str, host: str, port: int, url: str
) -> None:
    assert parse_address(text) == (host, port)
    assert url_of(host, port) == url


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "x", ":9400", "host:", "65536", "-1", "9" * 5000, "²", "\u0661", "::1:9400"),
        *("a b:1", "\x1b[2J:1", "1.5", "nan"),
    ],
)
def test_any_other_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--metrics-port: .*cannot be used; "):
        parse_address(text)


def test_a_url_gets_the_path_that_it_lacks() -> None:
    assert parse_url("http://c:4318/", "--f", "x", "/v1/metrics") == "http://c:4318/v1/metrics"
    assert parse_url(" https://c/in ", "--f", "x", "/v1/metrics") == "https://c/in"


@pytest.mark.parametrize(
    "text", ["", "c:9091", "ftp://c", "http://", "http://c:x", "http://c/a b", "http://c?q", "//["]
)
def test_any_other_url_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--metrics-push: .*give a URL such as http://gateway"):
        parse_url(text, "--metrics-push", "http://gateway:9091")


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="a user name or a password") as refusal:
        parse_url("http://me:secret@c", "--metrics-push", "x")
    assert "secret" not in str(refusal.value)
