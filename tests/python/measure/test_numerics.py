"""Tests of the output check: engines with wrong outputs fail, and engines with right ones pass."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import factories
import pytest
import torch
from factories import a_cell, another
from small_models import make_presets_small

import gpubench
from gpubench.engines.base import Engine, build
from gpubench.errors import GpubenchError
from gpubench.measure import engine
from gpubench.measure.output_check import check
from gpubench.measure.output_comparison import compare
from gpubench.measure.reference import Reference, References, make_reference
from gpubench.models.base import LoadedModel, Tensors, as_tuple, load
from gpubench.report import markdown
from gpubench.report.results import result_tables
from gpubench.results.result import Numerics, Reason
from gpubench.spec.spec import Spec
from gpubench.statistics.verdicts import (
    ANSWER_LIMITS,
    Evidence,
    _answers,
    answer_limits,
    outputs_differ,
)

Forward = Callable[..., object]


def suspect(numerics: Numerics, precision: str = "fp32") -> bool:
    return outputs_differ(numerics, precision) is not None


def an_engine(forward: Forward) -> Engine:
    return Engine(
        cast(Callable[..., Tensors], forward), torch.device("cpu"), torch.float32, nullcontext
    )


def numerics_of(forward: Forward, reference: Reference, precision: str = "fp32") -> Numerics:
    with torch.inference_mode():
        numerics = check(an_engine(forward), reference, precision).numerics
    assert numerics is not None
    return numerics


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    make_presets_small(monkeypatch)


@pytest.fixture(scope="module")
def resnet() -> tuple[LoadedModel, Reference]:
    """All layers of ResNet50, with images of a quarter of the width and height."""
    preset = load(a_cell(model="resnet50"))

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        (images,) = preset.make_inputs(generator, samples)
        return (images[:, :, ::4, ::4].contiguous(),)

    model = replace(preset, make_inputs=make_inputs)
    return model, make_reference(model, 0, 8)


@pytest.fixture(scope="module")
def distilbert() -> tuple[LoadedModel, Reference]:
    model = load(a_cell(model="distilbert", seq_len=16))
    return model, make_reference(model, 0, 4)


@pytest.mark.parametrize("batch", [1, 3, 16, 20])
def test_the_model_itself_passes_at_every_batch_size(
    distilbert: tuple[LoadedModel, Reference], batch: int
) -> None:
    model, _ = distilbert
    numerics = numerics_of(model.module, make_reference(model, 0, batch))
    assert numerics.cosine == pytest.approx(1, abs=1e-6)
    assert numerics.start_agreement == numerics.end_agreement == 1
    assert numerics.top1_agreement is None
    assert not suspect(numerics)


def test_rounding_to_bf16_passes() -> None:
    """Each layer gives its outputs in bf16. The arithmetic is in fp32, which every CPU has."""
    model = load(a_cell(model="resnet50"))
    reference = make_reference(model, 0, 8)

    def to_bf16(layer: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output.bfloat16().float()

    layers = [each for each in model.module.modules() if not list(each.children())]
    hooks = [layer.register_forward_hook(to_bf16) for layer in layers]
    try:
        numerics = numerics_of(model.module, reference, "amp")
    finally:
        for hook in hooks:
            hook.remove()
    assert numerics.cosine is not None
    assert 0.999 < numerics.cosine < 1
    assert numerics.top1_agreement == 1
    assert not suspect(numerics, "amp")
    assert suspect(numerics, "fp32")


WRONG_IMAGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mirrored": lambda images: images.flip(3),
    "channels in another order": lambda images: images.flip(1),
    "the neighbour's": lambda images: images.roll(1, 0),
    "the first, for all": lambda images: images[:1].expand_as(images),
    "twice as bright": lambda images: 2 * images,
}


@pytest.mark.parametrize("mistake", WRONG_IMAGES)
def test_an_engine_that_misreads_its_images_is_detected(
    resnet: tuple[LoadedModel, Reference], mistake: str
) -> None:
    """The weights are random, so the predicted class is the same for every image."""
    model, reference = resnet
    numerics = numerics_of(lambda images: model.module(WRONG_IMAGES[mistake](images)), reference)
    assert numerics.top1_agreement == 1
    assert suspect(numerics)


def test_an_engine_that_ignores_the_attention_mask_is_detected(
    distilbert: tuple[LoadedModel, Reference],
) -> None:
    model, reference = distilbert
    numerics = numerics_of(lambda ids, mask: model.module(ids, torch.ones_like(mask)), reference)
    assert suspect(numerics)


def test_an_engine_with_other_weights_is_detected(
    distilbert: tuple[LoadedModel, Reference],
) -> None:
    other = load(a_cell(model="distilbert", seq_len=16, seed=1))
    assert suspect(numerics_of(other.module, distilbert[1]))


def test_an_engine_that_is_wrong_for_one_sample_of_a_batch_is_detected(
    distilbert: tuple[LoadedModel, Reference],
) -> None:
    model, _ = distilbert

    def last_row_wrong(*inputs: torch.Tensor) -> Tensors:
        return tuple(torch.cat([o[:-1], o[:1]]) for o in model.module(*inputs))

    assert suspect(numerics_of(last_row_wrong, make_reference(model, 0, 32)))


def test_a_wrong_scale_and_a_wrong_offset_are_detected() -> None:
    expected = torch.randn(16, 10)
    for wrong in (1.002 * expected, expected + 0.002):
        numerics = compare(rows(wrong), rows(expected))
        assert numerics.cosine == pytest.approx(1)
        assert suspect(numerics)


def rows(outputs: torch.Tensor) -> list[Tensors]:
    """The outputs as those of requests with one sample."""
    return [(row,) for row in outputs.split(1)]


def test_errors_are_computed_exactly() -> None:
    expected = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    ours = torch.tensor([[3.0, 0.0], [0.5, 4.0]])
    numerics = compare(rows(ours), rows(expected), ("top1",))
    assert numerics.max_abs_error == 0.5
    assert numerics.relative_error == pytest.approx(0.5 / 5)
    # The deviations from the mean are (1.5, -2) and its negative; those of the reference are
    # (1.25, -2) and its negative.
    assert numerics.cosine == pytest.approx((1.5 * 1.25 + 4) / (2.5 * (1.25**2 + 4) ** 0.5))
    assert numerics.top1_agreement == 1


# Relative errors: a few unit roundoffs of a format pass, and those of a coarser format fail.
@pytest.mark.parametrize(
    ("precision", "passes", "fails"),
    [
        ("fp32", 5e-4, 2e-3),
        ("tf32", 2e-3, 8e-3),
        ("fp16", 5e-3, 2e-2),
        ("bf16", 2e-2, 6e-2),
        ("int8", 6e-2, 0.15),
        ("fp8", 0.17, 0.4),
    ],
)
def test_each_precision_has_a_different_limit(precision: str, passes: float, fails: float) -> None:
    expected = torch.randn(16, 1000, generator=torch.Generator().manual_seed(0))
    error = torch.randn(16, 1000, generator=torch.Generator().manual_seed(1))
    right, wrong = (
        compare(rows(expected + size * error), rows(expected)) for size in (passes, fails)
    )
    assert not suspect(right, precision)
    assert suspect(wrong, precision)


def test_coarser_formats_have_larger_limits() -> None:
    limits = list(ANSWER_LIMITS.values())
    assert list(ANSWER_LIMITS) == ["fp64", "fp32", "tf32", "fp16", "bf16", "int8", "fp8"]
    for finer, coarser in pairwise(limits):
        assert finer.most_relative_error <= coarser.most_relative_error
        assert finer.least_cosine >= coarser.least_cosine
        assert finer.least_integer_agreement >= coarser.least_integer_agreement
    assert answer_limits("amp", "cpu") == ANSWER_LIMITS["bf16"]
    assert answer_limits("amp", "cuda:1") == ANSWER_LIMITS["fp16"]


def test_the_limit_of_fp8_allows_only_its_rounding() -> None:
    rounded = Numerics(cosine=0.95, relative_error=0.17)
    assert suspect(rounded)
    assert not suspect(rounded, "fp8")
    assert suspect(Numerics(cosine=0.84, relative_error=0.05), "fp8")  # a mirrored image
    assert suspect(Numerics(cosine=0.99, relative_error=0.3), "fp8")


def test_equal_samples_have_no_cosine() -> None:
    same = torch.ones(16, 4)
    assert compare(rows(same), rows(same)).cosine is None
    assert not suspect(compare(rows(same), rows(same)))
    assert compare(rows(same), rows(torch.randn(16, 4))).cosine == 0


class Small(torch.nn.Module):
    """Two linear layers, from eight numbers to eight numbers, followed by `head`."""

    def __init__(self, head: Callable[[torch.Tensor], object], seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = torch.nn.Sequential(
            torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 8)
        )
        self.head = head

    def forward(self, numbers: torch.Tensor) -> object:
        return self.head(self.body(numbers))


def small(head: Callable[[torch.Tensor], object], seed: int = 0) -> LoadedModel:
    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return (torch.randn(samples, 8, generator=generator),)

    return LoadedModel(Small(head, seed).eval(), "random", make_inputs)


class Scores(OrderedDict[str, torch.Tensor | None]):
    """Like a ModelOutput of transformers: it iterates over names."""


HEADS: dict[str, Callable[[torch.Tensor], object]] = {
    "one number a sample": lambda y: y[:, 0],
    "a loss without dimensions": lambda y: y.square().mean(),
    "labels beside probabilities": lambda y: (y.argmax(1), y.softmax(1)),
    "labels alone": lambda y: y.argmax(1),
    "flags": lambda y: y > 0,
    "the batch in the second dimension": lambda y: (y, (y.unsqueeze(0), 2 * y.unsqueeze(0))),
    "the batch in the last dimension": lambda y: y.T.contiguous(),
    "complex": lambda y: torch.fft.rfft(y),
    "nothing of the batch": lambda y: y.sum(0),
    "a dictionary": lambda y: {"logits": y, "more": {"hidden": [y, None]}},
    "a ModelOutput": lambda y: Scores(loss=None, logits=y),
    "half precision": lambda y: y.half(),
    "sparse": lambda y: y.to_sparse(),
    "as many as there are positive ones": lambda y: y[y > 0],
}


@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("name", HEADS)
def test_outputs_of_any_structure_are_compared(name: str, batch: int) -> None:
    model, other = small(HEADS[name]), small(HEADS[name], seed=1)
    reference = make_reference(model, 0, batch)
    numerics = numerics_of(model.module, reference)
    assert not suspect(numerics)
    assert (numerics.reference_repeat_error, numerics.reference_not_finite) == (None, None)
    if name == "as many as there are positive ones":
        with pytest.raises(GpubenchError, match="the outputs have shapes"):
            numerics_of(other.module, reference)
    else:
        assert suspect(numerics_of(other.module, reference))


def test_complex_numbers_may_be_pairs_of_real_numbers() -> None:
    expected = torch.randn(16, 5, dtype=torch.complex64)
    assert not suspect(compare(rows(torch.view_as_real(expected)), rows(expected)))
    assert suspect(
        compare(rows(torch.view_as_real(expected.conj().resolve_conj())), rows(expected))
    )


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_model_runs_only_with_the_batch_of_the_cell(batch: int) -> None:
    model = small(lambda y: y)
    batches = []
    model.module.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    make_reference(model, 0, batch)
    assert set(batches) == {batch}


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ((), "returns no tensor"),
        ({}, "returns no tensor"),
        ((None, [None]), "returns no tensor"),
        ("label", "a value of type str"),
        ((torch.ones(1), 3), "a value of type int"),
        ({"scores": [torch.ones(1), {"name"}]}, "a value of type set"),
    ],
)
def test_outputs_that_are_not_tensors_give_a_one_line_error(outputs: object, says: str) -> None:
    with pytest.raises(GpubenchError, match=says) as raised:
        as_tuple(outputs)
    assert "\n" not in str(raised.value)


def test_the_tensors_of_nested_outputs_keep_their_order() -> None:
    one, two, three, four = torch.arange(4.0).split(1)
    nested = {"b": one, "a": (two, [None, three], Pair(four, None))}
    assert torch.cat(as_tuple(nested)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("runtime", ["torchscript", "onnxruntime"])
@pytest.mark.parametrize("name", ["a dictionary", "a ModelOutput"])
def test_runtimes_that_trace_support_nested_outputs(
    runtime: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path))
    model = small(HEADS[name])
    cell = a_cell(model="resnet50", runtime=runtime, batch=3, device="cpu", threads=1, workers=1)
    reference = make_reference(model, 0, 3)
    engine = build(model, cell)
    with engine.thread_modes():
        numerics = check(engine, reference, "fp32").numerics
    assert numerics is not None
    assert not suspect(numerics)


@dataclass
class Pair:
    first: torch.Tensor
    second: torch.Tensor | None


def changed(module: torch.nn.Module, share: float) -> Forward:
    """The module with a relative error of `share`, of random sign, in every value."""
    generator = torch.Generator().manual_seed(5)

    def forward(*inputs: torch.Tensor) -> Tensors:
        return tuple(
            o * (1 + share * torch.randn(o.shape, generator=generator))
            for o in as_tuple(module(*inputs))
        )

    return forward


def linear(weights: float, bias: float) -> LoadedModel:
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Linear(512, 16)
    module.weight.data = weights * torch.randn(16, 512, generator=generator)
    module.bias.data = bias * torch.randn(16, generator=generator)

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return (torch.randn(samples, 512, generator=generator),)

    return LoadedModel(module.eval(), "random", make_inputs)


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize(
    ("weights", "bias"), [(1e-9, 1), (0, 1), (0, 0), (1e-20, 0), (1e-44, 0), (1e15, 1e20)]
)
def test_rounding_passes_if_outputs_are_nearly_equal_or_zero(
    weights: float, bias: float, batch: int
) -> None:
    model = linear(weights, bias)
    reference = make_reference(model, 0, batch)
    assert not suspect(numerics_of(changed(model.module, 1e-7), reference))
    assert (
        bias == weights == 0
        or weights == 1e-44
        or suspect(numerics_of(changed(model.module, 0.01), reference))
    )
    assert suspect(numerics_of(lambda x: model.module(x) + bias + weights + 1, reference))


def test_samples_that_are_equal_in_bf16_have_no_cosine_in_bf16() -> None:
    model = linear(8e-5, 1)  # samples differ by two thousandths
    reference = make_reference(model, 0, 1)
    rounded = numerics_of(lambda x: model.module(x).bfloat16(), reference, "bf16")
    assert rounded.cosine is None
    assert not suspect(rounded, "bf16")
    assert numerics_of(model.module, reference).cosine == pytest.approx(1)


@pytest.mark.parametrize("batch", [1, 16])
def test_the_error_of_outputs_that_are_only_rounding_is_not_relative_to_their_size(
    batch: int,
) -> None:
    """The outputs are deviations from a mean, and their mean, which is zero except for rounding."""
    model = linear(1, 1)
    module = model.module
    remainder = LoadedModel(
        Applied(module, lambda y: (y, (y - y.mean(1, keepdim=True)).mean(1))),
        "random",
        model.make_inputs,
    )
    reference = make_reference(remainder, 0, batch)
    assert reference.repeat_error is None
    assert not suspect(numerics_of(lambda x: (y := module(x), torch.zeros(len(y))), reference))
    wrong = numerics_of(lambda x: (y := module(x), y.mean(1)), reference)
    assert suspect(wrong)


class Applied(torch.nn.Module):
    def __init__(self, module: torch.nn.Module, head: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.module, self.head = module, head

    def forward(self, numbers: torch.Tensor) -> object:
        return self.head(self.module(numbers))


def reasons(numerics: Numerics, runtime: str, precision: str = "fp32") -> dict[str, Reason]:
    evidence = Evidence(device="cpu", numerics=numerics, precision=precision, runtime=runtime)
    return {reason.code: reason for reason in _answers(evidence)}


MARKS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "NaN": lambda y: y.masked_fill(y > 0.5, torch.nan),
    "infinity": lambda y: y.masked_fill(y > 0.5, -torch.inf),
}


@pytest.mark.parametrize("name", MARKS)
def test_a_model_whose_reference_is_not_finite_is_reported(name: str) -> None:
    model, other = small(MARKS[name]), small(MARKS[name], seed=1)
    reference = make_reference(model, 0, 4)
    numerics = numerics_of(model.module, reference)
    assert numerics.finite
    assert numerics.relative_error is not None
    assert numerics.relative_error < 1e-6
    (code,) = found = reasons(numerics, "onnxruntime")
    assert code == "model-not-finite"
    assert found[code].figure == name
    assert "the model itself gives" in found[code].remedy
    wrong = reasons(numerics_of(other.module, reference), "onnxruntime")
    assert set(wrong) == {"model-not-finite", "outputs-differ"}


@pytest.mark.parametrize("mark", [-1e9, torch.finfo(torch.float32).min])
def test_masked_values_are_not_compared_and_hide_no_other_error(mark: float) -> None:
    """Compared with -1e9 every other error is small, and in fp16 the mask is another number."""
    model = small(lambda y: y.masked_fill(y > 0.5, mark))
    reference = make_reference(model, 0, 1)
    assert not suspect(numerics_of(model.module, reference))
    in_fp16 = numerics_of(lambda x: as_tuple(model.module(x))[0].clamp(min=-65504), reference)
    assert not suspect(in_fp16)
    wrong = numerics_of(lambda x: as_tuple(model.module(x))[0] * 1.01, reference)
    assert suspect(wrong)
    unmasked = numerics_of(lambda x: model.module.body(x), reference)  # type: ignore[operator]
    assert suspect(unmasked)


def test_outputs_that_are_not_finite_are_detected_and_have_no_figures() -> None:
    expected = torch.randn(16, 10)
    numerics = compare(
        rows(expected.masked_fill(expected == expected.max(), torch.nan)), rows(expected)
    )
    assert (numerics.finite, numerics.cosine, numerics.max_abs_error) == (False, None, None)
    assert suspect(numerics)
    assert "65504" in reasons(numerics, "eager", "fp16")["outputs-differ"].remedy
    assert "65504" not in reasons(numerics, "compile", "fp32")["outputs-differ"].remedy


class Counting(torch.nn.Module):
    """From a certain call on, adds the number of calls to its output."""

    def __init__(self, quiet: int) -> None:
        super().__init__()
        self.linear, self.quiet, self.calls = torch.nn.Linear(8, 8), quiet, 0

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        out: torch.Tensor = self.linear(numbers) + 0.01 * max(0, self.calls - self.quiet)
        return out


class WritesToItsInput(torch.nn.Module):
    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.mul_(2)


def of_eight(module: torch.nn.Module) -> LoadedModel:
    return LoadedModel(module.eval(), "random", small(lambda y: y).make_inputs)


UNREPEATABLE: dict[str, Callable[[], LoadedModel]] = {
    "noise": lambda: small(lambda y: y + 0.1 * torch.randn_like(y)),
    "little noise": lambda: small(lambda y: y + 1e-3 * torch.randn_like(y)),
    "functional dropout": lambda: small(lambda y: torch.nn.functional.dropout(y, 0.1)),
    "random labels": lambda: small(lambda y: torch.randint(0, 9, (len(y),))),
    "a counter": lambda: of_eight(Counting(0)),
    "a counter that begins late": lambda: of_eight(Counting(2)),
}


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("name", UNREPEATABLE)
def test_a_model_that_does_not_repeat_its_outputs_is_reported(name: str, batch: int) -> None:
    model = UNREPEATABLE[name]()
    reference = make_reference(model, 0, batch)
    found = reasons(numerics_of(model.module, reference), "torchscript", "bf16")
    assert set(found) == {"model-not-deterministic"}
    assert "random numbers" in found.popitem()[1].remedy


def test_a_cell_of_a_model_that_does_not_repeat_is_measured_and_marked(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import torch\n"
        "class Noisy(torch.nn.Linear):\n"
        "    def forward(self, numbers):\n"
        "        return super().forward(numbers) + torch.rand(4).log()\n"
        "def make():\n"
        "    return Noisy(8, 4), torch.randn(4, 8)\n"
    )
    asked = Spec(
        model=f"{tmp_path / 'noisy.py'}:make",
        runtime="eager",
        device="cpu",
        threads=1,
        requests=5,
        warmup=0,
    )
    result = gpubench.run(asked)
    assert result.error is None
    assert result.throughput_per_second is not None
    assert "model-not-deterministic" in {reason.code for reason in result.verdict.reasons}
    assert result.answers_agree is None


def test_a_model_whose_state_changes_after_the_reference_run_is_reported() -> None:
    model = of_eight(Counting(18))
    reference = make_reference(model, 0, 1)
    assert reference.repeat_error is None
    numerics = numerics_of(model.module, reference)
    assert set(reasons(numerics, "eager")) == {"model-not-deterministic"}
    of_the_runtime = reasons(numerics, "onnxruntime")
    assert set(of_the_runtime) == {"outputs-differ"}
    assert "two answers to a request differ" in of_the_runtime["outputs-differ"].remedy


def test_a_model_may_write_to_its_inputs() -> None:
    model = of_eight(WritesToItsInput())
    reference = make_reference(model, 0, 4)
    assert reference.repeat_error is None
    assert not suspect(numerics_of(lambda x: 2 * x, reference))
    assert not suspect(numerics_of(model.module, reference))


def test_a_model_that_is_sensitive_to_rounding_does_not_count_as_random() -> None:
    """A rounding step of fp32 in the inputs changes these outputs; running again does not."""
    model = small(lambda y: torch.sin(1e6 * y))
    assert make_reference(model, 0, 4).repeat_error is None


def remedy(numerics: Numerics, precision: str, runtime: str) -> str:
    return reasons(numerics, runtime, precision)["outputs-differ"].remedy


def test_the_remedy_names_the_cause_if_it_is_known() -> None:
    a_little = Numerics(cosine=0.97, relative_error=0.05)
    unrelated = Numerics(cosine=0.1, relative_error=1.3)
    assert "no other precision will help" in remedy(a_little, "fp32", "onnxruntime")
    assert "--runtime eager" in remedy(unrelated, "fp32", "compile")
    assert "--runtime eager" not in remedy(unrelated, "fp32", "eager")
    assert "bf16 may be too coarse" in remedy(a_little, "bf16", "compile")
    assert "too coarse" not in remedy(unrelated, "bf16", "compile")
    assert "with --precision fp32" in remedy(unrelated, "int8", "onnxruntime")


def test_labels_may_change_in_coarse_formats_but_not_in_fp32() -> None:
    labels = torch.arange(100) % 10
    eight_changed = labels.clone()
    eight_changed[::13] = (eight_changed[::13] + 1) % 10
    numerics = compare([(eight_changed,)], [(labels,)])
    assert numerics.integer_agreement == pytest.approx(0.92)
    assert (numerics.relative_error, numerics.cosine) == (None, None)
    assert suspect(numerics, "fp32")
    assert not suspect(numerics, "bf16")
    assert suspect(compare([(labels.flip(0),)], [(labels,)]), "fp8")
    pixels = torch.randint(0, 256, (16, 1000), dtype=torch.uint8)
    off_by_one = pixels.clamp(max=254) + 1
    assert not suspect(compare(rows(off_by_one), rows(pixels)), "bf16")
    assert suspect(compare(rows(off_by_one), rows(pixels)), "fp32")


def test_outputs_of_other_shapes_fail_the_cell(distilbert: tuple[LoadedModel, Reference]) -> None:
    model, reference = distilbert
    with pytest.raises(GpubenchError, match=r"the outputs have shapes \[\(4, 16\)\]"):
        numerics_of(lambda *inputs: model.module(*inputs)[0], reference)


@pytest.mark.usefixtures("small_presets")
def test_cells_of_a_preset_share_a_reference_whatever_their_batch() -> None:
    cell = a_cell(model="distilbert", seq_len=16)
    model = load(cell)
    runs: list[int] = []
    model.module.register_forward_pre_hook(lambda module, inputs: runs.append(len(inputs[0])))
    references = References()
    assert not references.has(model, cell)
    first = references.get(model, cell)
    samples = sum(runs)
    assert len(first.requests) == 16
    for batch in (1, 3, 4, 8, 12, 16, 40):
        larger = another(cell, batch=batch, precision="amp")
        assert references.has(model, larger)
        assert len(references.get(model, larger).requests[0][0]) == batch
    assert sum(runs) == samples
    assert references.get(model, another(cell, seq_len=8)) is not first
    assert not references.has(model, another(cell, seed=1))


@pytest.mark.usefixtures("small_presets")
@pytest.mark.parametrize("batch", [1, 3, 4, 8, 12, 16, 40])
def test_the_reference_of_a_preset_holds_the_outputs_of_its_requests(batch: int) -> None:
    cell = a_cell(model="distilbert", seq_len=16, batch=batch)
    model = load(cell)
    reference = References().get(model, cell)
    assert reference.outputs is not None
    assert len(reference.requests) >= 2
    for request, outputs in zip(reference.requests, reference.outputs, strict=True):
        with torch.inference_mode():
            for ours, theirs in zip(model.module(*request), outputs, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    tokens = torch.stack([request[0] for request in reference.requests])
    assert len(tokens.flatten(0, 1).unique(dim=0)) == 16
    for row in range(batch):  # no two requests have the same sample in the same row
        assert len(tokens[:, row].unique(dim=0)) == len(tokens)


@pytest.mark.usefixtures("small_presets")
def test_two_exchanged_rows_of_a_large_batch_are_found() -> None:
    cell = a_cell(model="distilbert", seq_len=16, batch=40)
    model = load(cell)
    reference = References().get(model, cell)

    def exchanged(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(output.roll(16, 0) for output in model.module(*inputs))

    assert suspect(numerics_of(exchanged, reference))
    assert not suspect(numerics_of(model.module, reference))


@pytest.mark.usefixtures("small_presets")
def test_an_engine_is_checked_and_its_cold_start_timed_when_it_is_made() -> None:
    stages: list[str] = []
    cell = a_cell(model="distilbert", seq_len=8, runtime="eager", device="cpu", threads=1)
    prepared = engine.prepare(cell, stages.append)
    assert stages == ["load", "build", "check"]
    assert prepared.numerics is not None
    assert (prepared.numerics.cosine or 0) > 0.9999
    assert prepared.load_seconds > 0
    assert prepared.first_inference_seconds > 0
    assert prepared.engine.from_cache is None


def test_the_table_marks_costs_of_a_cell_with_wrong_outputs() -> None:
    wrong_answers = outputs_differ(Numerics(cosine=0.5, relative_error=0.8), "fp32")
    assert wrong_answers is not None
    wrong = factories.result(instance="c7i.xlarge", reasons=(wrong_answers,))
    right = factories.result(instance="c7i.xlarge", batch=2)
    text = markdown.text(result_tables([wrong, right]))
    assert text.count("wrong answers: the outputs differ") == 1
    assert "cosine" in text
