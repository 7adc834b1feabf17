"""--server: which addresses are accepted, and what is said about the others."""

from __future__ import annotations

from typing import Any

import pytest

from gpubench import Spec
from gpubench.errors import InputError
from gpubench.spec.server_url import parse_server_url


@pytest.mark.parametrize(
    ("text", "protocol", "address", "base", "model", "version"),
    [
        ("grpc://gpu-1:8001/resnet", "grpc", "gpu-1:8001", "", "resnet", ""),
        ("grpcs://a.example/resnet/3", "grpc", "a.example:443", "", "resnet", "3"),
        ("http://[::1]:8000/my%20net/v1.2", "http", "[::1]:8000", "", "my net", "v1.2"),
        ("https://a.example/x/y/v2/models/net", "http", "a.example:443", "/x/y", "net", ""),
        ("http://a/v2/models/net/versions/7", "http", "a:80", "", "net", "7"),
        ("http://a:8000", "http", "a:8000", "", None, ""),
    ],
)
def test_an_address_has_these_parts(
    text: str, protocol: str, address: str, base: str, model: str | None, version: str
) -> None:
    url = parse_server_url(text)
    assert (url.protocol, url.address, url.base) == (protocol, address, base)
    assert (url.model, url.version) == (model, version)
    assert url.tls == text.partition(":")[0].endswith("s")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ftp://a:1/m", "begin with grpc, grpcs, http, https"),
        ("a:8001/m", "begin with grpc"),
        ("grpc://a/m", "names no port"),
        ("grpc://a:99999/m", "host or port is not valid"),
        ("http:///m", "names no host"),
        ("http://a:1/m/1/x", "more than a model and a version"),
        ("grpc://a:1/m/é", "outside ASCII"),
        ("http://a:1/m\n", "outside ASCII"),
        ("http://a:1/m/1%2F..", "version has characters"),
        ("http://a:1/m?token=s3cret", "nothing may follow"),
        ("http://user:s3cret@a:1/m", "contains a user or a password"),
        ("http://s3cret@a:1/m", "contains a user or a password"),
    ],
)
def test_other_addresses_are_refused_without_repeating_them(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as refused:
        Spec(model="resnet50", server=text)
    assert "s3cret" not in str(refused.value)
    assert str(refused.value).startswith("--server: ")


def test_a_server_chooses_the_runtime() -> None:
    assert Spec(model="resnet50", server="grpc://a:1/m").runtime == "kserve"
    assert Spec(model="kserve:m", server="grpc://a:1").runtime == "kserve"
    assert Spec(model="net.onnx", server="grpc://a:1/m").runtime == "kserve"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"model": "resnet50", "runtime": "kserve"}, "--server: --runtime kserve needs a model"),
        ({"model": "kserve:m"}, "--server: --runtime kserve needs a model server"),
        ({"model": "resnet50", "server": "grpc://a:1"}, "--server: it names no model"),
        ({"model": "kserve:n", "server": "grpc://a:1/m"}, "it names the model m, and --model"),
        (
            {"model": "resnet50", "server": "grpc://a:1/m", "runtime": "eager"},
            "--server: belongs to --runtime kserve",
        ),
        ({"model": "synthetic", "server": "grpc://a:1/m"}, "--server: belongs to --runtime"),
        (
            {"model": "resnet50", "server": "grpc://a:1/m", "device": "cuda:0"},
            "--device: the server has its own",
        ),
        (
            {"model": "resnet50", "server": "grpc://a:1/m", "threads": 2},
            "--threads: the server has its own",
        ),
        (
            {"model": "resnet50", "server": "grpc://a:1/m", "inputs": "device"},
            "--inputs: requests to a server begin",
        ),
        (
            {"model": "net.plan", "server": "grpc://a:1/m", "precision": "fp16"},
            "--runtime: net.plan runs with tensorrt",
        ),
        ({"model": "resnet50", "device": "server"}, "'server' is not a device"),
    ],
)
def test_settings_that_do_not_fit_a_server(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Spec(**settings)
