"""Tests of what the cells of a sweep share, and of the times of their stages."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from factories import a_cell, another
from small_models import make_presets_small

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.engines.base import Engine, build
from gpubench.measure import cuda_graphs, python_workers, shared
from gpubench.measure.cell import Bench
from gpubench.measure.cuda_graphs import Shape
from gpubench.measure.engine import DeviceEngine, Prepared, prepare
from gpubench.measure.python_workers import KeptRequests, make_pool
from gpubench.measure.shared import Shared
from gpubench.measure.stage_times import StageTimes
from gpubench.models.base import LoadedModel, as_tuple, load
from gpubench.results.result import CellSeconds, Result
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.system.garbage import LongLived
from gpubench.system.machine import this_machine

TINY = {"model": "distilbert", "seq_len": 8, "warmup": 0, "requests": 4, "threads": 1}


@pytest.fixture(autouse=True)
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    make_presets_small(monkeypatch)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were loaded."""
    loads: list[str] = []

    def counting(cell: Cell) -> LoadedModel:
        loads.append(cell.model)
        return load(cell)

    monkeypatch.setattr(shared, "load", counting)
    return loads


def the_cell(**settings: object) -> Cell:
    return resolve(Spec.model_validate(TINY | settings), this_machine())


def test_a_preset_is_loaded_once_for_all_its_cells(loads: list[str]) -> None:
    machine = this_machine()
    results = []
    with Bench(machine) as bench:
        for settings in (
            {},
            {"batch": 2},
            {"seq_len": 16},
            {"runtime": "eager"},
            {"seed": 1},
            {"model": "resnet50", "seq_len": None},
        ):
            result = bench.measure(the_cell(**settings))
            assert result.error is None, result.error
            results.append(result)
    assert loads == ["distilbert", "distilbert", "resnet50"]
    first, batch, seq_len, _, seed, other = [result.seconds for result in results]
    assert first is not None
    assert batch is not None
    assert seq_len is not None
    assert seed is not None
    assert other is not None
    assert first.shared == other.shared == []
    assert batch.shared == ["load", "flops", "reference"]
    assert (batch.flops, batch.reference) == (None, None)
    assert seq_len.shared == ["load"]
    assert seed.shared == ["flops"]
    assert results[1].engine.load_seconds == results[0].engine.load_seconds


def test_a_single_run_keeps_no_model(loads: list[str]) -> None:
    bench = Bench(this_machine())
    for settings in ({}, {"batch": 2}):
        assert bench.measure(the_cell(**settings)).error is None
    assert loads == ["distilbert", "distilbert"]


@pytest.mark.parametrize(
    ("model", "precision", "runtime"),
    [
        ("distilbert", "fp32", "torchscript"),
        ("distilbert", "bf16", "torchscript"),
        ("distilbert", "amp", "eager"),
        ("resnet50", "fp32", "torchscript"),
    ],
)
def test_an_engine_of_a_sweep_equals_one_that_was_built_alone(
    model: str, precision: str, runtime: str, loads: list[str]
) -> None:
    common = {"model": model, "seq_len": 8 if model == "distilbert" else None}
    wanted = the_cell(**common, precision=precision, runtime=runtime, batch=2, allow_emulated=True)
    kept = Shared(keep=True)
    loaded = kept.load(wanted)
    build(loaded.copy(), another(wanted, precision="bf16", runtime="eager"))  # an earlier cell
    swept = prepare(wanted, lambda stage: None, kept)
    assert kept.kept(wanted) is loaded
    alone = prepare(wanted, lambda stage: None)
    assert len(loads) == 2
    assert swept.numerics == alone.numerics
    assert (swept.flops, swept.parameters) == (alone.flops, alone.parameters)
    ours, theirs = swept.engines["cpu"], alone.engines["cpu"]
    assert len(ours.pool) == len(theirs.pool)
    for mine, other in zip(ours.pool, theirs.pool, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    with alone.engine.thread_modes():
        mine, other = (as_tuple(each.engine.forward(*each.pool[0])) for each in (ours, theirs))
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_building_an_engine_does_not_change_the_model_that_is_kept() -> None:
    kept, cell = Shared(keep=True), a_cell(model="resnet50")
    loaded = kept.load(cell)
    before = {name: tensor.clone() for name, tensor in loaded.model.module.state_dict().items()}
    build(loaded.copy(), another(cell, precision="bf16", runtime="eager"))
    after = loaded.model.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert {tensor.dtype for tensor in after.values()} == {torch.float32, torch.int64}
    assert kept.kept(cell) is loaded


def test_a_copy_uses_the_memory_of_the_kept_weights() -> None:
    loaded = Shared(keep=True).load(a_cell(model="distilbert", seq_len=8))
    copied = dict(loaded.copy().module.named_parameters())
    for name, parameter in loaded.model.module.named_parameters():
        assert copied[name] is not parameter
        assert copied[name].data_ptr() == parameter.data_ptr()


def test_weights_to_which_an_engine_wrote_are_loaded_again(loads: list[str]) -> None:
    kept, cell = Shared(keep=True), a_cell(model="distilbert", seq_len=8)
    copied = kept.load(cell).copy()
    assert kept.kept(cell) is not None
    with torch.inference_mode():
        next(copied.module.parameters()).add_(1)
    assert kept.kept(cell) is None


def test_weights_from_a_file_are_loaded_again_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(load(a_cell(model="resnet50", seed=1)).module.state_dict(), file)
    cell = a_cell(model="resnet50", weights=str(file))
    kept = Shared(keep=True)
    kept.load(cell)
    assert kept.kept(another(cell, seed=5)) is not None  # these weights do not come from the seed
    torch.save(load(a_cell(model="resnet50", seed=2)).module.float().state_dict(), file)
    assert kept.kept(cell) is None


def test_requests_are_made_once_for_neighbouring_cells_of_equal_batch() -> None:
    requests, cell = KeptRequests(), a_cell(model="distilbert", seq_len=8)
    model = load(cell)
    made: list[int] = []

    def counting(generator: torch.Generator, samples: int) -> tuple[torch.Tensor, ...]:
        made.append(samples)
        return model.make_inputs(generator, samples)

    counted = LoadedModel(model.module, "", counting)
    first = requests.of(counted, cell)
    one = [next(first) for _ in range(2)]
    assert requests.has(another(cell, precision="bf16"))
    again = requests.of(counted, cell)
    three = [next(again) for _ in range(3)]  # one more than before
    assert made == [1, 1, 1]
    assert all(a is b for a, b in zip(one, three, strict=False))
    alone = make_pool(model, build(model, cell), cell)
    assert all(torch.equal(a, b) for a, b in zip(three[2], alone[2], strict=True))
    assert not requests.has(another(cell, batch=2))
    assert not requests.has(another(cell, seed=1))


def test_requests_of_an_own_model_are_made_for_each_cell(tmp_path: Path) -> None:
    requests = KeptRequests()
    cell = a_cell(model="net.py:make")
    model = LoadedModel(torch.nn.Identity(), "", lambda generator, samples: (torch.ones(samples),))
    next(requests.of(model, cell))
    assert not requests.has(cell)


def test_many_bytes_of_requests_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_workers, "_KEPT_BYTES", 100)
    requests, cell = KeptRequests(), a_cell(model="distilbert", seq_len=8)
    model = load(cell)
    made = requests.of(model, cell)
    shown = [next(made) for _ in range(3)]
    assert not requests.has(cell)
    again = requests.of(model, cell)
    for request in shown:
        assert all(torch.equal(a, b) for a, b in zip(request, next(again), strict=True))


def test_cells_that_differ_only_in_clients_share_the_graphs_of_their_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes: list[Shape] = []

    def capturing(engine: Engine, pool: object, shape: Shape) -> SimpleNamespace:
        shapes.append(shape)
        return SimpleNamespace(executors=lambda takes_turns: [object()] * shape.workers)

    monkeypatch.setattr(cuda_graphs, "capture", capturing)
    engine = Engine(torch.nn.Identity(), torch.device("cpu"), None, torch.no_grad)
    place = DeviceEngine(engine, [])
    prepared = Prepared({"cuda:0": place, "cuda:1": place}, "", None, None, 0, 0, 0, None)
    cell = a_cell(model="resnet50", device="cuda:0,cuda:1", workers=2, clients=2)
    assert not prepared.has_graphs(cell)
    for clients in (2, 4, 8):
        assert len(prepared.graph_executors(another(cell, clients=clients))) == 2
    assert len(shapes) == 2  # of each device
    assert prepared.has_graphs(another(cell, clients=16))
    for settings in ({"depth": 2}, {"workers": 4}, {"inputs": "device"}):
        assert not prepared.has_graphs(another(cell, **settings))
    prepared.graph_executors(another(cell, depth=2))
    assert len(shapes) == 4
    assert not prepared.has_graphs(cell)  # these were dropped


def test_the_stages_and_the_rest_add_up_to_the_total() -> None:
    seconds = gpubench.run(Spec.model_validate(TINY)).seconds
    assert seconds is not None
    stages = {name: getattr(seconds, name) for name in CellSeconds.STAGES}
    assert {name for name, value in stages.items() if value is None} == {
        "accuracy",
        "capture",
        "cool",
    }
    assert all(value > 0 for value in stages.values() if value is not None)
    assert seconds.other > 0
    measured = sum(value for value in stages.values() if value is not None)
    assert measured + seconds.other == pytest.approx(seconds.total)
    assert seconds.shared == []


def test_a_cell_that_failed_has_the_times_of_the_stages_before(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = gpubench.run(Spec.model_validate(TINY | {"weights": str(tmp_path / "empty")}))
    assert result.error is not None
    assert result.seconds is not None
    assert result.seconds.load is not None
    assert result.seconds.measure is None


def test_a_cell_with_the_engine_of_an_earlier_cell_has_no_time_for_making_it() -> None:
    with Bench(this_machine()) as bench:
        first, second = (bench.measure(the_cell(clients=clients)) for clients in (1, 2))
    assert first.engine == second.engine
    assert second.seconds is not None
    made = ("load", "flops", "reference", "build", "check", "inputs")
    assert second.seconds.shared == list(made)
    assert all(getattr(second.seconds, stage) is None for stage in made)
    assert (second.seconds.measure or 0) > 0


def ticks(*times: float) -> Iterator[float]:
    yield from times


def test_a_stage_may_be_entered_twice_and_the_time_between_stages_is_other() -> None:
    clock = ticks(0, 1, 4, 6, 7, 10)
    times = StageTimes(lambda: next(clock))
    times.enter("load")  # at 1
    times.enter("build")  # at 4
    times.leave()  # at 6
    times.enter("load")  # at 7
    seconds = times.seconds()  # at 10
    assert (seconds.load, seconds.build, seconds.other, seconds.total) == (6, 2, 2, 10)


def test_a_result_of_an_earlier_version_has_no_seconds() -> None:
    result = gpubench.run(Spec(model="synthetic", service_time="10us", requests=20, warmup=0))
    older = result.model_dump(mode="json", by_alias=True)
    assert older.pop("seconds")["total"] > 0
    assert Result.model_validate(older).seconds is None


def test_objects_that_live_long_are_left_out_of_collections_until_the_end() -> None:
    gc.unfreeze()  # a test of a node of Ray keeps its Bench, as the node's process does
    long_lived = LongLived()
    long_lived.collect()
    try:
        assert gc.get_freeze_count() > 1000
    finally:
        long_lived.release()
    assert gc.get_freeze_count() == 0


def test_the_engine_of_the_last_cell_is_collected_though_objects_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive: list[int] = []

    class Cycle:
        def __init__(self) -> None:
            self.itself = self
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    def with_cycle(model: LoadedModel, cell: Cell) -> object:
        engine = build(model, cell)
        model.module.cycle = Cycle()  # type: ignore[assignment]
        return engine

    monkeypatch.setattr("gpubench.measure.engine.build", with_cycle)
    with Bench(this_machine()) as bench:
        for batch in (1, 2, 3):
            assert bench.measure(the_cell(runtime="eager", batch=batch)).error is None
            assert len(alive) == 1
    gc.collect()
    assert alive == []
