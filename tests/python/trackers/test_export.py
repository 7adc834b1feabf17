"""`gpubench export` with the real packages, and without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from factories import failed, result

from gpubench.cli import program as cli
from gpubench.results.run_directory import open_run

_NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Two cells. The names of one hold what trackers do not allow."""
    directory = open_run(tmp_path / "run")
    directory.check_writable()
    directory.write("0ab", result(17.0, 99.5, instance="c7i.xlarge", usd_per_hour=0.25))
    broken = failed("no <memory>", model="/tmp/../a'b`c.pt", batch=2, input_shape="3")
    directory.write("o'hara %`;", broken)
    return directory.url


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    """A local store of MLflow, and its address."""
    settings = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    for name, value in (settings | _NO_NETWORK).items():
        monkeypatch.setenv(name, value)
    mlflow = pytest.importorskip("mlflow")
    uri = (tmp_path / "store").as_uri()
    return mlflow.MlflowClient(tracking_uri=uri), uri


def runs(client: Any, name: str = "gpubench") -> dict[str, Any]:
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id])
    by_id = {each.data.tags["gpubench.id"]: each for each in found}
    assert len(by_id) == len(found)
    return by_id


def test_mlflow(run: str, store: tuple[Any, str], capsys: pytest.CaptureFixture[str]) -> None:
    client, uri = store
    argv = ["export", "mlflow", run, "--tracking-uri", uri]
    assert cli.main(argv) == 0
    assert capsys.readouterr().err == "gpubench: MLflow: 3 new runs, 0 updated, 0 as before\n"

    found = runs(client)
    [page] = [found.pop(identity) for identity in list(found) if identity.startswith("page-")]
    assert [file.path for file in client.list_artifacts(page.info.run_id)] == ["report.html"]
    measured, broken = found.pop("0ab"), found.popitem()[1]
    assert measured.data.params["model"] == "resnet50"
    assert measured.data.metrics["latency_p95_ms"] == 99.5
    assert measured.data.metrics["usd_per_million_inferences/c7i.xlarge"] > 0
    assert measured.data.tags["gpubench.verdict"] == "valid"
    assert measured.data.tags["mlflow.parentRunId"] == page.info.run_id
    assert measured.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(measured.info.run_id)] == ["result.json"]
    assert broken.data.params["model"] == "/tmp/../a'b`c.pt"
    assert broken.data.tags["gpubench.error"] == "measure: no <memory>"
    assert broken.info.status == "FAILED"

    assert cli.main(argv) == 0
    assert capsys.readouterr().err == "gpubench: MLflow: 0 new runs, 0 updated, 3 as before\n"
    assert cli.main([*argv, "--instance", "m7i.4xlarge"]) == 0
    assert capsys.readouterr().err == "gpubench: MLflow: 0 new runs, 3 updated, 0 as before\n"
    assert len(runs(client)) == 3
    assert "usd_per_million_inferences/m7i.4xlarge" in runs(client)["0ab"].data.metrics


def test_an_export_that_was_interrupted_is_completed(
    run: str,
    store: tuple[Any, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, uri = store
    argv = ["export", "mlflow", run, "--tracking-uri", uri, "--experiment", "mine"]
    kind = type(client)
    log_text = kind.log_text

    def fail(self: Any, run_id: str, text: str, name: str) -> None:
        if name == "result.json":
            raise KeyboardInterrupt
        log_text(self, run_id, text, name)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "log_text", fail)
        assert cli.main(argv) not in {0, cli.BAD_INPUT}
    capsys.readouterr()
    assert cli.main(argv) == 0
    assert capsys.readouterr().err == "gpubench: MLflow: 1 new run, 1 updated, 1 as before\n"
    assert len(runs(client, "mine")) == 3


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["mlflow", "RUN", "--tracking-uri", "gopher://x"], "gpubench: MLflow refuses the runs: "),
        (["mlflow", "no-such-run"], "no-such-run is not a directory"),
        (["mlflow", "RUN", "--experiment", " "], "--experiment ' ' cannot be a name"),
        (["wandb", "RUN", "--project", "a/b"], "--project 'a/b' cannot be a name"),
        (["wandb", "no-such-run"], "no-such-run is not a directory"),
    ],
)
def test_bad_input_is_one_line(
    argv: list[str],
    problem: str,
    run: str,
    store: tuple[Any, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("wandb")
    command = ["export", *(run if each == "RUN" else each for each in argv)]
    assert cli.main(command) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert problem in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_server_that_does_not_work_is_tried_three_times(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "")  # restored at the end
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    tries: list[str] = []

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tries.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        assert cli.main(["export", "mlflow", run, "--tracking-uri", uri]) == cli.BAD_INPUT
        server.shutdown()
    assert len(tries) == 3
    assert "MLflow refuses the runs" in capsys.readouterr().err


def test_wandb_offline(run: str, tmp_path: Path) -> None:
    """In a process of its own, because the package starts another one that stays."""
    pytest.importorskip("wandb")
    names = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")
    folders = {name: str(tmp_path / name.lower()) for name in names}
    for folder in folders.values():
        Path(folder).mkdir()
    settings = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"} | folders | _NO_NETWORK
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gpubench", "export", "wandb", run, "--project", "p"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "gpubench: 3 runs written to Weights & Biases" in done.stderr
    assert f"wandb sync {folders['WANDB_DIR']}/wandb/offline-run-*" in done.stderr
    files = sorted(Path(folders["WANDB_DIR"]).rglob("run-*.wandb"))
    assert len(files) == 3
    [measured] = [file.read_bytes() for file in files if file.name == "run-0ab.wandb"]
    for text in ("resnet50", "latency_p95_ms", "99.5", "usd_per_million_inferences/c7i_xlarge"):
        assert text.encode() in measured, text
    staged = Path(folders["WANDB_DATA_DIR"]).rglob("*")
    texts = [file.read_text() for file in staged if file.is_file()]
    assert sum(text.startswith("<!DOCTYPE html>") for text in texts) == 1
    assert sum('"schema": 1' in text for text in texts) == 2
