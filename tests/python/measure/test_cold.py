"""Cold starts: what the parent makes of its processes, and real starts of a small model."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import a_cell, environment
from small_models import make_presets_small, small_cell

from gpubench.cli import program as cli
from gpubench.engines.cache_key import KeySearch
from gpubench.engines.onnx.export import network
from gpubench.errors import InputError
from gpubench.measure import cold as measure_cold
from gpubench.measure import cold_child, cold_start
from gpubench.measure.cold import ColdInterrupted, ColdOptions, cold
from gpubench.models.base import load
from gpubench.registry import MODELS, RUNTIMES
from gpubench.results.cold_result import ColdResult
from gpubench.results.result import Failure
from gpubench.results.run_directory import open_run
from gpubench.spec.spec import Spec
from gpubench.system.page_cache import DroppedFiles

SPEC = Spec(model="resnet50", usd_per_hour=3600.0)

# A process that says what a real one would say. `count` numbers the processes that start something.
FAKE_CHILD = """
import json, os, signal, sys, time
task = json.loads(sys.argv[1])
def write(**fields): os.write(task["file"], json.dumps(fields).encode() + b"\\n")
if task["resolve"]:
    spec = {{**task["spec"], "device": "cpu", "workers": 1, "clients": 1, "depth": 1, "threads": 2}}
    write(spec=spec, environment={environment})
    sys.exit()
with open({counter!r}, "a") as counter:
    counter.write("x")
count = os.path.getsize({counter!r})
write(first_line_ns=time.monotonic_ns())
names = ["imports", "excluded", "weights", "build", "first_inference", "excluded"]
for number, (name, following) in enumerate(zip(names, names[1:])):
    {before_stage}
    spent_ns = (number + 1) * 250_000_000
    write(stage=name, ns=spent_ns, next=following, excluded_ns=125_000_000 * (name == "build"))
write(service_ns=[250_000_000] * 3 + [125_000_000] * 47, from_cache=True, read_bytes=5_000_000)
if task["list_files"]:
    write(engine={{"weights": "random (seed 0)"}}, files=[])
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces the processes by fakes that run `before_stage` before each of their stages."""

    def install(before_stage: str = "pass", **here: Any) -> None:
        script = tmp_path / "child.py"
        told = environment(**here).model_dump(mode="json")
        text = FAKE_CHILD.format(
            environment=told, counter=str(tmp_path / "count"), before_stage=before_stage
        )
        script.write_text(textwrap.dedent(text))
        monkeypatch.setattr(measure_cold, "_COMMAND", (sys.executable, "-I", str(script)))

    return install


def stored(folder: Path) -> ColdResult:
    ((_, result),) = open_run(folder).read_all(cold=True).cold
    return result


def test_stages_are_read_from_the_process_and_add_up(fake: Any) -> None:
    fake()
    result = cold(SPEC, ColdOptions(repeats=2))
    assert [start.number for start in result.starts] == [1, 2]
    start = result.starts[0]
    seconds = start.seconds
    assert (seconds.imports, seconds.weights, seconds.build) == (0.25, 0.75, 1.0)
    assert start.excluded_seconds == 0.5 + 0.125
    assert seconds.interpreter is not None
    assert seconds.device is None
    # Three inferences of 0.25 s follow the first; a median of five no longer sees the last two.
    assert start.settled_after == 2
    assert seconds.settling == 0.25
    assert start.ready_seconds == seconds.interpreter + 0.25 + 0.75 + 1.0 + 1.25
    assert start.total_seconds == sum(seconds.stages().values())
    assert result.first_start is not None
    assert result.first_start.page_cache == "unknown"
    assert result.engine.weights == "random (seed 0)"
    (figures,) = result.figures
    assert figures.billed_seconds == sorted(s.ready_seconds or 0 for s in result.starts)[0]
    assert figures.costs[0].usd_per_start == pytest.approx(figures.billed_seconds)


def test_starts_that_are_there_are_kept_and_more_repeats_add_the_rest(
    fake: Any, tmp_path: Path
) -> None:
    fake()
    output = str(tmp_path / "run")
    first = cold(SPEC, ColdOptions(repeats=2), output)
    assert cold(SPEC, ColdOptions(repeats=2), output).starts == first.starts
    more = cold(SPEC, ColdOptions(repeats=3), output)
    assert more.starts[:2] == first.starts
    assert more.first_start == first.first_start
    assert len(more.starts) == 3
    assert stored(tmp_path / "run") == more


def test_another_build_cache_and_other_settings_are_other_documents(
    fake: Any, tmp_path: Path
) -> None:
    fake()
    output = str(tmp_path / "run")
    cold(SPEC, ColdOptions(repeats=1), output)
    cold(SPEC, ColdOptions(repeats=1, build_cache="empty"), output)
    cold(SPEC.model_copy(update={"batch": 2}), ColdOptions(repeats=1), output)
    assert len(open_run(output).read_all(cold=True).cold) == 3


def test_other_software_is_refused_before_anything_starts(fake: Any, tmp_path: Path) -> None:
    fake()
    output = str(tmp_path / "run")
    cold(SPEC, ColdOptions(repeats=1), output)
    fake(machine={"cpu": "another", "cores": 2})
    before = (tmp_path / "count").stat().st_size
    with pytest.raises(InputError, match=r"measured with another cpu; choose another --output"):
        cold(SPEC, ColdOptions(repeats=2), output)
    assert (tmp_path / "count").stat().st_size == before


def test_a_start_that_is_killed_is_kept_with_its_stage_and_measured_again(
    fake: Any, tmp_path: Path
) -> None:
    fake('if count == 3 and name == "weights": os.kill(os.getpid(), signal.SIGKILL)')
    output = str(tmp_path / "run")
    result = cold(SPEC, ColdOptions(repeats=3), output)
    killed = result.starts[1]
    assert killed.error is not None
    assert killed.error.stage == "weights"
    assert "SIGKILL; the memory may be too small" in killed.error.message
    assert killed.seconds.imports == 0.25
    assert killed.ready_seconds is None
    (figures,) = result.figures
    assert (figures.count, figures.failed) == (2, 1)
    again = cold(SPEC, ColdOptions(repeats=3), output)
    assert again.starts[:3] == result.starts
    assert again.figures[0].count == 3


def test_if_the_first_start_fails_no_other_is_tried(fake: Any, tmp_path: Path) -> None:
    fake('if name == "build": sys.exit("no compiler")')
    result = cold(SPEC, ColdOptions(repeats=20), str(tmp_path / "run"))
    assert result.starts == []
    assert result.error is not None
    assert result.error.stage == "build"
    assert "status 1: no compiler" in result.error.message
    assert stored(tmp_path / "run") == result


def test_ctrl_c_keeps_the_starts_before_it(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    run, calls = measure_cold._run, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 4:  # to resolve, the first start, one start, and this one
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(measure_cold, "_run", interrupted)
    with pytest.raises(ColdInterrupted) as stopped:
        cold(SPEC, ColdOptions(repeats=5), str(tmp_path / "run"))
    assert len(stopped.value.result.starts) == 1
    assert stored(tmp_path / "run") == stopped.value.result


def test_an_interrupted_process_is_ended(fake: Any) -> None:
    """The signal comes while the parent waits for a process that never ends."""
    fake("os.kill(os.getppid(), signal.SIGINT), signal.pause()")
    with pytest.raises(ColdInterrupted) as stopped:
        cold(SPEC, ColdOptions(repeats=1))
    assert stopped.value.result.starts == []


def test_warm_and_cold_starts_take_turns(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    left = iter([0, 0, 90])
    monkeypatch.setattr(
        measure_cold, "drop", lambda files: DroppedFiles(100, left_bytes=next(left), unseen_bytes=0)
    )
    result = cold(SPEC, ColdOptions(repeats=3, page_cache="both"), str(tmp_path / "run"))
    states = ["warm", "cold", "warm", "cold", "warm", "not dropped"]
    assert [start.state for start in result.starts] == states
    assert result.starts[-1].page_cache == "not dropped: 90% of the files stayed in it"
    # A later command for warm starts finds three of them.
    kept = cold(SPEC, ColdOptions(repeats=3), str(tmp_path / "run"))
    assert kept.starts == result.starts


@pytest.mark.parametrize(
    ("dropped", "read_bytes", "state"),
    [
        (DroppedFiles(1000, 100, 0), 0, "cold"),
        (DroppedFiles(1000, 110, 0), 10**9, "not dropped: 11% of the files stayed in it"),
        # The files belong to others: what was read decides.
        (DroppedFiles(0, 0, 10**9), 10**8, "cold"),
        (DroppedFiles(0, 0, 10**9), 10**6, "not dropped: the start read only 1 MB from storage"),
        (DroppedFiles(0, 0, 10**9), None, "not dropped: the kernel does not say what was read"),
    ],
)
def test_a_start_is_cold_only_if_it_was_checked(
    dropped: DroppedFiles, read_bytes: int | None, state: str
) -> None:
    assert measure_cold._page_cache(dropped, read_bytes).startswith(state)


@pytest.mark.parametrize(
    ("spec", "options", "expected"),
    [
        (SPEC, ColdOptions(repeats=10**12), "--repeats 1000000000000 is not allowed; give 1 to"),
        (SPEC, ColdOptions(repeats=0), "--repeats 0 is not allowed; give 1 to 1000"),
        (Spec(model="synthetic"), ColdOptions(), "--model synthetic: it has no weights"),
        (Spec(model="resnet50", instance=["g5.nope"]), ColdOptions(), "unknown instance"),
    ],
)
def test_bad_input_is_refused_before_a_process_starts(
    spec: Spec, options: ColdOptions, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_cold, "_COMMAND", ("/no/such/python",))
    with pytest.raises(InputError, match=expected):
        cold(spec, options)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--repeats", "0"], "--repeats 0 is not allowed"),
        (["--image-size", "8GB"], "--pull-rate is missing"),
        (["--image-size", "8", "--pull-rate", "1GB/s"], "--image-size '8' is not a size"),
        (["--idle-timeout", "1m"], "--idle-timeout: it needs a load"),
        (["--rate", "0"], "--rate 0 is not allowed"),
        (["--output", " "], "--output: it is empty"),
    ],
)
def test_bad_flags_are_one_line(
    flags: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cold", "--model", "resnet50", *flags]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1


def test_the_command_shows_its_progress_a_table_and_who_waits(
    fake: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake()
    flags = ["--repeats", "2", "--rate", "0.01", "--idle-timeout", "1m", "--usd-per-hour", "3600"]
    image = ["--image-size", "8GB", "--pull-rate", "200MB/s"]
    json_path = tmp_path / "cold.json"
    arguments = ["cold", "--model", "resnet50", *flags, *image, "--json", str(json_path)]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr()
    assert "2 starts to measure; a first start, which is in no figure" in shown.err
    assert "2 starts will take about" in shown.err
    assert "[2/2, about" in shown.err
    text = " ".join(shown.out.split())
    assert "computed from the size and the rate that were stated; not measured" in text
    assert "Stopping the instance saves money if it would be idle for more than 43" in text
    assert "with 0.01 random requests per second (Poisson) and a stop after 60.0 s" in text
    document = json.loads(json_path.read_text())
    assert document["kind"] == "cold"
    assert document["image"]["seconds"] == 40.0


@pytest.mark.parametrize(
    ("before", "stage"),
    [
        ([("weights", 1)], "request"),
        ([("weights", 1), ("first_inference", 1)], "settling"),
    ],
)
def test_a_failure_outside_of_all_stages_is_named_by_what_was_done(
    before: list[tuple[str, int]], stage: str
) -> None:
    child = measure_cold._Child(0, 0, "", stages=before, stage="excluded", told={"error": "no"})
    start = measure_cold.start_of(child, 1, "now", "warm")
    assert start.error == Failure(stage=stage, message="no")


def test_the_exit_status_says_that_a_start_failed(
    fake: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fake('if count == 2 and name == "weights": sys.exit("no memory")')
    assert cli.main(["cold", "--model", "resnet50", "--repeats", "2"]) == 1
    assert (
        "failed in weights: the process ended with status 1: no memory" in capsys.readouterr().err
    )


def test_real_starts_of_a_torchscript_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(8, 4).eval()), str(file))
    spec = Spec(model=str(file), input_shape="8", device="cpu")
    result = cold(spec, ColdOptions(repeats=1), str(tmp_path / "run"))
    assert result.error is None
    assert result.engine.weights == "local: model.pt"
    assert result.engine.parameters == 36
    assert result.spec.threads is not None
    for start in result.starts:
        assert start.error is None
        stages = start.seconds.stages()
        measured = ["interpreter", "imports", "weights", "build", "first_inference"]
        assert [name for name in stages if name != "settling"] == measured
        assert all(value > 0 for name, value in stages.items() if name != "settling")
        # torch is imported, which takes longer than to load 36 numbers.
        assert stages["imports"] > stages["weights"]
        assert start.page_cache == "warm"
        assert (start.peak_host_bytes or 2**30) > 2**20
    os.utime(file, (2e9, 2e9))
    with pytest.raises(InputError, match=r"model\.pt was changed after the starts"):
        cold(spec, ColdOptions(repeats=2), str(tmp_path / "run"))


def test_a_process_whose_model_cannot_be_loaded_tells_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of the process, in this one."""
    (tmp_path / "net.py").write_text("def net():\n    raise ValueError('no weights here')\n")
    cell = a_cell(model=f"{tmp_path / 'net.py'}:net")
    with (tmp_path / "lines").open("wb") as lines:
        settings = cell.spec.model_dump(mode="json", exclude_unset=True)
        task = {"resolve": False, "spec": settings, "list_files": False, "file": lines.fileno()}
        monkeypatch.setattr(sys, "argv", ["cold_child", json.dumps(task)])
        cold_child._main()
    told = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert told[-2]["next"] == "weights"
    assert "no weights here" in told[-1]["error"]


def test_a_start_runs_on_the_cores_of_its_cell_before_anything_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[object] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: happened.append((pid, cores)))
    monkeypatch.setattr(cold_start, "start", lambda *given, **named: happened.append("start"))
    with (tmp_path / "lines").open("wb") as lines:
        task = {"resolve": False, "spec": {}, "list_files": False, "file": lines.fileno()}
        for cpus in ([0, 2], None):
            argument = json.dumps({**task, "cpus": cpus})
            monkeypatch.setattr(sys, "argv", ["cold_child", argument])
            cold_child._main()
    assert happened == [(0, [0, 2]), "start", "start"]


def test_the_process_of_a_start_is_told_the_cores(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[Any] = []
    run = measure_cold._run

    def noted(task: Any, variables: dict[str, str]) -> Any:
        tasks.append(task)
        return run(task, variables)

    monkeypatch.setattr(measure_cold, "_run", noted)
    fake()
    cold(SPEC.model_copy(update={"cpus": "0,2"}), ColdOptions(repeats=1))
    assert [task.get("cpus") for task in tasks] == [None, (0, 2), (0, 2)]


def test_what_a_server_does_not_need_is_no_part_of_a_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[dict[str, Any]] = []
    times_ns = iter([5_000_000_000, 6_000_000_000])
    monkeypatch.setattr(cold_child, "FIRST_LINE_NS", 1_000_000_000)
    monkeypatch.setattr("time.monotonic_ns", lambda: next(times_ns))
    clock = cold_child.StartClock(written.append)
    clock.enter("build")
    clock.enter("excluded", 0.25)
    assert written == [
        {"first_line_ns": 1_000_000_000},
        {"stage": "imports", "ns": 4_000_000_000, "next": "build", "excluded_ns": 0},
        {"stage": "build", "ns": 750_000_000, "next": "excluded", "excluded_ns": 250_000_000},
    ]


def test_the_search_for_an_engine_in_the_cache_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(KeySearch, "seconds", 0.0)
    make_presets_small(monkeypatch)
    cell = small_cell("resnet", "onnxruntime")
    network(load(cell), cell, torch.float32)
    assert KeySearch.seconds > 0


def test_what_is_imported_ahead_belongs_to_models_and_runtimes_that_exist() -> None:
    assert set(cold_start._LIBRARIES) <= {*MODELS, *RUNTIMES}
    assert set(cold_start._MOVE_FIRST) <= set(RUNTIMES)
