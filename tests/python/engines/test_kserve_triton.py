"""The runtime kserve against a server with statistics, limits, tokens, TLS and faults.

Real Triton servers cannot be started in the tests. `fake_triton.py` follows their documents.
"""

from __future__ import annotations

import csv
import json
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import fake_triton
import grpc
import pytest
from fake_triton import INFER_NS, INPUT_NS, OUTPUT_NS, QUEUE_NS, Model

import gpubench
from gpubench import Result, Spec
from gpubench.cli.program import main
from gpubench.errors import InputError


def measured(**settings: Any) -> Result:
    """A short measurement, unless the settings say otherwise."""
    return gpubench.run(Spec(**({"requests": 40, "warmup": 0.05} | settings)))


TOKEN = "t0ken-that-must-not-leak"
VARIABLE = "GPUBENCH_TOKEN_127_0_0_1"


@pytest.fixture(params=["grpc", "http"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def serving(protocol: str, model: Model) -> Iterator[str]:
    """The address of the model, while it is served."""
    over = fake_triton.over_grpc if protocol == "grpc" else fake_triton.over_http
    with over(model) as port:
        yield f"{protocol}://127.0.0.1:{port}/twice"


def _codes(result: Result) -> set[str]:
    return {reason.code for reason in result.verdict.reasons}


def test_the_time_of_a_request_is_divided_by_the_statistics_of_the_server(protocol: str) -> None:
    with serving(protocol, Model()) as url:
        result = measured(model="kserve:twice", server=url, clients=2)
    assert result.error is None
    about = result.server
    assert about is not None
    assert about.tensors == "binary"
    counted = about.statistics
    assert counted is not None
    # The warm-up, the checks and the requests before the window are not in it.
    assert counted.requests == about.requests
    assert counted.executions == about.requests
    assert counted.queue_ms == pytest.approx(QUEUE_NS / 1e6)
    assert counted.compute_input_ms == pytest.approx(INPUT_NS / 1e6)
    assert counted.compute_infer_ms == pytest.approx(INFER_NS / 1e6)
    assert counted.compute_output_ms == pytest.approx(OUTPUT_NS / 1e6)
    assert about.client_ms is not None
    assert about.network_ms is not None
    parts = about.client_ms + about.network_ms
    parts += (QUEUE_NS + INPUT_NS + INFER_NS + OUTPUT_NS) / 1e6
    assert parts == pytest.approx(about.round_trip_ms)
    assert about.note is None
    assert "server-shared" not in _codes(result)


def test_a_bare_engine_and_a_served_one_stand_in_one_table_and_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, sweep, output = tmp_path / "own.py", tmp_path / "sweep.yaml", tmp_path / "results"
    own.write_text(
        "import torch\nimport gpubench\n"
        "class Twice(torch.nn.Module):\n    def forward(self, x):\n        return 2 * x\n"
        "def twice():\n    return gpubench.OwnModel(\n"
        "        Twice(), lambda g, n: (torch.rand(n, 4, generator=g),))\n"
    )
    with serving("grpc", Model()) as url:
        sweep.write_text(
            f"- {{model: '{own}:twice', runtime: eager, device: cpu}}\n"
            f"- {{model: '{own}:twice', runtime: kserve, server: '{url}'}}\n"
        )
        flags = ["sweep", str(sweep), "--output", str(output), "--allow-code", "--quiet"]
        assert main([*flags, "--requests", "40", "--warmup", "50ms"]) == 0
    capsys.readouterr()
    assert main(["report", str(output), "--format", "markdown", "--instance", "c7i.xlarge"]) == 0
    table = capsys.readouterr().out
    assert "| eager " in table
    assert "| kserve " in table
    assert "server queue ms" in table
    assert "fake triton 0.1 over grpc at grpc:" in table
    assert "/twice; the cells with kserve ran on its hardware, which is not known" in table
    assert "c7i.xlarge: taken as the price of the server, whose hardware is not known" in table
    assert main(["report", str(output), "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    served = next(row for row in rows if row["runtime"] == "kserve")
    assert (served["device"], served["cpu"], served["cores"]) == ("server", "", "")
    assert float(served["server_queue_ms"]) == pytest.approx(QUEUE_NS / 1e6)
    assert main(["compare", str(output), "--by", "runtime", "--format", "json"]) == 0
    [compared] = json.loads(capsys.readouterr().out)["comparisons"]
    assert (compared["a"], compared["b"]) == ("runtime=eager", "runtime=kserve")
    [pair] = compared["pairs"]
    assert pair["differences"] == {"runtime": {"a": "eager", "b": "kserve"}}
    assert pair["p95_ms"]["b_over_a"] > 1


def test_a_served_cell_locks_the_cores_that_send_its_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_LOCK_DIR", str(tmp_path))
    with serving("http", Model()) as url:
        measured(model="kserve:twice", server=url)
    assert {file.name.partition("-")[0] for file in tmp_path.iterdir()} <= {"cpu", "core"}
    assert list(tmp_path.iterdir())


def test_requests_of_other_clients_in_the_window_are_found(protocol: str) -> None:
    with serving(protocol, Model(counted_for_each=1.5)) as url:
        result = measured(model="kserve:twice", server=url)
    [reason] = [each for each in result.verdict.reasons if each.code == "server-shared"]
    assert result.server is not None
    assert reason.figure == pytest.approx((result.server.requests or 0) / 2, abs=1)


def test_statistics_of_one_of_several_servers_are_not_used() -> None:
    with serving("http", Model(counted_for_each=0.5)) as url:
        result = measured(model="kserve:twice", server=url)
    assert result.server is not None
    assert result.server.statistics is None
    assert result.server.network_ms is None
    assert "several servers may answer" in str(result.server.note)


def test_each_worker_has_a_connection_of_its_own(protocol: str) -> None:
    """By default all gRPC channels of a process share one connection."""
    model = Model()
    with serving(protocol, model) as url:
        measured(model="kserve:twice", server=url, workers=5, clients=5)
    assert len(model.connections) >= 5


def test_all_requests_of_the_pool_are_sent(protocol: str) -> None:
    model = Model()
    with serving(protocol, model) as url:
        result = measured(model="kserve:twice", server=url, requests=70)
    assert result.error is None
    assert len(model.inputs_seen) >= 64


def test_a_batch_above_the_limit_of_the_server_is_refused(protocol: str) -> None:
    with serving(protocol, Model(max_batch=8)) as url:
        with pytest.raises(InputError, match=r"--batch: .* at most 8 samples .* not 9; use 8"):
            measured(model="kserve:twice", server=url, batch=9)
        with pytest.raises(InputError, match=r"--dynamic-batch: .* at most 8 samples"):
            measured(model="kserve:twice", server=url, dynamic_batch="16:1ms")
        assert measured(model="kserve:twice", server=url, batch=8).error is None


def test_a_model_that_is_not_ready_is_refused(protocol: str) -> None:
    with (
        serving(protocol, Model(ready=False)) as url,
        pytest.raises(InputError, match="model twice is not ready; wait until"),
    ):
        measured(model="kserve:twice", server=url)


def test_a_server_that_is_not_there_is_refused(protocol: str) -> None:
    with serving(protocol, Model()) as url:
        pass
    with pytest.raises(InputError, match="it cannot be reached") as refused:
        measured(model="kserve:twice", server=url)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("datatype", ["BF16", "BYTES"])
def test_outputs_that_numpy_does_not_have_are_refused(protocol: str, datatype: str) -> None:
    model = Model(outputs=[{"name": "y", "datatype": datatype, "shape": [-1, 4]}])
    with serving(protocol, model) as url:
        result = measured(model="kserve:twice", server=url)
    assert result.error is not None
    assert f"y {datatype} [?, 4], and NumPy has no such numbers" in result.error.message


def test_an_error_of_the_server_in_the_window_keeps_what_was_measured(protocol: str) -> None:
    with serving(protocol, Model(fails_after=500)) as url:
        result = measured(model="kserve:twice", server=url, requests=None, duration=60, warmup=0)
    assert result.error is not None
    assert result.error.stage == "measure"
    assert "the server answers: " in result.error.message
    assert "CUDA error: out of memory" in result.error.message
    assert result.requests.failed >= 1
    assert result.requests.completed > 100
    assert "failed-requests" in _codes(result)


def test_a_lost_connection_in_the_window_keeps_what_was_measured() -> None:
    model = Model(hangs_up_after=500)
    with serving("http", model) as url:
        result = measured(model="kserve:twice", server=url, requests=None, duration=60, warmup=0)
    assert result.error is not None
    assert result.error.stage == "measure"
    assert "the connection was lost" in result.error.message
    assert result.requests.completed > 100


def test_a_token_is_sent_and_is_nowhere_in_the_output(
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = Model(token=TOKEN)
    with serving(protocol, model) as url:
        flags = ["run", "--model", "kserve:twice", "--server", url, "--requests", "20"]
        flags += ["--warmup", "50ms", "--json", str(tmp_path / "result.json")]
        assert main(flags) == 2
        assert VARIABLE in capsys.readouterr().err
        monkeypatch.setenv(VARIABLE, "wr0ng")
        assert main(flags) == 2
        assert "not valid: Bearer [token]" in capsys.readouterr().err
        monkeypatch.setenv(VARIABLE, TOKEN)
        assert main(flags) == 0
        printed = capsys.readouterr()
        written = (tmp_path / "result.json").read_text()
        model.fails_after = 0
        assert main(flags) == 1
        failed = capsys.readouterr()
    assert json.loads(written)["server"]["url"] == url
    for text in (written, printed.out, printed.err, failed.out, failed.err):
        assert TOKEN not in text


def test_a_token_is_not_sent_over_a_network_without_encryption(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_TOKEN_models_some__where_example", TOKEN)
    with pytest.raises(InputError, match="without encryption; use grpcs:// or https://") as refused:
        measured(model="kserve:twice", server=f"{protocol}://models.some-where.example:8001")
    assert TOKEN not in str(refused.value)


def test_encrypted_connections_check_the_certificate(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = _self_signed(tmp_path)
    served: AbstractContextManager[int]
    if protocol == "grpc":
        pair = (key.read_bytes(), certificate.read_bytes())
        served = fake_triton.over_grpc(Model(), grpc.ssl_server_credentials([pair]))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        served = fake_triton.over_http(Model(), context)
    with served as port:
        url = f"{protocol}s://localhost:{port}/twice"
        with pytest.raises(InputError, match="it cannot be reached"):
            measured(model="kserve:twice", server=url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        result = measured(model="kserve:twice", server=url)
    assert result.error is None


def _self_signed(folder: Path) -> tuple[Path, Path]:
    """(key, certificate) of a server called localhost."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return key, certificate
