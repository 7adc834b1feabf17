"""The runtime kserve against a real server: MLServer, over HTTP and gRPC."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import model_server
import numpy as np
import pytest
from model_server import ModelServer

import gpubench
from gpubench import Result, Spec
from gpubench.errors import InputError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mlserver") is None,
    reason="MLServer is not installed; it has no version for Python 3.13",
)

MODELS = """
import torch
import gpubench


class Scaled(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def twice():
    return gpubench.OwnModel(Scaled(2.0), lambda g, n: (torch.rand(n, 4, generator=g),))


def thrice():
    return gpubench.OwnModel(Scaled(3.0), lambda g, n: (torch.rand(n, 4, generator=g),))


def of_integers():
    inputs = lambda g, n: (torch.randint(0, 9, (n, 4), generator=g),)
    return gpubench.OwnModel(Scaled(2), inputs)


class Weighted(torch.nn.Module):
    def forward(self, ids, weights):
        product = ids * weights
        return product, product.sum(1, keepdim=True)


def weighted():
    def inputs(g, n):
        return torch.randint(0, 9, (n, 6), generator=g), torch.rand(n, 6, generator=g)

    return gpubench.OwnModel(Weighted(), inputs)
"""


def measured(**settings: Any) -> Result:
    """A short measurement, unless the settings say otherwise."""
    return gpubench.run(Spec(**({"requests": 30, "warmup": 0.05} | settings)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    with model_server.running(tmp_path_factory.mktemp("models")) as server:
        yield server


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "models.py"
    path.write_text(MODELS)
    return path


@pytest.fixture(params=["grpc", "http"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _codes(result: Result) -> set[str]:
    return {reason.code for reason in result.verdict.reasons}


def test_a_served_model_is_measured_and_compared_with_the_fp32_model(
    server: ModelServer, models: Path, protocol: str
) -> None:
    url = server.url(protocol, "twice")
    result = measured(model=f"{models}:twice", server=url, batch=3, clients=2)
    assert result.error is None
    assert result.numerics is not None
    assert result.numerics.relative_error == 0
    assert result.answers_agree
    assert result.requests.completed >= 30
    assert result.throughput_per_second
    assert (result.spec.runtime, result.spec.device, result.spec.workers) == ("kserve", "server", 2)
    assert result.spec.threads is None
    about = result.server
    assert about is not None
    assert (about.url, about.protocol, about.model) == (url, protocol, "twice")
    assert (about.version, about.name) == ("3", "mlserver")
    # MLServer has no binary tensors over HTTP. JSON with all digits gives the same numbers.
    assert about.tensors == ("binary" if protocol == "grpc" else "json")
    assert about.requests is not None
    assert about.requests >= 30
    assert about.client_ms is not None
    assert about.round_trip_ms is not None
    assert 0 < about.client_ms < about.round_trip_ms
    # Not the hardware of this machine, and nothing that the server did not say.
    assert (about.statistics, about.network_ms) == (None, None)
    assert "no statistics" in str(about.note)
    assert result.memory.peak_host_bytes is None
    assert result.achieved.peak_share is None


def test_a_server_with_another_model_is_found(
    server: ModelServer, models: Path, protocol: str
) -> None:
    url = server.url(protocol, "twice")
    result = measured(model=f"{models}:thrice", server=url)
    assert result.answers_agree is False
    [reason] = [each for each in result.verdict.reasons if each.code == "outputs-differ"]
    assert "the server has another model or other weights" in reason.remedy


def test_inputs_are_matched_by_name_and_converted_within_their_kind(
    server: ModelServer, models: Path, protocol: str
) -> None:
    """The server lists `weights` first, and takes `ids` as INT32. The model has int64."""
    url = server.url(protocol, "weighted")
    result = measured(model=f"{models}:weighted", server=url, batch=2)
    assert result.error is None
    assert result.answers_agree
    assert result.numerics is not None
    assert result.numerics.relative_error == pytest.approx(0, abs=1e-6)


def test_a_model_that_the_server_does_not_describe(
    server: ModelServer, models: Path, protocol: str
) -> None:
    url = server.url(protocol, "silent")
    result = measured(model=f"{models}:twice", server=url)
    assert result.error is None
    assert result.answers_agree


def test_other_inputs_are_refused_with_both_signatures(server: ModelServer, models: Path) -> None:
    url = server.url("grpc", "weighted")
    result = measured(model=f"{models}:twice", server=url)
    assert result.error is not None
    assert "the model takes x FP32 [1, 4], and weighted on the server takes" in result.error.message
    assert "weights FP32 [?, ?] and ids INT32 [?, ?]" in result.error.message
    result = measured(model=f"{models}:of_integers", server=server.url("grpc", "twice"))
    assert result.error is not None
    assert "x INT64 [1, 4], and twice on the server takes x FP32 [?, 4]" in result.error.message


def test_a_model_that_only_the_server_knows(server: ModelServer, protocol: str) -> None:
    address = server.url(protocol, "").rstrip("/")
    result = measured(model="kserve:twice", server=address, batch=4)
    assert result.error is None
    assert result.numerics is None
    assert result.answers_agree is None
    assert result.engine.weights == "of the server: twice"


def test_free_dimensions_of_a_served_model_need_sizes(server: ModelServer, tmp_path: Path) -> None:
    url = server.url("grpc", "weighted")
    with pytest.raises(InputError, match=r"like --dim weights\.1=50\+ids\.1=50"):
        measured(model="kserve:weighted", server=url)
    by_name = measured(model="kserve:weighted", server=url, dim="weights.1=5+ids.1=5")
    assert by_name.error is None
    by_shape = measured(model="kserve:weighted", server=url, input_shape="5+5")
    assert by_shape.error is None
    path = tmp_path / "inputs.npz"
    np.savez(path, ids=np.ones((8, 7), np.int32), weights=np.ones((8, 7), np.float32))
    from_file = measured(model="kserve:weighted", server=url, inputs_file=str(path), batch=2)
    assert from_file.error is None


def test_open_loop_and_joined_requests(server: ModelServer, models: Path) -> None:
    result = measured(
        model=f"{models}:twice",
        server=server.url("grpc", "twice"),
        rate=100,
        requests=30,
        warmup=0.1,
        dynamic_batch="4:20ms",
        workers=1,
    )
    assert result.error is None
    assert result.server is not None
    assert result.server.requests is not None
    # Requests that were joined are one request to the server.
    assert result.server.requests < result.requests.offered


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("kserve:nothing", "it has no model nothing"),
        ("kserve:text", "its input x BYTES [?] is not a tensor of numbers"),
        ("kserve:silent", "the server does not describe its inputs"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    server: ModelServer, protocol: str, model: str, problem: str
) -> None:
    with pytest.raises(InputError) as refused:
        measured(model=model, server=server.url(protocol, model.partition(":")[2]))
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_version_that_the_server_does_not_have(server: ModelServer, protocol: str) -> None:
    with pytest.raises(InputError, match="it has no version 9 of twice"):
        measured(model="kserve:twice", server=server.url(protocol, "twice/9"))
