"""The file whose age the health check of a container looks at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpubench.errors import GpubenchError
from gpubench.launch import health
from gpubench.launch.files import LaunchFiles
from gpubench.launch.manifest import Manifest
from gpubench.launch.record import KeptRecord


def test_the_file_is_made_and_its_time_is_renewed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "health"
    monkeypatch.setenv(health.VARIABLE, str(file))
    health.renew()
    os.utime(file, (1000, 1000))
    health.renew()
    assert file.stat().st_mtime > 1000


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_no_file_is_made(
    value: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(health.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(health.VARIABLE, value)
    health.renew()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "absent" / "health"
    monkeypatch.setenv(health.VARIABLE, str(file))
    health.renew()
    assert not file.exists()


@pytest.mark.parametrize("is_in_reach", [True, False])
def test_a_worker_renews_the_file_only_if_it_could_write_its_record(
    is_in_reach: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def out_of_reach(*_: object) -> None:
        raise GpubenchError("out of reach")

    file = tmp_path / "health"
    monkeypatch.setenv(health.VARIABLE, str(file))
    if not is_in_reach:
        monkeypatch.setattr(LaunchFiles, "write_worker", out_of_reach)
    manifest = Manifest(name="study", created="", gpubench="", jobs=())
    with KeptRecord(LaunchFiles(str(tmp_path)), manifest, None, None):
        assert file.exists() == is_in_reach
