"""Tests of the runtime jax, on the CPU.

All cells of this file have two CPU threads in all: JAX starts once in a process, with the number of
threads of its first cell.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import a_cell

import gpubench
from gpubench.engines import refusals
from gpubench.engines.base import Engine, build
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.output_check import check, run_engine
from gpubench.measure.reference import make_reference
from gpubench.models.base import LoadedModel, load
from gpubench.models.labelled_data import input_names
from gpubench.results.result import Numerics, Result
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.statistics.verdicts import outputs_differ

jax = pytest.importorskip("jax", reason="pip install '.[jax]'")
from gpubench.models.jax_function import JaxFunction  # noqa: E402  # it imports jax

EXAMPLE = f"{Path(__file__).parents[3] / 'examples'}/jax_model.py:classifier"

FUNCTIONS = """
import functools, itertools
import jax, jax.numpy as jnp, numpy as np, torch, gpubench

ROWS = jax.random.normal(jax.random.key(1), (5, 8))
WEIGHTS = {"w": jax.random.normal(jax.random.key(0), (8, 4)), "shift": jnp.arange(4)}

def layer(weights, x, scale=1.0, squared=False):
    y = x @ weights["w"] * scale + weights["shift"]
    return {"logits": y * y if squared else y, "largest": y.argmax(-1)}

def plain():  # no jit; a keyword that decides what is computed; examples as one array
    return functools.partial(layer, WEIGHTS, squared=True), ROWS

def jitted():
    return functools.partial(jax.jit(layer, static_argnames="squared"), WEIGHTS, squared=True), ROWS

def half():
    weights = {"w": WEIGHTS["w"].astype(jnp.float16), "shift": WEIGHTS["shift"]}
    return functools.partial(layer, weights), np.asarray(ROWS)

def closure():
    return jax.jit(lambda x: layer(WEIGHTS, x)["logits"]), [ROWS]

def words():  # int64, which JAX has only as int32
    table = jax.random.normal(jax.random.key(2), (100, 8))
    def inputs(generator, samples):
        return torch.randint(0, 100, (samples, 6), generator=generator)
    return gpubench.OwnModel(functools.partial(lambda t, ids: t[ids].sum(1), table), inputs)

def donated_inputs():
    return jax.jit(lambda x: x + 1, donate_argnums=0), ROWS

def donated_weights():
    def add(w, x):
        return jnp.broadcast_to(w, x.shape), x + w
    return functools.partial(jax.jit(add, donate_argnums=0), jnp.ones((2, 8))), ROWS

def of_any_length():  # each request has another length
    lengths = itertools.count(1)
    def inputs(generator, samples):
        return np.ones((samples, next(lengths)), np.float32)
    return gpubench.OwnModel(jax.jit(lambda x: x.sum(-1)), inputs, preprocess=lambda x: (x,))

def module():
    return torch.nn.Linear(8, 8), torch.randn(3, 8)

def strings():
    return jax.jit(lambda x: x), np.array(["a", "b"])
"""


@pytest.fixture
def functions(tmp_path: Path) -> str:
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)
    return str(path)


def cell_of(model: str, precision: str = "fp32", **settings: object) -> Cell:
    return a_cell(
        model=model,
        runtime="jax",
        precision=precision,
        **{"batch": 2, "threads": 2, "workers": 1} | settings,
    )


def checked(cell: Cell) -> tuple[LoadedModel, Engine, Numerics]:
    model = load(cell)
    reference = make_reference(model, cell.seed, cell.batch)
    engine = build(model, cell)
    with engine.thread_modes():
        numerics = check(engine, reference, cell.precision).numerics
    assert numerics is not None
    return model, engine, numerics


def measured(**settings: object) -> Result:
    brief = {"runtime": "jax", "device": "cpu", "requests": 20, "warmup": 0, "threads": 2}
    return gpubench.run(Spec.model_validate(brief | settings))


def codes(result: Result) -> set[str]:
    return {reason.code for reason in result.verdict.reasons}


@pytest.mark.parametrize(
    ("function", "precision"),
    [
        ("plain", "fp32"),
        ("plain", "bf16"),
        ("plain", "fp16"),
        ("jitted", "fp32"),
        ("jitted", "bf16"),
        ("closure", "fp32"),
        ("half", "fp16"),
        ("words", "fp32"),
        ("words", "bf16"),
        ("donated_inputs", "fp32"),
    ],
)
def test_outputs_are_those_of_the_function_without_jit_in_fp32(
    functions: str, function: str, precision: str
) -> None:
    _, _, numerics = checked(cell_of(f"{functions}:{function}", precision))
    assert outputs_differ(numerics, precision, "cpu") is None
    assert numerics.cosine == pytest.approx(1, abs=1e-6 if precision == "fp32" else 1e-3)
    assert numerics.relative_error is not None
    assert (numerics.relative_error > 1e-5) == (precision != "fp32")


def test_the_weights_of_a_partial_function_are_counted_and_converted(functions: str) -> None:
    model, engine, _ = checked(cell_of(f"{functions}:jitted", "bf16"))
    assert model.parameters == 8 * 4  # integers are no parameters
    assert engine.artifact_bytes == 2 * 8 * 4 + 4 * 4
    assert input_names(model, 1) == ("x",)
    model, engine, _ = checked(cell_of(f"{functions}:closure"))
    assert model.parameters is None
    assert engine.artifact_bytes is None


def test_products_of_fp32_matrices_are_not_rounded_on_any_device(functions: str) -> None:
    cell = cell_of(f"{functions}:plain")
    model = load(cell)
    engine = build(model, cell)
    with engine.thread_modes():
        assert isinstance(model.module, JaxFunction)
        function = model.module.on(jax.devices("cpu")[0])
        program = function.jitted.lower(*function.weights, jax.numpy.ones((2, 8))).as_text()
    assert "HIGHEST" in program


def test_weights_that_are_no_arguments_cannot_be_converted(functions: str) -> None:
    with pytest.raises(GpubenchError, match=r"return functools.partial\(function, weights\)"):
        checked(cell_of(f"{functions}:closure", "bf16"))


def test_weights_in_fp16_need_a_precision(functions: str) -> None:
    cell = a_cell(model=f"{functions}:half", runtime="jax", threads=2)
    with pytest.raises(GpubenchError, match="add --precision fp16"):
        load(cell)


def test_a_function_may_overwrite_its_inputs_but_not_its_weights(functions: str) -> None:
    cell = cell_of(f"{functions}:donated_inputs")
    model, engine, _ = checked(cell)
    (request,) = model.make_inputs(torch.Generator(), 2)
    before = request.clone()
    with engine.thread_modes():
        for _ in range(3):
            assert torch.equal(engine.forward(request)[0], before + 1)
    assert torch.equal(request, before)
    with pytest.raises(GpubenchError, match="donates its weights"):
        checked(cell_of(f"{functions}:donated_weights"))


def test_a_result_describes_the_engine_and_compiles_nothing_while_it_measures() -> None:
    result = measured(model=EXAMPLE, batch=4, workers=2, threads=1, clients=3)
    assert result.error is None
    assert result.engine.library == f"jax {jax.__version__}"
    assert result.engine.parameters == 60_362
    assert "one pool of 2 threads" in (result.engine.threads_note or "")
    assert result.numerics is not None
    assert result.numerics.top1_agreement == 1
    assert "recompiled" not in codes(result)


def test_requests_that_are_joined_do_not_compile_after_the_warm_up() -> None:
    result = measured(model=EXAMPLE, batch=1, clients=4, dynamic_batch="4:1ms")
    assert result.error is None
    assert "recompiled" not in codes(result)


def test_new_shapes_in_the_measured_requests_are_a_reason(functions: str) -> None:
    result = measured(model=f"{functions}:of_any_length")
    assert result.error is None
    (reason,) = (each for each in result.verdict.reasons if each.code == "recompiled")
    assert isinstance(reason.figure, float)
    assert 0 < reason.figure <= 16  # there are 16 different requests


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        ("resnet50", {}, "resnet50 is none; give --model FILE.py:function"),
        (EXAMPLE, {"precision": "int8"}, "it has no int8 on this device; choose fp32"),
        (EXAMPLE, {"device": "tpu"}, r"JAX finds no tpu .* pip install 'jax\[tpu\]'"),
        (EXAMPLE, {"device": "tpu", "inputs": "device"}, "use --inputs host"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    model: str, settings: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        measured(model=model, **settings)


def test_a_machine_without_jax_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubench.system.packages.find_spec", lambda _: None)
    assert r"pip install '.[jax]'" in (refusals.of_jax(cell_of(EXAMPLE)) or "")


@pytest.mark.parametrize(
    ("function", "settings", "expected"),
    [
        ("module", {}, "use --runtime torchscript for a torch.nn.Module"),
        ("strings", {}, "a value of type ndarray cannot become a tensor"),
        ("plain", {"runtime": "eager"}, "use --runtime jax if it is a function of JAX"),
        ("plain", {"threads": 3}, "JAX has started with 2 CPU threads .* needs 3"),
    ],
)
def test_what_the_function_returns_must_fit_the_runtime(
    functions: str, function: str, settings: dict[str, object], expected: str
) -> None:
    load(cell_of(f"{functions}:plain"))  # JAX has started
    cell = a_cell(**{"model": f"{functions}:{function}", "runtime": "jax", "threads": 2} | settings)
    with pytest.raises(GpubenchError, match=expected):
        load(cell)


def in_another_process(code: str, **environment: str) -> list[Any]:
    """What `code` prints last, as JSON, in a process in which JAX has not started."""
    paths = os.pathsep.join([*map(str, Path(__file__).parents[:2]), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def test_the_pool_has_the_threads_of_all_workers_and_the_environment_stays() -> None:
    code = """
import json, os
from gpubench.system import jax_threads
jax_threads.start(3)
jax_threads.start(5)  # it has started
print(json.dumps([jax_threads._started(), "NPROC" in os.environ]))
"""
    assert in_another_process(code) == [3, False]


def test_an_accelerator_gets_copies_of_its_inputs_and_returns_copies_of_its_outputs() -> None:
    """The second of two simulated CPU devices stands for a TPU."""
    code = f"""
import json, jax, torch
from factories import a_cell
from gpubench.engines import jax as runtime
from gpubench.measure.output_check import check
from gpubench.measure.reference import make_reference
from gpubench.models.base import load
jax.config.update("jax_num_cpu_devices", 2)
runtime._device = lambda cell: jax.devices("cpu")[1]
cell = a_cell(model={EXAMPLE!r}, runtime="jax", device="tpu", threads=2)
model = load(cell)
reference = make_reference(model, 0, 2)
engine = runtime.build(model, cell)
with engine.thread_modes():
    numerics = check(engine, reference, "fp32").numerics
where = str(jax.tree.leaves(model.module.on(runtime._device(cell)).weights)[0].devices())
print(json.dumps([str(engine.device), numerics.cosine, where]))
"""
    device, cosine, where = in_another_process(code)
    assert device == "cpu"
    assert cosine == pytest.approx(1, abs=1e-6)
    assert "1" in where


def test_a_program_from_the_cache_of_jax_is_said_to_be_from_there(tmp_path: Path) -> None:
    code = f"""
import json, jax
from factories import a_cell
from gpubench.engines.base import build
from gpubench.models.base import load
cell = a_cell(model={EXAMPLE!r}, runtime="jax", threads=2)
found = [build(load(cell), cell).from_cache]
jax.clear_caches()
print(json.dumps([*found, build(load(cell), cell).from_cache]))
"""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    assert in_another_process(code, **cache) == [False, True]
    assert in_another_process(code) == [None, None]


def test_outputs_stay_until_the_next_call(functions: str) -> None:
    model, engine, _ = checked(cell_of(f"{functions}:plain"))
    request = model.make_inputs(torch.Generator(), 2)
    outputs, _ = run_engine(engine, request)
    with engine.thread_modes():
        kept = engine.forward(*request)
        assert all(torch.equal(one, two) for one, two in zip(kept, outputs, strict=True))
        assert [tensor.dtype for tensor in kept] == [torch.int32, torch.float32]
