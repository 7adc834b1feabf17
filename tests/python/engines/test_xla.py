"""The runtime xla without torch_xla: its refusals, and its steps with a stand-in.

tests/xla runs it with the real library, in an environment of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from factories import a_cell, a_machine
from small_models import make_presets_small

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.engines import refusals, xla
from gpubench.errors import InputError
from gpubench.results.result import Result
from gpubench.spec.parse import make_spec
from gpubench.system import packages

VERSIONS = {"torch_xla": "2.9.0", "torch": "2.9.1+cu128"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda *names: None)
    monkeypatch.setattr(packages, "version", VERSIONS.__getitem__)
    monkeypatch.setattr(xla, "tpus", lambda: ("TPU v6e",))
    monkeypatch.setattr("gpubench.measure.environment.tpus", lambda: ("TPU v6e",))


def refused(**settings: object) -> str:
    with pytest.raises(InputError) as refusal:
        resolve(make_spec({"model": "resnet50", "runtime": "xla", **settings}), a_machine())
    message = str(refusal.value)
    assert "\n" not in message
    return message


def test_without_torch_xla_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert "pip install '.[xla]'" in refused(device="cpu")


@pytest.mark.usefixtures("installed")
def test_it_runs_on_a_cpu_and_on_a_tpu() -> None:
    for device in ("cpu", "tpu"):
        spec = make_spec({"model": "resnet50", "runtime": "xla", "device": device})
        cell = resolve(spec, a_machine())
        assert (cell.device, cell.workers, cell.depth) == (device, 1, 1)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 2, "device": "cpu"}, "use --workers 1"),
        ({"workers": 2, "device": "tpu"}, "use --workers 1"),
        ({"inputs": "device", "device": "tpu"}, "use --inputs host"),
        ({"precision": "fp16", "device": "tpu"}, "choose fp32 or bf16"),
        ({"precision": "amp", "device": "tpu"}, "choose fp32 or bf16"),
        ({"runtime": "eager", "device": "tpu"}, "tpu needs --runtime"),
    ],
)
def test_what_it_cannot_do_is_refused(settings: dict[str, object], message: str) -> None:
    assert message in refused(**settings)


@pytest.mark.usefixtures("installed")
def test_another_torch_is_refused_with_the_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = VERSIONS | {"torch": "2.13.0"}
    monkeypatch.setattr(packages, "version", versions.__getitem__)
    message = refused(device="cpu")
    assert "torch_xla 2.9.0 needs torch 2.9, and torch 2.13.0 is installed" in message
    assert "pip install torch==2.9.* torch_xla==2.9.0 torchvision" in message


@pytest.mark.usefixtures("installed")
def test_a_machine_without_a_tpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xla, "tpus", lambda: ())
    assert "this machine has no TPU; use --device cpu" in refused(device="tpu")


@pytest.mark.usefixtures("installed")
def test_the_driver_of_tpus_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(extra: str, *names: str) -> str | None:
        return "missing" if "libtpu" in names else None

    monkeypatch.setattr(packages, "missing", missing)
    assert "pip install 'torch_xla[tpu]'" in refused(device="tpu")


def test_gpus_are_refused() -> None:
    cell = a_cell(model="resnet50", runtime="xla", device="cuda:0")
    assert "--device cpu or tpu, or --runtime compile" in (refusals.of_xla(cell) or "")


class StandIn:
    """A torch_xla whose device is torch's CPU. `compiled` is its number of compilations."""

    def __init__(self) -> None:
        self.compiled = 0
        self.at_sync: Callable[[], None] = lambda: None
        self.started = "CPU"
        self.matmul: list[str] = []

    def sync(self, wait: bool = False) -> None:
        self.at_sync()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        attributes: dict[str, dict[str, object]] = {
            "torch_xla": {
                "device": lambda: torch.device("cpu"),
                "sync": self.sync,
                "__version__": "2.9.0",
            },
            "torch_xla.backends": {"set_mat_mul_precision": self.matmul.append},
            "torch_xla.runtime": {"device_type": lambda: self.started},
            "torch_xla.debug": {},
            "torch_xla.debug.metrics": {
                "metric_data": lambda name: (self.compiled, 0.0, ()) if self.compiled else None
            },
        }
        for name, members in attributes.items():
            module = ModuleType(name)
            for member, value in members.items():
                setattr(module, member, value)
            monkeypatch.setitem(sys.modules, name, module)
            package, _, own = name.rpartition(".")
            if package:
                setattr(sys.modules[package], own, module)


@pytest.fixture
def stand_in(installed: None, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    library = StandIn()
    library.install(monkeypatch)
    monkeypatch.setattr(xla, "_started", None)
    monkeypatch.setenv("PJRT_DEVICE", "")
    monkeypatch.setenv("NPROC", "")
    make_presets_small(monkeypatch)
    return library


def measured(**settings: object) -> Result:
    cell = {"model": "distilbert", "seq_len": 8, "runtime": "xla", "device": "cpu"}
    return gpubench.run(make_spec({**cell, "requests": 10, "warmup": 0, **settings}))


def test_a_result_says_what_was_compiled_and_by_what(stand_in: StandIn) -> None:
    result = measured()
    assert result.error is None
    assert result.window.compilations == 0
    assert result.engine.library == "torch_xla 2.9.0 (CPU)"
    assert result.numerics is not None
    assert result.numerics.cosine == pytest.approx(1)
    assert stand_in.matmul == ["highest"]  # fp32 means fp32
    assert "threads-idle" not in {reason.code for reason in result.verdict.reasons}


def test_a_model_that_compiles_in_the_window_is_marked(stand_in: StandIn) -> None:
    def compile_again() -> None:
        stand_in.compiled += 1

    stand_in.at_sync = compile_again
    result = measured()
    assert result.samples is not None
    assert result.window.compilations == len(result.samples)
    assert "recompiled" in {reason.code for reason in result.verdict.reasons}


def test_a_result_of_a_tpu_names_it_and_says_that_none_was_tried(stand_in: StandIn) -> None:
    stand_in.started = "TPU"
    result = measured(device="tpu", precision="bf16", usd_per_hour=1.2)
    assert result.error is None
    assert result.environment.gpus == ["TPU v6e"]
    figures = {reason.code: reason.figure for reason in result.verdict.reasons}
    assert figures["unproven-on-gpus"] == "--device tpu"
    assert result.engine.intra_op_threads is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 7}, "measure this cell with a separate gpubench run"),
        ({"device": "tpu"}, "measure this cell with a separate gpubench run"),
    ],
)
def test_a_process_has_one_device_and_one_number_of_threads(
    change: dict[str, object], message: str, stand_in: StandIn
) -> None:
    assert measured(threads=1).error is None
    error = measured(**{"threads": 1, **change}).error
    assert error is not None
    assert message in error.message


def test_a_device_that_the_calling_program_has_started_is_named(stand_in: StandIn) -> None:
    stand_in.started = "TPU"
    error = measured().error
    assert error is not None
    assert "torch_xla was started with the device TPU before; use --device tpu" in error.message


def test_a_model_that_it_cannot_execute_is_a_line_that_names_another_runtime(
    stand_in: StandIn,
) -> None:
    def fail() -> None:
        raise RuntimeError("no lowering for this operator\nC++ stack trace")

    stand_in.at_sync = fail
    error = measured().error
    assert error is not None
    assert error.message.startswith("torch_xla cannot execute distilbert (no lowering")
    assert error.message.endswith("use --runtime eager")
