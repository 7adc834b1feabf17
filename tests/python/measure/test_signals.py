"""Tests of signals: SIGINT, SIGTERM and SIGHUP end a command, and what was measured is kept."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

GPUBENCH = Path(sysconfig.get_path("scripts")) / "gpubench"
ENDLESS = ["--model", "synthetic", "--service-time", "20us", "--warmup", "0", "--duration", "1h"]
SHORT = [*ENDLESS[:-2], "--requests", "200"]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True, scope="module")
def _signals_are_not_ignored() -> Iterator[None]:
    """Restores the handlers: children inherit ignored signals, such as SIGHUP under nohup."""
    ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


# The installed command. It receives signals at one moment of a run.
AT_A_MOMENT = """
import atexit
import os
import sys

from gpubench.cli.entry import console

moment, numbers = sys.argv.pop(1), [int(number) for number in sys.argv.pop(1).split(",")]

def send():
    for number in numbers:
        os.kill(os.getpid(), number)

def sending(function):
    def sends(*arguments, **keywords):
        send()
        return function(*arguments, **keywords)
    return sends

class Importing:
    def find_spec(self, name, *_):
        if name == moment.removeprefix("import "):
            send()

class Finalised:
    def __del__(self):
        send()
        sum(range(1000))

if moment.startswith("import "):
    sys.meta_path.insert(0, Importing())
else:
    from gpubench import core
    from gpubench.measure import run
    from gpubench.measure import cell
    from gpubench.files import folder
    from gpubench.cli import run as command

    calls = []

    def execute(ids):
        calls.append(ids)
        if len(calls) == {"warm-up": 2, "measured run": 100}.get(moment):
            send()

    executors = cell.synthetic_executors = lambda spec: [core.PythonExecutor(execute)]
    if moment == "finaliser":
        cell.synthetic_executors = lambda spec: (Finalised(), executors(spec))[1]
    if moment == "swallowed":
        Bench = cell.Bench
        prepare = Bench._enter
        Bench._enter = lambda self, stage: (swallow(), prepare(self, stage))
        def swallow():
            try:
                send()
                for _ in range(1000):
                    pass
            except BaseException:
                pass
    if moment == "first stage":
        command.given = sending(command.given)
    if moment == "after the run":
        measure = run._measure
        def ended(*arguments):
            driven = measure(*arguments)
            send()
            return driven
        run._measure = ended
    if moment == "statistics":
        cell.assemble = sending(cell.assemble)
    if moment == "show":
        command.emit_tables = sending(command.emit_tables)
    if moment == "write":
        folder.os.fsync = sending(folder.os.fsync)
    if moment == "exit":
        atexit.register(send)
console()
"""


def sent(
    moment: str, *numbers: int, arguments: list[str], cwd: Path, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command and send it signals at a moment. Messages of Python itself fail the test."""
    listed = ",".join(str(int(number)) for number in numbers)
    done = subprocess.run(
        [*prefix, sys.executable, "-P", "-c", AT_A_MOMENT, moment, listed, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_in_the_measured_run_keeps_what_was_measured(
    number: signal.Signals, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    done = sent(
        "measured run", number, arguments=["run", *ENDLESS, "--json", str(file)], cwd=tmp_path
    )
    assert done.returncode == STATUS[number], done.stderr
    assert "gpubench: interrupted" in done.stderr
    result = json.loads(file.read_text())
    assert "interrupted after" in result["error"]["message"]
    assert result["requests"]["completed"] > 0
    assert "synthetic" in done.stdout


@pytest.mark.parametrize("moment", ["after the run", "statistics", "show", "write"])
def test_a_signal_after_the_run_does_not_change_the_result(moment: str, tmp_path: Path) -> None:
    file, samples = tmp_path / "result.json", tmp_path / "samples.parquet"
    asked = ["run", *SHORT, "--json", str(file), "--samples", str(samples)]
    done = sent(moment, signal.SIGTERM, arguments=asked, cwd=tmp_path)
    assert done.returncode == 143, done.stderr
    result = json.loads(file.read_text())
    assert result["error"] is None
    assert result["requests"]["completed"] >= 200
    assert samples.is_file()
    assert "synthetic" in done.stdout


@pytest.mark.parametrize("moment", ["first stage", "warm-up", "finaliser", "swallowed"])
def test_a_signal_before_the_run_ends_it_without_figures(moment: str, tmp_path: Path) -> None:
    done = sent(moment, signal.SIGTERM, arguments=["run", *ENDLESS, "--quiet"], cwd=tmp_path)
    assert done.returncode == 143, done.stderr
    assert done.stderr.split() == ["gpubench:", "interrupted"]


def test_the_first_of_several_signals_counts(tmp_path: Path) -> None:
    """A terminal, a shell and a supervisor may each send a signal."""
    file = tmp_path / "result.json"
    both = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
    asked = ["run", *ENDLESS, "--json", str(file)]
    done = sent("measured run", *both, arguments=asked, cwd=tmp_path)
    # Pending signals are handled in the order of their numbers.
    assert done.returncode in {130, 143}, done.stderr
    assert json.loads(file.read_text())["requests"]["completed"] > 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("module", ["click", "pydantic", "numpy", "gpubench._core"])
def test_a_signal_during_an_import_gives_no_traceback(
    module: str, number: signal.Signals, tmp_path: Path
) -> None:
    done = sent(f"import {module}", number, arguments=["run", *ENDLESS], cwd=tmp_path)
    assert done.returncode == STATUS[number], done.stderr
    assert done.stdout == ""


def test_a_signal_at_exit_is_silent(tmp_path: Path) -> None:
    done = sent("exit", signal.SIGINT, arguments=["run", *SHORT, "--quiet"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")  # the result was complete before the signal


def test_a_signal_in_a_sweep_keeps_its_cells(tmp_path: Path) -> None:
    asked = ["sweep", *ENDLESS, "--workers", "1", "--output", str(tmp_path / "run")]
    done = sent("measured run", signal.SIGHUP, arguments=asked, cwd=tmp_path)
    assert done.returncode == 129, done.stderr
    assert "The same command goes on from there" in done.stderr
    (document,) = (tmp_path / "run").glob("*.json")
    assert json.loads(document.read_text())["requests"]["completed"] > 0
    assert document.with_suffix(".parquet").is_file()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_that_was_ignored_at_start_stays_ignored(
    number: signal.Signals, tmp_path: Path
) -> None:
    """nohup ignores SIGHUP; a shell ignores SIGINT for commands in the background."""
    ignoring = ("bash", "-c", f"trap '' {number.name}; exec \"$@\"", "bash")
    asked = ["run", *SHORT, "--quiet", "--json", "-"]
    done = sent("measured run", number, arguments=asked, cwd=tmp_path, prefix=ignoring)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["error"] is None


def alone_in_a_pid_namespace() -> tuple[str, ...]:
    """A command that runs another command as process 1."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("util-linux's unshare is not installed")
    for user in ((), ("--user", "--map-root-user")):
        command = (unshare, *user, "--pid", "--fork")
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    pytest.skip("this user may not make a PID namespace")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_process_1_too(number: signal.Signals, tmp_path: Path) -> None:
    """The kernel drops signals to process 1 of a container if it has no handler for them."""
    file = tmp_path / "result.json"
    done = sent(
        "measured run",
        number,
        arguments=["run", *ENDLESS, "--json", str(file)],
        cwd=tmp_path,
        prefix=alone_in_a_pid_namespace(),
    )
    assert done.returncode == STATUS[number], done.stderr
    assert json.loads(file.read_text())["requests"]["completed"] > 0


def on_a_terminal(arguments: list[str], until: bytes) -> tuple[int, int]:
    """(process, the other end of its terminal) of the command, after it has printed `until`."""
    process, terminal = pty.fork()
    if process == 0:  # the child
        os.execv(GPUBENCH, [str(GPUBENCH), *arguments])
    read = b""
    while until not in read:
        read += os.read(terminal, 1024)
    return process, terminal


def test_ctrl_c_on_a_terminal(tmp_path: Path) -> None:
    process, terminal = on_a_terminal(["run", *ENDLESS], until=b"measure")
    os.write(terminal, b"\x03")
    read = b""
    try:
        while data := os.read(terminal, 1024):
            read += data
    except OSError:  # the last process of the terminal has ended
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    assert b"gpubench: interrupted" in read
    assert b"Traceback" not in read


def test_closing_the_terminal_loses_no_file(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    process, terminal = on_a_terminal(["run", *ENDLESS, "--json", str(file)], until=b"measure")
    os.close(terminal)  # sends SIGHUP
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 129
    assert json.loads(file.read_text())["error"] is not None


FORKING = """
import os
import signal
import sys

from gpubench.system import interrupts

interrupts.install()
is_forked, say = os.pipe()
child = os.fork()
if child == 0:
    os.write(say, b"x")
    signal.pause()
    os._exit(0)
os.read(is_forked, 1)
os.kill(child, signal.SIGTERM)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGTERM)
"""


def test_a_signal_ends_a_forked_child_as_in_any_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", FORKING],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


IN_A_PROGRAM = """
import json
import os
import signal
import sys

import gpubench
from gpubench import core
from gpubench.measure import cell

seen = []

def mine(number, frame):
    seen.append(number)
    raise ValueError("mine")

number = getattr(signal, sys.argv[1])
signal.signal(number, mine)
before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
calls = []

def execute(ids):
    calls.append(ids)
    if len(calls) == 100:
        os.kill(os.getpid(), number)

cell.synthetic_executors = lambda spec: [core.PythonExecutor(execute)]
try:
    gpubench.run(gpubench.Spec(model="synthetic", service_time="20us", warmup=0, duration="1h"))
except gpubench.Interrupted as stop:
    completed = stop.result.requests.completed
after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
print(json.dumps({"completed": completed, "seen": seen, "same": before == after}))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_program_that_imports_gpubench_keeps_its_handlers(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", IN_A_PROGRAM, name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["completed"] > 0
    assert told["seen"] == [int(signal.Signals[name])]
    assert told["same"]


IN_A_TEXT = """
from gpubench.cli.entry import console

def main():
    exec("import os, signal\\nos.kill(os.getpid(), signal.SIGTERM)\\nwhile True: pass")

console(main)
"""


def test_a_signal_in_an_executed_text_does_not_change_the_exit_status(tmp_path: Path) -> None:
    """Dataclasses are such texts. Without a remedy, `python -m` would end with SIGINT."""
    (tmp_path / "interrupted.py").write_text(IN_A_TEXT)
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False)
    assert done.returncode == 128 + signal.SIGTERM
