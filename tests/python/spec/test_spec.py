"""What a user can type, and the one line they read where it cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubench.errors import InputError
from gpubench.spec.durations import parse_duration
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec

RESNET = {"model": "resnet50"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250us", 250e-6),
        ("1.5ms", 1.5e-3),
        ("2s", 2.0),
        ("1m", 60.0),
        (".5s", 0.5),
        ("0", 0.0),
        ("1e3ns", 1e-6),
        (2, 2.0),
        (" 3 S ", 3.0),
    ],
)
def test_durations_take_units(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["5", "five", "5 parsecs", "-1s", "", "nan", float("nan"), -1])
def test_what_is_no_duration_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"write it like|must be zero or more"):
        parse_duration(text)


@given(st.floats(min_value=1e-9, max_value=1e6))
def test_a_duration_in_a_result_reads_back_the_same(seconds: float) -> None:
    assert parse_duration(seconds) == seconds


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "resnet5"}, "--model: unknown model 'resnet5'; did you mean resnet50?"),
        ({"model": "gpt"}, "choose from bert-base, bert-large"),
        ({"model": "net.py"}, "name the function in it, as in net.py:classifier"),
        ({"model": "/tmp"}, "write a folder with / at its end: /tmp/"),
        ({}, "--model: is missing"),
        (RESNET | {"batch": 0}, "--batch: '0' is not allowed; give 1 or more"),
        (RESNET | {"batch": -3}, "--batch: '-3'"),
        (RESNET | {"batch": "two"}, "--batch: 'two' is not allowed; give a whole number, like 8"),
        (RESNET | {"precision": "fp31"}, "--precision: 'fp31' is not known; did you mean fp32"),
        (RESNET | {"runtime": "torchscrip"}, "did you mean torchscript?"),
        (RESNET | {"bacth": 2}, "unknown setting 'bacth'; did you mean batch?"),
        (RESNET | {"seq_len": 128}, "--seq-len: resnet50 takes no text"),
        ({"model": "bert-base", "seq_len": 513}, "--seq-len: bert-base has 512 positions"),
        (
            RESNET | {"rate": 10, "clients": 2},
            "--clients: it sets a closed loop and --rate an open loop; they are mutually exclusive",
        ),
        (
            RESNET | {"arrivals": "trace:t.txt", "clients": 2},
            "--clients: it sets a closed loop and --arrivals trace:FILE an open loop; they are",
        ),
        (
            {"model": "net.pt", "input_shape": "3", "inputs_file": "x.npz"},
            "--input-shape: --inputs-file has the shapes; they are mutually exclusive",
        ),
        (RESNET | {"rate": 0}, "--rate: '0' is not allowed; give 0.001 or more"),
        (RESNET | {"rate": 1e300}, "is not allowed; give 1000000000 or less"),
        (RESNET | {"workers": 100_000}, "--workers: '100000' is not allowed; give 4096 or less"),
        (RESNET | {"threads": 10**6}, "--threads: '1000000' is not allowed; give 1024 or less"),
        (RESNET | {"requests": 10**20}, "give 1000000000 or less"),
        (RESNET | {"clients": 10**11}, "give 10000000 or less"),
        (RESNET | {"warmup": "9999999h"}, "--warmup: 9999999h is too long; give 30 days (720h)"),
        (RESNET | {"dynamic_batch": "100000:1ms"}, "MAX is 100000; give 65536 or less"),
        (RESNET | {"rate": 1, "arrivals": "burst:²"}, "write it like burst:8"),
        (RESNET | {"rate": 1, "arrivals": f"burst:{10**20}"}, "write it like burst:8"),
        (RESNET | {"rate": "nan"}, "--rate: 'nan' is not allowed; give a number, like 1.5"),
        (RESNET | {"rate": 1, "arrivals": "burst"}, "write it like burst:8"),
        (RESNET | {"rate": 1, "arrivals": "brust:2"}, "is not poisson, constant, burst:N"),
        (RESNET | {"arrivals": "constant"}, "add --rate"),
        (RESNET | {"arrivals": "poisson"}, "--arrivals: poisson arrivals need a rate; add --rate"),
        (RESNET | {"arrivals": "poisson", "clients": 2}, "poisson arrivals need a rate"),
        (RESNET | {"input_shape": "3x9x9"}, "--input-shape: belongs to a TorchScript or ONNX file"),
        ({"model": "net.pt"}, "--input-shape: net.pt does not say what it takes; write the shape"),
        ({"model": "net.pt", "input_shape": "3*9"}, "--input-shape: '3*9' is not a shape; write"),
        ({"model": "net.pt", "input_shape": "0x9"}, "--input-shape: '0x9' is not a shape"),
        ({"model": "n.py:f", "weights": "pretrained"}, "--weights: n.py:f brings its own; remove"),
        (
            RESNET | {"device": "gpu"},
            "--device: 'gpu' is not a device; use auto, cpu, cuda:0 or all",
        ),
        (RESNET | {"device": "cuda:0,cpu"}, "--device: 'cuda:0,cpu' is not a device"),
        (RESNET | {"device": "cuda:1,cuda:1"}, "names a GPU twice; name each once"),
        (RESNET | {"duration": "10"}, "--duration: '10' has no unit; write it like 10s or 10ms"),
        (RESNET | {"duration": "0"}, "--duration: 0 measures nothing"),
        (RESNET | {"dynamic_batch": "8"}, "write it like 8:2ms"),
        (RESNET | {"dynamic_batch": "8:fast"}, "--dynamic-batch: 'fast' is not a duration"),
        (
            RESNET | {"batch": 4, "dynamic_batch": "2:1ms"},
            "--dynamic-batch: MAX is 2; give more",
        ),
        (RESNET | {"service_time": "1ms"}, "--service-time: belongs to --model synthetic"),
        (RESNET | {"service_dist": "constant"}, "--service-dist: belongs to --model synthetic"),
        (RESNET | {"wait": "spn"}, "did you mean spin? The choices are block, spin, yield"),
        (
            RESNET | {"inputs": "disk"},
            "--inputs: 'disk' is not known; choose from device, host, pinned",
        ),
        (RESNET | {"precision": "x"}, "choose from amp, bf16, fp16, fp32, fp64, fp8, int8, tf32"),
        (RESNET | {"runtime": "eagr"}, "did you mean eager? The choices are aotinductor, compile"),
        (RESNET | {"usd_per_hour": -1}, "--usd-per-hour: '-1' is not allowed; give 0 or more"),
    ],
)
def test_bad_settings_are_one_line_that_names_the_flag_and_the_fix(
    settings: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        make_spec(settings)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_key_of_a_file_is_named_as_it_stands_there() -> None:
    with pytest.raises(InputError, match=r"^sweep.yaml, grid 2: seq_len: "):
        make_spec(RESNET | {"seq_len": 128}, "sweep.yaml, grid 2")


def test_prices_are_no_part_of_a_cells_key() -> None:
    cheap, dear = Spec(model="resnet50", usd_per_hour=1), Spec(model="resnet50", usd_per_hour=9)
    assert cheap.key("machine") == dear.key("machine")
    named = Spec(model="resnet50", instance=("g5.xlarge",))
    assert named.key("machine") == cheap.key("machine")


@pytest.mark.parametrize(
    "change", [{"batch": 2}, {"seed": 1}, {"workers": 2}, {"inputs": "device"}, {"warmup": 3}]
)
def test_every_measured_setting_is_part_of_the_key(change: dict[str, object]) -> None:
    assert make_spec(RESNET).key("machine") != make_spec(RESNET | change).key("machine")


def test_the_machine_is_part_of_the_key() -> None:
    spec = make_spec(RESNET)
    assert spec.key("one") != spec.key("another")


def test_a_key_does_not_change_between_versions() -> None:
    """Run directories are resumed by it: another key here orphans what users have measured."""
    spec = make_spec(RESNET | {"batch": 8, "precision": "bf16", "requests": 130})
    assert spec.key("2 x Test CPU; no GPU") == "f2b6ba86802460c8"


def test_a_spec_survives_json() -> None:
    spec = make_spec(
        {"model": "synthetic", "rate": "100", "service_time": "250us", "instance": "g5.xlarge,x"}
    )
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.instance == ("g5.xlarge", "x")


def test_a_trace_makes_an_open_loop_without_a_rate() -> None:
    assert make_spec(RESNET | {"arrivals": "trace:times.txt"}).open_loop
    assert not make_spec(RESNET).open_loop
