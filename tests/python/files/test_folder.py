"""Folders in object stores: files that are only created, and refusals before any measurement."""

from __future__ import annotations

from moto_server import MotoServer, aws, bucket, moto_server

from gpubench.files.folder import open_folder

__all__ = ["aws", "bucket", "moto_server"]  # fixtures


def test_x(bucket: str, aws: MotoServer) -> None:
    aws.configure({"batch": {"use_docker": False}})
    folder = open_folder(f"{bucket}/run")
    folder.create()
    folder.write("a", b"x")
    assert folder.names() == ["a"]
