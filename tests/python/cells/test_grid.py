"""Tests of grids: YAML and flags become cells."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from factories import a_machine
from moto_server import aws, bucket, moto_server

from gpubench.cells.grid import Grid, cells, expand, override, parse_grids, read_grids
from gpubench.cli.program import main
from gpubench.errors import InputError
from gpubench.files.folder import open_folder
from gpubench.files.untrusted import parse_yaml
from gpubench.spec.spec import Spec

__all__ = ["aws", "bucket", "moto_server"]  # fixtures

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_cells_are_all_combinations_and_neighbours_share_an_engine() -> None:
    (grid,) = parse_grids(
        {"workers": [1, 2], "batch": [1, 4], "model": ["resnet50", "bert-base"]}, "sweep"
    )
    specs = expand(grid)
    assert len(specs) == 8
    assert [(spec.model, spec.batch, spec.workers) for spec in specs[:3]] == [
        ("resnet50", 1, 1),
        ("resnet50", 1, 2),
        ("resnet50", 4, 1),
    ]


def test_instances_are_not_an_axis() -> None:
    (grid,) = parse_grids({"model": "resnet50", "instance": ["a", "b"]}, "sweep")
    (spec,) = expand(grid)
    assert spec.instance == ("a", "b")


def test_grids_inherit_the_settings_beside_the_key_grids() -> None:
    document = {"runtime": "eager", "grids": [{"model": "resnet50"}, {"model": "bert-base"}]}
    grids = parse_grids(document, "file")
    assert [grid.settings["runtime"] for grid in grids] == ["eager", "eager"]
    assert grids[1].origin == "file, grid 2"


def test_flags_override_every_grid() -> None:
    grids = parse_grids([{"model": "resnet50", "batch": [1, 2]}, {"model": "bert-base"}], "file")
    assert [len(expand(grid)) for grid in override(grids, {"batch": 8})] == [1, 1]


def test_equal_cells_are_measured_once() -> None:
    grids = parse_grids([{"model": "resnet50", "workers": [1, 2]}, {"model": "resnet50"}], "file")
    assert len(cells(grids, a_machine()).cells) == 2


def test_cells_that_the_machine_cannot_measure_are_refused_or_skipped() -> None:
    document = {"model": "resnet50", "precision": ["fp32", "bf16"]}
    with pytest.raises(InputError, match=r"^file: --precision bf16: this CPU"):
        cells(parse_grids(document, "file"), a_machine())
    planned = cells(parse_grids(document | {"unavailable": "skip"}, "file"), a_machine())
    assert [spec.precision for spec in planned.cells] == ["fp32"]
    assert len(planned.skipped) == 1
    native = a_machine(cpu_flags=frozenset({"avx512_bf16"}))
    assert len(cells(parse_grids(document, "file"), native).cells) == 2


def test_cells_without_the_memory_format_are_skipped() -> None:
    document = {
        "model": ["bert-base", "resnet50"],
        "runtime": ["eager", "onnxruntime"],
        "memory_format": ["contiguous", "channels_last"],
        "unavailable": "skip",
    }
    planned = cells(parse_grids(document, "file"), a_machine())
    found = [(c.model, c.runtime) for c in planned.cells if c.memory_format == "channels_last"]
    assert found == [("resnet50", "eager")]


def test_a_grid_for_other_machines_is_checked_and_not_measured() -> None:
    gpu_grid = {"model": "resnet50", "only_on": "cuda"}
    assert cells(parse_grids(gpu_grid, "file"), a_machine()).cells == []
    with pytest.raises(InputError, match="batch"):
        cells(parse_grids(gpu_grid | {"batch": 0}, "file"), a_machine())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: [resnet50", ":1:17: this is not valid YAML"),
        ("- just\n- words", "grid 1: expected settings"),
        ("modle: resnet50", "unknown key 'modle'; did you mean model?"),
        ("model: resnet50\nbatch: []", "batch: the list is empty"),
        ("model: resnet50\nbatch: [1, -2]", "batch: '-2' is not allowed"),
        ("model: resnet50\nonly_on: tpu", "only_on: 'tpu' is not known; choose cpu or cuda"),
        ("model: resnet50\nunavailable: maybe", "choose skip or refuse"),
        ("grids: 3", "grids: expected a list"),
        ("", "expected settings"),
        ("model: {a: 1}", "model"),
        (
            "model: resnet50\nbatch: 1\nbatch: 2",
            ":3: 'batch' is there twice; remove one",
        ),
        ("model: resnet50\n\nbatch: [1, 0]", ":3: batch: '0' is not allowed; give 1 or more"),
        ("model: resnet50\nonly_on: [cpu]", ":2: only_on: '['cpu']' is not known; choose cpu or"),
        ("model: resnet50\nunavailable: {a: 1}", ":2: unavailable: "),
        ("model: !!binary cmVzbmV0NTA=", ":1: tag:yaml.org,2002:binary is a tag"),
        ("model: resnet50\nseed: !!int x", ":2: tag:yaml.org,2002:int is a tag"),
        ("model: !!python/name:os.system", "is a tag"),
        ("model: !a b", ":1: !a is a tag"),
        ("! model: resnet50", ":1: ! is a tag"),
        ("model: &m resnet50\nweights: *m", ":1: &m is an anchor"),
        ("- *m", ":1: *m is an alias"),
        ("<<: {model: resnet50}", "unknown key '<<'"),
        ("[1]: 2", ":1: a key must be a word"),
        ("? {a: 1}\n: 2", ":1: a key must be a word"),
        ("model: resnet50\nseed: " + "1" * 5000, ":2: a text is longer than 4,096"),
        ("model: resnet50\nseed: " + "1" * 4000, ":2: a number has 4,000 digits"),
        ("model: resnet50\nseed: -" + "1" * 30, ":2: a number has 31 digits"),
        ("model: resnet50\nwarmup: 2026-13-45", ":2: warmup: '2026-13-45' is not a duration"),
        ("model: resnet50\nwarmup: 2026-01-02", ":2: warmup: '2026-01-02' is not a duration"),
        ("model: 2026-01-02", ":1: model: unknown model '2026-01-02'"),
        ("model: resnet50\ndynamic_batch: 8:20", "dynamic_batch: '20' has no unit"),
        ("[" * 100, "nested deeper than 8 levels"),
        ("- " * 2000 + "a", "nested deeper than 8 levels"),
        ('model: "\\UFFFFFFFF"', "this is not valid YAML"),
        ('model: "\\uD800"', "half a character"),
        ("model: a\x00b", ":1: this is not valid YAML: a character is not allowed"),
        ("model: resnet50\n--- \nmodel: resnet50", ":2: a second document begins"),
        ("%YAML 9.9\n---\nmodel: resnet50", "not valid YAML"),
        ("model: resnet50\nbatch: [[1, 2]]", "batch: '[1, 2]' is not allowed"),
        ("model: resnet50\nrate: 1e308", "rate: '1e+308' is not allowed"),
        ("model: resnet50\nrate: 1e999", "rate: "),
        ("model: resnet50\narrivals: poisson:3\nrate: 5", ":2: arrivals: poisson takes no value"),
        ("model: resnet50\nbatch: yes", "batch: 'True' is not allowed; give a number, like 8"),
        ("model: resnet50\nrate: on", "rate: 'True' is not allowed; give a number"),
        ("model: resnet50\nbatch: 1, 2", "batch: '1, 2' is not allowed; a list is written [1, 2]"),
        ("model: resnet50,bert-base", "model: 'resnet50,bert-base' is not allowed; a list is"),
        ("model: 5", "model: '5' is not allowed; give a name"),
        ("model: resnet50\ninstance: 5", "instance: '5' is not allowed; give a name, or a list of"),
    ],
)
def test_a_bad_file_gives_a_one_line_error_with_its_name(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refusal:
        cells(read_grids(path), a_machine())
    assert str(refusal.value).startswith(str(path))
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_error_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_grids(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read: it is not text"):
        read_grids(tmp_path / "binary.yaml")


def test_only_regular_files_of_limited_size_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.yaml").write_text("# " + "x" * 300_000)
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # the path of a socket must not be longer than 108 bytes
        listening.bind("socket")
        for name, expected in [
            ("pipe", "it is a named pipe; give a regular file"),
            ("/dev/zero", "it is a device"),
            ("/dev/null", "it is a device"),
            ("socket", "it is a socket"),
            (".", "it is a folder"),
            ("large.yaml", "it is larger than 256 KiB, the limit"),
            ("x" * 300, "File name too long"),
        ]:
            with pytest.raises(InputError, match=f"cannot be read: {expected}"):
                read_grids(tmp_path / name)


def test_yaml_values_are_only_strings_numbers_and_booleans(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "a: [8, -3, 1.5, 1e3, .5, yes, Off, ~, null, '8', \"yes\", 010, 0x10, 1:30, 1_000]\n"
        "b: [2026-01-02, <<, =, .inf, .nan, 2 ms, |-]\n"
    )
    found = parse_yaml(path.read_text().replace(", |-", ""), "file")
    assert found["a"] == [
        *(8, -3, 1.5, 1000.0, 0.5, True, False, None, None, "8", "yes"),
        *("010", "0x10", "1:30", "1_000"),
    ]
    assert found["b"] == ["2026-01-02", "<<", "=", ".inf", ".nan", "2 ms"]
    assert found.lines == {"a": 1, "b": 2}


def expanded(path: Path) -> list[Spec]:
    return [spec for grid in read_grids(path) for spec in expand(grid)]


def test_a_model_name_written_as_bytes_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted.py").write_text("open('ran', 'w')\ndef f(): open('ran', 'w')\n")
    hidden = base64.b64encode(b"planted:f").decode()
    for model in (f"!!binary {hidden}", f"!!binary '{hidden}'", f"[!!binary {hidden}]"):
        (tmp_path / "sweep.yaml").write_text(f"model: {model}\nrequests: 1\nwarmup: 0")
        assert main(["sweep", "sweep.yaml", "--output", "run"]) == 2
        assert "sweep.yaml:1: tag:yaml.org,2002:binary is a tag" in capsys.readouterr().err
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("model", ["evil:f", "evil.py:f", "pkg.sub:make"])
@pytest.mark.parametrize(
    "form",
    [
        "model: {}",
        "model: [resnet50, {}]",
        "model: '{}'",
        'model: "{}"',
        "model: >-\n  {}",
        "grids:\n- model: {}",
        "- model: resnet50\n- model: {}",
        "model: resnet50\ngrids:\n- batch: 1\n- model: [{}]",
        "? model\n: {}",
        "only_on: cuda\nmodel: {}",
    ],
)
def test_a_file_runs_no_code_without_allow_code(tmp_path: Path, model: str, form: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(form.format(model))
    with pytest.raises(InputError) as refusal:
        expanded(path)
    assert str(refusal.value).startswith(f"{path}:")
    assert f"model: {model} runs code; if you trust this file" in str(refusal.value)


@pytest.mark.parametrize("setting", ["inputs_file: secret.npz", "eval: secret.parquet"])
def test_a_file_does_not_send_local_data_to_its_server_without_allow_code(
    tmp_path: Path, setting: str
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"model: kserve:m\nserver: grpc://a.example:8001\n{setting}\n")
    with pytest.raises(InputError, match="would be sent to the server that this file names"):
        expanded(path)
    assert len(expand(read_grids(path, allow_code=True)[0])) == 1


@pytest.mark.parametrize(
    "text",
    ["model: m.pt\ninput_shape: 3x8x8", "model: m.plan\nruntime: tensorrt\nprecision: fp16"],
)
def test_a_file_cannot_set_allow_code(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"sweep.yaml:1: model: m\.\w+ runs code; if you trust"):
        expand(read_grids(path)[0])


def test_labelled_data_of_a_file_run_no_code(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("model: resnet50\neval: [val.parquet, evil.py:samples]")
    with pytest.raises(InputError, match=r"yaml:2: eval: evil\.py:samples runs code; if you trust"):
        expand(read_grids(path)[0])
    trusted = expand(read_grids(path, allow_code=True)[0])
    assert [spec.eval for spec in trusted] == ["val.parquet", "evil.py:samples"]
    (grid,) = override(read_grids(path), {"eval": "mine.py:samples"})
    assert expand(grid)[0].eval == "mine.py:samples"


@pytest.mark.parametrize("model", [b"evil:f", 5, None, {"a": "evil:f"}, bytearray(b"evil:f")])
def test_a_model_must_be_a_string_and_not_convertible_to_one(model: object) -> None:
    """pydantic decodes bytes to text. A check of the written value alone would not see the name."""
    with pytest.raises(InputError, match=r"^sweep: model: .* give a name"):
        expand(Grid({"model": model}, "sweep"))


def test_code_runs_if_a_flag_allows_it_or_names_the_model(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("model: evil:f\nbatch: 1")
    assert expand(read_grids(path, allow_code=True)[0])[0].model == "evil:f"
    (grid,) = override(read_grids(path), {"model": "mine:f"})
    assert expand(grid)[0].model == "mine:f"
    (grid,) = override(read_grids(path), {"batch": "2"})
    with pytest.raises(InputError, match=r"sweep.yaml:1: model: evil:f runs code; if you trust"):
        expand(grid)
    assert expand(parse_grids({"model": "evil:f"}, "sweep")[0])[0].model == "evil:f"


def test_cells_are_counted_before_they_are_made(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    many = list(range(1, 60))
    axes = ("batch", "workers", "clients", "seed", "threads")
    path.write_text("model: resnet50\n" + "".join(f"{axis}: {many}\n" for axis in axes))
    with pytest.raises(
        InputError, match=r"714,924,299 cells, and the limit is 10,000.*--max-cells"
    ):
        cells(read_grids(path), a_machine())
    small = parse_grids([{"model": "resnet50", "batch": [1, 2]}, {"model": "resnet50"}], "sweep")
    with pytest.raises(InputError, match="3 cells, and the limit is 2"):
        cells(small, a_machine(), max_cells=2)
    assert len(cells(small, a_machine(), max_cells=3).cells) == 2


def test_every_cell_of_the_quick_start_measures_enough_requests_for_p95() -> None:
    planned = cells(read_grids(EXAMPLES / "quickstart.yaml"), a_machine())
    assert [(cell.model, cell.batch, cell.workers) for cell in planned.cells] == [
        ("bert-base", 1, 1),
        ("bert-base", 1, 2),
        ("resnet50", 1, 1),
        ("resnet50", 1, 2),
        ("resnet50", 4, 1),
    ]
    assert all(cell.spec.clients == cell.workers for cell in planned.cells)
    assert all(cell.spec.requests == 130 for cell in planned.cells)
    assert all(cell.spec.instance == ("c7i.xlarge",) for cell in planned.cells)
    native = a_machine(cpu_flags=frozenset({"avx512_bf16"}))
    assert len(cells(read_grids(EXAMPLES / "quickstart.yaml"), native).cells) == 10


def test_the_grid_of_the_published_study_is_complete() -> None:
    grids = read_grids(EXAMPLES / "g5_study.yaml")
    specs = [spec for grid in grids for spec in expand(grid)]
    assert {spec.batch for spec in specs} == {32, 16, 8, 4, 1}
    assert {spec.model for spec in specs} == {"bert-base", "resnet50"}
    assert {spec.precision for spec in specs} == {"fp32", "tf32", "amp"}
    assert {spec.instance for spec in specs} == {("g5.4xlarge", "g4dn.4xlarge")}
    assert all(spec.inputs == "device" for spec in specs)


# Sweep files at URLs.

CODE = "model: mine:make\nweights: random\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a web server with the files of `tmp_path`."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_sweep_file_may_be_at_a_url(site: str, bucket: str, tmp_path: Path) -> None:
    text = "model: resnet50\nbatch: [1, 4]\n"
    (tmp_path / "sweep.yaml").write_text(text)
    open_folder(f"{bucket}/deep").write("sweep.yaml", text.encode())
    for url in (
        f"{site}/sweep.yaml",
        f"{site}/sweep.yaml?X-Amz-Signature=secret",
        f"{bucket}/deep/sweep.yaml",
        f"file://{tmp_path}/sweep.yaml",
    ):
        [grid] = read_grids(url)
        assert len(expand(grid)) == 2
        assert grid.location("batch") == f"{url.partition('?')[0]}:2"
        assert grid.untrusted == {"model", "batch"}


def test_a_sweep_file_at_a_url_runs_no_code_without_the_flag(site: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(CODE)
    [grid] = read_grids(f"{site}/sweep.yaml")
    with pytest.raises(InputError, match=r"sweep.yaml:1: model: .*--allow-code"):
        expand(grid)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("none.yaml?sig=secret", "cannot be read: the server answers 404 File not found"),
        ("large.yaml?sig=secret", "cannot be read: it is larger than 256 KiB, the limit"),
        ("wrong.yaml?sig=secret", "wrong.yaml:1: unknown key 'modle'"),
    ],
)
def test_a_wrong_file_at_a_url_is_named_without_its_query(
    site: str, tmp_path: Path, path: str, reason: str
) -> None:
    (tmp_path / "large.yaml").write_text("#" * 300_000)
    (tmp_path / "wrong.yaml").write_text("modle: resnet50")
    with pytest.raises(InputError) as refused:
        read_grids(f"{site}/{path}")
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://me:secret@127.0.0.1/sweep.yaml", "http://127.0.0.1/sweep.yaml: a password in"),
        ("http://127.0.0.1:9/sweep.yaml?secret", "http://127.0.0.1:9/sweep.yaml cannot be read"),
        ("s3://me:secret@bucket/sweep.yaml", "s3://bucket: the URL of a directory cannot contain"),
        ("ftp://host/sweep.yaml", "gpubench cannot use ftp://"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, reason: str) -> None:
    with pytest.raises(InputError) as refused:
        read_grids(url)
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_command_takes_a_url(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the reports read the directory at the other URL."""
    text = "model: synthetic\nservice_time: 10us\nwarmup: 0\nrequests: 20\nworkers: [1, 2]\n"
    open_folder(bucket).write("sweep.yaml", text.encode())
    run = f"{bucket}/run"
    assert main(["sweep", f"{bucket}/sweep.yaml", "--output", run, "--quiet"]) == 0
    for command in (["report", run], ["compare", run, run], ["report", run, "--format", "csv"]):
        assert main(command) == 0
        assert "synthetic" in capsys.readouterr().out
