"""Each engine in a process of its own: what is measured, and what a process that dies costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.errors import InputError
from gpubench.measure import cell_process, isolated
from gpubench.measure.isolated import EngineProcesses, MeasuredCell
from gpubench.measure.progress import Opening, Progress
from gpubench.results.result import Repeat, Result
from gpubench.results.run_directory import open_run
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.system.machine import this_machine

MODELS = """
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent

class Model(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 2)

    def forward(self, inputs):
        if (HERE / "die").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)

class Endless(torch.nn.Module):
    def forward(self, inputs):
        while True:
            time.sleep(1)

def good():
    print("printed by the model")
    return Model(), torch.randn(1, 4)

def other():
    return Model(), torch.randn(1, 4)

def refused():
    raise ValueError("it has no weights")

def exits():
    os._exit(5)

def aborts():
    os.abort()

def crashes():
    ctypes.string_at(0)

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def endless():
    return Endless(), torch.randn(1, 4)

def leaves_a_process():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (HERE / "left").write_text(str(child.pid))
    return Model(), torch.randn(1, 4)
"""


class Recorder(Progress):
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.results: list[Result] = []

    def stage(self, name: str) -> None:
        self.told.append(name)

    def window_opens(self, opening: Opening) -> None:
        self.told.append("opens")

    def window_closed(self) -> None:
        self.told.append("closed")

    def process_started(self, elapsed_s: float) -> None:
        self.told.append("process")

    def measured(self, result: Result) -> None:
        self.results.append(result)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("models") / "models.py"
    file.write_text(MODELS)
    return file


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def processes(recorder: Recorder) -> Iterator[EngineProcesses]:
    """One for all tests of this file, because it takes seconds to import torch."""
    with EngineProcesses(this_machine(), recorder) as started:
        yield started


def grid(models: Path, *names: str, clients: object = 1) -> dict[str, object]:
    return {
        "model": [f"{models}:{name}" for name in names],
        "clients": clients,
        "runtime": "eager",
        "requests": 20,
        "warmup": 0,
        "device": "cpu",
    }


def cell(models: Path, name: str, clients: int = 1) -> Cell:
    spec = Spec.model_validate(grid(models, name, clients=clients) | {"model": f"{models}:{name}"})
    return resolve(spec, this_machine())


def swept(
    models: Path, output: Path, processes: EngineProcesses, recorder: Recorder, *names: str
) -> list[Result]:
    """Sweep these models with one and with two clients."""
    from gpubench.cells.grid import grids_of, sweep_cells
    from gpubench.measure.sweep import measure_cells

    planned = sweep_cells(
        grids_of(grid(models, *names, clients=[1, 2])), this_machine(), 100, processes.resolve
    )
    outcome = measure_cells(planned, output, this_machine(), recorder, processes=processes)
    return outcome.results


def test_cells_that_share_an_engine_share_a_process(
    models: Path, processes: EngineProcesses, recorder: Recorder, capfd: pytest.CaptureFixture[str]
) -> None:
    kept: list[MeasuredCell] = []
    repeat = Repeat(number=1, of=2, round=1, series="s", process="parent")
    for name, clients in (("good", 1), ("good", 2), ("other", 1)):
        processes.measure(cell(models, name, clients), repeat, kept.append)
    begun = ["process", "load", "build", "check", "measure", "opens", "closed"]
    assert recorder.told == [*begun, "measure", "opens", "closed", *begun]
    names = [each.result.repeat and each.result.repeat.process for each in kept]
    assert names[0] == names[1] != names[2]
    assert "parent" not in names
    assert capfd.readouterr().out == "", "standard output is for results alone"
    for each in kept:
        result = each.result
        assert result.error is None
        assert result.samples is not None
        assert result.counted is not None
        assert result.counted.sum() == result.requests.completed >= 20
        assert each.files.document.decode() == result.to_json()
    assert recorder.results == [each.result for each in kept]


DEATHS = {
    "exits": "its process ended with status 5",
    "aborts": "its process was ended by signal 6 (Aborted)",
    "crashes": "its process was ended by signal 11 (Segmentation fault)",
    "killed": "its process was ended by signal 9 (Killed)",
}


def test_a_process_that_dies_early_costs_the_cells_of_its_engine(
    models: Path, processes: EngineProcesses, recorder: Recorder, tmp_path: Path
) -> None:
    recorder.told.clear()
    *failed, good, also_good = swept(models, tmp_path, processes, recorder, *DEATHS, "good")
    for result, reason in zip(
        failed, (each for each in DEATHS.values() for _ in "12"), strict=True
    ):
        assert result.error is not None
        assert result.error.stage == "process"
        assert result.error.message.startswith(f"{reason} before it wrote a result")
        assert result.error.message.endswith("its last stage was load")
    assert good.error is also_good.error is None
    assert recorder.told.count("process") == 6, "one to resolve the cells, one for each engine"


def test_a_process_that_dies_later_costs_one_cell(
    models: Path, processes: EngineProcesses, recorder: Recorder, tmp_path: Path
) -> None:
    mark = models.with_name("die")
    planned = [cell(models, "good", clients) for clients in (1, 2, 3)]
    processes.end_process()
    first = processes.measure(planned[0]).result
    mark.touch()
    second = processes.measure(planned[1]).result
    mark.unlink()
    third = processes.measure(planned[2]).result
    assert first.error is third.error is None
    assert second.error is not None
    assert second.error.message.endswith("its last stage was measure")


def test_an_error_costs_one_cell_and_the_next_one_has_a_new_process(
    models: Path, processes: EngineProcesses, recorder: Recorder
) -> None:
    recorder.told.clear()
    results = [processes.measure(cell(models, "refused", clients)).result for clients in (1, 2)]
    assert [each.error and each.error.stage for each in results] == ["load", "load"]
    assert recorder.told.count("process") == 2


def test_a_silent_process_is_ended(
    models: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "GRACE_S", 0.01)
    with EngineProcesses(this_machine(), recorder, max_cell_s=0.01) as impatient:
        result = impatient.measure(cell(models, "endless")).result
    assert result.error is not None
    assert "reported nothing for 0.01 s and was ended" in result.error.message
    assert "a larger --max-cell-time gives it more time" in result.error.message


def test_what_a_process_has_started_ends_with_it(models: Path, processes: EngineProcesses) -> None:
    processes.measure(cell(models, "leaves_a_process"))
    left = int(models.with_name("left").read_text())
    os.kill(left, 0)  # it runs
    processes.end_process()
    with pytest.raises(ProcessLookupError):
        os.kill(left, 0)


def test_a_cell_that_cannot_be_measured_is_refused_by_another_process(
    models: Path, processes: EngineProcesses
) -> None:
    spec = Spec(model="resnet50", precision="tf32", device="cpu")
    with pytest.raises(InputError, match="tf32"):
        processes.resolve(spec, this_machine())
    allowed = Spec.model_validate(
        grid(models, "good") | {"model": f"{models}:good", "allow_code": True}
    )
    assert processes.resolve(allowed, this_machine()) == resolve(allowed, this_machine())


SWEEP = """
import sys
from gpubench.cli.program import main

status = main(sys.argv[1:])
print([name for name in ("torch", "transformers") if name in sys.modules], status)
"""


def test_the_command_of_an_isolated_sweep_imports_no_torch(models: Path, tmp_path: Path) -> None:
    settings = ["--runtime", "eager", "--requests", "20", "--warmup", "0", "--device", "cpu"]
    command = ["sweep", "--model", f"{models}:good,{models}:exits", "--clients", "1,2", *settings]
    command += ["--output", str(tmp_path / "run"), "--isolate"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", SWEEP, *command],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.endswith("[] 1\n"), done.stderr
    assert "printed by the model" not in done.stdout
    assert "Traceback" not in done.stderr
    assert "to start processes (3 times)" in done.stderr
    cells = open_run(tmp_path / "run").read_all().cells
    assert [each.error is None for _, each in cells].count(True) == 2


def test_isolation_is_on_unless_it_is_switched_off(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> None:
        raise RuntimeError("a process")

    monkeypatch.setattr(isolated, "Template", started)
    wanted = grid(models, "good")
    (result,) = gpubench.sweep(wanted, tmp_path / "run", isolate=False)
    assert result.error is None
    monkeypatch.delenv("GPUBENCH_ISOLATE")
    with pytest.raises(RuntimeError, match="a process"):
        gpubench.sweep(wanted, tmp_path / "other")
    monkeypatch.setenv("GPUBENCH_ISOLATE", "perhaps")
    with pytest.raises(InputError, match="GPUBENCH_ISOLATE=perhaps is not allowed; set it to 1"):
        gpubench.sweep(wanted, tmp_path / "other")
    with pytest.raises(InputError, match="--max-cell-time ends a process of its own"):
        gpubench.sweep(wanted, tmp_path / "other", isolate=False, max_cell_time="1h")


def test_why_a_process_has_written_nothing() -> None:
    assert cell_process.death(3) == "its process ended with status 3 before it wrote a result"
    assert "signal 15 (Terminated)" in cell_process.death(128 + signal.SIGTERM)
    assert "too little memory" in cell_process.death(-signal.SIGKILL)
