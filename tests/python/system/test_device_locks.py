"""One process at a time measures on a device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import gpubench
from gpubench.measure.progress import Progress
from gpubench.system import device_locks
from gpubench.system.device_locks import locked_devices
from gpubench.system.gpus import Gpu

# Holds the locks until its standard input ends.
HOLDER = """
import os
import sys
from gpubench.system.device_locks import locked_devices

cores = [int(each) for each in sys.argv[1:]]
if cores:
    os.sched_setaffinity(0, cores)
with locked_devices(["cpu"], print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the locks of this test."""
    monkeypatch.setenv("GPUBENCH_LOCK_DIR", str(tmp_path / "locks"))
    return tmp_path / "locks"


@contextmanager
def holder(*cores: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the locks."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER, *map(str, cores)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize("end", [let_go, subprocess.Popen.kill], ids=["ends", "is killed"])
def test_a_second_process_waits_for_the_first_and_says_for_which(end: object) -> None:
    told: list[str] = []
    with holder() as process:

        def tell(line: str) -> None:
            told.append(line)
            end(process)  # type: ignore[operator]

        with locked_devices(["cpu"], tell):
            assert process.wait() in {0, -signal.SIGKILL}
    (line,) = told
    assert line.startswith(f"waits for process {process.pid} on ")
    assert "which measures on" in line


def test_ctrl_c_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def press(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def soon(line: str) -> None:
        signal.alarm(1)

    before = signal.signal(signal.SIGALRM, press)
    try:
        with holder(), pytest.raises(KeyboardInterrupt):  # noqa: SIM117
            with locked_devices(["cpu"], soon):
                pytest.fail("two processes have the lock")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not device_locks._held


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it needs two cores")
def test_processes_with_other_cores_do_not_wait_for_each_other() -> None:
    all_cores = os.sched_getaffinity(0)
    first, second = sorted(all_cores)[:2]
    told: list[str] = []
    with holder(first) as process:

        def tell(line: str) -> None:
            told.append(line)
            let_go(process)

        os.sched_setaffinity(0, {second})
        try:
            with locked_devices(["cpu"], told.append):
                assert told == []
        finally:
            os.sched_setaffinity(0, all_cores)
        with locked_devices(["cpu"], tell):
            pass
    assert len(told) == 1, "a process that may use all cores waits"


def test_a_gpu_is_known_by_its_uuid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(1, "H100", (9, 0), "GPU-1234", "00000000:3B:00.0", 1)
    monkeypatch.setattr(device_locks, "gpus_of", lambda devices: (gpu,))
    with locked_devices(["cuda:0", "cuda:1"], pytest.fail):
        pass
    assert sorted(each.name for each in folder.iterdir()) == ["gpu-GPU-1234", "gpu-cuda-0"]


def test_a_measurement_within_a_measurement_does_not_wait() -> None:
    with locked_devices(["cpu"], pytest.fail), locked_devices(["cpu"], pytest.fail):
        pass


def test_without_a_folder_it_goes_on_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPUBENCH_LOCK_DIR", str(tmp_path / "file"))
    for _ in range(2):
        with locked_devices(["cpu"], Progress().waits):
            pass
    (line,) = capsys.readouterr().err.splitlines()
    assert "other processes may measure at the same time" in line
    assert "set GPUBENCH_LOCK_DIR to another folder" in line


def test_the_same_line_is_told_for_each_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of an engine is ended if it tells nothing for a long time."""
    monkeypatch.setattr(device_locks, "_holder", lambda held: "another process")
    told: list[str] = []
    for _ in range(2):
        with holder() as process:

            def tell(line: str, process: subprocess.Popen[str] = process) -> None:
                told.append(line)
                let_go(process)

            with locked_devices(["cpu"], tell):
                pass
    assert len(told) == 2


def test_the_umask_of_a_user_does_not_keep_others_from_locking(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with locked_devices(["cpu"], pytest.fail):
            pass
    finally:
        os.umask(before)
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o644}


def test_a_file_of_somebody_else_is_not_written_to(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    told: list[str] = []
    for link in (Path.symlink_to, Path.hardlink_to):
        mine.write_text("precious")
        with locked_devices(["cpu"], told.append):
            pass
        for lock in list(folder.iterdir()):
            lock.unlink()
            link(lock, mine)
        with locked_devices(["cpu"], told.append):
            pass
        assert mine.read_text() == "precious"
        for lock in list(folder.iterdir()):
            lock.unlink()
    assert len(told) == 1, "a link is refused, and of a file with two names only the lock is used"


def test_an_empty_name_switches_the_locks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with holder():
        monkeypatch.setenv("GPUBENCH_LOCK_DIR", "")
        with locked_devices(["cpu"], pytest.fail):
            pass


def test_a_cell_holds_the_lock_until_it_is_kept(folder: Path) -> None:
    class Held(Progress):
        def stage(self, name: str) -> None:
            held.append(bool(device_locks._held))

        def measured(self, result: gpubench.Result) -> None:
            held.append(bool(device_locks._held))

    held: list[bool] = []
    gpubench.run(model="synthetic", service_time=1e-5, requests=20, warmup=0, progress=Held())
    assert held == [True, True]
    assert not device_locks._held
    assert folder.stat().st_mode & 0o7777 == 0o1777, "all users may lock"
