"""Locks of the devices of this machine: one gpubench process at a time measures on each of them.

A measurement on GPUs locks these GPUs. One on the CPU locks each core on which this process may
run, because its threads may use all of them. Processes with other cores, as of taskset, or on other
GPUs do not wait for each other. The lock of a process that is killed is free at once.

A process that may use some of the cores shares the lock of the whole CPU, and locks its cores. A
process that may use all of them holds the lock of the whole CPU: one file, however many cores.

The files of the locks are in a folder that all users of the machine can write to. Containers have
folders of their own, unless one folder is mounted into all of them.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from gpubench.files.locks import LockHeld, exclusive, shared
from gpubench.system.gpus import gpus_of

VARIABLE = "GPUBENCH_LOCK_DIR"  # another folder; an empty value: nothing is locked
_FOLDER = Path("/tmp/gpubench-locks")  # not that of TMPDIR, which may differ between users

_CPU = "cpu"

# The locks of this process, so that a measurement within a measurement does not wait for ever.
_held: set[str] = set()


@contextmanager
def locked_devices(devices: Sequence[str], tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the locks of these devices: ("cpu",), or GPUs such as ("cuda:0", "cuda:1").

    `tell` gets a line each time that another process holds one of them. If the folder cannot be
    used, nothing is locked, and `tell` gets a line, too. Raises KeyboardInterrupt on Ctrl-C while
    it waits.
    """
    folder = _folder()
    with ExitStack() as stack:
        if folder is not None:
            try:
                _create(folder)
                for name, lock in _locks(devices):
                    if name not in _held:
                        _lock(stack, folder / name, lock, tell)
            except OSError as error:
                stack.close()
                reason = error.strerror or str(error)
                tell(
                    f"other processes may measure at the same time: the locks in {folder} cannot "
                    f"be used ({reason}); set {VARIABLE} to another folder"
                )
        yield


_Lock = Callable[..., AbstractContextManager[None]]


def _lock(stack: ExitStack, path: Path, lock: _Lock, tell: Callable[[str], None]) -> None:
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        stack.enter_context(lock(path, wait=False, holder=holder, mode=0o644))
    except LockHeld as held:
        tell(f"waits for {_holder(held)}, which measures on {_described(path.name)}")
        stack.enter_context(lock(path, holder=holder, mode=0o644))
    _held.add(path.name)
    stack.callback(_held.discard, path.name)


def _holder(held: LockHeld) -> str:
    """Who has the lock. The text may be old: a user cannot write into the file of another user."""
    words = held.holder.split()
    is_here = len(words) == 4 and words[3] == socket.gethostname()
    if not words or (is_here and not Path(f"/proc/{words[1]}").exists()):
        return "another process"
    return held.holder


def _locks(devices: Sequence[str]) -> list[tuple[str, _Lock]]:
    """The files, and how each is locked.

    The order is always the same, so that no two processes wait for each other.
    """
    if list(devices) != ["cpu"]:
        uuids = {gpu.device: gpu.uuid for gpu in gpus_of(devices)}
        names = {f"gpu-{uuids.get(device) or device.replace(':', '-')}" for device in devices}
        return [(name, exclusive) for name in sorted(names)]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == os.cpu_count():
        return [(_CPU, exclusive)]
    return [(_CPU, shared), *((f"core-{core:04}", exclusive) for core in cores)]


def _described(name: str) -> str:
    kind, _, number = name.partition("-")
    return {"core": f"core {number.lstrip('0') or 0}", "gpu": f"GPU {number}"}.get(kind, "the CPU")


def _folder() -> Path | None:
    given = os.environ.get(VARIABLE)
    if given is None:
        return _FOLDER
    return Path(given) if given.strip() else None


def _create(folder: Path) -> None:
    """Create the folder with the mode of /tmp, if it is missing. Raises OSError."""
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)  # mkdir applies the umask
    if not stat.S_ISDIR(folder.lstat().st_mode):  # another user may have placed a link there
        raise NotADirectoryError(20, "it is not a folder", str(folder))
