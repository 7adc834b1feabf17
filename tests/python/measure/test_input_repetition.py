"""A model that answers repeated inputs from a cache is found, and an ordinary one is not blamed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories import a_cell
from small_models import make_presets_small

import gpubench
from gpubench import core
from gpubench.measure import input_repetition
from gpubench.measure.input_repetition import InputRepetitionCheck
from gpubench.measure.python_workers import ModelWorker, ProcessingWorker, Worker
from gpubench.results.result import InputRepetition, Result
from gpubench.results.samples import Samples
from gpubench.spec.spec import Spec
from gpubench.statistics.input_repetition import new_inputs_slower

MODELS = '''
import functools
import hashlib

import numpy as np
import torch

import gpubench


class Layers(torch.nn.Module):
    """Multiplies for about a millisecond."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(256, 256) / 16)

    def forward(self, x):
        for _ in range(20):
            x = torch.relu(x @ self.weight)
        return x


class CachedByValue(Layers):
    def __init__(self):
        super().__init__()
        self.answers = {}

    def forward(self, x):
        key = hashlib.sha256(x.numpy().tobytes()).digest()
        if key not in self.answers:
            self.answers[key] = super().forward(x)
        return self.answers[key]


class CachedByBytes(Layers):
    def __init__(self):
        super().__init__()

        @functools.lru_cache(maxsize=None)
        def answer(data):
            x = torch.from_numpy(np.frombuffer(data, np.float32).reshape(-1, 256).copy())
            return Layers.forward(self, x)

        self.answer = answer

    def forward(self, x):
        return self.answer(x.numpy().tobytes())


class CachedByObject(Layers):
    def __init__(self):
        super().__init__()
        self.answer = functools.lru_cache(maxsize=None)(lambda x: Layers.forward(self, x))

    def forward(self, x):
        return self.answer(x)


def inputs(generator, samples):
    return (torch.randn(samples, 256, generator=generator),)


def by_value():
    return gpubench.OwnModel(CachedByValue(), inputs)


def by_bytes():
    return gpubench.OwnModel(CachedByBytes(), inputs)


def by_object():
    return gpubench.OwnModel(CachedByObject(), inputs)


def cached_preprocessing():
    layers = Layers()

    @functools.lru_cache(maxsize=None)
    def decoded(data):
        x = torch.from_numpy(np.frombuffer(data, np.float32).reshape(-1, 256).copy())
        for _ in range(20):
            layers(x)
        return (x,)

    return gpubench.OwnModel(
        Layers(),
        inputs=lambda generator, samples: inputs(generator, samples)[0].numpy().tobytes(),
        preprocess=decoded,
        postprocess=lambda outputs: None,
    )


def plain():
    return gpubench.OwnModel(Layers(), inputs)


def one_input():
    ones = lambda generator, samples: (torch.ones(samples, 256),)
    return gpubench.OwnModel(Layers(), ones)
'''

# A window of 200 ms, in which the check may take 20 ms.
BRIEF = {"runtime": "eager", "device": "cpu", "threads": 1, "batch": 64, "warmup": "100ms"}


def measured(tmp_path: Path, function: str, **settings: object) -> Result:
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    asked = BRIEF | {"model": f"{path}:{function}", "duration": "200ms"} | settings
    return gpubench.run(Spec(**asked))  # type: ignore[arg-type]


@pytest.fixture
def many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check takes as long as it needs for eight pairs.

    It compares the CPU times of the thread of the one worker. Other programs change service times
    several times as much.
    """
    monkeypatch.setattr(InputRepetitionCheck, "_pairs", lambda *_: 8)
    used_ns: list[int] = []
    for kind in (ModelWorker, ProcessingWorker):

        def timed(self: Worker, ids: np.ndarray, run: Callable[..., None] = kind.run) -> None:
            began_ns = time.thread_time_ns()
            run(self, ids)
            used_ns.append(time.thread_time_ns() - began_ns)

        monkeypatch.setattr(kind, "run", timed)
    measure = input_repetition._run

    def measured(runner: core.Runner, requests: int) -> Samples:
        used_ns.clear()
        samples = measure(runner, requests)
        assert len(used_ns) == requests
        return replace(samples, completed_ns=samples.departed_ns + np.array(used_ns)[samples.id])

    monkeypatch.setattr(input_repetition, "_run", measured)


def codes(result: Result) -> set[str]:
    return {reason.code for reason in result.verdict.reasons}


@pytest.mark.parametrize("function", ["by_value", "by_bytes", "by_object"])
def test_a_model_that_remembers_its_answers_is_found(
    tmp_path: Path, function: str, many_pairs: None
) -> None:
    result = measured(tmp_path, function)
    assert result.error is None
    assert result.inputs is not None
    assert result.inputs.new_inputs_slower is not None
    assert result.inputs.new_inputs_slower > 1
    assert "inputs-cached" in codes(result)


def test_a_cache_in_preprocessing_is_found(tmp_path: Path, many_pairs: None) -> None:
    result = measured(tmp_path, "cached_preprocessing")
    assert result.error is None
    assert "inputs-cached" in codes(result)


def test_an_ordinary_model_is_not_blamed(tmp_path: Path, many_pairs: None) -> None:
    result = measured(tmp_path, "plain", requests=40, duration=None)
    assert result.inputs is not None
    assert result.inputs.new_inputs_slower is not None
    # Chance with real service times: tests/benchmarks/input_repetition.py prints the alarms.
    assert abs(result.inputs.new_inputs_slower) < 1
    assert result.inputs.note is None


def test_a_preset_is_not_blamed(monkeypatch: pytest.MonkeyPatch, many_pairs: None) -> None:
    make_presets_small(monkeypatch)
    settings = {"model": "distilbert", "seq_len": 8, "requests": 70, "warmup": 0}
    result = gpubench.run(Spec(runtime="eager", device="cpu", threads=1, **settings))  # type: ignore[arg-type]
    assert result.inputs is not None
    assert result.inputs.new_inputs_slower is not None
    assert abs(result.inputs.new_inputs_slower) < 1
    assert result.inputs.distinct_requests == 64


def test_inputs_that_are_always_the_same_cannot_be_compared(
    tmp_path: Path, many_pairs: None
) -> None:
    result = measured(tmp_path, "one_input", requests=20, duration=None)
    assert result.inputs is not None
    assert result.inputs.distinct_requests == 1
    assert result.inputs.new_inputs_slower is None
    assert result.inputs.note == "the model has too few different inputs, or too large ones"


def test_a_short_run_has_no_time_for_the_comparison(tmp_path: Path) -> None:
    result = measured(tmp_path, "plain", requests=4, duration=None, warmup=0)
    assert result.inputs is not None
    assert result.inputs.new_inputs_slower is None
    assert "too long" in (result.inputs.note or "")


def test_a_synthetic_model_has_no_inputs() -> None:
    result = gpubench.run(model="synthetic", service_time="10us", requests=20, warmup=0)
    assert result.inputs is None


@pytest.mark.parametrize(
    ("settings", "rate", "warmup_s", "pairs"),
    [
        ({"duration": 10}, 20.0, 2.0, 10),  # a second
        ({"duration": 10}, 7.0, 2.0, 3),  # too few: not compared
        ({"duration": 60}, 7.0, 0.0, 10),  # 5% of a minute
        ({"duration": 1}, 100.0, 0.0, 5),  # a tenth
        ({"requests": 100, "duration": 60}, 100.0, 0.0, 5),
        ({"rate": 10.0, "duration": 10, "arrivals": "constant"}, 20.0, 0.0, 10),
        ({"duration": 10}, 1e5, 2.0, 32),
    ],
)
def test_the_comparison_takes_little_of_the_time(
    settings: dict[str, object], rate: float, warmup_s: float, pairs: int
) -> None:
    check = InputRepetitionCheck(a_cell(model="resnet50", **settings), [], lambda _: ())
    assert check._pairs(rate, warmup_s) == pairs


def test_a_client_sends_one_request_after_another() -> None:
    """In a closed loop the id is the client's number, which is always the same."""
    worker = ModelWorker.__new__(ModelWorker)
    seen: list[list[object]] = []
    worker._requests, worker.sent, worker._turn = list("abcde"), set(), 0
    worker._takes_turns = True
    for ids in ([0], [0], [0, 1], [1], [0]):
        seen.append(worker._chosen(np.array(ids)))
    assert seen == [["a"], ["b"], ["c", "d"], ["a"], ["a"]]
    with worker.instead(list("xyz")):
        assert [worker._chosen(np.array([n])) for n in (2, 0)] == [["z"], ["x"]]
    assert worker._chosen(np.array([0])) == ["b"]
    assert worker.sent == {0, 1, 2, 3}


def test_open_loops_send_the_requests_in_turn() -> None:
    worker = ModelWorker.__new__(ModelWorker)
    worker._requests, worker.sent, worker._turn = list("abc"), set(), 0
    worker._takes_turns = False
    assert [worker._chosen(np.array([n])) for n in range(4)] == [["a"], ["b"], ["c"], ["a"]]


def test_requests_of_any_type_have_a_hash() -> None:
    one, same, other = ({"text": word} for word in ("one", "one", "other"))
    digest = input_repetition._digest
    assert digest(one) == digest(same)
    assert digest(one) != digest(other)
    assert digest(lambda: None) is None


def test_pairs_of_equal_service_times_show_no_difference() -> None:
    change, interval = new_inputs_slower(np.full(8, 1_000_000), np.full(8, 1_000_000))
    assert (change.figure, change.noise, interval) == (0, 0, (0, 0))


def test_a_difference_is_found_behind_slow_changes_of_the_machine() -> None:
    """Both inputs of a pair take longer in the middle of the check; new ones take 30% longer."""
    rng = np.random.default_rng(1)
    alarms, found = 0, 0
    for _ in range(200):
        speed = 1 + np.sin(np.linspace(0, 3, 16)) + 0.05 * rng.standard_normal(16)
        repeated = 1e6 * speed * (1 + 0.03 * rng.standard_normal(16))
        for slower in (1.0, 1.3):
            new = 1e6 * speed * slower * (1 + 0.03 * rng.standard_normal(16))
            change, (low, high) = new_inputs_slower(repeated.astype(int), new.astype(int))
            assert low < change.figure < high
            is_found = change.figure > max(0.1, change.noise)
            found += is_found and slower > 1
            alarms += is_found and slower == 1
    assert (alarms, found) == (0, 200)


def test_the_keys_are_those_of_the_contract() -> None:
    assert set(InputRepetition().model_dump()) == {
        *("distinct_requests", "new_inputs_slower", "new_inputs_slower_interval"),
        *("by_chance", "note"),
    }
