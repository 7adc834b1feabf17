"""Dropping files from the page cache, and seeing whether they are gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpubench.system.page_cache import DroppedFiles, drop


def file_system(path: Path) -> str:
    """The type of the file system of `path`: "ext4", "tmpfs"."""
    found = ("/", "")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if path.is_relative_to(place) and len(place) >= len(found[0]):
            found = place, kind
    return found[1]


def test_a_file_is_dropped_even_if_it_was_only_just_written(tmp_path: Path) -> None:
    if file_system(tmp_path) in {"tmpfs", "ramfs"}:
        pytest.skip("these file systems keep files nowhere but in memory")
    file = tmp_path / "weights.bin"
    file.write_bytes(os.urandom(1 << 20))
    assert drop([str(file)]) == DroppedFiles(1 << 20, 0, 0)
    assert len(file.read_bytes()) == 1 << 20
    assert drop([str(file)]).before_bytes == 1 << 20  # reading it has brought it back


def test_pages_that_a_process_has_mapped_stay() -> None:
    """The C library of this process."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    library = next(line.split()[-1] for line in maps if "libc" in line and ".so" in line)
    assert drop([library]).left_bytes > 0


def test_missing_and_empty_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert drop([str(tmp_path / "empty"), str(tmp_path / "none")]) == DroppedFiles(0, 0, 0)
