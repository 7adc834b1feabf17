"""Tests of the runtime neuron, with a fake of torch-neuronx that computes on the CPU.

The fake has the names and arguments of the documentation: tests/neuron_api checks that the code
uses no others. Nothing here shows how the real package behaves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from factories import another
from small_models import SMALL, make_presets_small, small_cell

import gpubench
from gpubench.engines import refusals
from gpubench.engines.base import Engine, build
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.output_check import check
from gpubench.measure.reference import make_reference
from gpubench.results.result import Numerics, Result
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.statistics.verdicts import outputs_differ


@dataclass
class FakeNeuron:
    """torch_neuronx on the CPU. It keeps how it was called."""

    compiled: list[list[str]] = field(default_factory=list)  # the arguments of the compiler
    example: tuple[torch.Tensor, ...] = ()
    loads: int = 0  # of files, inside the context that chooses a NeuronCore
    chooses: bool = False
    compiler_error: str | None = None
    load_error: str | None = None

    def trace(
        self,
        func: torch.nn.Module,
        example_inputs: tuple[torch.Tensor, ...],
        *,
        compiler_workdir: str,
        compiler_args: list[str],
    ) -> torch.jit.ScriptModule:
        assert Path(compiler_workdir).is_dir()
        if self.compiler_error:
            raise RuntimeError(self.compiler_error)
        self.compiled.append(compiler_args)
        self.example = example_inputs
        traced: Any = torch.jit.trace(func, example_inputs, check_trace=False)
        return traced  # type: ignore[no-any-return]

    @contextmanager
    def neuron_cores_context(self, start_nc: int = -1, nc_count: int = -1) -> Iterator[None]:
        assert (start_nc, nc_count) == (-1, 1)
        assert not self.chooses, "the context is not safe for several threads"
        self.chooses = True
        try:
            yield
        finally:
            self.chooses = False

    def load(self, load: Callable[..., object], path: str) -> object:
        if self.load_error:
            raise RuntimeError(self.load_error)
        self.loads += self.chooses
        return load(path)


@pytest.fixture
def neuron(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNeuron:
    fake = FakeNeuron()
    package = ModuleType("torch_neuronx")
    package.trace = fake.trace  # type: ignore[attr-defined]
    package.experimental = SimpleNamespace(  # type: ignore[attr-defined]
        neuron_cores_context=fake.neuron_cores_context
    )
    for module in (package, ModuleType("neuronxcc")):
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    load, real_version = torch.jit.load, metadata.version
    monkeypatch.setattr(torch.jit, "load", lambda path: fake.load(load, path))
    versions = {"torch-neuronx": "2.9.0.2", "neuronx-cc": "2.22.1"}
    for user in ("cache_key", "neuron"):
        monkeypatch.setattr(
            f"gpubench.engines.{user}.version",
            lambda name: versions.get(name) or real_version(name),
        )
    for user in ("gpubench.engines.refusals", "gpubench.measure.environment"):
        monkeypatch.setattr(f"{user}.neuron_devices", lambda *_: ("Inferentia2",) * 6)
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    make_presets_small(monkeypatch)
    return fake


def cell_of(model: str, precision: str) -> Cell:
    return another(small_cell(model, "neuron", precision, 2), device="neuron")


def checked(model: str, precision: str = "fp32") -> tuple[Engine, Numerics]:
    cell, loaded = cell_of(model, precision), SMALL[model]()
    reference = make_reference(loaded, cell.seed, cell.batch)
    engine = build(loaded, cell)
    with engine.thread_modes():
        numerics = check(engine, reference, precision).numerics
    assert numerics is not None
    return engine, numerics


def measured(**settings: object) -> Result:
    brief = {"model": "distilbert", "seq_len": 8, "requests": 20, "warmup": 0, "workers": 2}
    on_neuron = {"runtime": "neuron", "device": "neuron"}
    return gpubench.run(Spec.model_validate(brief | on_neuron | settings))


def test_a_cell_is_measured_and_marked_as_never_run_on_such_hardware(neuron: FakeNeuron) -> None:
    result = measured(batch=2)
    assert result.error is None
    assert result.engine.library == "torch-neuronx 2.9.0.2, neuronx-cc 2.22.1"
    assert result.engine.from_cache is False
    assert result.engine.threads_note is None
    assert result.numerics is not None
    assert result.numerics.cosine == pytest.approx(1, abs=1e-6)
    figures = {reason.code: reason.figure for reason in result.verdict.reasons}
    assert figures["unproven-on-gpus"] == "--device neuron"
    assert neuron.loads == 3  # for the check, and one of each worker
    again = measured(batch=2)
    assert again.engine.from_cache is True
    assert len(neuron.compiled) == 1


def test_the_instance_is_priced_with_all_its_chips_and_not_multiplied(neuron: FakeNeuron) -> None:
    result = measured(instance="inf2.24xlarge")
    assert result.environment.gpus == ["Inferentia2"] * 6
    (cost,) = result.costs
    assert not cost.extrapolated
    assert "Inferentia2" not in (cost.hardware_note or "")  # only the CPU is another one


@pytest.mark.parametrize("model", ["bert", "resnet"])
@pytest.mark.parametrize(
    ("precision", "arguments", "dtype"),
    [
        ("fp32", "--auto-cast none", torch.float32),
        ("amp", "--auto-cast matmult --auto-cast-type bf16", torch.float32),
        ("tf32", "--auto-cast matmult --auto-cast-type tf32", torch.float32),
        ("bf16", "--auto-cast none", torch.bfloat16),
    ],
)
def test_a_precision_is_in_the_weights_or_in_what_the_compiler_casts(
    neuron: FakeNeuron, model: str, precision: str, arguments: str, dtype: torch.dtype
) -> None:
    engine, numerics = checked(model, precision)
    assert " ".join(neuron.compiled[0]) == arguments
    assert engine.input_dtype == dtype
    expected = torch.int64 if model == "bert" else dtype
    assert [tensor.dtype for tensor in neuron.example] == [expected] * len(neuron.example)
    assert outputs_differ(numerics, precision, "cpu") is None


def test_the_cache_has_an_entry_for_each_setting_of_the_compiler(
    neuron: FakeNeuron, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked("bert")[0].from_cache is False
    assert checked("bert")[0].from_cache is True
    assert checked("bert", "amp")[0].from_cache is False
    monkeypatch.setenv("NEURON_CC_FLAGS", "--optlevel 3")
    assert checked("bert")[0].from_cache is False


def test_errors_of_the_compiler_and_of_the_device_are_one_line(neuron: FakeNeuron) -> None:
    neuron.compiler_error = "NCC_EVRF004: an operator is not supported\nlog file"
    with pytest.raises(GpubenchError, match=r"cannot be compiled for NeuronCores in fp32 .*NCC_EV"):
        checked("bert")
    neuron.compiler_error, neuron.load_error = None, "NRT_RESOURCE: no memory on nc0"
    with pytest.raises(GpubenchError, match=r"NRT_RESOURCE.*use fewer --workers"):
        checked("bert")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"device": "cpu"}, "it computes on NeuronCores; add --device neuron"),
        ({"inputs": "device"}, "use --inputs host"),
        ({"dynamic_batch": "4:1ms"}, "it is compiled for one batch size; remove --dynamic-batch"),
        ({"precision": "int8"}, "it has no int8 on this device; choose fp32"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    neuron: FakeNeuron, settings: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        measured(**settings)


def test_a_machine_without_neuron_is_told_what_is_missing(
    neuron: FakeNeuron, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "neuron_devices", tuple)
    with pytest.raises(InputError, match=r"no Neuron device .*measure on an Inf2 or Trn instance"):
        measured()
    monkeypatch.setattr(refusals, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="torch_neuronx and neuronxcc cannot be imported; install"):
        measured()
