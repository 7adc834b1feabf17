"""The CUDA path of the core, through Python, on a simulated GPU."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from fake_cuda import Controls, environment, on_fake
from numpy.typing import NDArray

from gpubench import core


def check_stamps(outcome: core.Outcome) -> None:
    """submitted <= e0 <= e1 <= e2 <= e3 <= completed, for every batch."""
    for timeline in outcome.timelines:
        assert timeline.device_ns is not None
        assert timeline.device_ns.shape == (len(timeline.size), 4)
        columns = [timeline.submitted_ns, *timeline.device_ns.T, timeline.completed_ns]
        assert (np.diff(np.stack(columns), axis=0) >= 0).all()


def unavailable(**settings: int) -> str:
    """The version of the driver, or why there is none, from a separate process."""
    code = (
        "from gpubench import core\n"
        "try: print(core.cuda.driver_version())\n"
        "except core.CudaUnavailable as error: print(error.reason, error, sep=': ')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_driver_that_cannot_be_used_says_why() -> None:
    assert unavailable(driver_version=12080) == "12080"
    assert unavailable(devices=0).startswith("no-device: ")
    assert unavailable(driver_version=11080).startswith("driver-too-old: ")
    assert "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" in unavailable(init_error=803)


def test_a_machine_without_a_driver_says_so_in_one_line() -> None:
    code = (
        "from gpubench import core\n"
        "try: core.cuda.devices()\n"
        "except core.CudaUnavailable as error: print(error.reason, error, sep=': ')"
    )
    none = os.environ | {"GPUBENCH_TEST_CUDA_DRIVER": "libno_such_driver.so"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=none, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("no-driver: ")
    assert "--device cpu" in done.stdout
    assert done.stdout.count("\n") == 1


@on_fake(devices=2)
def test_devices_are_described() -> None:
    first, second = core.cuda.devices()
    assert (first.index, second.index) == (0, 1)
    assert second.compute_capability == (8, 6)
    assert second.uuid.startswith("GPU-f0f1f2f3-")
    assert second.memory_bytes == 16 << 30
    with pytest.raises(core.CudaUnavailable, match="cuda:2 is not there") as raised:
        core.cuda.PinnedBuffer(2, 8)
    assert raised.value.reason == "no-device"


@on_fake()
def test_buffers_are_views_of_the_core_s_own_memory() -> None:
    fake = Controls()
    pinned = core.cuda.PinnedBuffer(0, 64)
    view = pinned.array
    assert view.flags.writeable
    assert not view.any()
    assert view.ctypes.data == pinned.address
    on_device = core.cuda.DeviceBuffer(0, 100)
    interface = on_device.__cuda_array_interface__
    assert interface["data"] == (on_device.address, False)
    assert interface["shape"] == (100,)
    del pinned
    gc.collect()
    view[:] = 3  # keeps the buffer alive
    assert fake["live_pinned"] == 1
    del view, on_device
    gc.collect()
    assert fake["live"] == 0
    with pytest.raises(ValueError, match="bytes is 0"):
        core.cuda.DeviceBuffer(0, 0)
    with pytest.raises(ValueError, match="bytes is -1"):
        core.cuda.PinnedBuffer(0, -1)


@on_fake(drift_ppm=80)
def test_synthetic_batches_take_their_time_on_the_device() -> None:
    executors = [
        core.cuda.SyntheticExecutor(0, 1_000_000, depth=2, request_bytes=4096, reply_bytes=16)
        for _ in range(2)
    ]
    runner = core.Runner(executors)
    outcome = runner.run(core.ClosedLoop(4), stop_after_completions=400, capacity=10_000)
    assert outcome.error is None
    check_stamps(outcome)
    for timeline in outcome.timelines:
        assert timeline.device_ns is not None
        h2d, compute, d2h = np.diff(timeline.device_ns, axis=1).T
        assert (compute >= 999_000).all()
        assert (h2d >= 1_800).all()  # 2 us and 4096 bytes, less an event's resolution
        assert (d2h >= 1_400).all()
    for executor in executors:
        assert executor.clock is not None
        # The drift of the host's clock is that of the device's clock with the opposite sign.
        assert abs(executor.clock.drift_ppm + 80) <= 1000
        assert executor.clock.squeezed_batches == 0
    runner.close()
    del runner, executors, executor, outcome, timeline
    gc.collect()
    assert Controls()["live"] == 0


@on_fake(devices=2)
def test_workers_on_several_devices_share_one_queue() -> None:
    executors = [core.cuda.SyntheticExecutor(device, 500_000) for device in (0, 1)]
    assert [executor.device for executor in executors] == [0, 1]
    outcome = core.Runner(executors).run(
        core.ClosedLoop(2), stop_after_completions=100, capacity=1000
    )
    assert outcome.error is None
    check_stamps(outcome)
    assert all(len(timeline.size) > 25 for timeline in outcome.timelines)


@on_fake()
def test_service_times_are_taken_in_turn() -> None:
    executor = core.cuda.SyntheticExecutor(0, np.array([400_000, 0]))
    runner = core.Runner([executor])
    outcome = runner.run(core.ClosedLoop(1), stop_after_completions=40, capacity=1000)
    device_ns = outcome.timelines[0].device_ns
    assert device_ns is not None
    compute_ns = device_ns[:, 2] - device_ns[:, 1]
    assert (compute_ns[::2] >= 399_000).all()
    assert (np.median(compute_ns[1::2])) < 399_000


@on_fake()
def test_a_hundred_runs_in_one_process() -> None:
    fake = Controls()
    for _ in range(10):
        runner = core.Runner([core.cuda.SyntheticExecutor(0, 5_000, depth=2) for _ in range(2)])
        for _ in range(10):
            outcome = runner.run(core.ClosedLoop(4), stop_after_completions=40, capacity=1000)
            assert outcome.error is None
            check_stamps(outcome)
        runner.close()
    del runner
    gc.collect()
    assert fake["live"] == 0
    assert fake["freed_in_use"] == 0


class Captured:
    """Captured graphs that copy their input to their output, for batches of 1, 2 and 4."""

    def __init__(self, fake: Controls, payloads: core.cuda.Payloads, duration_ns: int) -> None:
        most = payloads.arena_bytes(4)
        self._fake = fake
        self.memory = [core.cuda.DeviceBuffer(0, most) for _ in range(2)]
        self.host_input = core.cuda.PinnedBuffer(0, most) if payloads.gathers(4) else None
        self.host_output = core.cuda.PinnedBuffer(0, most)
        source, to = (buffer.address for buffer in self.memory)
        sizes = {requests: payloads.arena_bytes(requests) for requests in (1, 2, 4)}
        self.graphs = {
            requests: (fake.copy_graph(to, source, size, duration_ns), size, size)
            for requests, size in sizes.items()
        }
        self.slot = core.cuda.Slot(self.graphs, self.host_input, source, to, self.host_output)

    def __del__(self) -> None:
        for handle, _, _ in self.graphs.values():
            self._fake.destroy_graph(handle)


def two_tensors(count: int) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return [
        random.integers(1, 256, (count, 300), np.uint8),
        random.integers(1, 256, (count, 7), np.uint8),
    ]


@on_fake()
def test_the_requests_of_a_batch_lie_side_by_side() -> None:
    tensors = two_tensors(5)
    payloads = core.cuda.Payloads(tensors)
    assert payloads.count == 5
    assert payloads.offsets(4) == [0, 1280]
    assert payloads.arena_bytes(4) == 1280 + 4 * 7

    captured = Captured(Controls(), payloads, 10_000)
    runner = core.Runner([core.cuda.GraphExecutor(0, [captured.slot], payloads, owner=captured)])
    outcome = runner.run(
        core.ClosedLoop(4), max_batch=4, max_delay_ns=10**9, stop_after_completions=4, capacity=100
    )
    assert outcome.error is None
    check_stamps(outcome)
    ids = outcome.timelines[0].id
    assert sorted(ids) == [0, 1, 2, 3]
    got = captured.host_output.array
    assert (got[:1200].reshape(4, 300) == tensors[0][ids % 5]).all()
    assert (got[1280:1308].reshape(4, 7) == tensors[1][ids % 5]).all()
    assert Controls()["pageable_copies"] == 0


def answers_of_four(fake: Controls, tensors: list[NDArray[np.uint8]], *, pinned: bool) -> None:
    """Runs batches of four requests from pinned or ordinary memory, and checks the last outputs."""
    payloads = core.cuda.Payloads(tensors, pinned_on=0 if pinned else None)
    assert payloads.pinned == pinned
    captured = Captured(fake, payloads, 10_000)
    executor = core.cuda.GraphExecutor(0, [captured.slot], payloads, owner=captured)
    assert executor.fills_inputs == payloads.gathers(4)
    outcome = core.Runner([executor]).run(
        core.ClosedLoop(4), max_batch=4, max_delay_ns=10**9, stop_after_completions=4, capacity=100
    )
    assert outcome.error is None
    check_stamps(outcome)
    ids = outcome.timelines[0].id
    got = captured.host_output.array
    for tensor, offset in zip(tensors, payloads.offsets(4), strict=True):
        rows = got[offset : offset + 4 * tensor.shape[1]].reshape(4, -1)
        assert (rows == tensor[ids % len(tensor)]).all()


@on_fake()
def test_a_client_of_a_closed_loop_sends_one_input_after_another() -> None:
    (tensor,) = tensors = [np.random.default_rng(0).integers(0, 256, (5, 30_000), np.uint8)]
    for pinned, takes_turns in itertools.product((False, True), repeat=2):
        payloads = core.cuda.Payloads(tensors, pinned_on=0 if pinned else None)
        captured = Captured(Controls(), payloads, 10_000)
        executor = core.cuda.GraphExecutor(
            0, [captured.slot], payloads, owner=captured, takes_turns=takes_turns
        )
        runner = core.Runner([executor])
        for completions in (8, 7):  # each run begins with the first input
            outcome = runner.run(
                core.ClosedLoop(1), stop_after_completions=completions, capacity=100
            )
            assert outcome.error is None
            last = completions - 1 if takes_turns else 0
            assert (captured.host_output.array[:30_000] == tensor[last % 5]).all()
        runner.close()


def check_pinned_inputs(calls: int) -> None:
    fake = Controls()
    small = two_tensors(5)
    large = np.random.default_rng(0).integers(0, 256, (5, 30_000), np.uint8)
    copies = {}
    for name, tensors in {"small": small, "mixed": [*small, large], "large": [large]}.items():
        answers_of_four(fake, tensors, pinned=False)
        before = fake["copies"], fake["batched_copies"]
        answers_of_four(fake, tensors, pinned=True)
        copies[name] = fake["copies"] - before[0] - 1, fake["batched_copies"] - before[1]
    # Of the four requests, the CPU gathers the small tensors; the large one is a copy for each.
    assert copies == {"small": (1, 0), "mixed": (5, calls), "large": (4, calls)}
    assert fake["pageable_copies"] == 0
    gc.collect()
    assert (fake["live"], fake["freed_in_use"]) == (0, 0)


@on_fake()
def test_the_device_copies_inputs_from_pinned_memory() -> None:
    check_pinned_inputs(calls=0)


@on_fake(driver_version=12080)
def test_the_device_copies_several_inputs_with_one_call_of_a_newer_driver() -> None:
    check_pinned_inputs(calls=1)


@on_fake()
def test_the_cpu_copies_nothing_of_a_single_request_in_pinned_memory() -> None:
    payloads = core.cuda.Payloads(two_tensors(5), pinned_on=0)
    assert payloads.gathers(4)
    assert not payloads.gathers(1)
    executor = core.cuda.SyntheticExecutor(
        0, 10_000, depth=2, request_bytes=300, pinned_inputs=True
    )
    assert not executor.fills_inputs
    outcome = core.Runner([executor]).run(
        core.ClosedLoop(4), stop_after_completions=100, capacity=1000
    )
    assert outcome.error is None
    check_stamps(outcome)
    (timeline,) = outcome.timelines
    assert timeline.device_ns is not None
    assert (timeline.device_ns[:, 1] > timeline.device_ns[:, 0]).all()  # they are copied


@on_fake(copy_fails_at=60, driver_version=12080)
def test_a_copy_that_fails_ends_the_run_and_keeps_what_completed() -> None:
    executor = core.cuda.SyntheticExecutor(
        0, 10_000, max_batch=2, request_bytes=30_000, pinned_inputs=True
    )
    runner = core.Runner([executor])
    outcome = runner.run(
        core.ClosedLoop(2), max_batch=2, max_delay_ns=10**9, stop_after_ns=10**12, capacity=1000
    )
    assert outcome.error == (
        "worker 0: cuMemcpyBatchAsync: CUDA_ERROR_INVALID_VALUE (1): invalid argument"
    )
    assert (outcome.completed, outcome.failed) == (58, 2)


@on_fake(out_of_memory_at=1)
def test_too_little_pinned_memory_names_the_call() -> None:
    with pytest.raises(RuntimeError, match="cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY"):
        core.cuda.Payloads(two_tensors(5), pinned_on=0)


@on_fake()
def test_inputs_are_gathered_before_a_batch_is_submitted() -> None:
    payloads = core.cuda.Payloads([np.full((4, 8 << 20), 7, np.uint8)])
    slot = Captured(Controls(), payloads, 10_000)
    executor = core.cuda.GraphExecutor(0, [slot.slot], payloads, owner=slot)
    assert executor.fills_inputs
    outcome = core.Runner([executor]).run(
        core.ClosedLoop(4), max_batch=4, max_delay_ns=10**9, stop_after_completions=40, capacity=100
    )
    assert outcome.error is None
    check_stamps(outcome)
    (timeline,) = outcome.timelines
    # No machine writes 32 MB in 0.1 ms, nor needs that time for the call of an empty function.
    assert ((timeline.submitted_ns - timeline.departed_ns) > 100_000).all()
    nothing_to_gather = core.cuda.SyntheticExecutor(0, 10_000)
    assert not nothing_to_gather.fills_inputs


@on_fake()
def test_batches_between_two_sizes_are_padded_and_counted() -> None:
    payloads = core.cuda.Payloads(two_tensors(5))
    captured = Captured(Controls(), payloads, 10_000)
    executor = core.cuda.GraphExecutor(0, [captured.slot], payloads, owner=captured)
    runner = core.Runner([executor])

    def run(clients: int) -> core.Outcome:
        return runner.run(
            core.ClosedLoop(clients),
            max_batch=clients,
            max_delay_ns=10**9 if clients > 1 else 0,
            stop_after_completions=10 * clients,
            capacity=1000,
        )

    for clients, padding in ((1, 0), (2, 0), (3, 1), (4, 0)):
        outcome = run(clients)
        batches = len(outcome.timelines[0].size)
        assert batches == 10
        assert executor.padded == padding * batches
        assert executor.launches == batches
        assert executor.enqueue_ns > 0
    too_many = run(5)
    assert "the largest takes 4" in (too_many.error or "")


@on_fake()
def test_the_owner_lives_until_the_device_has_finished() -> None:
    fake = Controls()
    payloads = core.cuda.Payloads(two_tensors(4))
    captured = Captured(fake, payloads, 1_000_000)
    runner = core.Runner([core.cuda.GraphExecutor(0, [captured.slot], payloads, owner=captured)])
    del captured
    gc.collect()
    assert fake["live_graph_execs"] == 3
    outcome = runner.run(core.ClosedLoop(1), stop_after_completions=10, capacity=100)
    assert outcome.completed >= 10
    runner.close()  # lets the owner go, on the worker's thread
    del runner
    gc.collect()
    assert fake["live_graph_execs"] == 0
    assert fake["freed_in_use"] == 0
    assert fake["live"] == 0


@on_fake(launch_kills_at=60)
def test_a_lost_device_ends_the_run_and_keeps_what_completed() -> None:
    runner = core.Runner([core.cuda.SyntheticExecutor(0, 20_000, depth=2)])
    outcome = runner.run(core.ClosedLoop(4), stop_after_completions=1000, capacity=10_000)
    assert outcome.reason == "error"
    assert "CUDA_ERROR_ILLEGAL_ADDRESS (700)" in (outcome.error or "")
    assert 50 <= outcome.completed < 60
    timeline = outcome.timelines[0]
    assert len(timeline.id) == outcome.completed
    assert timeline.device_ns is not None
    known = len(timeline.device_ns)
    assert outcome.completed - 2 <= known <= outcome.completed
    assert (timeline.device_ns[:, 0] >= timeline.submitted_ns[:known]).all()
    assert (timeline.device_ns[:, 3] <= timeline.completed_ns[:known]).all()


@on_fake(out_of_memory_at=3)
def test_out_of_memory_names_the_call() -> None:
    with pytest.raises(RuntimeError, match="cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY"):
        core.cuda.SyntheticExecutor(0, 1000, depth=4)
    gc.collect()
    assert Controls()["live"] == 0


@on_fake(launch_hangs_at=60)
def test_work_that_never_ends_is_given_up_at_the_deadline() -> None:
    runner = core.Runner([core.cuda.SyntheticExecutor(0, 20_000, depth=2)])
    outcome = runner.run(
        core.ClosedLoop(4),
        stop_after_ns=10**12,
        batch_deadline_ns=200_000_000,
        capacity=1_000_000,
    )
    assert outcome.reason == "deadline"
    assert outcome.completed >= 50
    timeline = outcome.timelines[0]
    assert len(timeline.completed_ns) == outcome.completed
    assert timeline.device_ns is not None
    assert len(timeline.device_ns) == 0  # they never came to the host's clock
    assert core.abandoned_workers() == 1
    sys.stdout.flush()
    os._exit(0)  # as a process with an abandoned worker ends


@on_fake()
def test_bad_arguments_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="depth is 0"):
        core.cuda.SyntheticExecutor(0, 1000, depth=0)
    with pytest.raises(ValueError, match="service_ns holds -5"):
        core.cuda.SyntheticExecutor(0, -5)
    with pytest.raises(ValueError, match="uint8 array with one row per request"):
        core.cuda.Payloads([np.zeros((2, 3), np.float32)])
    with pytest.raises(ValueError, match="slots is empty"):
        core.cuda.GraphExecutor(0, [], owner=None)
    with pytest.raises(core.CudaUnavailable, match="cuda:7 is not there"):
        core.cuda.Payloads(two_tensors(2), pinned_on=7)
