"""Every reason of a verdict: what raises it, what does not, and its remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import as_cell, training_report

from gpubench import core
from gpubench.measure.collect import collect
from gpubench.measure.loads import offered_load
from gpubench.results.result import (
    Accuracy,
    AccuracyData,
    Cooling,
    InputRepetition,
    Lag,
    Numerics,
    ServerReport,
    ServerStatistics,
    Stages,
    StageSummary,
    WarmUp,
)
from gpubench.results.samples import Samples
from gpubench.spec.parse import make_spec
from gpubench.statistics import Analysis, Change, ClosedLoopRule, analyse
from gpubench.statistics.verdicts import (
    ANSWER_LIMITS,
    LEAST_EFFECTIVE_SIZE_OF_P95,
    LEAST_REQUESTS,
    TOO_FEW_INDEPENDENT,
    Evidence,
    judge,
    outputs_differ,
)

MS = 1_000_000


def closed_loop(service_ns: np.ndarray, workers: int) -> Analysis:
    """As many clients as workers, with one row of service times for each worker."""
    completed = np.cumsum(service_ns.astype(np.int64), axis=1)
    departed = completed - service_ns.astype(np.int64)
    order = np.argsort(departed.ravel(), kind="stable")
    departed, completed = departed.ravel()[order], completed.ravel()[order]
    worker = np.repeat(np.arange(workers), service_ns.shape[1])[order]
    samples = Samples(
        scheduled_ns=departed,
        opened_ns=departed,
        departed_ns=departed + 2_000,
        submitted_ns=departed + 4_000,
        completed_ns=completed,
        worker=worker.astype(np.int32),
        batch=np.arange(len(order)),
        id=worker.astype(np.int64),
    )
    return analyse(samples, ClosedLoopRule(workers))


def healthy() -> Analysis:
    service = 50 * MS * (1 + 0.02 * np.random.default_rng(1).standard_normal((1, 140)))
    return closed_loop(service, 1)


def summary(ms: float) -> StageSummary:
    return StageSummary(mean=ms, p50=ms, p95=ms)


def stages(compute: float, h2d: float = 0.1, d2h: float = 0.1) -> Stages:
    return Stages.model_validate(
        {"compute": summary(compute), "h2d": summary(h2d), "d2h": summary(d2h)}
    )


def spread_out(analysis: Analysis) -> Analysis:
    """The same analysis with a P95 of twice the median."""
    latency = analysis.latency
    assert latency.p50 is not None
    return replace(analysis, latency=latency.model_copy(update={"p95": 2 * latency.p50}))


def codes(analysis: Analysis, evidence: Evidence | None = None) -> list[str]:
    return [reason.code for reason in judge(analysis, evidence).reasons]


def test_a_cell_without_problems_is_valid() -> None:
    everything_seen = Evidence(
        device="cpu",
        executor="python",
        failed_requests=0,
        other_busy_cores=0.1,
        busy_cores=1.9,
        cpu_threads=2,
        cores=2,
        cooling=cooled(to_c=60.0),
        throttled_share=0.0,
        other_gpu_processes=0,
        numerics=Numerics(cosine=0.9999),
    )
    verdict = judge(healthy(), everything_seen)
    assert (verdict.status, verdict.reasons) == ("valid", [])


def cooled(to_c: float) -> Cooling:
    """--cool-to 60C."""
    return Cooling(
        sensor="coretemp", limit_c=60.0, first_c=80.0, temperature_c=to_c, waited_seconds=600.0
    )


def test_a_short_forward_pass_may_leave_threads_idle() -> None:
    analysis = replace(healthy(), stages=stages(compute=0.2))
    assert "threads-idle" not in codes(analysis, Evidence(busy_cores=1.0, cpu_threads=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_130_requests_on_a_noisy_machine_are_valid(workers: int) -> None:
    """Service times drift slowly by 5%, and a few requests take three times as long."""
    rng = np.random.default_rng(workers)
    suspect = 0
    for _ in range(100):
        service = 1 + 0.05 * rng.standard_normal((workers, 134 // workers))
        walk = np.cumsum(rng.standard_normal(service.shape), axis=1)
        service += 0.02 * (walk - walk.mean(axis=1, keepdims=True)) / walk.std()
        service *= np.where(rng.random(service.shape) < 0.02, 3, 1)
        suspect += bool(codes(closed_loop(50 * MS * service, workers)))
    assert suspect <= 5


LONGEST_REMEDY = 90  # characters: a footnote of a table is one short line


def served(counted: int = 10, sent: int = 10, client_cores: float = 0.1) -> ServerReport:
    return ServerReport(
        url="grpc://gpu-1:8001/m",
        protocol="grpc",
        model="m",
        requests=sent,
        client_cores=client_cores,
        statistics=ServerStatistics(
            requests=counted,
            queue_ms=0,
            compute_input_ms=0,
            compute_infer_ms=1,
            compute_output_ms=0,
        ),
    )


def dropped(drop: float, low: float, high: float) -> Accuracy:
    return Accuracy(
        metric="top1",
        value=0.8 - drop,
        samples=1000,
        reference=0.8,
        drop=drop,
        drop_interval=(low, high),
        data=AccuracyData(name="val.parquet"),
    )


RAISED: dict[str, tuple[Callable[[Analysis], Analysis], Evidence]] = {
    "ended-early": (lambda a: a, Evidence(ended_early="timeline full")),
    "failed-requests": (lambda a: a, Evidence(failed_requests=1)),
    "unfinished-requests": (lambda a: replace(a, unfinished=1), Evidence()),
    "too-few-samples": (lambda a: replace(a, completed=129), Evidence()),
    "too-few-independent-samples": (
        lambda a: replace(spread_out(a), p95_effective_size=20.0),
        Evidence(),
    ),
    "warm-up-not-settled": (lambda a: replace(a, settling=Change(0.06, 0.02)), Evidence()),
    "drift": (lambda a: replace(a, drift=Change(-0.06, 0.02)), Evidence()),
    "recompiled": (lambda a: a, Evidence(compilations=2)),
    "littles-law": (lambda a: replace(a, littles_law_residual=0.04), Evidence()),
    "harness-lag": (lambda a: replace(a, lag=Lag(p50=1, p99=2_600)), Evidence()),
    "rate-not-kept-up": (lambda a: replace(a, kept_up=0.8), Evidence()),
    "clients-starved": (lambda a: replace(a, least_served_client=0.1), Evidence()),
    "threads-idle": (
        lambda a: replace(a, stages=stages(compute=5)),
        Evidence(busy_cores=0.97, cpu_threads=2),
    ),
    "cpu-busy": (lambda a: a, Evidence(other_busy_cores=0.3, cores=2)),
    "server-shared": (lambda a: a, Evidence(server=served(counted=12, sent=10))),
    "client-bound": (lambda a: a, Evidence(server=served(client_cores=0.9))),
    "not-cooled": (lambda a: a, Evidence(cooling=cooled(to_c=61.0))),
    "gpu-shared": (lambda a: a, Evidence(other_gpu_processes=1)),
    "gpu-throttled": (lambda a: a, Evidence(throttled_share=0.2)),
    "inputs-cached": (
        lambda a: a,
        Evidence(repetition=InputRepetition(new_inputs_slower=0.2, by_chance=0.05)),
    ),
    "model-not-finite": (lambda a: a, Evidence(numerics=Numerics(reference_not_finite="NaN"))),
    "model-not-deterministic": (
        lambda a: a,
        Evidence(numerics=Numerics(reference_repeat_error=0.2, cosine=0.9)),
    ),
    "outputs-differ": (lambda a: a, Evidence(numerics=Numerics(cosine=0.9))),
    "accuracy-drop": (lambda a: a, Evidence(accuracy=dropped(0.03, 0.02, 0.04), max_drop=0.01)),
    "accuracy-drop-unsure": (
        lambda a: a,
        Evidence(accuracy=dropped(0.004, -0.004, 0.012), max_drop=0.01),
    ),
    "no-training": (
        lambda a: a,
        Evidence(training=training_report(toy_last_loss=2.9, trains=False)),
    ),
    "unproven-on-gpus": (lambda a: a, Evidence(unproven_on_gpus="2 GPUs")),
    "input-bound": (
        lambda a: replace(a, input_gap_ms=0.6, launch_gap_ms=0.1, stages=stages(1)),
        Evidence(),
    ),
    "launch-bound": (
        lambda a: replace(a, input_gap_ms=0.1, launch_gap_ms=0.6, stages=stages(1)),
        Evidence(),
    ),
    "transfer-bound": (
        lambda a: replace(a, launch_gap_ms=0.0, stages=stages(1, h2d=0.7, d2h=0.4)),
        Evidence(),
    ),
}


def test_new_inputs_may_be_a_little_slower_and_as_much_slower_as_chance_explains() -> None:
    for slower, by_chance in ((0.09, 0.01), (0.4, 0.5), (-0.5, 0.0), (None, None)):
        seen = InputRepetition(new_inputs_slower=slower, by_chance=by_chance)
        assert codes(healthy(), Evidence(repetition=seen)) == []


def test_an_automatic_warm_up_that_reached_its_limit_is_judged_by_what_it_found() -> None:
    changing = WarmUp(slower=0.2, limit_reached=True)
    assert codes(healthy(), Evidence(warmup=changing)) == ["warm-up-not-settled"]
    # The window tells more than the warm-up: there is one reason for both.
    slow = replace(healthy(), settling=Change(0.06, 0.02))
    assert codes(slow, Evidence(warmup=changing)) == ["warm-up-not-settled"]
    too_noisy_to_tell = WarmUp(slower=None, limit_reached=True)
    assert codes(healthy(), Evidence(warmup=too_noisy_to_tell)) == []
    found = WarmUp(settled_seconds=3.0, settled_requests=100, slower=0.2)
    assert codes(healthy(), Evidence(warmup=found)) == []


def test_a_drop_that_is_certain_to_be_within_the_limit_is_no_reason() -> None:
    small = dropped(0.004, 0.001, 0.007)
    assert codes(healthy(), Evidence(accuracy=small, max_drop=0.01)) == []
    assert codes(healthy(), Evidence(accuracy=dropped(0.5, 0.4, 0.6))) == []  # no --max-drop
    better = dropped(-0.03, -0.05, -0.01)
    assert codes(healthy(), Evidence(accuracy=better, max_drop=0.01)) == []


def test_the_fp32_model_itself_needs_no_samples_to_show_that_its_accuracy_does_not_drop() -> None:
    same = dropped(0.0, -0.02, 0.02)
    itself = Evidence(accuracy=same, max_drop=0.01, runtime="eager", precision="fp32", device="cpu")
    assert codes(healthy(), itself) == []
    for other in (
        replace(itself, runtime="compile"),
        replace(itself, precision="bf16"),
        replace(itself, device="cuda:0"),
        replace(itself, accuracy=dropped(0.001, -0.02, 0.02)),
    ):
        assert codes(healthy(), other) == ["accuracy-drop-unsure"]


def test_an_unsure_drop_says_how_many_samples_to_give() -> None:
    evidence = Evidence(accuracy=dropped(0.004, -0.004, 0.012), max_drop=0.01)
    (reason,) = judge(healthy(), evidence).reasons
    assert reason.figure == 0.012
    # The variance of a difference is ((0.008 / 1.96 * 1002)**2 - 2) / 1000 = 0.0147. So with 3,400
    # samples the half is 0.0042, and the drop itself varies by 0.0018 in 80% of all cases.
    assert reason.remedy.endswith("measure it with about 3,400 samples")
    evidence = Evidence(accuracy=dropped(0.01, 0.0, 0.02), max_drop=0.01)
    (reason,) = judge(healthy(), evidence).reasons
    assert reason.remedy.endswith("measure it with more samples")


@pytest.mark.parametrize("code", RAISED)
def test_each_reason_is_raised_without_others_and_has_a_remedy(code: str) -> None:
    change, evidence = RAISED[code]
    verdict = judge(change(healthy()), evidence)
    assert verdict.status == "suspect"
    assert [reason.code for reason in verdict.reasons] == [code]
    assert verdict.reasons[0].figure is not None
    assert 14 <= len(verdict.reasons[0].remedy) <= LONGEST_REMEDY


def device_run(fill_ns: int, launch_ns: int, compute_ns: int, *, hidden: bool) -> Analysis:
    """200 batches of one worker. If `hidden`, the CPU gathers inputs while the device computes."""
    count = 200
    cycle = max(fill_ns, compute_ns) if hidden else fill_ns + launch_ns + compute_ns
    departed = np.arange(count) * cycle
    submitted = departed + fill_ns
    e0 = submitted + launch_ns
    if hidden:  # it waits on the device for the batch before
        e0 = (
            np.maximum.accumulate(e0 - np.arange(count) * compute_ns)
            + np.arange(count) * compute_ns
        )
    completed = e0 + compute_ns
    samples = Samples(
        scheduled_ns=departed,
        opened_ns=departed,
        departed_ns=departed,
        submitted_ns=submitted,
        completed_ns=completed,
        worker=np.zeros(count, np.int32),
        batch=np.arange(count),
        id=np.zeros(count, np.int64),
        device_ns=np.stack([e0, e0, completed, completed], axis=1),
        filled=True,
    )
    return analyse(samples, ClosedLoopRule(1))


def device_codes(analysis: Analysis) -> set[str]:
    return {"input-bound", "launch-bound"} & set(codes(analysis))


def test_time_to_gather_inputs_is_not_time_to_launch() -> None:
    """ResNet50, batch 32: the CPU writes 19 MB in 2.1 ms, and the graph computes for 2 ms."""
    assert device_codes(device_run(2_100_000, 20_000, 2_000_000, hidden=False)) == {"input-bound"}
    assert device_codes(device_run(20_000, 2_100_000, 2_000_000, hidden=False)) == {"launch-bound"}
    assert device_codes(device_run(20_000, 20_000, 2_000_000, hidden=False)) == set()


def test_the_remedy_for_inputs_is_not_the_setting_that_was_used() -> None:
    waits = device_run(2_100_000, 20_000, 2_000_000, hidden=False)
    for evidence, named in ((Evidence(inputs="host"), True), (Evidence(inputs="pinned"), False)):
        (remedy,) = (
            reason.remedy
            for reason in judge(waits, evidence).reasons
            if reason.code == "input-bound"
        )
        assert ("--inputs pinned" in remedy) == named
        assert len(remedy) <= LONGEST_REMEDY


def test_inputs_that_are_gathered_while_the_device_computes_are_no_reason() -> None:
    assert device_codes(device_run(1_900_000, 20_000, 2_000_000, hidden=True)) == set()
    assert device_codes(device_run(4_000_000, 20_000, 2_000_000, hidden=True)) == {"input-bound"}


DIFFERENT = [
    Numerics(finite=False),
    Numerics(cosine=0.1),
    Numerics(cosine=0.8, engine_repeat_error=0.1),
    Numerics(relative_error=0.9),
    Numerics(integer_agreement=0.1),
]


@pytest.mark.parametrize("runtime", ["eager", "onnxruntime"])
@pytest.mark.parametrize("precision", ANSWER_LIMITS)
@pytest.mark.parametrize("numerics", DIFFERENT)
def test_every_remedy_for_different_outputs_is_one_short_line(
    numerics: Numerics, precision: str, runtime: str
) -> None:
    reason = outputs_differ(numerics, precision, "cpu", runtime)
    assert reason is not None
    assert len(reason.remedy) <= LONGEST_REMEDY
    assert "\n" not in reason.remedy


def test_the_remedy_for_lag_of_python_workers_names_the_gil() -> None:
    late = replace(healthy(), lag=Lag(p50=1, p99=2_600))
    (reason,) = judge(late, Evidence(executor="python")).reasons
    assert "GIL" in reason.remedy
    assert len(reason.remedy) <= LONGEST_REMEDY


@pytest.mark.parametrize(
    "change",
    [
        lambda a: replace(a, completed=130),
        lambda a: replace(a, p95_effective_size=20.0),  # P95 is 3% above the median
        lambda a: replace(spread_out(a), p95_effective_size=35.0),  # a quarter of 139 requests
        lambda a: replace(spread_out(a), p95_effective_size=91.0, completed=5_000),
        lambda a: replace(spread_out(a), p95_effective_size=None),
        lambda a: replace(a, settling=Change(0.06, 0.08)),  # chance explains it
        lambda a: replace(a, drift=Change(0.04, 0.001)),  # certain, and small
        lambda a: replace(a, littles_law_residual=0.025),  # the window cuts one request of 139
        lambda a: replace(a, lag=Lag(p50=1, p99=2_000)),  # under 5% of 50 ms
        lambda a: replace(a, kept_up=0.95),  # 139 requests say no more
        lambda a: replace(a, least_served_client=0.1, clients=10),  # 14 requests a client
        lambda a: replace(a, input_gap_ms=0.4, launch_gap_ms=0.4, stages=stages(1)),
    ],
)
def test_figures_within_their_limits_are_no_reason(change: Callable[[Analysis], Analysis]) -> None:
    assert codes(change(healthy())) == []


def test_130_requests_bound_p95_and_129_do_not() -> None:
    def chance_that_at_most_one_lies_above(requests: int) -> float:
        return 0.95**requests + requests * 0.05 * 0.95 ** (requests - 1)

    assert LEAST_REQUESTS == 130
    assert chance_that_at_most_one_lies_above(130) <= 0.01
    assert chance_that_at_most_one_lies_above(129) > 0.01
    assert 0.95**LEAST_EFFECTIVE_SIZE_OF_P95 <= 0.01 < 0.95 ** (LEAST_EFFECTIVE_SIZE_OF_P95 - 1)


def test_autocorrelated_requests_say_how_much_longer_to_measure() -> None:
    open_loop = replace(
        spread_out(healthy()),
        p95_effective_size=26.0,
        completed=1_000,
        clients=None,
        window_seconds=2.0,
    )
    (reason,) = judge(open_loop).reasons
    assert (reason.figure, reason.limit) == (26.0, LEAST_EFFECTIVE_SIZE_OF_P95)
    assert "--requests 5000 or --duration 10s, about 5 times as long, or lower" in reason.remedy
    few = replace(open_loop, p95_effective_size=1.0)
    assert (
        "--requests 130000 or --duration 260s, at least 130 times" in judge(few).reasons[0].remedy
    )


def test_the_remedy_of_a_growing_queue_is_not_to_measure_longer() -> None:
    growing = replace(spread_out(healthy()), p95_effective_size=1.0, kept_up=0.5)
    assert codes(growing) == ["rate-not-kept-up"]


def open_loop_codes(load: float, requests: int, seed: int) -> list[str]:
    """The codes of an M/M/1 queue with 1 ms of service and the arrivals that the program makes."""
    spec = make_spec(
        {
            "model": "synthetic",
            "device": "cpu",
            "rate": 1_000 * load,
            "requests": requests,
            "workers": 1,
            "load_seed": seed,
        }
    )
    offered = offered_load(as_cell(spec), 0.0)
    service = core.exponential_service(MS, offered.expected, seed + 2**40)
    outcome = core.simulate(offered.source, service_ns=service, capacity=offered.expected)
    return codes(analyse(collect(outcome), offered.counted(outcome.start_ns)))


@pytest.mark.parametrize(("load", "requests"), [(0.7, 300), (0.8, 1_000), (0.9, 200), (0.9, 5_000)])
def test_a_busy_queue_that_was_measured_briefly_is_suspect(load: float, requests: int) -> None:
    for seed in range(20):
        assert {TOO_FEW_INDEPENDENT, "rate-not-kept-up"} & set(
            open_loop_codes(load, requests, seed)
        )


@pytest.mark.parametrize(("load", "requests"), [(0.1, 300), (0.5, 5_000), (0.8, 12_000)])
def test_a_queue_that_was_measured_for_long_is_not(load: float, requests: int) -> None:
    suspect = [TOO_FEW_INDEPENDENT in open_loop_codes(load, requests, seed) for seed in range(20)]
    assert sum(suspect) <= 2


@pytest.mark.parametrize(("clients", "workers"), [(1, 1), (2, 2), (8, 8), (4, 2), (8, 1)])
@pytest.mark.parametrize("jitter", [0.0, 0.02, 0.05])
def test_a_closed_loop_of_nearly_constant_service_is_independent_enough(
    clients: int, workers: int, jitter: float
) -> None:
    loop = ClosedLoopRule(clients, workers)
    stop = loop.completions_to_run(130)
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal(stop + clients)
        outcome = core.simulate(
            core.ClosedLoop(clients),
            service_ns=(MS * (1 + jitter * noise)).astype(np.int64),
            executors=workers,
            stop_after_completions=stop,
        )
        assert codes(analyse(collect(outcome), loop)) == []


@pytest.mark.parametrize("requests", [130, 400])
def test_independent_latencies_are_enough(requests: int) -> None:
    suspect = 0
    for seed in range(200):
        service = np.random.default_rng(seed).exponential(50 * MS, (1, requests + 1))
        suspect += TOO_FEW_INDEPENDENT in codes(closed_loop(service, 1))
    assert suspect <= 1


def test_what_was_not_observed_is_not_judged() -> None:
    unknown = replace(
        healthy(), settling=None, drift=None, lag=None, littles_law_residual=None, kept_up=None
    )
    assert codes(unknown, Evidence(other_busy_cores=5.0)) == []


def test_a_start_faster_than_the_rest_is_drift() -> None:
    assert codes(replace(healthy(), settling=Change(-0.2, 0.02))) == ["drift"]


@pytest.mark.parametrize(
    ("figures", "figure"),
    [
        ({"trains": False, "toy_last_loss": None}, "not finite"),
        ({"trains": False, "parameters_changed": False}, "no parameter changed"),
        ({"trains": False, "toy_last_loss": 2.95}, 2.95),
        ({"last_loss_finite": False}, "not finite"),
    ],
)
def test_a_step_that_does_not_train_says_what_was_seen(
    figures: dict[str, Any], figure: object
) -> None:
    (reason,) = judge(healthy(), Evidence(training=training_report(**figures))).reasons
    assert (reason.code, reason.figure) == ("no-training", figure)
    assert len(reason.remedy) <= LONGEST_REMEDY


def test_idle_threads_of_training_have_a_remedy_that_training_has() -> None:
    idle = Evidence(training=training_report(), busy_cores=0.5, cpu_threads=2)
    (reason,) = judge(healthy(), idle).reasons
    assert reason.code == "threads-idle"
    assert "--workers" not in reason.remedy
    assert len(reason.remedy) <= LONGEST_REMEDY


def test_a_cell_without_samples_is_suspect() -> None:
    analysis = closed_loop(np.full((1, 1), MS), 1)
    assert codes(analysis) == ["too-few-samples"]


def test_the_documentation_lists_every_reason_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs" / "measurement.md").read_text()
    table = text.split("## Verdicts")[1].split("\n## ")[0]
    listed = {line.split("`")[1] for line in table.splitlines() if line.startswith("| [`")}
    of_repeats = {"repeats-failed"}  # it is not found in a single run
    assert listed == set(RAISED) | of_repeats


def test_a_server_on_this_machine_is_suspect_only_if_cores_are_lacking() -> None:
    """It is itself one of the processes that use cores."""
    evidence = Evidence(
        server=served(), server_is_this_machine=True, cores=4, busy_cores=0.5, other_busy_cores=3.0
    )
    assert judge(healthy(), evidence).status == "valid"
    [reason] = judge(healthy(), replace(evidence, other_busy_cores=3.2)).reasons
    assert (reason.code, reason.figure, reason.limit) == ("cpu-busy", 3.7, 3.6)
    assert "measure from another machine" in reason.remedy
