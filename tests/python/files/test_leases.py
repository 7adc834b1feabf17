"""Leases, with a clock of the test: who holds one, when it is lost, and what remains of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from gpubench.files.folder import Folder, open_folder
from gpubench.files.leases import LeaseHeld, LeaseLost, Leases, LeaseTimes, lease_key
from gpubench.files.process_identity import ProcessIdentity, this_process

KEY = lease_key("an engine")
FIRST, SECOND = f".lease-{KEY}-1", f".lease-{KEY}-2"
TIMES = LeaseTimes(heartbeat_s=1e6, expiry_s=90.0)  # the test calls `beat` itself


class Clock:
    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    is_local = request.param == "local"
    found = open_folder(str(tmp_path / "run") if is_local else f"memory://{tmp_path.name}/leases")
    found.create()
    return found


class OtherMachine(Leases):
    """The leases of a process of another machine, whose clock shows another time."""

    def __init__(self, folder: Folder, clock: Clock) -> None:
        super().__init__(folder, TIMES, clock)
        self._process = ProcessIdentity("host-b", "another kernel", 1, 1)


def test_one_process_at_a_time_has_a_lease(folder: Folder) -> None:
    with Leases(folder, TIMES) as mine, OtherMachine(folder, Clock()) as others:
        with mine.take(KEY, "cell-1"):
            assert folder.names() == [FIRST]
            with pytest.raises(LeaseHeld) as held:
                others.take(KEY)
            assert held.value.work == "cell-1"
            assert held.value.holder.startswith(f"process {os.getpid()} on ")
            with others.take(lease_key("another engine")):
                pass
        assert folder.names() == []
        with others.take(KEY) as lease:
            assert lease.lost_attempts("cell-1") == 0


def test_a_lease_expires_when_its_content_stays_the_same_for_90_seconds(folder: Folder) -> None:
    # The clocks of the two machines differ by a day.
    clock, other_clock = Clock(86_400.0), Clock()
    with Leases(folder, TIMES, clock) as mine, OtherMachine(folder, other_clock) as others:
        lost = others.take(KEY, "cell-1")
        for _ in range(5):  # the holder writes it again each time
            clock.now_s += 89.0
            other_clock.now_s += 89.0
            others.beat()
            with pytest.raises(LeaseHeld):
                mine.take(KEY)
        clock.now_s += 89.0
        with pytest.raises(LeaseHeld) as held:
            mine.take(KEY)
        assert held.value.holder.startswith("process 1 on host-b since ")
        clock.now_s += 1.0
        lease = mine.take(KEY, "cell-1")
        assert folder.names() == [FIRST, SECOND]
        assert (lease.lost_attempts("cell-1"), lease.lost_attempts("cell-2")) == (1, 0)

        # The first holder was only suspended. It finds out before it stores something.
        other_clock.now_s += 91.0
        with pytest.raises(LeaseLost):
            lost.confirm()
        lost.release()
        assert folder.names() == [FIRST, SECOND], "it removes nothing of the new holder"
        lease.confirm()
        lease.release()
        assert folder.names() == []


def test_the_attempts_of_several_lost_holders_are_counted(folder: Folder) -> None:
    clock = Clock()
    for number, work in enumerate(("a", "b", "b")):
        leases = OtherMachine(folder, clock)  # never released: the machine is lost
        if number:
            with pytest.raises(LeaseHeld):
                leases.take(KEY, work)
            clock.now_s += 90.0
        leases.take(KEY, "first").begin(work)
    with Leases(folder, TIMES, clock) as mine:
        with pytest.raises(LeaseHeld):
            mine.take(KEY)
        clock.now_s += 90.0
        with mine.take(KEY) as lease:
            assert [lease.lost_attempts(work) for work in ("first", "a", "b")] == [0, 1, 2]
        assert folder.names() == []


def test_a_holder_reads_the_folder_only_if_its_last_heartbeat_was_long_ago(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    with Leases(folder, TIMES, clock) as leases:
        lease = leases.take(KEY)
        reads = []
        read = folder.read

        def noted(name: str, limit: int) -> bytes:
            reads.append(name)
            return read(name, limit)

        monkeypatch.setattr(folder, "read", noted)
        clock.now_s += 29.0
        lease.confirm()
        assert reads == []
        clock.now_s += 2.0
        lease.confirm()
        assert reads


@pytest.mark.parametrize("content", [b"", b"not JSON", b"{}", b"[1]" * 30_000, b'{"pid": "x"}'])
def test_a_lease_that_nobody_can_read_expires_too(folder: Folder, content: bytes) -> None:
    folder.write(FIRST, content)
    clock = Clock()
    with Leases(folder, TIMES, clock) as leases:
        with pytest.raises(LeaseHeld, match="another process"):
            leases.take(KEY)
        clock.now_s += 90.0
        with leases.take(KEY) as lease:
            assert lease.lost_attempts("") == 0


def hold_and_die(url: str) -> None:
    Leases(open_folder(url)).take(KEY, "cell-1")
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_lease_of_a_killed_process_of_this_machine_expires_at_once(tmp_path: Path) -> None:
    killed = multiprocessing.get_context("spawn").Process(
        target=hold_and_die, args=(str(tmp_path),)
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    with Leases(open_folder(str(tmp_path))) as leases:
        leases.look([FIRST])
        assert (tmp_path / FIRST).exists()
        with leases.take(KEY) as lease:
            assert lease.lost_attempts("cell-1") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_lost_processes_left_is_removed_and_what_others_hold_is_not(tmp_path: Path) -> None:
    folder, clock = open_folder(str(tmp_path)), Clock()
    for number in (1, 2):
        (tmp_path / f".lease-{lease_key('lost')}-{number}").write_text("x")
    (tmp_path / ".lease-UPPER-1").write_text("of another program")
    others = OtherMachine(folder, clock)
    others.take(KEY)
    with Leases(folder, TIMES, clock) as leases:
        leases.look(folder.names(), remove=True)
        assert len(folder.names()) == 4
        clock.now_s += 90.0
        others.beat()
        leases.look(folder.names(), remove=True)
        assert folder.names() == [FIRST, ".lease-UPPER-1"]


def test_a_process_with_the_number_of_an_earlier_one_is_another_process() -> None:
    mine = this_process()
    assert not mine.has_ended()
    assert ProcessIdentity(mine.host, mine.kernel, mine.pid, mine.started + 1).has_ended()
    assert not ProcessIdentity(mine.host, "another kernel", mine.pid, mine.started + 1).has_ended()
    assert not ProcessIdentity(mine.host, "", 1 << 40, 0).has_ended()
    assert ProcessIdentity(mine.host, mine.kernel, 1 << 40, 0).has_ended()


def test_a_heartbeat_does_not_bring_a_released_lease_back(folder: Folder) -> None:
    with Leases(folder, TIMES) as leases:
        lease = leases.take(KEY)
        lease.release()
        lease.beat()
        assert lease.is_lost
        assert folder.names() == []


def test_the_thread_writes_heartbeats(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    with Leases(folder, LeaseTimes(heartbeat_s=0.001)) as leases, leases.take(KEY):
        while json.loads((tmp_path / FIRST).read_text())["counter"] < 3:
            pass
    assert leases._thread is not None
    assert not leases._thread.is_alive()


def test_a_second_release_does_not_remove_the_lease_of_another_process(folder: Folder) -> None:
    with Leases(folder, TIMES) as mine, OtherMachine(folder, Clock()) as others:
        with mine.take(KEY) as lease:
            lease.release()
            held = others.take(KEY)
        assert folder.names() == [FIRST]
        held.confirm()
