"""Tests that cached engines are found only for the same model: any change causes a new build."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from factories import a_cell, another, as_cell
from onnx import TensorProto, helper, numpy_helper

import gpubench
from gpubench.cli.program import main
from gpubench.engines import aotinductor, inductor, program
from gpubench.engines.base import build
from gpubench.engines.onnx import export
from gpubench.engines.onnx.export import network
from gpubench.engines.tensorrt import plan
from gpubench.errors import InputError
from gpubench.measure.engine_key import engine_key
from gpubench.measure.reference import References
from gpubench.models.base import LoadedModel, Tensors, load
from gpubench.models.local_files import onnx_data
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec

BRIEF = {"requests": 4, "warmup": 0, "threads": 1, "device": "cpu", "seed": 1}

# A model whose forward reads a value of every kind that forward can read.
MODEL = """
import torch

SCALE = 1.5
def shift(x, by=0.25):
    return x + by

class Settings:
    heads = 2

def closure(power):
    return lambda x: x.abs() ** power

class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.width = 4
    def forward(self, x):
        return x.reshape(x.shape[0], self.width, -1).sum(1)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 16)
        self.register_buffer("offset", torch.full((16,), 0.5))
        self.register_buffer("hidden", torch.full((16,), 0.5), persistent=False)
        self.plain = torch.full((16,), 0.5)
        self.factor = 2.0
        self.steps = [1, 2]
        self.table = {"a": 3.0}
        self.settings = Settings()
        self.inner = Inner()
        self.curve = closure(2)
    def forward(self, x):
        x = self.linear(x) + self.offset + self.hidden + self.plain
        x = x * self.factor * self.table["a"] * SCALE
        for step in self.steps:
            x = x + step
        x = x.reshape(x.shape[0], self.settings.heads, -1).softmax(-1).flatten(1)
        return self.inner(shift(self.curve(x))).relu()

def make():
    net = Net()
    with torch.no_grad():
        net.linear.weight.fill_(0.25)
    return net, torch.linspace(0, 1, 24).reshape(3, 8)
"""

EDITS = {
    "a parameter": ("fill_(0.25)", "fill_(0.26)"),
    "a buffer": ('"offset", torch.full((16,), 0.5)', '"offset", torch.full((16,), 0.6)'),
    "a buffer that is not saved": (
        '"hidden", torch.full((16,), 0.5)',
        '"hidden", torch.full((16,), 0.6)',
    ),
    "a tensor that is no buffer": (
        "self.plain = torch.full((16,), 0.5)",
        "self.plain = torch.full((16,), 0.6)",
    ),
    "a number": ("self.factor = 2.0", "self.factor = 2.001"),
    "a number of another type": ("self.factor = 2.0", "self.factor = 2"),
    "a list": ("self.steps = [1, 2]", "self.steps = [1, 3]"),
    "a dictionary": ('{"a": 3.0}', '{"a": 3.5}'),
    "an object's attribute": ("heads = 2", "heads = 4"),
    "a layer's attribute": ("self.width = 4", "self.width = 2"),
    "a global": ("SCALE = 1.5", "SCALE = 1.25"),
    "a variable of a closure": ("closure(2)", "closure(3)"),
    "a default argument": ("by=0.25", "by=0.5"),
    "the code of forward": (".relu()", ".tanh()"),
    "the code of a function": ("return x + by", "return x - by"),
}


@pytest.fixture(scope="module", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Compiling takes long: what one test has compiled, the next may take."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("GPUBENCH_CACHE_DIR", str(place))
        patch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        yield place


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(MODEL)
    return path


def spec_of(model: Path | str, runtime: str, **settings: object) -> Spec:
    function = f"{model}:make" if str(model).endswith(".py") else str(model)
    return Spec.model_validate(
        {"model": function, "runtime": runtime, "workers": 1, **BRIEF, **settings}
    )


def cell_of(model: Path | str, runtime: str, **settings: object) -> Cell:
    return as_cell(spec_of(model, runtime, **settings))


def content(path: Path) -> str | None:
    """The digest from which the key of an export is made."""
    cell = cell_of(path, "onnxruntime")
    return export.network(load(cell), cell, torch.float32).content


@pytest.mark.parametrize("edited", list(EDITS))
def test_a_change_of_anything_that_forward_reads_changes_the_program(
    net: Path, edited: str
) -> None:
    before = content(net)
    assert before is not None
    assert content(net) == before
    old, new = EDITS[edited]
    assert MODEL.count(old) == 1
    net.write_text(MODEL.replace(old, new))
    assert content(net) not in {before, None}


def test_the_name_of_the_file_and_its_comments_do_not_change_the_program(
    net: Path, tmp_path: Path
) -> None:
    other = tmp_path / "renamed.py"
    other.write_text("# moved\n\n" + MODEL)
    assert content(other) == content(net)


def test_another_process_makes_the_same_digest(net: Path) -> None:
    """The process has another seed of Python's hashes, which changes the order of sets."""
    folder = Path(__file__).parent
    here = os.environ.get("PYTHONHASHSEED")
    code = (
        "import sys; sys.path[:0] = sys.argv[1].split(':');"
        "from pathlib import Path; import test_stale_engines as t;"
        "print(t.content(Path(sys.argv[2])))"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", code, f"{folder}:{folder.parent}", str(net)],
        env=os.environ | {"PYTHONHASHSEED": "2" if here == "1" else "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split()[-1] == content(net)


def test_an_engine_is_found_in_the_cache_and_built_again_after_an_edit(net: Path) -> None:
    built = []
    for text in (MODEL, MODEL, MODEL.replace("heads = 2", "heads = 4")):
        net.write_text(text)
        result = gpubench.run(spec_of(net, "onnxruntime"))
        assert result.error is None
        assert result.numerics is not None
        assert (result.numerics.relative_error or 0) < 1e-5
        built.append(result.engine.from_cache)
    assert built == [False, True, False]


def path_of_package(path: Path, **settings: object) -> Path:
    cell = cell_of(path, "aotinductor", **settings)
    module, example = inductor.ready(load(cell), cell)
    return aotinductor._entry(aotinductor._export(module, example, cell), module, cell)


def test_a_package_has_another_path_after_an_edit_and_for_other_settings(
    net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = path_of_package(net)
    assert path_of_package(net) == place
    others = {
        path_of_package(net, batch=2),
        path_of_package(net, threads=2),
        path_of_package(net, precision="amp"),
        path_of_package(net, precision="bf16"),
    }
    with torch._inductor.config.patch(max_autotune=True):
        others.add(path_of_package(net))
    for edited in ("a number", "an object's attribute", "a tensor that is no buffer"):
        net.write_text(MODEL.replace(*EDITS[edited]))
        others.add(path_of_package(net))
    net.write_text(MODEL)
    monkeypatch.setattr(inductor, "compiler", lambda: "/usr/bin/another")
    others.add(path_of_package(net))
    assert len(others) == 9
    assert place not in others
    assert {other.parent for other in others} == {
        place.parent
    }  # all are in the cache; none is a temporary file


@pytest.mark.parametrize("edited", ["a parameter", "an object's attribute"])
def test_the_cache_of_torch_compile_is_not_used_for_another_model(net: Path, edited: str) -> None:
    """With freezing, the weights are constants of the compiled code."""
    for text in (MODEL, MODEL.replace(*EDITS[edited])):
        net.write_text(text)
        result = gpubench.run(spec_of(net, "compile"))
        assert result.error is None
        assert result.numerics is not None
        assert (result.numerics.relative_error or 0) < 1e-5


def test_other_calibration_samples_cause_a_new_quantisation(net: Path) -> None:
    """The scales of activations come from the samples, which are not part of the program."""
    convolution = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU()), SAMPLES
"""
    built, engines = [], set()
    for samples in ("torch.ones(2, 1, 8, 8)", "torch.ones(2, 1, 8, 8)", "torch.zeros(2, 1, 8, 8)"):
        net.write_text(convolution.replace("SAMPLES", samples))
        cell = cell_of(net, "onnxruntime", precision="int8")
        built.append(build(load(cell), cell).from_cache)
        for_tensorrt = another(cell, runtime="tensorrt-rtx")
        source = plan._Source.of(load(for_tensorrt), for_tensorrt)
        engines.add((source.network.content, source.settings["calibration"]))
    assert built == [False, True, False]
    assert len(engines) == 2
    assert len({content for content, _ in engines}) == 1


def test_the_configuration_of_a_folder_is_part_of_the_program(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    tiny = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    BertForSequenceClassification(tiny).save_pretrained(tmp_path / "tiny")
    found = []
    for activation in ("gelu", "gelu", "relu"):
        tiny.hidden_act = activation
        tiny.architectures = ["BertForSequenceClassification"]
        tiny.save_pretrained(tmp_path / "tiny")
        cell = cell_of(f"{tmp_path}/tiny/", "onnxruntime", weights="pretrained", seq_len=8)
        found.append(export.network(load(cell), cell, torch.float32).content)
    assert found[0] == found[1] is not None
    assert found[2] != found[0]


def one_input(module: torch.nn.Module) -> LoadedModel:
    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return (torch.rand(samples, 4, generator=generator),)

    return LoadedModel(module.eval(), "", make_inputs)


def exported(module: torch.nn.Module) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(module, (torch.rand(2, 4),))


class Called(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def branches(shift: float) -> torch.nn.Module:
    return Called(lambda x: torch.cond(x.sum() > 0, lambda y: y + shift, lambda y: y - 1.0, (x,)))


def test_a_nested_graph_is_part_of_the_program() -> None:
    digests = [
        program.digest_of(exported(branches(shift)), torch.device("cpu"))
        for shift in (1.0, 1.0, 1.5)
    ]
    assert digests[0] == digests[1] is not None
    assert digests[2] not in {digests[0], None}


def cast(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x @ x.T


def without_gradients(x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return x + 1


def suppressed(x: torch.Tensor) -> torch.Tensor:
    return torch.ops.torchvision.nms(x, x[:, 0], 0.5)  # type: ignore[no-any-return]


@pytest.mark.parametrize("function", [cast, without_gradients, suppressed])
def test_programs_with_operators_of_torch_have_a_digest(
    function: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    import torchvision  # noqa: F401  # it registers the operators

    made = torch.export.export(Called(function), (torch.rand(2, 4),))  # gradients on
    assert program.digest_of(made, torch.device("cpu")) is not None


def test_a_tensor_of_another_class_has_no_digest() -> None:
    class Own(torch.Tensor):
        pass

    made = exported(torch.nn.Linear(4, 4))
    assert program.digest_of(made, torch.device("cpu")) is not None
    made.state_dict["bias"] = torch.zeros(4).as_subclass(Own)
    assert program.digest_of(made, torch.device("cpu")) is None


def test_the_number_of_the_gpu_does_not_change_the_program() -> None:
    read = program._Reader(torch.device("cuda", 1))._text
    assert read(torch.device("cuda", 1)) == read(torch.device("cuda")) == "device(cuda)"
    assert read(torch.device("cuda", 0)) == "device(cuda:0)"


def test_the_structure_of_inputs_and_outputs_is_part_of_the_program() -> None:
    class Outputs(torch.nn.Module):
        def __init__(self, kind: type) -> None:
            super().__init__()
            self.kind = kind

        def forward(self, x: torch.Tensor) -> object:
            return self.kind([x * 2])

    cpu = torch.device("cpu")
    digests = {program.digest_of(exported(Outputs(kind)), cpu) for kind in (tuple, list)}
    with torch.no_grad():
        wider = torch.export.export(Outputs(tuple), (torch.rand(2, 6),))
        half = torch.export.export(Outputs(tuple), (torch.rand(2, 4).half(),))
    digests |= {program.digest_of(each, cpu) for each in (wider, half)}
    assert len(digests) == 4
    assert None not in digests


def test_a_program_that_refers_to_code_outside_is_built_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The code of a user's operator can change without a new name."""

    @torch.library.custom_op("gpubench_tests::doubled", mutates_args=())
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    doubled.register_fake(torch.empty_like)
    assert program.digest_of(exported(Called(doubled)), torch.device("cpu")) is None
    # The same with a runtime that supports the model: known operators are treated as unknown.
    monkeypatch.setattr(program, "_OPERATOR_LIBRARIES", frozenset[str]())
    cell = cell_of("net.py", "onnxruntime")
    model = one_input(torch.nn.Linear(4, 4))
    assert [build(model, cell).from_cache for _ in range(2)] == [False, False]


def test_a_model_that_cannot_be_exported_first_is_built_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export, calls = torch.export.export, []

    def fails_the_first_time(*arguments: object, **keywords: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("cannot be traced in this way")
        return export(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.export, "export", fails_the_first_time)
    cell = cell_of("net.py", "onnxruntime")
    made = network(one_input(torch.nn.Linear(4, 4)), cell, torch.float32)
    assert made.content is None
    path, kept = made.file(cell)
    assert not kept
    assert onnx.load(path).graph.node


def onnx_in_two_files(folder: Path, weight: float, location: str = "weights.bin") -> Path:
    """y = x W, with W in a separate file."""
    folder.mkdir(exist_ok=True)
    values = np.full((300, 4), weight, np.float32)
    tensor = numpy_helper.from_array(values, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("x", 300), ("y", 4))
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "net", shapes[:1], shapes[1:], [tensor]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    target = folder / location
    if ".." not in location and not Path(location).is_absolute():
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(values.tobytes())
    return path


@pytest.mark.parametrize("location", ["weights.bin", "data/weights.bin"])
def test_external_data_is_part_of_an_onnx_file(tmp_path: Path, location: str) -> None:
    """The quantised file is cached, since making it takes time."""
    built = []
    for weight in (0.5, 0.5, 0.75):
        path = onnx_in_two_files(tmp_path / "m", weight, location)
        result = gpubench.run(spec_of(path, "onnxruntime", precision="int8"))
        assert result.error is None, result.error
        assert result.answers_agree
        built.append(result.engine.from_cache)
    assert built == [False, True, False]


def test_the_size_of_an_onnx_file_includes_its_external_data(tmp_path: Path) -> None:
    path = onnx_in_two_files(tmp_path, 0.5)
    result = gpubench.run(spec_of(path, "onnxruntime"))
    assert result.engine.artifact_bytes == path.stat().st_size + 300 * 4 * 4


def test_an_onnx_file_exported_with_torchs_defaults_is_measured_in_every_precision(
    tmp_path: Path,
) -> None:
    """The weights are in a second file."""
    path = tmp_path / "net.onnx"
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8))
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        module.eval(), (torch.randn(2, 64),), path, dynamo=True, dynamic_shapes=({0: batch},),
        verbose=False,
    )  # fmt: skip
    assert onnx_data(path) == [tmp_path / "net.onnx.data"]
    for precision in ("fp32", "int8"):
        result = gpubench.run(spec_of(path, "onnxruntime", precision=precision))
        assert result.error is None, result.error
        assert result.answers_agree


def test_links_to_files_in_the_cache_of_a_hub_are_allowed(tmp_path: Path) -> None:
    made = onnx_in_two_files(tmp_path / "blobs", 0.5)
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in (made, made.parent / "weights.bin"):
        (snapshot / file.name).symlink_to(file)
    assert onnx_data(snapshot / "net.onnx") == [snapshot / "weights.bin"]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("../secret", "outside its folder"),
        ("a/../../secret", "outside its folder"),
        ("/etc/passwd", "outside its folder"),
        ("C:\\secret", "outside its folder"),
        ("..\\secret", "outside its folder"),
        ("", "outside its folder"),
        ("link", "a link to a file outside its folder"),
        ("absent", "the file absent with its weights is missing"),
        (".", "is missing"),
    ],
)
def test_external_data_outside_the_folder_gives_a_one_line_error(
    tmp_path: Path, location: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = onnx_in_two_files(tmp_path / "m", 0.5)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    (tmp_path / "secret").write_bytes(bytes(4800))
    (path.parent / "link").symlink_to(tmp_path / "secret")
    assert main(["run", "--model", str(path), "--runtime", "onnxruntime"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--model {path}: " in line
    assert expected in line
    with pytest.raises(InputError, match=r"folder|missing"):
        load(cell_of(path, "onnxruntime"))


def test_data_of_a_subgraph_and_of_a_function_is_found(tmp_path: Path) -> None:
    path = onnx_in_two_files(tmp_path / "m", 0.5)
    model = onnx.load(path, load_external_data=False)
    inner = helper.make_node("Constant", [], ["c"], value=model.graph.initializer[0])
    inner.attribute[0].t.external_data[0].value = "inner.bin"
    branch = helper.make_graph(
        [inner], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [300, 4])]
    )
    model.graph.node.append(
        helper.make_node("If", ["k"], ["z"], then_branch=branch, else_branch=branch)
    )
    path.write_bytes(model.SerializeToString())
    (path.parent / "inner.bin").write_bytes(bytes(4800))
    assert {file.name for file in onnx_data(path)} == {"inner.bin", "weights.bin"}


def test_a_file_that_is_not_onnx_gives_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\xff" * 50)
    assert main(["run", "--model", str(tmp_path / "net.onnx"), "--runtime", "onnxruntime"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "it is not an ONNX file" in line


def test_a_folder_with_the_name_of_an_onnx_file_has_no_data(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").mkdir()
    assert onnx_data(tmp_path / "net.onnx") == []


def test_neighbouring_cells_do_not_share_the_reference_of_an_own_model(net: Path) -> None:
    references, cell = References(), cell_of(net, "eager")
    first = references.get(load(cell), cell)
    net.write_text(MODEL.replace("heads = 2", "heads = 4"))
    second = references.get(load(cell), cell)
    assert first.outputs is not None
    assert second.outputs is not None
    assert not torch.allclose(first.outputs[0][0], second.outputs[0][0])


def test_neighbouring_cells_do_not_share_the_reference_of_changed_weights() -> None:
    cell = a_cell(model="distilbert", weights="folder", seq_len=8)
    references = References()
    models = [one_input(torch.nn.Linear(4, 4)) for _ in range(2)]
    references.get(models[0], cell)
    assert references.has(models[0], cell)
    assert not references.has(models[1], cell)


def test_neighbouring_cells_do_not_share_the_engine_of_an_edited_file(net: Path) -> None:
    cell = cell_of(net, "eager")
    before = engine_key(cell)
    assert engine_key(cell) == before
    net.write_text(MODEL + "\n")
    assert engine_key(cell) != before
    path = onnx_in_two_files(net.parent / "m", 0.5)
    cell = cell_of(path, "onnxruntime")
    before = engine_key(cell)
    os.utime(path.parent / "weights.bin", ns=(1, 1))
    assert engine_key(cell) != before


def swept(output: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    settings = ["--runtime", "eager", "--requests", "2", "--warmup", "0s", "--device", "cpu"]
    assert main(["sweep", "--output", str(output), *settings, *flags]) == 0
    return [line for line in capsys.readouterr().err.splitlines() if "was changed" in line]


def test_a_sweep_reports_that_a_model_was_changed_after_its_stored_results(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ["--model", f"{net}:make", "--batch", "1,2"]
    assert swept(tmp_path / "out", capsys, *cells) == []
    assert swept(tmp_path / "out", capsys, *cells) == []
    later = net.stat().st_mtime_ns + 3600 * 10**9
    os.utime(net, ns=(later, later))
    (line,) = swept(tmp_path / "out", capsys, *cells, "--quiet")
    assert line.endswith(
        f"{net} was changed after 2 kept results of it were measured; use another --output to "
        "measure it anew"
    )
    assert swept(tmp_path / "other", capsys, *cells) == []
