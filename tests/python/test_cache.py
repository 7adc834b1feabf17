"""The cache: entries whole or absent, made once, listed and cleared."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpubench import cache
from gpubench.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def an_entry(kind: str = "torchscript", number: int = 1) -> Path:
    return cache.entry(kind, {"number": number}, ".pt")


def small(place: Path) -> None:
    place.write_bytes(b"x")


def large(place: Path) -> None:
    place.write_bytes(b"x" * 10**6)


def make_once(path: Path, log: Path, barrier: object) -> None:
    def write(place: Path) -> None:
        with log.open("a") as file:
            file.write("made\n")
        place.write_bytes(b"x" * 1000)

    barrier.wait()  # type: ignore[attr-defined]
    cache.save(path, write)


def test_of_several_processes_one_makes_an_entry(tmp_path: Path) -> None:
    fresh = multiprocessing.get_context("fork")
    barrier = fresh.Barrier(4)
    path, log = an_entry(), tmp_path / "log"
    workers = [fresh.Process(target=make_once, args=(path, log, barrier)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert log.read_text() == "made\n"
    assert path.read_bytes() == b"x" * 1000


def test_an_entry_that_could_not_be_made_leaves_nothing(folder: Path) -> None:
    def fails(place: Path) -> None:
        place.write_bytes(b"half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.save(an_entry(), fails)
    assert cache.entries() == []
    assert list(folder.rglob("*.pt")) == []


def test_a_cache_that_cannot_be_written_gives_a_file_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "file"))
    path = cache.save(an_entry(), small)
    assert path.read_bytes() == b"x"


def fill(folder: Path) -> None:
    for number in (1, 2):
        cache.save(an_entry(number=number), large)
    (folder / "inductor" / "ab").mkdir(parents=True)
    (folder / "inductor" / "ab" / "kernel.so").write_bytes(b"x" * 500_000)


def test_entries_are_listed_with_their_sizes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(folder)
    assert [(entry.kind, entry.bytes) for entry in cache.entries()] == [
        ("inductor", 500_000),
        ("torchscript", 10**6),
        ("torchscript", 10**6),
    ]
    assert main(["cache", "list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"3 entries, 2.5 MB, in {folder}"


def test_clearing_removes_one_kind_or_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder)
    assert main(["cache", "clear", "--kind", "torchscript"]) == 0
    assert [entry.kind for entry in cache.entries()] == ["inductor"]
    assert main(["cache", "clear"]) == 0
    assert cache.entries() == []
    assert main(["cache", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 entries")


def test_a_kind_that_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder)
    assert main(["cache", "clear", "--kind", "torchscrip"]) == 2
    assert "did you mean torchscript?" in capsys.readouterr().err
    assert main(["cache", "clear"]) == 0
    assert main(["cache", "clear", "--kind", "onnx"]) == 2
    assert "no entry is of this kind; the cache is empty" in capsys.readouterr().err


def test_an_entry_that_has_no_room_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch ends the whole process when the disk is full."""
    free = {"cache": 1 << 20, "elsewhere": 1 << 40}

    def disk_usage(place: Path) -> SimpleNamespace:
        return SimpleNamespace(free=free["cache" if tmp_path in place.parents else "elsewhere"])

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    made = cache.save(an_entry(), small, size=10**6)
    assert made != an_entry()
    assert made.read_bytes() == b"x"
    assert cache.save(an_entry(number=2), small) == an_entry(number=2)  # of unknown size
    free["elsewhere"] = 0
    with pytest.raises(OSError, match="no room for 1 MB"):
        cache.save(an_entry(number=3), small, size=10**6)
    assert not list(tmp_path.rglob(".part-*"))


def test_a_cache_that_may_not_be_looked_into_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", refused)
        place = an_entry()
    assert tmp_path not in place.parents
    assert cache.save(place, small).read_bytes() == b"x"
