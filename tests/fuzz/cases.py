"""The cases: hypothesis strategies for command lines, sweep files, documents, samples and traces.

Each strategy begins with a valid input and damages it. An input that is wrong from its first byte
would only reach the first check. CORPUS has inputs that once caused a failure.
"""

from __future__ import annotations

import json
from typing import Any

from factories import G5, failed, quick_start, result
from hypothesis import strategies as st

from gpubench.cli.program import COMMANDS
from gpubench.results.parquet import to_parquet
from gpubench.spec.spec import Spec

# Values that are wrong for most settings, and right for a few.
TEXTS = (
    *("", " ", "-", "--", "0", "-1", "1", "2", "nan", "inf", "-inf", "1e308", "1e-320", "1e999"),
    *(
        "9" * 19,
        "9" * 5000,
        "0x10",
        "1_000",
        "²",
        "\u0661",
        "½",
        "1.5",
        "1,2",
        ",",
        "1,,2",
        "true",
        "null",
    ),
    *(
        "\x1b[2J",
        "\u202eabc",
        "a\nb",
        "\ud800",
        "\x00",
        "x" * 300,
        "x" * 5000,
        "%s%n",
        "{0}",
        "=1+1",
    ),
    *("/dev/null", "/dev/zero", "pipe", "socket", ".", "..", "/", "link", "file", "/proc/self/mem"),
    *("zip://x", "ftp://h/x", "reference://x", "file://", "file://x", "s3://", "://", "memory://"),
    *("1ms", "0s", "-1s", "1e400s", "8:2ms", "8:", ":", "5:1", "9" * 30 + ":1ms", "10s", "1us"),
    *("0-1", "0+1", "1-0", "0-99999", "60C", "9C"),
    *("poisson", "poisson:3", "constant", "burst:0", "burst:2", "trace:", "trace:pipe", "trace:t"),
    *("planted:f", "planted.py:f", "m.pt", "m.plan", "m.onnx", "hub:a/b", "file/", "synthetic"),
    *("resnet50", "bert-base", "reset50", "eager", "torchscript", "onnxruntime", "tensorrt", "fp8"),
    *("runtime", "precision=fp32,bf16", "batch=", "2%", "200%", "p95 > +5%", "usd > +1%", "p95 <"),
    *("cpu", "cuda", "cuda:0", "cuda:" + "9" * 5000, "all", "cuda:1,cuda:1", "g5.xlarge", "T4"),
)
TEXT = st.one_of(st.sampled_from(TEXTS), st.text(max_size=20))
NUMBER = st.one_of(
    st.sampled_from((0, -1, 1, 2**63, 2**64, 10**18, 1e308, -1e308, 1e-320, 1e30, 1e31, 0.5)),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALAR = st.one_of(TEXT, NUMBER, st.booleans(), st.none())
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)

FAST = ("--model", "synthetic", "--service-time", "10us", "--warmup", "0", "--requests", "30")
_SETTINGS = tuple("--" + name.replace("_", "-") for name in Spec.model_fields)
_REPEATS = ("--repeats", "--until", "--max-time")
_METRICS = ("--metrics-port", "--metrics-push", "--metrics-otlp")
_FLAGS = {
    "run": (
        *_SETTINGS,
        *_REPEATS,
        *_METRICS,
        "--json",
        "--samples",
        "--output",
        "--require",
        "--quiet",
    ),
    "train": (
        *("--model", "--batch", "--optimizer", "--accumulate", "--checkpointing", "--replicas"),
        *("--dataset-size", "--precision", "--runtime", "--device", "--json", "--output"),
    ),
    "search": (
        *(*_SETTINGS, *_REPEATS, *_METRICS),
        *("--objective", "--tolerance", "--probes", "--json", "--output", "--quiet"),
    ),
    "sweep": (
        *(*_SETTINGS, *_REPEATS, *_METRICS),
        *("--output", "--require", "--quiet", "--allow-code", "--max-cells", "--dry-run"),
        *("--objective", "--tolerance", "--probes", "--isolate", "--no-isolate"),
        *("--max-cell-time", "--max-usd", "--on", "--share-nodes"),
    ),
    "launch": (
        *("aws-batch", "status", "cancel", "collect", *_SETTINGS, "--output", "--queue"),
        *("--job-definition", "--region", "--machines", "--spot", "--max-usd", "--max-time"),
        *("--name", "--repeats", "--max-cells", "--launch", "--json"),
        *("kubernetes", "--image", "--namespace", "--context", "--secret", "--service-account"),
        *("--toleration", "--volume", "--instance-label", "skypilot", "--disk-size", "slurm"),
        *("ray", "--address"),
        *("--partition", "--constraint", "--gres", "--account", "--qos", "--program", "--logs"),
    ),
    "worker": ("run", "--launch", "--instance", "--machines", "--index", "--max-time", "--quiet"),
    "cold": (
        *("--repeats", "--page-cache", "--build-cache", "--image-size", "--pull-rate"),
        *("--rate", "--idle-timeout", "--batch", "--output", "--json"),
        *("--url", "--parallel", "--idle", "--warm-calls", "--inferences", "--timeout", "--memory"),
        *("--usd-per-gb-second", "--usd-per-million-requests", "--billing-step", "--aws-sigv4"),
    ),
    "report": (
        *("--format", "--output", "--instance", "--usd-per-hour", "--plots"),
        *("--each-repeat", "--percentiles", "--prices", "--title", "--objective"),
        *("--trace", "--cell", "--plots-format"),
        *("--capital-usd", "--years", "--usd-per-kwh", "--grams-co2-per-kwh", "--pue", "--watts"),
    ),
    "export": ("mlflow", "wandb", "--experiment", "--tracking-uri", "--project", "--instance"),
    "plan": (
        *("--objective", "--allow", "--only", "--instance", "--usd-per-hour", "--all"),
        *("--prices", "--capital-usd", "--years", "--usd-per-kwh", "--watts"),
        *("--format", "--output", "--json", "--rate", "--traffic", "--spare", "--autoscale"),
        *("--target-utilisation", "--scale-up-delay", "--evaluation-period", "--balancing"),
        *("--serverless-usd-per-hour", "--scale-down-delay"),
        *("--usd-per-gb-second", "--usd-per-million-requests", "--keep-alive"),
    ),
    "compare": (
        *("--format", "--output", "--instance-a", "--usd-per-hour-b", "--force", "--prices"),
        *("--by", "--within", "--spread", "--fail-if", "--step-summary"),
    ),
    "ab": (*_SETTINGS, "--", "--rounds", "--fail-if", "--json", "--output", "--format"),
    "prices": (
        *("list", "show", "refresh", "--provider", "--accelerator", "--region", "--instance"),
        *("--accept", "--dry-run", "--api-key", "--term", "--sort", "--max-usd-per-hour"),
        *("--format", "--output", "--prices"),
    ),
    "build": (
        *("--model", "--weights", "--runtime", "--precision", "--batch", "--seq-len", "--seed"),
        *("--gpu", "--output", "--json"),
    ),
    "cache": ("list", "clear", "--kind"),
    "doctor": ("--json", "--no-such-flag"),
    "paths": ("--cmake", "--include"),
}
assert set(_FLAGS) == set(COMMANDS)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from([*_FLAGS, "no-such", "--version", "--help"]))
    arguments = [command]
    if command in {"run", "search", "sweep"} and draw(st.booleans()):
        arguments += FAST
    if command in {"report", "sweep", "plan"} and draw(st.booleans()):
        arguments.append(draw(st.sampled_from(("run", "file", "pipe", "socket", "/dev/zero"))))
    if command == "compare":
        arguments += draw(st.sampled_from((["run", "run"], ["run"])))
    for flag in draw(st.lists(st.sampled_from(_FLAGS.get(command, ("--x",))), max_size=4)):
        arguments.append(flag)
        if draw(st.integers(0, 9)):
            arguments.append(draw(TEXT))
    if draw(st.integers(0, 9)) == 0:
        arguments.append(draw(TEXT))
    # A command line cannot contain these characters.
    return [each.replace("\x00", "").encode(errors="replace").decode() for each in arguments]


_PIECES = (
    *(
        "model: resnet50",
        "model: synthetic",
        "model: planted:f",
        "model: [synthetic, planted.py:f]",
    ),
    *("model: !!binary cGxhbnRlZDpm", "model: !!python/name:planted.f", "model: !!str planted:f"),
    *("batch: [1, 2]", "batch: !!int x", "workers: [1, 2, 3]", "seed: " + "9" * 5000, "<<: *a"),
    *(
        "only_on: [cpu]",
        "only_on: cpu",
        "unavailable: {}",
        "unavailable: skip",
        "grids: 3",
        "grids:",
    ),
    *("warmup: 2026-13-45", "warmup: 12:30:45", "rate: .inf", "rate: .nan", "arrivals: trace:pipe"),
    *(
        "a: &a [*a]",
        "? [1]\n: 2",
        "- batch: 1",
        "- - - 1",
        "---",
        "...",
        "%YAML 9.9",
        "\t",
        "!",
        "#",
    ),
    *(
        "x: " + "[" * 3000,
        "{" * 3000,
        "- " * 3000 + "1",
        '"\\UFFFFFFFF"',
        '"\\uD800"',
        "'",
        "|",
        ">",
    ),
    *("service_time: 10us", "requests: 30", "warmup: 0", "instance: [a, b]", "usd_per_hour: 1e308"),
    *("batch: [" + ", ".join(map(str, range(1, 60))) + "]", "threads: 3", "duration: 1e400s"),
)


# Settings of a synthetic model. Most of these values are right.
_PLAUSIBLE = {
    "batch": ("1", "[1, 2]", "4", "65536", "65537"),
    "workers": ("1", "[1, 2]", "[2]", "4097"),
    "clients": ("1", "[1, 4]", "10000000"),
    "rate": ("5", "0.001", "1e3", "[5, 10.5]"),
    "arrivals": ("poisson", "constant", "burst:2", "trace:t", "[poisson, constant]"),
    "warmup": ("0", "1ms", "[0, 1us]", "1e-3"),
    "duration": ("1ms", "10s", "1h", "30"),
    "requests": ("1", "[10, 20]", "1e3", "'5'"),
    "seed": ("0", "[1, 2, 3]", str(2**63 - 1), str(2**63)),
    "load_seed": ("0", "~"),
    "depth": ("1", "2"),
    "dynamic_batch": ("8:2ms", "2:0s", "8:20", "1:1s"),
    "wait": ("spin", "[spin, yield, block]", "no"),
    "device": ("cpu", "auto", "cuda:0", "all"),
    "service_dist": ("constant", "exponential"),
    "instance": ("g5.xlarge", "[g5.xlarge, g4dn.xlarge]", "g5.xlarge, g4dn.xlarge"),
    "usd_per_hour": ("1", "0", "1e-300", "1e300"),
    "only_on": ("cpu", "cuda"),
    "unavailable": ("skip", "refuse"),
}


@st.composite
def sweep_files(draw: st.DrawFn) -> bytes:
    lines = []
    if draw(st.booleans()):
        lines += ["model: synthetic", "service_time: 10us", "requests: 30"]
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.integers(0, 7))
        if kind > 2:
            name = draw(st.sampled_from(sorted(_PLAUSIBLE)))
            line = f"{name}: {draw(st.sampled_from(_PLAUSIBLE[name]))}"
        elif kind > 1:
            line = draw(st.sampled_from(_PIECES))
        else:
            name = draw(st.one_of(st.sampled_from([*Spec.model_fields, "only_on"]), TEXT))
            line = f"{name}: {draw(st.one_of(TEXT, VALUE.map(_flow)))}"
        lines.append("  " * (draw(st.integers(0, 9)) == 0) + line)
    text = "\n".join(lines).encode(errors="surrogatepass")
    return _spoiled(draw, text) if draw(st.integers(0, 9)) == 0 else text


def _flow(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


DOCUMENTS = [
    json.loads(each.to_json())
    for each in (
        *(result(), failed(), result(machine=G5), result(rate=5.0, arrivals="constant")),
        *quick_start()[:3],
    )
]


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    document = json.loads(json.dumps(draw(st.sampled_from(DOCUMENTS))))
    for _ in range(draw(st.integers(0, 4))):
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 4)):
                place = place[key]
                continue
            match draw(st.integers(0, 9)):
                case 0:
                    del place[key]
                case 1 if isinstance(place, dict):
                    place[draw(TEXT)] = draw(VALUE)
                case _ if isinstance(place[key], (int, float)):
                    place[key] = draw(NUMBER)
                case 2 | 3 | 4 if isinstance(place[key], str):
                    place[key] = draw(TEXT)
                case 5 | 6 if place[key] is None:
                    place[key] = draw(st.one_of(NUMBER, st.lists(NUMBER, min_size=2, max_size=2)))
                case _:
                    place[key] = draw(VALUE)
            break
    text = json.dumps(document, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    return _spoiled(draw, text) if draw(st.integers(0, 9)) == 0 else text


@st.composite
def sample_files(draw: st.DrawFn) -> bytes:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from factories import STAMPS, samples

    whole = samples(draw(st.integers(0, 300)), draw(st.integers(0, 3)))
    if draw(st.booleans()):
        return _spoiled(draw, to_parquet(whole))
    columns: dict[str, Any] = {n: getattr(whole, n) for n in (*STAMPS[:5], "worker", *STAMPS[5:])}
    rows = len(whole)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from([*columns, "e0_ns", "preprocess_ns", "more"]))
        match draw(st.integers(0, 5)):
            case 0:
                columns.pop(name, None)
            case 1:
                columns[name] = ["x"] * rows
            case 2:
                columns[name] = np.zeros(rows, draw(st.sampled_from(["i1", "i4", "u8", "f8", "?"])))
            case 3:
                columns[name] = pa.nulls(rows, pa.int64())
            case 4:
                columns[name] = pa.array([[1, 2]] * rows, pa.list_(pa.int64()))
            case _:
                columns[name] = np.full(rows, draw(st.sampled_from([0, -(2**63), 2**63 - 1])))
    out = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns),
        out,
        compression=draw(st.sampled_from(["zstd", "snappy", "none", "gzip"])),
    )
    return bytes(out.getvalue())


@st.composite
def traces(draw: st.DrawFn) -> bytes:
    lines = [str(number / 10) for number in range(draw(st.integers(0, 20)))]
    for _ in range(draw(st.integers(0, 3))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.one_of(TEXT, NUMBER.map(str))))
    text = "\n".join(lines).encode(errors="surrogatepass")
    return _spoiled(draw, text) if draw(st.integers(0, 3)) == 0 else text


def _spoiled(draw: st.DrawFn, data: bytes) -> bytes:
    """Truncated, with changed bytes, or with a repeated part."""
    if not data:
        return draw(st.binary(max_size=40))
    place = draw(st.integers(0, len(data) - 1))
    match draw(st.integers(0, 3)):
        case 0:
            return data[:place]
        case 1:
            length = draw(st.integers(1, 8))
            more = draw(st.binary(min_size=length, max_size=length))
            return data[:place] + more + data[place + length :]
        case 2:
            return data[:place] + draw(st.binary(max_size=8)) + data[place:]
        case _:
            return data[:place] + data[place // 2 :]


CORPUS: dict[str, list[Any]] = {
    "command lines": [
        ["sweep", "pipe", "--output", "out"],
        ["sweep", "/dev/zero", "--output", "out"],
        ["sweep", *FAST, "--output", "reference://x"],
        ["sweep", *FAST, "--output", "x" * 300],
        ["sweep", *FAST, "--output", "socket"],
        ["report", ""],
        ["report", "x" * 300],
        ["report", "file://"],
        ["report", "run", "--output", "socket"],
        ["run", *FAST, "--arrivals", "poisson:3", "--rate", "5"],
        ["run", *FAST, "--json", "x" * 300],
        ["run", "--model", "resnet50", "--device", "cuda:" + "9" * 5000],
    ],
    "sweep files": [
        b"model: !!binary cGxhbnRlZDpm",
        b"model: planted:f",
        b"model: synthetic\nonly_on: [cpu]",
        b"model: synthetic\nseed: " + b"9" * 5000,
        b"&a [*a]",
        b"[" * 100_000,
        b"model: synthetic\n"
        + b"".join(
            axis + b": [" + b", ".join(b"%d" % value for value in range(1, 60)) + b"]\n"
            for axis in (b"batch", b"workers", b"clients", b"seed", b"load_seed")
        ),
    ],
    "documents": [
        json.dumps({**DOCUMENTS[0], "throughput_per_second": 1e-320}).encode(),
        json.dumps({**DOCUMENTS[0], "throughput_per_second": 1e308}).encode(),
        b"[" * 100_000,
        b'{"schema": ' + b"9" * 5000 + b"}",
        b'{"schema": NaN}',
    ],
    "sample files": [b"", b"PAR1", b"PAR1PAR1"],
    "traces": [b"", b"1e308", b"9" * 5000],
}
