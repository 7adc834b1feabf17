"""Tests of the cache: entries are complete or absent, made once, listed and cleared."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpubench import cache
from gpubench.cli.program import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    cache._scratch.cache_clear()
    return tmp_path / "cache"


def an_entry(kind: str = "torchscript", number: int = 1) -> Path:
    return cache.entry(kind, {"number": number}, ".pt")


def small(place: Path) -> None:
    place.write_bytes(b"x")


def made_anew(place: Path) -> None:
    place.unlink()
    small(place)


def large(place: Path) -> None:
    place.write_bytes(b"x" * 10**6)


def make_once(path: Path, log: Path, barrier: object) -> None:
    def write(place: Path) -> None:
        with log.open("a") as file:
            file.write("made\n")
        place.write_bytes(b"x" * 1000)

    barrier.wait()  # type: ignore[attr-defined]
    cache.save(path, write)


def test_only_one_of_several_processes_makes_an_entry(tmp_path: Path) -> None:
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


def test_an_entry_that_could_not_be_made_leaves_no_files(folder: Path) -> None:
    def fails(place: Path) -> None:
        place.write_bytes(b"half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.save(an_entry(), fails)
    assert cache.entries() == []
    assert list(folder.rglob("*.pt")) == []


def test_without_a_writable_cache_an_entry_is_a_file_for_this_process(
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


def test_an_unknown_kind_is_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder)
    assert main(["cache", "clear", "--kind", "torchscrip"]) == 2
    assert "did you mean torchscript?" in capsys.readouterr().err
    assert main(["cache", "clear"]) == 0
    assert main(["cache", "clear", "--kind", "onnx"]) == 2
    assert "no entry is of this kind; the cache is empty" in capsys.readouterr().err


def test_an_entry_is_not_begun_if_the_disk_is_too_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch ends the whole process if the disk is full."""
    free = {"cache": 1 << 20, "elsewhere": 1 << 40}

    def disk_usage(place: Path) -> SimpleNamespace:
        return SimpleNamespace(free=free["cache" if tmp_path in place.parents else "elsewhere"])

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    made = cache.save(an_entry(), small, size=10**6)
    assert made != an_entry()
    assert made.read_bytes() == b"x"
    assert cache.save(an_entry(number=2), small) == an_entry(number=2)  # of unknown size
    free["elsewhere"] = 0
    with pytest.raises(OSError, match="no space for 1 MB"):
        cache.save(an_entry(number=3), small, size=10**6)
    assert not list(tmp_path.rglob(".part-*"))


def test_a_cache_without_read_permission_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", refused)
        place = an_entry()
    assert tmp_path not in place.parents
    assert cache.save(place, small).read_bytes() == b"x"


def everything(folder: Path) -> dict[str, bytes | str]:
    """All files in a folder with their contents. Links are not followed."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def a_home(home: Path) -> Path:
    """A folder with files of a user. Some of them have names like those in a cache."""
    for name in (
        *("notes.txt", "pictures/a.png", "torchscript/model.pt", ".ssh/id", "onnx/deep/model.onnx"),
        f"pictures/{'0a' * 16}.png",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("mine")
    return home


def test_clearing_a_folder_with_other_files_deletes_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = a_home(tmp_path / "home")
    before = everything(home)
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(home))
    assert main(["cache", "clear"]) == 0
    assert main(["cache", "list"]) == 0
    assert everything(home) == before
    made = cache.save(an_entry(), large)
    assert made.parent.parent == home / "gpubench-cache"
    assert [entry.path for entry in cache.entries()] == [made]
    assert main(["cache", "clear"]) == 0
    assert f"removed 1 entry, 1.0 MB, in {home / 'gpubench-cache'}" in capsys.readouterr().out
    after = everything(home)
    assert {name: after[name] for name in before} == before
    assert not made.exists()


def test_the_marker_of_another_program_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n# pip")
    (tmp_path / "http").mkdir()
    (tmp_path / "http" / ("ab" * 16)).write_text("theirs")
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path))
    cache.clear()
    assert (tmp_path / "http" / ("ab" * 16)).exists()
    assert cache.cache_dir() == tmp_path / "gpubench-cache"


def test_a_marker_that_was_copied_into_another_folder_deletes_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    kept = cache.save(cache.entry("new-kind", {}, ".bin"), small)
    home = a_home(tmp_path / "home")
    shutil.copy(folder / "CACHEDIR.TAG", home)
    before = everything(home)
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(home))
    cache.clear()
    assert everything(home) == before
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(folder))
    assert [entry.path for entry in cache.clear()] == [kept]


def test_clearing_follows_no_links_and_removes_only_known_names(
    tmp_path: Path, folder: Path
) -> None:
    target = a_home(tmp_path / "home")
    (target / ("cd" * 16 + ".pt")).write_text("mine")
    kept = cache.save(an_entry(), small)
    (folder / "linked-kind").symlink_to(target)
    (folder / "torchscript" / ("ef" * 16 + ".pt")).symlink_to(target / "notes.txt")
    (folder / "torchscript" / "read me.txt").write_text("mine")
    (folder / "inductor").mkdir()
    (folder / "inductor" / "away").symlink_to(target)
    (folder / "inductor" / "kernel.so").write_bytes(b"x")
    before = everything(target)
    assert {entry.path for entry in cache.entries()} == {kept, folder / "inductor"}
    assert cache.entries()[0].bytes < 1000  # the sizes of links, not of their targets
    cache.clear()
    assert everything(target) == before
    assert (folder / "torchscript" / "read me.txt").exists()
    assert not kept.exists()
    assert not (folder / "inductor").exists()


def test_a_cache_of_a_version_without_markers_stays_in_use(folder: Path) -> None:
    old = folder / "torchscript" / ("ab" * 16 + ".pt")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x")
    assert cache.cache_dir() == folder
    assert [entry.path for entry in cache.entries()] == [old]
    cache.save(an_entry(), small)
    assert (
        (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806")
    )


def test_other_users_cannot_write_to_the_cache_with_any_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        made = cache.save(an_entry(), made_anew)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert modes[folder] == modes[made.parent] == 0o700
    assert modes[made] == 0o600
    assert not any(mode & 0o022 for mode in modes.values())


def test_write_permission_of_other_users_is_removed_from_the_cache(folder: Path) -> None:
    made = cache.save(an_entry(), small)
    for place in (folder, made.parent):
        place.chmod(0o777)
    cache.save(an_entry(number=2), small)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (folder, made.parent)] == [0o755] * 2


def test_an_entry_that_others_can_write_to_is_not_loaded(folder: Path) -> None:
    made = cache.save(an_entry(), small)
    made.chmod(0o666)
    assert an_entry() != made
    made.unlink()
    made.symlink_to(folder / "anything")
    assert an_entry() != made
    assert cache.save(an_entry(), large).read_bytes() == b"x" * 10**6
    assert made.is_symlink()
    assert not (folder / "anything").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")
@pytest.mark.parametrize("what", ["root", "kind", "entry"])
def test_files_of_another_user_are_not_loaded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    made = cache.save(an_entry(), small)
    theirs = {"root": folder, "kind": made.parent, "entry": made}[what]
    os.chown(theirs, 12345, 12345)
    assert an_entry() != made
    own = cache.save(an_entry(), large)
    assert own != made
    assert own.read_bytes() == b"x" * 10**6
    assert made.read_bytes() == b"x"
    if what == "root":
        assert cache.cache_dir() == tmp_path / "own" / "gpubench"
        assert main(["cache", "clear"]) == 2
        assert made.exists()
        assert own.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_the_second_user_of_a_cache_gets_a_separate_one(folder: Path, tmp_path: Path) -> None:
    made = cache.save(an_entry(), small)
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)

    def as_another(queue: multiprocessing.SimpleQueue[tuple[str, bytes]]) -> None:
        os.setgroups([])
        os.setresgid(12345, 12345, 12345)
        os.setresuid(12345, 12345, 12345)
        os.environ["XDG_CACHE_HOME"] = str(tmp_path / "theirs")
        place = cache.save(an_entry(), large)
        queue.put((str(place), place.read_bytes()[:2]))

    fresh = multiprocessing.get_context("fork")
    queue = fresh.SimpleQueue()
    other = fresh.Process(target=as_another, args=(queue,))
    other.start()
    other.join()
    assert other.exitcode == 0
    place, data = queue.get()
    assert place.startswith(str(tmp_path / "theirs" / "gpubench" / "torchscript"))
    assert data == b"xx"
    assert made.read_bytes() == b"x"


def test_files_of_a_killed_process_are_removed_when_the_entry_is_made(folder: Path) -> None:
    place = an_entry()
    place.parent.mkdir(parents=True)
    left = place.parent / f".part-{place.stem}-dead.pt"
    other = place.parent / f".part-{'0' * 32}-alive.pt"
    left.write_bytes(b"half")
    other.write_bytes(b"half")
    cache.save(place, small)
    assert not left.exists()
    assert other.exists()


def test_a_lock_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    place = an_entry()
    place.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    (place.parent / f".lock-{place.stem}").symlink_to(tmp_path / "precious")
    assert cache.save(place, small).read_bytes() == b"x"
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_user_without_a_home_folder_gets_a_cache_for_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    made = cache.save(an_entry(), small)
    assert made.is_relative_to(tmp_path)
    monkeypatch.delenv("GPUBENCH_CACHE_DIR")
    assert cache.save(an_entry(), small).read_bytes() == b"x"
    assert main(["cache", "clear"]) == 2
    assert "there is no home folder for a cache; set GPUBENCH_CACHE_DIR" in capsys.readouterr().err
    assert made.exists()
