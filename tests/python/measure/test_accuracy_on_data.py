"""Accuracy of real engines on labelled samples whose right answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from factories import a_cell
from small_models import make_presets_small

import gpubench
from gpubench.cells.resolve import resolve
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.engine import prepare
from gpubench.measure.shared import Shared
from gpubench.models.base import load, seeded
from gpubench.models.labelled_parquet import MOST_SAMPLES
from gpubench.registry import model_entry
from gpubench.results.result import Accuracy
from gpubench.spec.parse import make_spec
from gpubench.system.machine import this_machine

MODELS = """
import torch
import gpubench

SEED = torch.Generator().manual_seed(0)
WEIGHTS = torch.randn(10, 16, generator=SEED)


def layer():
    made = torch.nn.Linear(16, 10)
    with torch.no_grad():
        made.weight.copy_(WEIGHTS)
        made.bias.zero_()
    return made


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = layer()

    def forward(self, x):
        return self.layer(x)


def classifier():
    return Classifier(), (torch.randn(4, 16),)


class Labels(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = layer()

    def forward(self, x):
        return self.layer(x).argmax(1)


def labels():
    return Labels(), (torch.randn(4, 16),)


class Tagger(torch.nn.Module):
    def forward(self, tokens):
        return torch.nn.functional.one_hot(tokens % 3, 3).float()


def tagger():
    return Tagger(), (torch.randint(0, 9, (4, 5)),)


class Spans(torch.nn.Module):
    def forward(self, tokens):
        return (tokens == 1).float(), (tokens == 2).float()


def spans():
    return gpubench.OwnModel(Spans(), (torch.randint(0, 9, (4, 5)),), answers=("start", "end"))


class Brightest(torch.nn.Module):
    def forward(self, x):
        return x.sum((2, 3))


def brightest():
    return Brightest(), (torch.rand(2, 3, 2, 5),)


class Broken(torch.nn.Module):
    def forward(self, x):
        outputs = torch.nn.functional.one_hot(torch.zeros(len(x), dtype=torch.int64), 10).float()
        return outputs / (x[:, :1] > 0)


def broken():
    return Broken(), (torch.randn(4, 16),)


def counted():
    def requests(generator, samples):
        return [int(n) for n in torch.randint(0, 99, (samples,), generator=generator)]

    def preprocess(numbers):
        return (torch.tensor([[n % 2.0, (n + 1) % 2.0] for n in numbers]),)

    return gpubench.OwnModel(torch.nn.Identity(), requests, preprocess=preprocess)


def alike():
    generator = torch.Generator().manual_seed(1)
    for count in (7, 1, 12):
        x = torch.randn(count, 16, generator=generator)
        yield x, (x @ WEIGHTS.T).argmax(1)


def numbers():
    yield [0, 1, 2, 3, 4], [1, 0, 1, 0, 0]  # the last label is wrong


def others():
    yield torch.rand(4, 16), [0, 1, 2, 3]


def unseeded():
    import random
    yield torch.full((4, 16), random.random()), [0, 1, 2, 3]


def pairs():
    tokens = torch.tensor([[0, 1, 0, 2, 0], [1, 2, 0, 0, 0]])
    yield tokens, ([1, 0], [3, 2])


def nothing():
    return iter(())


def not_iterable():
    return 5


def too_wide():
    yield torch.zeros(4, 17), [0, 0, 0, 0]


def integers():
    yield torch.zeros(4, 16, dtype=torch.int64), [0, 0, 0, 0]


def too_few_labels():
    yield torch.zeros(4, 16), [0, 0, 0]


def text_labels():
    yield torch.zeros(2, 16), ["cat", "dog"]


def two_forms():
    yield torch.zeros(2, 16), [0, 0]
    yield torch.zeros(2, 16), [[0], [0]]


def three_parts():
    yield torch.zeros(2, 16), [0, 0], 1
"""
WEIGHTS = torch.randn(10, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models.py").write_text(MODELS)


def samples(count: int, wrong: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(inputs of the classifier, labels); the first `wrong` labels are not its answers."""
    x = torch.randn(count, 16, generator=torch.Generator().manual_seed(1))
    labels = (x @ WEIGHTS.T).argmax(1)
    labels[:wrong] = (labels[:wrong] + 1) % 10
    return x.numpy(), labels.numpy()


def write(path: str, **columns: object) -> str:
    pq.write_table(pa.table(columns), path)
    return path


def labelled(count: int = 23, wrong: int = 0) -> str:
    x, labels = samples(count, wrong)
    return write("data.parquet", x=list(x), label=labels)


def accuracy(shared: Shared | None = None, **settings: Any) -> Accuracy:
    settings = {"runtime": "eager", "threads": 1, **settings}
    found = prepare(a_cell(**settings), lambda stage: None, shared).accuracy
    assert found is not None
    return found


def classifier(**settings: Any) -> Accuracy:
    return accuracy(model="models.py:classifier", **settings)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("runtime", "batch"),
    [("eager", 1), ("eager", 23), ("eager", 64), ("torchscript", 4), ("onnxruntime", 4)],
)
def test_every_sample_counts_once_whatever_the_batch(runtime: str, batch: int) -> None:
    found = classifier(eval=labelled(23, wrong=3), runtime=runtime, batch=batch)
    assert (found.metric, found.samples) == ("top1", 23)
    assert found.value == found.reference == pytest.approx(20 / 23)
    assert found.drop == 0.0
    assert found.drop_interval is not None
    assert found.drop_interval[0] < 0 < found.drop_interval[1]


@pytest.mark.usefixtures("models")
def test_the_hash_is_that_of_the_file() -> None:
    import hashlib

    found = classifier(eval=labelled())
    assert found.data.name == "data.parquet"
    assert found.data.sha256 == hashlib.sha256(Path("data.parquet").read_bytes()).hexdigest()


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("batch", [1, 8])
def test_a_function_yields_what_a_file_would_hold(batch: int) -> None:
    found = classifier(eval="models.py:alike", batch=batch)
    assert (found.value, found.samples, found.data.sha256) == (1.0, 20, None)


@pytest.mark.usefixtures("models")
def test_a_coarse_precision_loses_accuracy_and_the_reference_does_not() -> None:
    """Two classes that bf16 cannot tell apart: their outputs differ by less than it resolves."""
    Path("close.py").write_text(
        "import torch\n\n"
        "def close():\n"
        "    made = torch.nn.Linear(2, 2, bias=False)\n"
        "    made.weight.data = torch.tensor([[1.0, 0.0], [1.0, 1.0]])\n"
        "    return made, (torch.rand(4, 2),)\n"
    )
    x = np.array([[1.0, 2**-12 if n % 2 else -(2**-12)] for n in range(40)], np.float32)
    data = write("close.parquet", input=list(x), label=[n % 2 for n in range(40)])
    found = accuracy(model="close.py:close", eval=data, precision="bf16", allow_emulated=True)
    assert found.reference == 1.0
    assert found.value == 0.5  # bf16 rounds both outputs to 1
    assert found.drop == 0.5


@pytest.mark.usefixtures("models")
def test_int8_is_compared_with_fp32_on_the_same_samples() -> None:
    found = classifier(eval=labelled(400), runtime="onnxruntime", precision="int8", batch=8)
    assert found.reference == 1.0
    assert 0.8 < found.value <= 1.0
    assert found.drop == pytest.approx(1.0 - found.value)


@pytest.mark.usefixtures("models")
def test_a_model_that_returns_class_numbers() -> None:
    found = accuracy(model="models.py:labels", eval=labelled(10, wrong=1), batch=4)
    assert found.value == pytest.approx(9 / 10)


@pytest.mark.usefixtures("models")
def test_f1_of_classes() -> None:
    found = classifier(eval=labelled(60, wrong=0), eval_metric="f1")
    assert (found.metric, found.value, found.reference) == ("f1", 1.0, 1.0)


@pytest.mark.usefixtures("models")
def test_spans_from_a_file_and_from_a_function() -> None:
    tokens = [[0, 1, 0, 2, 0], [1, 2, 0, 0, 0], [0, 0, 1, 2, 0]]
    data = write("spans.parquet", tokens=tokens, start=[1, 0, 2], end=[3, 2, 3])
    found = accuracy(model="models.py:spans", eval=data)
    assert found.metric == "exact-match"
    assert found.value == pytest.approx(2 / 3)
    f1 = accuracy(model="models.py:spans", eval=data, eval_metric="f1")
    assert f1.value == pytest.approx((1 + 2 * 2 / 5 + 1) / 3)
    assert accuracy(model="models.py:spans", eval="models.py:pairs").value == 0.5


@pytest.mark.usefixtures("models")
def test_exact_match_of_lists() -> None:
    tokens = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 0]]
    labels = [[0, 1, 2, -100, 1], [2, 0, 1, 2, 1]]  # the last number is wrong
    data = write("tags.parquet", tokens=tokens, label=labels)
    found = accuracy(model="models.py:tagger", eval=data)
    assert (found.metric, found.value) == ("exact-match", 0.5)


@pytest.mark.usefixtures("models")
def test_an_answer_of_nan_is_wrong() -> None:
    """The model divides by 0 unless the first number is positive. 0 would be the right answer."""
    x = np.full((6, 16), -1.0, np.float32)
    x[:2] = 1.0
    data = write("nan.parquet", x=list(x), label=[0] * 6)
    assert accuracy(model="models.py:broken", eval=data).value == pytest.approx(2 / 6)


@pytest.mark.usefixtures("models")
def test_a_function_yields_what_preprocess_takes() -> None:
    found = accuracy(model="models.py:counted", eval="models.py:numbers", batch=2)
    assert found.samples == 5
    assert found.value == pytest.approx(4 / 5)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("form", ["flat", "nested", "bytes", "float64", "tensor"])
def test_the_forms_of_a_column(form: str) -> None:
    x, labels = samples(6)
    columns: dict[str, Callable[[], object]] = {
        "flat": lambda: list(x),
        "float64": lambda: list(x.astype(np.float64)),
        "bytes": lambda: [row.tobytes() for row in x],
        "tensor": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(x),
        "nested": lambda: pa.array(x.tolist(), pa.list_(pa.float32())),
    }
    data = write("forms.parquet", x=columns[form](), label=labels, other=["a"] * 6)
    assert classifier(eval=data).value == 1.0


@pytest.mark.usefixtures("models")
def test_images_may_be_flat_or_nested() -> None:
    images = np.random.default_rng(1).random((4, 3, 2, 5), np.float32)
    labels = [int(image.reshape(3, -1).sum(1).argmax()) for image in images]
    flat = write("flat.parquet", x=list(images.reshape(4, -1)), label=labels)
    nested = write("nested.parquet", x=pa.array(images.tolist()), label=labels)
    for data in (flat, nested):
        found = accuracy(model="models.py:brightest", eval=data)
        assert (found.value, found.note) == (1.0, None)


def test_cells_share_the_answers_of_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_presets_small(monkeypatch)
    monkeypatch.chdir(tmp_path)
    cell = a_cell(model="distilbert", seq_len=16, runtime="eager")
    model = load(cell)
    ids, mask = model.make_inputs(seeded(3), 5)
    columns = {"input_ids": list(ids.numpy()), "attention_mask": list(mask.numpy())}
    data = write("text.parquet", **columns, start=[1] * 5, end=[2] * 5)
    shared = Shared(keep=True)
    for batch in (1, 2):
        evaluated = a_cell(model="distilbert", seq_len=16, runtime="eager", eval=data, batch=batch)
        assert shared.evaluations.has(model, evaluated) == (batch == 2)
        found = prepare(evaluated, lambda stage: None, shared).accuracy
        assert found is not None
        assert found.samples == 5
        assert found.note is not None
        assert "the weights are random" in found.note
    other = a_cell(model="distilbert", seq_len=16, runtime="eager", eval=data, eval_metric="f1")
    assert not shared.evaluations.has(model, other)


REFUSED_FUNCTIONS = {
    "unseeded": "it yields other samples each time",
    "nothing": "it yields no samples",
    "not_iterable": "it returned int; it must yield",
    "too_wide": r"batch 1: .* has the shape \[4, 17\], and the model takes \[samples, 16\]",
    "integers": "holds int64, and the model takes float32",
    "too_few_labels": "inputs and labels have 3 and 4 samples",
    "text_labels": "its labels are <U3",
    "two_forms": "batch 2: its labels have another form",
    "three_parts": "it is tuple, not",
}


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("function", REFUSED_FUNCTIONS)
def test_what_a_function_must_not_yield(function: str) -> None:
    with pytest.raises(GpubenchError, match=REFUSED_FUNCTIONS[function]) as refusal:
        classifier(eval=f"models.py:{function}", batch=2)
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("models")
def test_random_numbers_of_torch_are_the_same_each_time() -> None:
    assert classifier(eval="models.py:others").samples == 4


def rows(count: int) -> list[list[float]]:
    return [[0.0] * 16] * count


# Columns of a file -> what is said about it. The model is loaded for these.
UNFIT: Sequence[tuple[dict[str, object], str]] = (
    ({"x": [[0.0] * 17] * 2, "label": [0, 1]}, r"x has the shape \[17\] .* takes \[16\]; pad"),
    ({"x": [[0] * 16] * 2, "label": [0, 1]}, "x holds int64, and the model takes float32"),
    (
        {"y": rows(2), "label": [0, 1]},
        "no column x; .* takes x, and the file has y, label",
    ),
    ({"x": [[0.0] * 16, [0.0] * 15], "label": [0, 1]}, "lists in x have from 15 to 16 values"),
    ({"x": [[0.0] * 16, None], "label": [0, 1]}, "x has an empty value"),
    ({"x": [b"abc", b"abc"], "label": [0, 1]}, "x has 3 bytes in a row, and the model takes 64"),
    ({"x": ["a", "b"], "label": [0, 1]}, "the column x holds string; give numbers"),
    ({"x": rows(2), "label": [0, 10]}, "the label of sample 1 is 10, .* classes .* are 0 to 9"),
    ({"x": rows(2), "label": [-1, 0]}, "the label of sample 0 is -1"),
    (
        {"x": rows(2), "label": [[0], [1]]},
        r"returns \[1, 10\], which are no answers to such labels; .* \[batch, places",
    ),
    ({"x": rows(2), "start": [0, 1], "end": [0, 1]}, "the model has one output"),
)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(("columns", "expected"), UNFIT)
def test_data_that_do_not_fit_the_model(columns: dict[str, object], expected: str) -> None:
    with pytest.raises(GpubenchError, match=expected) as refusal:
        classifier(eval=write("unfit.parquet", **columns))
    assert "\n" not in str(refusal.value)


# The same, but known without loading a model.
BAD_FILES: Sequence[tuple[dict[str, object], str]] = (
    ({"x": rows(2)}, "no column label, and no columns start and end, but x; rename"),
    ({"x": [], "label": []}, "it has no rows"),
    ({"x": rows(1), "label": [0], "start": [0], "end": [0]}, "both label and start, end"),
    ({"x": rows(2), "label": [0, None]}, "label has an empty value"),
    ({"x": rows(2), "label": ["a", "b"]}, "the column label holds string"),
    ({"x": rows(2), "label": [0.5, 1.0]}, "the column label holds double; give integers"),
    ({"x": rows(2), "label": [[], []]}, "the lists in label are empty"),
    ({"x": rows(2), "start": [[0], [1]], "end": [1, 1]}, "start and end must be integers"),
)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(("columns", "expected"), BAD_FILES)
def test_a_bad_file_is_refused_before_a_model_is_loaded(
    columns: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubench.measure.shared.load", None)
    data = write("bad.parquet", **columns)
    with pytest.raises(InputError, match=expected) as refusal:
        gpubench.run(model="models.py:classifier", device="cpu", eval=data)
    assert "\n" not in str(refusal.value)


def refused(**settings: Any) -> str:
    with pytest.raises(InputError) as refusal:
        resolve(make_spec({"device": "cpu", **settings}), this_machine())
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.usefixtures("models")
def test_files_that_are_not_there_or_no_parquet() -> None:
    model = "models.py:classifier"
    Path("text.parquet").write_text("text")
    message = refused(model=model, eval="gone.parquet")
    assert "gone.parquet: there is no such file; give a Parquet file" in message
    assert "it is not a Parquet file" in refused(model=model, eval="text.parquet")
    assert "it is a folder" in refused(model=model, eval=".")
    assert "name the function in it, as in models.py:samples" in refused(
        model=model, eval="models.py"
    )
    assert "has no function alikes; did you mean alike?" in refused(
        model=model, eval="models.py:alikes"
    )


@pytest.mark.usefixtures("models")
def test_a_preset_and_an_onnx_file_say_what_they_take_before_they_are_loaded() -> None:
    data = labelled()
    message = refused(model="distilbert", eval=data)
    assert "no column input_ids, attention_mask; distilbert takes input_ids" in message
    graph = "(float[batch, 16] features) => (float[batch, 16] y) { y = Relu(features) }"
    text = f'<ir_version: 10, opset_import: ["" : 20]> network {graph}'
    onnx.save(onnx.parser.parse_model(text), "net.onnx")
    assert "no column features; net.onnx takes features" in refused(model="net.onnx", eval=data)


@pytest.mark.usefixtures("models")
def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubench.models.labelled_parquet.MOST_SAMPLES", 22)
    assert MOST_SAMPLES == 10_000_000
    message = refused(model="models.py:classifier", eval=labelled(24))
    assert "it has 24 rows, and the limit is 22" in message


def test_the_names_of_the_inputs_of_presets_are_those_that_they_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_presets_small(monkeypatch)
    for name in ("resnet50", "bert-base", "distilbert"):
        entry = model_entry(name)
        assert entry is not None
        cell = a_cell(model=name, seq_len=None if name == "resnet50" else 16)
        assert len(load(cell).make_inputs(seeded(0), 1)) == len(entry.input_names)


@pytest.mark.usefixtures("models")
def test_the_result_has_the_accuracy_and_a_drop_is_a_reason() -> None:
    result = gpubench.run(
        model="models.py:classifier",
        runtime="torchscript",
        device="cpu",
        requests=1,
        warmup=0,
        eval=labelled(23, wrong=3),
        max_drop="1%",
    )
    assert result.error is None
    assert result.accuracy is not None
    assert result.accuracy.value == pytest.approx(20 / 23)
    assert result.seconds is not None
    assert result.seconds.accuracy is not None
    assert "accuracy-drop-unsure" in {reason.code for reason in result.verdict.reasons}
    assert gpubench.Result.model_validate_json(result.to_json()).accuracy == result.accuracy


def test_a_function_of_a_module_may_be_named() -> None:
    assert make_spec({"model": "resnet50", "eval": "package.module:samples"}).eval_is_function
    assert not make_spec({"model": "resnet50", "eval": "data/val.parquet"}).eval_is_function
