"""The warm-up of a cell: how long it runs, and what becomes of its requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from factories import a_machine, samples
from simulated_warm_ups import independent

import gpubench
from gpubench.cells.grid import Grid, expand
from gpubench.cells.resolve import resolve
from gpubench.cli.settings import as_axes
from gpubench.errors import InputError
from gpubench.measure import warm_up
from gpubench.measure.executors import synthetic_executors
from gpubench.measure.run import measured_run
from gpubench.measure.time_left import run_seconds
from gpubench.results.parquet import from_parquet, to_parquet
from gpubench.results.samples import Samples, concatenated, with_warm_up
from gpubench.spec.cell import Cell, OpenLoad
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec
from gpubench.statistics import analyse

BRIEF = {"model": "synthetic", "service_time": "200us", "warmup": "auto", "requests": 200}


def cell_of(**settings: object) -> Cell:
    return resolve(make_spec(BRIEF | settings), a_machine())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 10 ms, for a second at most."""
    monkeypatch.setattr(warm_up, "_PIECE_S", 0.01)
    monkeypatch.setattr(warm_up, "_LONGEST_S", 1.0)


def load_of(factor: np.ndarray) -> Callable[..., Samples]:
    """A load of one client that needs 10 ms times the next 50 of these factors, in no real time."""
    service = 10_000_000 * factor * independent(len(factor), np.random.default_rng(1))
    pieces = iter(np.split(service.astype(np.int64), len(factor) // 50))
    now = time.monotonic_ns()

    def run_load(seconds: float, most_requests: int | None = None) -> Samples:
        nonlocal now
        service_ns = next(pieces)
        completed = now + np.cumsum(service_ns)
        now = int(completed[-1])
        departed = completed - service_ns
        return replace(
            samples(len(service_ns)),
            scheduled_ns=departed,
            opened_ns=departed,
            departed_ns=departed,
            submitted_ns=departed,
            completed_ns=completed,
        )

    return run_load


def until_settled(factor: np.ndarray, **settings: object) -> warm_up.WarmedUp:
    return warm_up._until_settled(
        load_of(factor), cell_of(**settings), time.monotonic_ns(), samples(3)
    )


def test_a_steady_load_runs_for_four_pieces() -> None:
    warmed_up = until_settled(np.ones(1_000))
    assert warmed_up.samples is not None
    assert warmed_up.found is not None
    assert len(warmed_up.samples) == 200
    assert warmed_up.found.settled_requests == 0
    assert not warmed_up.found.limit_reached
    assert warmed_up.requests_per_second == pytest.approx(100, rel=0.05)


def test_the_load_runs_until_the_speed_has_settled() -> None:
    """150 requests of 20 ms take 3 s; 1.5 s of the usual speed must follow: 150 requests."""
    warmed_up = until_settled(np.repeat([2.0, 1.0], [150, 1_000]), duration=10, requests=None)
    assert warmed_up.samples is not None
    assert warmed_up.found is not None
    assert len(warmed_up.samples) in {300, 350}
    assert warmed_up.found.settled_requests == pytest.approx(150, abs=2)
    assert warmed_up.found.settled_seconds == pytest.approx(3, rel=0.05)
    assert warmed_up.found.slower == pytest.approx(1, rel=0.05)
    # From 2 s on, 1 of the 10 s of the window would have had half the speed.
    assert warmed_up.found.throughput_error_after_2s == pytest.approx(-0.05, abs=0.01)


def test_a_load_that_never_settles_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "_MOST_REQUESTS", 1_000)
    warmed_up = until_settled(np.linspace(4, 1, 2_000))
    assert warmed_up.samples is not None
    assert warmed_up.found is not None
    assert len(warmed_up.samples) == 1_000
    assert warmed_up.found.limit_reached
    assert warmed_up.found.settled_seconds is None
    assert warmed_up.found.slower != 0


def test_requests_of_the_warm_up_are_kept_and_in_no_figure(quick: None) -> None:
    result = gpubench.run(Spec(**BRIEF))  # type: ignore[arg-type]
    kept, counted = result.samples, result.counted
    assert kept is not None
    assert counted is not None
    assert kept.warmup is not None
    before = int(kept.warmup.sum())
    assert before > 0
    assert kept.warmup[:before].all()
    assert not counted[kept.warmup].any()
    assert counted.sum() == result.requests.completed
    assert result.window.warmup is not None
    assert len(np.unique(kept.batch)) == len(kept)
    assert (kept.completed_ns[:before] <= kept.departed_ns[before:].min()).all()


def test_a_warm_up_of_a_given_length_leaves_no_requests() -> None:
    result = gpubench.run(Spec(**BRIEF | {"warmup": "1ms"}))  # type: ignore[arg-type]
    assert result.samples is not None
    assert result.samples.warmup is None
    assert result.window.warmup is None


def test_the_queue_of_an_open_loop_settles_for_two_seconds_after_an_automatic_warm_up() -> None:
    load = cell_of(rate=100.0).load
    assert isinstance(load, OpenLoad)
    assert load.settling == 200


def test_dynamic_batches_are_judged_as_batches(quick: None) -> None:
    cell = cell_of(dynamic_batch="4:1ms", clients=4, requests=100)
    run = measured_run(cell, synthetic_executors(cell))
    assert run.warmup_samples is not None
    assert run.warmup is not None
    assert run.warmup_samples.batch_size.max() == 4
    assert run.samples.warmup is None
    assert analyse(run.samples, run.loop, max_batch=4, max_delay_ns=1_000_000).completed >= 100


def test_a_warm_up_of_a_sample_file_is_read_as_it_was_written() -> None:
    marked = with_warm_up(samples(30), samples(70, unfinished=3))
    read = from_parquet(to_parquet(marked), "here")
    assert read.warmup is not None
    assert marked.warmup is not None
    assert (read.warmup == marked.warmup).all()
    assert len(read.unfinished_scheduled_ns) == 3
    assert (read.batch == np.arange(100)).all()


def test_a_column_that_a_part_lacks_is_left_out() -> None:
    with_stages = replace(samples(5), around_ns=np.ones((5, 2), np.int64))
    assert concatenated([with_stages, samples(5)]).around_ns is None
    both = concatenated([with_stages, with_stages]).around_ns
    assert both is not None
    assert both.shape == (10, 2)
    alone = concatenated([with_stages, samples(0)])  # a part without requests has no stamps at all
    assert alone.around_ns is not None
    assert len(concatenated([samples(0), samples(0)])) == 0


@pytest.mark.parametrize("word", ["auto", " Auto "])
def test_the_word_is_a_setting(word: str) -> None:
    assert Spec(model="synthetic", warmup=word).warmup == "auto"
    assert cell_of(warmup=word).warmup_s is None


def test_it_has_a_key_of_its_own() -> None:
    keys = {Spec(model="resnet50", warmup=time).key("m") for time in ("2s", "auto", "500ms")}
    assert len(keys) == 3


def test_a_list_may_hold_a_time_and_the_word() -> None:
    grid = Grid(as_axes({"model": "synthetic", "warmup": "2s,auto"}), "flags")
    assert [spec.warmup for spec in expand(grid)] == [2.0, "auto"]


def test_how_long_it_takes_is_not_known_before() -> None:
    assert run_seconds(cell_of(duration=1, requests=None)) is None


def test_another_word_names_both_forms() -> None:
    with pytest.raises(InputError, match=r"--warmup: 'soon' is not a duration.*or auto"):
        Spec(model="synthetic", warmup="soon")
