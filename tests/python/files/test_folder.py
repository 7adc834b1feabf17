"""Folders in object stores: files that are only created, and refusals before any measurement."""

from __future__ import annotations

import errno
import threading
from functools import partial
from pathlib import Path

import pytest
from moto_server import MotoServer, aws, bucket, moto_server, new_s3_clients

import gpubench
from gpubench.errors import InputError
from gpubench.files import remote_folder
from gpubench.files.folder import Folder, LocalFolder, open_folder
from gpubench.files.remote_file import read_url
from gpubench.files.remote_folder import RemoteFolder
from gpubench.files.store_errors import translated
from gpubench.files.urls import without_secrets
from gpubench.results.run_directory import open_run

__all__ = ["aws", "bucket", "moto_server", "new_s3_clients"]  # fixtures


@pytest.fixture(params=["local", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "s3":
        found = open_folder(f"{request.getfixturevalue('bucket')}/run")
    else:
        prefix = "memory:/" if request.param == "memory" else ""
        found = open_folder(f"{prefix}{tmp_path}/run")
    found.create()
    return found


def test_a_file_that_must_be_new_is_written_once(folder: Folder) -> None:
    assert folder.names() == []
    folder.write("a", b"first", replace=False)
    with pytest.raises(FileExistsError):
        folder.write("a", b"second", replace=False)
    assert folder.read("a", 5) == b"first"
    folder.write("a", b"third")
    assert (folder.read("a", 5), folder.size("a"), folder.names()) == (b"third", 5, ["a"])
    with pytest.raises(OSError, match="larger than"):
        folder.read("a", 4)
    folder.write("empty", b"")
    assert folder.read("empty", 10) == b""
    with pytest.raises(FileNotFoundError):
        folder.read("b", 10)
    found = dict(folder.read_each(["a", "b"], 4))
    assert [getattr(each, "errno", None) for each in found.values()] == [errno.EFBIG, errno.ENOENT]
    folder.remove("a")
    folder.remove("a")
    assert folder.names() == ["empty"]


# The store in memory is for one thread.
@pytest.mark.parametrize("folder", ["local", "s3"], indirect=True)
def test_one_of_several_writers_creates_a_file(folder: Folder) -> None:
    created = []

    def create(number: int) -> None:
        try:
            folder.write("a", b"%d" % number, replace=False)
        except FileExistsError:
            return
        created.append(number)

    writers = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    [winner] = created
    assert folder.read("a", 10) == b"%d" % winner


def test_a_file_system_without_hard_links_creates_a_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    test_a_file_that_must_be_new_is_written_once(LocalFolder(tmp_path))


def test_an_answer_that_was_lost_does_not_look_like_the_file_of_another_process(
    bucket: str,
) -> None:
    folder = open_folder(bucket)
    folder.write("a", b"content with a name", replace=False)  # its answer was lost
    folder.write("a", b"content with a name", replace=False)  # so the client sends it again


def test_a_large_file_is_created_only_once_too(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(bucket)
    assert isinstance(folder, RemoteFolder)
    pipe_file = folder._files.pipe_file

    monkeypatch.setattr(folder._files, "pipe_file", partial(pipe_file, chunksize=5 << 20))
    folder.write("a", b"1" * (11 << 20), replace=False)
    with pytest.raises(FileExistsError):
        folder.write("a", b"2" * (11 << 20), replace=False)
    assert folder.read("a", 11 << 20)[:1] == b"1"


def test_a_store_that_replaces_what_should_only_be_created_is_refused(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(f"{bucket}/run")
    assert isinstance(run.folder, RemoteFolder)
    pipe_file = run.folder._files.pipe_file
    monkeypatch.setattr(
        run.folder._files, "pipe_file", lambda path, data, **_: pipe_file(path, data)
    )
    with pytest.raises(InputError, match="the store replaces a file that should only be created"):
        run.check_writable()
    assert run.folder.names() == [], "the test file is removed"


def test_a_missing_bucket_is_named_and_not_created(aws: MotoServer) -> None:
    with pytest.raises(
        InputError,
        match=r"s3://none/run cannot be written: there is no such bucket; create it first",
    ):
        gpubench.sweep({"model": "synthetic", "requests": 10}, "s3://none/run")
    assert "none" not in [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]]


@pytest.mark.usefixtures("new_s3_clients")
def test_missing_credentials_are_said(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="no credentials for s3:// were found"):
        open_run(bucket).check_writable()


@pytest.mark.usefixtures("new_s3_clients")
def test_an_address_that_nobody_serves_is_said_in_seconds(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(remote_folder, "_ANSWER_S", 1.0)
    unserved = "check the network and the address in AWS_ENDPOINT_URL"
    with pytest.raises(InputError, match=unserved):
        open_run(bucket).check_writable()
    with pytest.raises(InputError, match=unserved):
        open_run(bucket).read_all()
    with pytest.raises(OSError, match=unserved):
        read_url(f"{bucket}/sweep.yaml", 1000)


class Denied(PermissionError):
    def __init__(self, code: str, message: str = "Access Denied") -> None:
        super().__init__(message)
        self.response = {"Error": {"Code": code}}  # as botocore has it


@pytest.mark.parametrize(
    ("scheme", "action", "needed"),
    [
        ("s3", "create", "s3:PutObject"),
        ("s3", "read", "s3:GetObject"),
        ("s3a", "list", "s3:ListBucket"),
        ("s3", "remove", "s3:DeleteObject"),
        ("gs", "create", "storage.objects.create"),
        ("az", "create", "the role Storage Blob Data Contributor"),
    ],
)
def test_a_missing_permission_is_named(scheme: str, action: str, needed: str) -> None:
    error = translated(Denied("AccessDenied"), action, scheme)  # type: ignore[arg-type]
    assert isinstance(error, PermissionError)
    assert str(error.strerror) == f"permission denied; the credentials need {needed}"


def test_a_wrong_clock_and_wrong_keys_are_said() -> None:
    skewed = translated(Denied("RequestTimeTooSkewed", "The time differs."), "read", "s3")
    assert skewed.strerror == "The time differs; set the clock of this machine"
    unknown = translated(Denied("InvalidAccessKeyId", "The key does not exist."), "read", "s3")
    assert unknown.strerror == "The key does not exist; check the credentials"


@pytest.mark.parametrize(
    "url",
    ["s3://me:secret@bucket/run", "s3://me:a/secret@bucket/run", "s3://bucket/run?sig=secret"],
)
def test_a_url_with_a_password_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InputError, match="cannot contain a password or a query") as refused:
        open_folder(url)
    assert "secret" not in str(refused.value)


def test_no_secret_of_a_url_is_in_a_message() -> None:
    error = OSError("GET https://me:secret@host/a?X-Amz-Signature=secret failed")
    assert translated(error, "read", "s3").strerror == "GET https://host/a failed"
    assert without_secrets("http://host:9000/a@b/c") == "http://host:9000/a@b/c"
