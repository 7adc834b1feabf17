"""The trace of a cell: the rules of the format, and the same times as in the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import trace_rules
from factories import failed, repeated, result
from fake_cuda import on_fake

from gpubench import core
from gpubench.errors import InputError
from gpubench.measure.collect import collect
from gpubench.report import trace
from gpubench.report.trace import chosen_cell, make_trace, microseconds
from gpubench.results.result import (
    CountedRows,
    DeviceReport,
    GpuReadings,
    GpuReport,
    Result,
    WindowInfo,
)
from gpubench.results.samples import Samples
from gpubench.statistics.stages import summarise_stages
from gpubench.statistics.windows import (
    ClosedLoopRule,
    closed_window,
    counted_rows,
    counted_samples,
)

MS = 1_000_000


def measured(samples: Samples, rows: CountedRows | None, **settings: Any) -> Result:
    """The result of these samples."""
    cell = result(**settings)
    cell.window = WindowInfo(counted=rows)
    cell.stages_ms = summarise_stages(samples, counted_samples(samples, rows)[0])
    return cell


def closed(clients: int, **simulated: Any) -> tuple[Samples, CountedRows | None]:
    outcome = core.simulate(
        core.ClosedLoop(clients), service_ns=3 * MS + 1, stop_after_completions=200, **simulated
    )
    samples = collect(outcome)
    rule = ClosedLoopRule(clients)
    return samples, counted_rows(rule, closed_window(samples, rule))


def open_loop(rate: float, **simulated: Any) -> tuple[Samples, CountedRows | None]:
    due = core.poisson_arrivals(rate, 300, 1)
    service = core.exponential_service(MS, len(due), 2)
    samples = collect(core.simulate(core.OpenLoop(due), service_ns=service, **simulated))
    middle = int(due[100])
    return samples, CountedRows(stamp="scheduled_ns", from_ns=middle, to_ns=int(due[-1]))


def on_device(depth: int, filled: bool = False) -> tuple[Samples, CountedRows | None]:
    """A worker that has `depth` batches in flight on a device that computes one at a time."""
    count = 100
    batch = np.arange(count, dtype=np.int64)
    e0 = 10**15 + batch * 3 * MS + 7
    device = np.stack([e0, e0 + MS // 3, e0 + MS * 2 + 1, e0 + 2 * MS + MS // 7], axis=1)
    completed = device[:, 3] + 20_001
    departed = np.concatenate([e0[:depth] - 3000, completed[:-depth] + 500])
    samples = Samples(
        scheduled_ns=departed - 900,
        opened_ns=departed - 400,
        departed_ns=departed,
        submitted_ns=departed + 1001,
        completed_ns=completed,
        worker=np.zeros(count, np.int32),
        batch=batch,
        id=batch,
        device_ns=device,
        filled=filled,
    )
    rows = CountedRows(
        stamp="completed_ns", from_ns=int(completed[10]) + 1, to_ns=int(completed[-10])
    )
    return samples, rows


def with_processing() -> tuple[Samples, CountedRows | None]:
    samples, rows = closed(1)
    return replace(samples, around_ns=np.full((len(samples), 2), 1001, np.int64)), rows


CASES: dict[str, Callable[[], tuple[Samples, CountedRows | None]]] = {
    "one client": lambda: closed(1),
    "two workers": lambda: closed(8, executors=2),
    "dynamic batching": lambda: closed(8, executors=2, max_batch=4, max_delay_ns=MS),
    "open loop": lambda: open_loop(700),
    "open loop with dynamic batching": lambda: open_loop(1500, max_batch=8, max_delay_ns=2 * MS),
    "overload": lambda: open_loop(5000, executors=2),
    "device": lambda: on_device(1),
    "depth 2": lambda: on_device(2),
    "depth 3, filled": lambda: on_device(3, filled=True),
    "processing": with_processing,
}


@pytest.mark.parametrize("case", CASES)
def test_the_slices_add_up_to_the_stages_of_the_result(case: str) -> None:
    samples, rows = CASES[case]()
    cell = measured(samples, rows)
    read = trace_rules.read(make_trace("k", cell, samples).text)
    mask, _ = counted_samples(samples, rows)
    batches = [each for name, track in read.slices.items() for each in track if "workers" in name]
    counted_of = {b.args["batch"]: b.args["counted"] for b in batches if b.name == "batch"}
    assert sum(counted_of.values()) == mask.sum()
    assert {b.args["requests"] for b in batches if b.name == "batch"} == set(
        samples.batch_size.tolist()
    )

    total: dict[str, float] = {}
    for track in (track for name, track in read.slices.items() if name.startswith("workers")):
        batch = None
        for each in track:
            batch = each.args["batch"] if each.name == "batch" else batch
            total[each.name] = total.get(each.name, 0) + (each.end - each.begin) * counted_of[batch]
    each_request = {int(r.args["id"]): r for r in read.single if r.name == "request"}
    assert {row for row in each_request if mask[row]} == set(np.flatnonzero(mask).tolist())
    for name in ("queue", "batching"):
        total[name] = sum(
            each.end - each.begin
            for each in read.single
            if each.name == name and mask[int(each.args["id"])]
        )
    stages = cell.stages_ms.model_dump(by_alias=True, exclude_none=True)
    assert "compute" in stages
    for name, stage in stages.items():
        assert total.get(name, 0) / mask.sum() / MS == pytest.approx(stage["mean"], abs=1e-9), name


@pytest.mark.parametrize("case", CASES)
def test_the_counter_is_the_number_of_requests_that_wait(case: str) -> None:
    samples, rows = CASES[case]()
    values = trace_rules.read(make_trace("k", measured(samples, rows), samples).text).counters[
        "requests/waiting"
    ]
    due = np.concatenate([samples.scheduled_ns, samples.unfinished_scheduled_ns])
    zero = int(samples.scheduled_ns.min())
    for at, value in values[:: max(1, len(values) // 50)]:
        assert value == (due <= at + zero).sum() - (samples.departed_ns <= at + zero).sum()


def test_clock_and_power_of_a_gpu_are_counters_at_their_times() -> None:
    samples, rows = on_device(1)
    assert rows is not None
    cell = measured(samples, rows, device="cuda:0", inputs="host")
    readings = GpuReadings(
        seconds=[0.0, 0.1, 1e300], sm_clock_mhz=[1410, 1395, 1], power_w=[None, 71.5, 1], total=3
    )
    cell.device = DeviceReport(gpus=[GpuReport(device="cuda:0", readings=readings)])
    counters = trace_rules.read(make_trace("k", cell, samples).text).counters
    begin = rows.from_ns - int(samples.scheduled_ns.min())
    assert counters["cuda:0/SM clock"] == [(begin, 1410), (begin + 100 * MS, 1395)]
    assert counters["cuda:0/power"] == [(begin + 100 * MS, 71.5)]


def test_batches_in_flight_together_have_tracks_of_their_own() -> None:
    samples, rows = on_device(2)
    cell = measured(samples, rows, device="cuda:0", inputs="host")
    read = trace_rules.read(make_trace("k", cell, samples).text)
    assert set(read.slices) == {
        "requests/phases",
        *("workers/worker 0", "workers/worker 0, in flight 2"),
        "cuda:0/worker 0",
    }
    assert {each.name for each in read.slices["cuda:0/worker 0"]} == {"h2d", "compute", "d2h"}
    assert len(read.slices["cuda:0/worker 0"]) == 3 * len(samples)


def test_workers_are_on_their_devices() -> None:
    samples, rows = on_device(1)
    worker = np.arange(len(samples), dtype=np.int32) % 4
    samples = replace(samples, worker=worker)
    cell = measured(samples, rows, device="cuda:0,cuda:1", workers=4, inputs="host")
    tracks = trace_rules.read(make_trace("k", cell, samples).text).slices
    assert {"cuda:0/worker 0", "cuda:1/worker 1", "cuda:0/worker 2", "cuda:1/worker 3"} < set(
        tracks
    )


def test_the_warm_up_is_marked() -> None:
    samples, rows = open_loop(700)
    assert rows is not None
    phases = trace_rules.read(make_trace("k", measured(samples, rows), samples).text).slices[
        "requests/phases"
    ]
    assert [each.name for each in phases] == [
        "warm-up (does not count)",
        "measured window",
        "after the window",
    ]
    assert phases[1].begin + int(samples.scheduled_ns.min()) == rows.from_ns
    assert phases[1].args["model"] == "resnet50"


def test_a_cell_without_a_window_has_no_phases() -> None:
    samples, _ = closed(1)
    tracks = trace_rules.read(make_trace("k", measured(samples, None), samples).text).slices
    assert set(tracks) == {"workers/worker 0"}


def test_a_long_cell_is_cut_to_whole_batches_around_the_start_of_its_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trace, "MOST_REQUESTS", 60)
    monkeypatch.setattr(trace, "MOST_SINGLE_REQUESTS", 10)
    samples, rows = open_loop(1500, max_batch=8, max_delay_ns=2 * MS)
    assert rows is not None
    made = make_trace("k", measured(samples, rows), samples)
    read = trace_rules.read(made.text)
    assert sum(each.name == "request" for each in read.single) == 10
    batches = [each for each in read.slices["workers/worker 0"] if each.name == "batch"]
    shown = sum(each.args["requests"] for each in batches)
    assert 60 - 8 < shown <= 60
    assert f"has {shown} requests; {300 - shown} are left out" in made.remark
    assert "10 have slices of their own" in made.remark
    assert len(read.counters["requests/waiting"]) <= 60
    before = [each for each in batches if each.args["counted"] == 0]
    assert 0 < len(before) < len(batches) / 2


def test_perfetto_reads_the_same_nanoseconds() -> None:
    rng = np.random.default_rng(0)
    exact = np.unique(np.concatenate([np.arange(5000), rng.integers(0, 10**13, 50_000)]))
    assert [trace_rules.nanoseconds(us) for us in microseconds(exact)] == exact.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_stamps_that_contradict_each_other_still_nest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples, rows = on_device(2)

    def mixed(column: Any) -> Any:
        return column + rng.integers(-5 * MS, 5 * MS, column.shape)

    names = ("scheduled_ns", "opened_ns", "departed_ns", "submitted_ns", "completed_ns")
    columns: dict[str, Any] = {name: mixed(getattr(samples, name)) for name in names}
    assert samples.device_ns is not None
    columns |= {"device_ns": mixed(samples.device_ns), "worker": rng.integers(-3, 3, 100)}
    trace_rules.read(make_trace("k", measured(samples, rows), replace(samples, **columns)).text)


def test_requests_that_complete_before_they_are_due_still_have_a_trace() -> None:
    samples, rows = closed(1)
    early = replace(samples, completed_ns=np.zeros_like(samples.completed_ns))
    trace_rules.read(make_trace("k", measured(samples, rows), early).text)


@pytest.mark.parametrize("stamp", [2**62, -(2**62)])
def test_stamps_that_are_no_times_are_refused(stamp: int) -> None:
    samples, rows = closed(1)
    broken = samples.completed_ns.copy()
    broken[3] = stamp
    with pytest.raises(InputError, match="the time stamps of k are not those of a run"):
        make_trace("k", measured(samples, rows), replace(samples, completed_ns=broken))


def test_texts_are_data() -> None:
    samples, rows = closed(1)
    name = '</script><b>"\\\x1b[31m\u202e'
    cell = measured(samples, rows)
    cell.environment.cpu = name
    settings = json.loads(make_trace(name, cell, samples).text)["otherData"]
    assert settings["cell"] == '</script><b>"\\\\x1b[31m\\u202e'
    assert "\x1b" not in settings["machine"]


def test_no_completed_request() -> None:
    with pytest.raises(InputError, match="k has no completed request"):
        make_trace("k", result(), closed(1)[0].rows(slice(0)))


def test_which_cell() -> None:
    cells = [("ab1", result(batch=1)), ("ab2", result(batch=2)), ("c", result(batch=4))]
    assert chosen_cell(cells[:1], None, "run")[0] == "ab1"
    assert chosen_cell(cells, "c", "run")[0] == "c"
    assert chosen_cell(cells, "ab2", "run")[0] == "ab2"
    with pytest.raises(InputError, match=r"^run has 3 cells: ab1 \(model resnet50.*batch 1.*ab2"):
        chosen_cell(cells, None, "run")
    with pytest.raises(InputError, match=r"^--cell a fits 2 cells: ab1 .*; give --cell KEY"):
        chosen_cell(cells, "a", "run")
    with pytest.raises(InputError, match=r"^--cell x: no key begins so; run has 3 cells: ab1"):
        chosen_cell(cells, "x", "run")
    many = [(f"key{n:02}", result(batch=n)) for n in range(1, 20)]
    with pytest.raises(InputError, match=r"run has 19 cells: .* and 14 more; give --cell"):
        chosen_cell(many, None, "run")


def test_of_repeats_the_first_that_did_not_fail() -> None:
    cells = list(zip(["k", "k-2", "k-3"], repeated(None, 100.0, 104.0), strict=True))
    assert chosen_cell(cells, None, "run")[0] == "k-2"
    assert chosen_cell(cells, "k-3", "run")[0] == "k-3"
    assert chosen_cell([("k", failed())], None, "run")[0] == "k"


@on_fake()
def test_a_run_on_a_simulated_gpu_with_two_batches_in_flight() -> None:
    import gpubench

    spec = gpubench.Spec(
        model="synthetic", service_time=0.001, device="cuda:0", depth=2, clients=4, requests=200,
        warmup=0.01, inputs="host",
    )  # fmt: skip
    cell = gpubench.run(spec)
    assert cell.samples is not None
    tracks = trace_rules.read(make_trace("k", cell, cell.samples).text).slices
    on_gpu = [name for name in tracks if name.startswith("cuda:0")]
    assert on_gpu
    assert {"compute"} <= {each.name for name in on_gpu for each in tracks[name]}
    assert any(name.startswith("workers/worker 0, in flight") for name in tracks)
