"""A server on this machine that answers as Amazon's services do: S3, Batch, and the others of moto.

It holds everything in the memory of the test process. Child processes reach it too, because the
variables of the environment, which they inherit, name its address.
"""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

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
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing-secret",
        )
        client.create_bucket(Bucket=name)
        return name

    def configure(self, settings: dict[str, object]) -> None:
        """Change moto's settings: {"batch": {"use_docker": False}} lets jobs succeed at once."""
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/config",
            json.dumps(settings).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status in {200, 201}


@contextmanager
def started() -> Iterator[MotoServer]:
    """A new server on a free port of this machine."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
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
def aws(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoServer]:
    """The server, while the environment of this process and of its children points to it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "FSSPEC_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in moto_server.variables.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # a client of another server may be kept
    yield moto_server
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(aws: MotoServer) -> str:
    """The URL of a new, empty bucket: "s3://bucket-1"."""
    return f"s3://{aws.new_bucket()}"
