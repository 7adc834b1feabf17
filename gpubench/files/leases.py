"""Leases: they let one process at a time work on something, also when the processes run on several
machines and have only a folder in common.

A lease is a series of files in this folder. Only one operation of the folder must be exact: to
create a file only if it does not exist.

    .lease-KEY-1     the first holder
    .lease-KEY-2     the second one, after the first was lost; and so on

To take a lease is to create the file with the next number. The holder writes its file again every
15 seconds, with the next value of a counter. Another process that sees the same content for 90
seconds of its own clock takes the lease: the holder is lost. It takes the lease at once if the
holder was a process of the same machine that has ended. Clocks of two machines are never compared.

A holder that was only suspended finds out that it has lost its lease: before it stores something
it calls `confirm`, which reads the folder if the last heartbeat was long ago. Two processes can
still both believe that they hold a lease for a moment: if one is suspended between `confirm` and a
write. So what is written under a lease must itself be created only, and leases save only work.
"""

from __future__ import annotations

import errno
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gpubench.errors import InputError
from gpubench.files.process_identity import ProcessIdentity, this_process
from gpubench.files.untrusted import parse_json

if TYPE_CHECKING:
    from gpubench.files.folder import Folder

_NAME = re.compile(r"\.lease-(?P<key>[0-9a-z]{1,40})-(?P<number>[1-9][0-9]{0,5})")
_MOST_BYTES = 64 << 10
# Something else has the name of a lease file, such as a link or a folder, or it is far too large.
_NOT_A_LEASE = frozenset({errno.EFBIG, errno.EINVAL, errno.EISDIR, errno.ELOOP})


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds."""

    heartbeat_s: float = 15.0
    # The same content for so long means that the holder is lost. Holders that have not reached the
    # folder for a third of it read it before they store something.
    expiry_s: float = 90.0
    poll_s: float = 5.0  # between two looks at what others hold, while waiting for them


LEASE_TIMES = LeaseTimes()


class LeaseHeld(OSError):
    """Another process holds the lease."""

    def __init__(self, holder: str, work: str, is_alive: bool) -> None:
        super().__init__(holder)
        self.holder = holder  # for people: "process 12 on host-3 since 2026-11-01T12:00:00+00:00"
        self.work = work  # what it works on
        self.is_alive = is_alive  # it was seen to write its file


class LeaseLost(Exception):
    """Another process has taken the lease over."""


class _Content(BaseModel):
    """A lease file. Somebody else may have written it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    token: str = Field(max_length=64)  # of one holding
    host: str = Field(max_length=255)
    kernel: str = Field(max_length=255)
    pid: int
    started: int
    since: str = Field(max_length=64)  # for people
    counter: int = 0
    work: str = Field("", max_length=255)
    lost: dict[
        str, Annotated[int, Field(ge=0)]
    ] = {}  # work -> how many earlier holders were lost while they did it

    def encoded(self) -> bytes:
        return self.model_dump_json().encode()

    @property
    def holder(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    def has_ended(self) -> bool:
        return ProcessIdentity(self.host, self.kernel, self.pid, self.started).has_ended()


def _parsed(data: bytes) -> _Content | None:
    """None if it is not what a holder writes."""
    try:
        return _Content.model_validate(parse_json(data.decode(), "a lease"))
    except (InputError, ValidationError, UnicodeDecodeError):
        return None


def lease_key(*parts: object) -> str:
    """The key of a lease on what `parts` name."""
    text = "\n".join(map(str, parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _name(key: str, number: int) -> str:
    return f".lease-{key}-{number}"


def since_start_s() -> float:
    """Seconds since this machine started, with the time in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """A lease that this process holds. `Leases.take` makes one; as a context manager it ends."""

    def __init__(self, leases: Leases, key: str, number: int, content: _Content) -> None:
        self._leases, self.key, self._number = leases, key, number
        self._content = content
        self._confirmed_s = leases.clock()
        self._lock = threading.Lock()  # the thread of the heartbeats and the process's own
        self.is_lost = False

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def lost_attempts(self, work: str) -> int:
        """How many earlier holders were lost while they did `work`."""
        return self._content.lost.get(work, 0)

    def begin(self, work: str) -> None:
        """Write what this process begins to work on, for the case that it is lost.

        Raises OSError if the folder cannot be written.
        """
        with self._lock:
            if work != self._content.work:
                self._content = self._content.model_copy(update={"work": work})
                self._write()

    def beat(self) -> None:
        """Write the file again, unless the lease is lost. Raises OSError."""
        with self._lock:
            self._check()
            if not self.is_lost:
                self._write()

    def confirm(self) -> None:
        """Raises LeaseLost if another process has taken the lease.

        The folder is read only if this is not known from a short time ago. If the folder cannot be
        reached, the lease counts as held: to store something fails then as well.
        """
        doubtful_s = self._leases.times.expiry_s / 3
        if self._leases.clock() - self._confirmed_s > doubtful_s:
            with suppress(OSError):
                self.beat()
        if self.is_lost:
            raise LeaseLost

    def release(self) -> None:
        """Remove the files of the lease. If they cannot be removed, the lease expires.

        Only the first call does something: later, the files may be those of another process.
        """
        if not self._leases.forget(self):
            return
        with suppress(LeaseLost, OSError):
            self.confirm()
            with self._lock:
                # The own file is the last one: what remains after a crash is then the lease of a
                # process that has ended.
                for number in range(1, self._number + 1):
                    self._leases.folder.remove(_name(self.key, number))

    def _check(self) -> None:
        now_s = self._leases.clock()
        own = _parsed(self._leases.read(self.key, self._number) or b"")
        is_own = own is not None and own.token == self._content.token
        if not is_own or self._leases.read(self.key, self._number + 1) is not None:
            self.is_lost = True
        else:
            self._confirmed_s = now_s

    def _write(self) -> None:
        counter = self._content.counter + 1
        self._content = self._content.model_copy(update={"counter": counter})
        self._leases.write(self.key, self._number, self._content, replace=True)


class Leases:
    """The leases that this process holds in a folder, and what it has seen of those of others.

    As a context manager it ends the thread that writes the heartbeats, and releases what is held.
    """

    def __init__(
        self,
        folder: Folder,
        times: LeaseTimes = LEASE_TIMES,
        clock: Callable[[], float] = since_start_s,
    ) -> None:
        self.folder, self.times, self.clock = folder, times, clock
        self._process = this_process()
        self._held: list[Lease] = []
        self._seen: dict[str, tuple[bytes, float, bool]] = {}  # content, since when, changed before
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        for lease in list(self._held):
            lease.release()

    def take(self, key: str, work: str = "") -> Lease:
        """Take a lease, to do `work` first.

        Raises LeaseHeld if another process has it, and OSError if the folder cannot be written.
        """
        content = self._new(work)
        try:
            self.write(key, 1, content, replace=False)
            return self._hold(key, 1, content)
        except FileExistsError:
            pass
        number, data = self._last(key)
        last = _parsed(data)
        if number and not self._has_expired(_name(key, number), data):
            raise self._held_by(key, number, last)
        if last is not None:
            lost = dict(last.lost)
            if last.work:
                lost[last.work] = lost.get(last.work, 0) + 1
            content = content.model_copy(update={"lost": lost})
        try:
            self.write(key, number + 1, content, replace=False)
        except FileExistsError:
            raise LeaseHeld("another process", "", is_alive=True) from None
        return self._hold(key, number + 1, content)

    def take_or_refuse(self, key: str) -> Lease:
        """Take a lease. If another process has it, watch until it is known whether that is alive.

        Raises LeaseHeld if it is, and OSError as `take`.
        """
        while True:
            try:
                return self.take(key)
            except LeaseHeld as error:
                if error.is_alive:
                    raise
            time.sleep(self.times.poll_s)

    def beat(self) -> None:
        """Write the file of each lease again. The thread calls this."""
        for lease in list(self._held):
            with suppress(OSError):  # it is tried again later, and `confirm` looks again
                lease.beat()

    def look(self, names: Iterable[str], remove: bool = False) -> bool:
        """Look at all leases among these names of files. Returns whether others have some.

        With `remove`, those that have expired are removed. Such a lease remains if a process was
        killed when it had stored everything.
        """
        highest: dict[str, int] = {}
        for name in names:
            if found := _NAME.fullmatch(name):
                key, number = found["key"], int(found["number"])
                highest[key] = max(number, highest.get(key, 0))
        for lease in self._held:
            highest.pop(lease.key, None)
        for key, number in highest.items():
            with suppress(OSError):
                data = self.read(key, number)
                if data is not None and self._has_expired(_name(key, number), data) and remove:
                    for each in range(1, number + 1):
                        self.folder.remove(_name(key, each))
        return bool(highest)

    def read(self, key: str, number: int) -> bytes | None:
        """The content of a lease file; None if there is none. Raises OSError."""
        try:
            return self.folder.read(_name(key, number), _MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NOT_A_LEASE:
                return b""  # no holder writes such a file, so it expires
            raise

    def write(self, key: str, number: int, content: _Content, replace: bool) -> None:
        """Write a lease file. Raises OSError: FileExistsError if it must be new and is not."""
        # After a power failure, its holder has ended.
        self.folder.write(_name(key, number), content.encoded(), replace, durable=False)

    def forget(self, lease: Lease) -> bool:
        """No longer write the heartbeats of a lease. False: it was forgotten before."""
        try:
            self._held.remove(lease)
        except ValueError:
            return False
        return True

    def _new(self, work: str) -> _Content:
        return _Content(
            token=secrets.token_hex(8),
            host=self._process.host,
            kernel=self._process.kernel,
            pid=self._process.pid,
            started=self._process.started,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            work=work,
        )

    def _hold(self, key: str, number: int, content: _Content) -> Lease:
        lease = Lease(self, key, number, content)
        self._held.append(lease)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._beat_until_ended, name="gpubench leases", daemon=True
            )
            self._thread.start()
        return lease

    def _beat_until_ended(self) -> None:
        while not self._ended.wait(self.times.heartbeat_s):
            self.beat()

    def _last(self, key: str) -> tuple[int, bytes]:
        """The highest number of a lease, and the content of its file; 0 if it was released."""
        number, data = 0, b""
        while (found := self.read(key, number + 1)) is not None:
            number, data = number + 1, found
        return number, data

    def _has_expired(self, name: str, data: bytes) -> bool:
        content = _parsed(data)
        if content is not None and content.has_ended():
            return True
        now_s = self.clock()
        before = self._seen.get(name)
        if before is None or before[0] != data:
            self._seen[name] = (data, now_s, before is not None)
            return False
        return now_s - before[1] >= self.times.expiry_s

    def _held_by(self, key: str, number: int, content: _Content | None) -> LeaseHeld:
        is_alive = self._seen[_name(key, number)][2]
        if content is None:
            return LeaseHeld("another process", "", is_alive)
        return LeaseHeld(content.holder, content.work, is_alive)
