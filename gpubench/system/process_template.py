"""A template: a process that has imported slow libraries, and forks new processes from itself.

Importing torch takes seconds, and a fork of a process that has imported it takes milliseconds. The
template computes nothing: it has no CUDA context, and no threads but those of OpenBLAS, which end
before a fork. A forked process has its own signal handlers and its own end:

    process that asks ──control──> template ──fork──> new process
            └────────────────────connection────────────────┘

The two ends of `connection` are for those who use this file. On `control` are the requests of
`Template`, and what `forked` answers. If the process that asks ends, the template reads the end of
`control`, and ends the new process. If the template ends, the kernel ends the new process.

The standard library's forkserver imports the main program of the user into each new process, so it
cannot be used by a script that has no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from gpubench.system.interrupts import ENDING

# Of linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MOST_BYTES = 1 << 20  # of a message on `control`


class ProcessEnded(Exception):
    """The process has ended. `status` is its exit status; below 0, the signal that ended it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class ProcessSilent(Exception):
    """The process has sent nothing for this time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds} s")
        self.seconds = seconds


class Template:
    """The template, for the process that asks. At most one new process exists at a time."""

    def __init__(self, start: str) -> None:
        """`start` is code that calls a function of the caller's, which calls `forked`.

        It finds the number of its file descriptor in sys.argv[1], and the same modules as this
        process, those of models included.
        """
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A long list of modules must fit into one message.
        self.control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BYTES)
        code = f"import json, sys; sys.path[:] = json.loads(sys.argv.pop()); {start}"
        number = theirs.fileno()
        command = [sys.executable, "-P", "-c", code, str(number), json.dumps(sys.path)]
        # The signals stay blocked in the template. A new process unblocks them when it has its
        # handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[number])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def fork(self, modules: Sequence[str], timeout_s: float) -> socket.socket:
        """A new process: the connection to it. `modules` are imported first, if they can be.

        Raises ProcessEnded if the template has ended, and ProcessSilent.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                request = json.dumps({"import": list(modules)}).encode()
                socket.send_fds(self.control, [request], [theirs.fileno()])
            if not select.select([self.control], [], [], timeout_s)[0]:
                raise ProcessSilent(timeout_s)
            self.answer()
        except BaseException as error:
            ours.close()
            if isinstance(error, ConnectionError):
                raise ProcessEnded(self._process.wait()) from None
            raise
        return ours

    def answer(self) -> int | None:
        """What can be read from `control`: None when a process begins, or its exit status.

        Raises ProcessEnded if the template has ended.
        """
        try:
            data = self.control.recv(_MOST_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            raise ProcessEnded(self._process.wait())
        status: int | None = json.loads(data)["status"]
        return status

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the new process, if it has not ended."""
        with suppress(OSError):
            self.control.send(json.dumps({"signal": int(number)}).encode())

    def kill(self) -> None:
        """End the template and the new process at once."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the template, and the new process if there is one. Returns when they have ended."""
        with suppress(OSError):  # it has ended
            # A process that was forked from this one meanwhile has the open socket, too.
            self.control.shutdown(socket.SHUT_RDWR)
        self.control.close()
        self._process.wait()


def forked(number: int) -> socket.socket:
    """In the template: fork as the process at the other end of `number` asks.

    Returns only in new processes: the connection. Ends the template if the asking process ends.
    """
    control = socket.socket(fileno=number)
    control.set_inheritable(False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # it can end what a new process leaves behind
    wake, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written
    child: int | None = None
    while True:
        ready, _, _ = select.select([control.fileno(), wake], [], [])
        if wake in ready:
            os.read(wake, 1000)
            if child is not None and (status := _status(child)) is not None:
                child = None
                _end_children()
                _answer(control, status)
        if control.fileno() not in ready:
            continue
        data, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, 1)
        if not data:
            _end()
        request = json.loads(data)
        if "signal" in request:
            if child is not None:
                os.kill(child, request["signal"])
            continue
        connection = socket.socket(fileno=descriptors[0])
        _import(request["import"])
        child = _fork()
        if child == 0:
            control.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(wake)
            os.close(waking)
            return connection
        connection.close()
        _answer(control, None)


def _fork() -> int:
    template = os.getpid()
    with warnings.catch_warnings():
        # Python warns of threads that it sees. OpenBLAS ends its own before a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != template:  # it ended before the line above
            os._exit(1)
    return child


def _import(modules: Sequence[str]) -> None:
    """Import what is not imported yet. What cannot be imported fails again where it is needed."""
    missing = [name for name in modules if name not in sys.modules]
    for name in missing:
        with suppress(Exception):
            importlib.import_module(name)
    if missing:
        gc.collect()
        gc.freeze()  # a collection in a new process would copy all these objects


def _status(child: int) -> int | None:
    """The exit status of the child; None if it runs."""
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _answer(control: socket.socket, status: int | None) -> None:
    with suppress(OSError):  # the asking process has ended, which the next read shows
        control.send(json.dumps({"status": status}).encode())


def _end_children() -> None:
    """End the processes that an ended process has started: they would disturb what follows."""
    file = Path(f"/proc/self/task/{os.getpid()}/children")
    with suppress(OSError):  # a kernel without this file
        while children := [int(each) for each in file.read_text().split()]:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _end() -> NoReturn:
    _end_children()
    os._exit(0)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)
