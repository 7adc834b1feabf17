"""Tests of programs of ExecuTorch: right outputs, the cache, threads, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from factories import a_cell, a_machine, another
from small_models import SMALL, make_presets_small, small_cell

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.engines.base import build
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.output_check import check
from gpubench.measure.reference import make_reference
from gpubench.models.base import LoadedModel, Tensors, seeded
from gpubench.spec.parse import make_spec
from gpubench.statistics.verdicts import outputs_differ
from gpubench.system import packages

needs_executorch = pytest.mark.skipif(
    packages.missing("executorch", "executorch") is not None,
    reason="pip install --no-deps -r tests/executorch.txt",
)


@pytest.fixture(scope="module", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Making a program takes seconds: what one test has made, the next may take."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("GPUBENCH_CACHE_DIR", str(cache))
        yield cache


@needs_executorch
@pytest.mark.parametrize(
    ("model", "precision", "batch"),
    [
        ("bert", "fp32", 2),
        ("bert", "int8", 2),
        ("resnet", "fp32", 3),
        ("resnet", "int8", 3),
    ],
)
def test_outputs_are_right_and_the_second_build_comes_from_the_cache(
    model: str, precision: str, batch: int, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded = SMALL[model]()
    cell = small_cell(model, "executorch", precision, batch)
    reference = make_reference(loaded, cell.seed, cell.batch)
    unchanged = LoadedModel(loaded.module, "", loaded.make_inputs).weights_digest
    for from_cache in (False, True):
        engine = build(loaded, cell)
        with engine.thread_modes():
            numerics = check(engine, reference, precision).numerics
        assert numerics is not None
        assert outputs_differ(numerics, precision) is None
        assert (numerics.cosine or 0) > (1 - 1e-6 if precision == "fp32" else 0.99)
        assert (numerics.relative_error or 0) < 1e-4 or precision == "int8"
        assert (numerics.relative_error or 0) > 1e-4 or precision == "fp32"
        assert engine.from_cache is from_cache
        assert ("torchao" in (engine.library or "")) is (precision == "int8")
    assert LoadedModel(loaded.module, "", loaded.make_inputs).weights_digest == unchanged
    printed = "".join(capfd.readouterr()).splitlines()
    assert [line for line in printed if "is an Enum subclass" not in line] == []  # of torchao


@needs_executorch
def test_int8_weights_take_a_quarter_of_the_file() -> None:
    sizes = [
        build(SMALL["resnet"](), small_cell("resnet", "executorch", precision, 3)).artifact_bytes
        for precision in ("fp32", "int8")
    ]
    weights = sum(parameter.nbytes for parameter in SMALL["resnet"]().module.parameters())
    assert 0.95 * weights < (sizes[0] or 0) < 1.2 * weights  # batch norms are folded
    assert weights / 4 < (sizes[1] or 0) < 0.4 * weights


@needs_executorch
def test_a_damaged_program_is_made_again(shared_cache: Path) -> None:
    cell = small_cell("resnet", "executorch", batch=1)
    before = set(shared_cache.rglob("*.pte"))
    build(SMALL["resnet"](), cell)
    (entry,) = set(shared_cache.rglob("*.pte")) - before
    entry.write_bytes(entry.read_bytes()[:1000])
    model = SMALL["resnet"]()
    engine = build(model, cell)
    assert engine.from_cache is False
    inputs = model.make_inputs(seeded(1), 1)
    with engine.thread_modes():
        (logits,) = engine.forward(*inputs)
        assert torch.allclose(logits, model.module(*inputs), atol=1e-5)


@needs_executorch
def test_a_worker_computes_with_its_number_of_threads() -> None:
    """A program that was loaded for another number would hang."""
    from executorch.extension.pybindings import portable_lib

    model = SMALL["resnet"]()
    engine = build(model, small_cell("resnet", "executorch", batch=3))
    inputs = model.make_inputs(seeded(1), 3)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            with engine.thread_modes():
                assert portable_lib._threadpool_get_thread_count() == threads
                (logits,) = engine.forward(*inputs)
            assert torch.allclose(logits, model.module(*inputs), atol=1e-5)
    finally:
        torch.set_num_threads(before)


@needs_executorch
def test_a_worker_of_the_core_can_run_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    make_presets_small(monkeypatch)
    cell = small_cell("resnet", "executorch", batch=3)
    result = gpubench.run(another(cell, requests=20, warmup=0.0).spec)
    assert result.error is None
    assert result.requests.completed == 20
    assert (result.engine.library or "").startswith("executorch 1.")


class Eigenvalues(torch.nn.Module):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.linalg.eigvals(ids.reshape(-1, 4, 4))
        return values.real


@needs_executorch
def test_an_operator_that_executorch_does_not_have_gives_a_one_line_error_with_the_fix() -> None:
    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return (torch.randn(samples, 16, generator=generator),)

    with pytest.raises(GpubenchError, match="ExecuTorch") as failure:
        build(LoadedModel(Eigenvalues(), "", make_inputs), small_cell("resnet", "executorch"))
    assert "\n" not in str(failure.value)
    assert "--runtime torchscript" in str(failure.value)


def test_torchscript_is_refused_with_the_fix() -> None:
    model = LoadedModel(torch.jit.script(torch.nn.ReLU()), "", lambda *_: (torch.zeros(1),))
    with pytest.raises(GpubenchError, match="give the Python module"):
        build(model, small_cell("resnet", "executorch"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"workers": 2}, "2 workers would wait for each other; use --workers 1"),
        ({"dynamic_batch": "8:1ms"}, "one batch size; remove --dynamic-batch"),
        ({"precision": "amp", "allow_emulated": True}, "choose fp32 or int8"),
    ],
)
def test_cells_that_it_cannot_execute_are_refused_with_the_fix(
    settings: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: ModuleSpec(name, None))
    with pytest.raises(InputError) as refusal:
        resolve(make_spec({"model": "resnet50", "runtime": "executorch", **settings}), a_machine())
    assert expected in str(refusal.value)


def test_a_gpu_is_refused_and_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpubench.engines import executorch

    cell = a_cell(model="resnet50", runtime="executorch", device="cuda:0")
    monkeypatch.setattr(packages, "find_spec", lambda name: ModuleSpec(name, None))
    assert "--device cpu" in (executorch.refusal(cell) or "")
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert "pip install '.[executorch]'" in (executorch.refusal(cell) or "")
