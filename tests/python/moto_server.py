"""A server on this machine that answers as Amazon's services do: S3, Batch, and the others of moto.

It holds everything in the memory of the test process. Child processes reach it too, because the
variables of the environment, which they inherit, name its address.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from werkzeug.serving import make_server

REGION = "us-east-1"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class MotoServer:
    endpoint: str  # "http://127.0.0.1:PORT"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that uses this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{next(_numbers)}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def client(self, service: str) -> Any:
        """A client of boto3."""
        return _client(service, self.endpoint)

    def configure(self, settings: dict[str, object]) -> None:
        """Change moto's settings: {"batch": {"use_docker": False}} lets jobs succeed at once."""
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/config",
            json.dumps(settings).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status in {200, 201}


@cache
def _client(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing-secret",
    )


class _OneAtATime(ThreadedMotoServer):
    """Answers one request at a time.

    Amazon S3 decides in one step whether a file is new. moto looks and then writes, so that two of
    its threads may create the same file. A list fails there if another thread removes a file.
    """

    def _server_entry(self) -> None:
        app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

        def one_at_a_time(environ: Any, start_response: Any) -> Any:
            with lock:
                return app(environ, start_response)

        self._server = make_server(self._ip_address, self._port, one_at_a_time, True)
        self._server_ready_event.set()
        self._server.serve_forever()


@contextmanager
def started() -> Iterator[MotoServer]:
    """A new server on a free port of this machine."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # otherwise a line for each request
    server = _OneAtATime("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield MotoServer(f"http://{host}:{port}")
    finally:
        server.stop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """The server of this test process. Import this fixture and `aws` together."""
    with started() as server:
        yield server


@pytest.fixture
def aws(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> MotoServer:
    """The server, while the environment of this process and of its children points to it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "FSSPEC_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in moto_server.variables.items():
        monkeypatch.setenv(name, value)
    return moto_server


@pytest.fixture
def new_s3_clients() -> Iterator[None]:
    """Use this fixture where a test changes the environment: fsspec keeps clients for later."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(aws: MotoServer) -> str:
    """The URL of a new, empty bucket: "s3://bucket-1"."""
    return f"s3://{aws.new_bucket()}"
