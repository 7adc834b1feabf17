"""The gate that no engine with wrong answers passes, and every engine with right ones does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import factories
import pytest
import torch

from gpubench import _prepare
from gpubench._numerics import SAMPLES, Reference, References, check, compare, make_reference
from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors, load
from gpubench.report import markdown
from gpubench.report.results import result_tables
from gpubench.result import Numerics
from gpubench.spec import Spec
from gpubench.verdicts import LEAST_COSINE, outputs_differ

Forward = Callable[..., torch.Tensor | Tensors]


def suspect(numerics: Numerics, precision: str = "fp32") -> bool:
    return outputs_differ(numerics, precision) is not None


def an_engine(forward: Forward) -> Engine:
    return Engine(forward, torch.device("cpu"), torch.float32, nullcontext)


def numerics_of(forward: Forward, reference: Reference, batch: int = 4) -> Numerics:
    with torch.inference_mode():
        numerics = check(an_engine(forward), reference, batch).numerics
    assert numerics is not None
    return numerics


@pytest.fixture(scope="module")
def resnet() -> tuple[LoadedModel, Reference]:
    model = load(Spec(model="resnet50"))
    return model, make_reference(model, seed=0)


@pytest.fixture(scope="module")
def distilbert() -> tuple[LoadedModel, Reference]:
    model = load(Spec(model="distilbert", seq_len=16))
    return model, make_reference(model, seed=0)


@pytest.mark.parametrize("batch", [1, 3, 16, 20])
def test_the_model_itself_passes_at_every_batch_size(
    distilbert: tuple[LoadedModel, Reference], batch: int
) -> None:
    model, reference = distilbert
    numerics = numerics_of(model.module, reference, batch)
    assert numerics.cosine == pytest.approx(1, abs=1e-6)
    assert numerics.start_agreement == numerics.end_agreement == 1
    assert numerics.top1_agreement is None
    assert not suspect(numerics)


def test_rounding_to_bf16_passes(resnet: tuple[LoadedModel, Reference]) -> None:
    model, reference = resnet

    def rounded(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: torch.Tensor = model.module(images)
            return logits.float()

    numerics = numerics_of(rounded, reference)
    assert numerics.cosine is not None
    assert 0.999 < numerics.cosine < 1
    assert numerics.top1_agreement == 1
    assert not suspect(numerics)


WRONG_IMAGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mirrored": lambda images: images.flip(3),
    "channels in another order": lambda images: images.flip(1),
    "the neighbour's": lambda images: images.roll(1, 0),
    "the first, for all": lambda images: images[:1].expand_as(images),
    "twice as bright": lambda images: 2 * images,
}


@pytest.mark.parametrize("mistake", WRONG_IMAGES)
def test_an_engine_that_takes_its_images_wrongly_is_caught(
    resnet: tuple[LoadedModel, Reference], mistake: str
) -> None:
    """With random weights, where the class is the same for every image."""
    model, reference = resnet
    numerics = numerics_of(lambda images: model.module(WRONG_IMAGES[mistake](images)), reference)
    assert numerics.top1_agreement == 1
    assert suspect(numerics)


def test_an_engine_that_ignores_the_attention_mask_is_caught(
    distilbert: tuple[LoadedModel, Reference],
) -> None:
    model, reference = distilbert
    numerics = numerics_of(lambda ids, mask: model.module(ids, torch.ones_like(mask)), reference)
    assert suspect(numerics)


def test_an_engine_with_other_weights_is_caught(
    distilbert: tuple[LoadedModel, Reference],
) -> None:
    other = load(Spec(model="distilbert", seq_len=16, seed=1))
    assert suspect(numerics_of(other.module, distilbert[1]))


def test_an_engine_that_is_wrong_in_one_place_of_a_batch_is_caught(
    distilbert: tuple[LoadedModel, Reference],
) -> None:
    model, reference = distilbert

    def last_row_wrong(*inputs: torch.Tensor) -> Tensors:
        return tuple(torch.cat([o[:-1], o[:1]]) for o in model.module(*inputs))

    assert suspect(numerics_of(last_row_wrong, reference, batch=32))


def test_a_wrong_scale_and_a_wrong_offset_are_caught() -> None:
    expected = (torch.randn(SAMPLES, 10),)
    for wrong in (1.2 * expected[0], expected[0] + 0.2):
        numerics = compare((wrong,), expected)
        assert numerics.cosine == pytest.approx(1)
        assert suspect(numerics)


def test_outputs_that_are_not_finite_are_caught_and_have_no_figures() -> None:
    expected = torch.randn(SAMPLES, 10)
    numerics = compare((expected.masked_fill(expected > 2, torch.nan),), (expected,))
    assert (numerics.finite, numerics.cosine, numerics.max_abs_error) == (False, None, None)
    assert suspect(numerics)


def test_an_error_is_measured_exactly() -> None:
    expected = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    numerics = compare((torch.tensor([[3.0, 0.0], [0.5, 4.0]]),), (expected,), ("top1",))
    assert numerics.max_abs_error == 0.5
    assert numerics.relative_error == pytest.approx(0.5 / 5)
    # Deviations from the mean: (1.5, -2) and its negative against (1.25, -2) and its negative.
    assert numerics.cosine == pytest.approx((1.5 * 1.25 + 4) / (2.5 * (1.25**2 + 4) ** 0.5))
    assert numerics.top1_agreement == 1


def test_fp8_is_allowed_its_own_rounding_and_no_more() -> None:
    rounded = Numerics(cosine=0.95, relative_error=0.17)
    assert suspect(rounded)
    assert not suspect(rounded, "fp8")
    assert suspect(Numerics(cosine=0.84, relative_error=0.05), "fp8")  # a mirrored image
    assert suspect(Numerics(cosine=0.99, relative_error=0.3), "fp8")


def test_samples_that_do_not_differ_have_no_cosine() -> None:
    same = (torch.ones(SAMPLES, 4),)
    assert compare(same, same).cosine is None
    assert not suspect(compare(same, same))
    assert compare((torch.ones(SAMPLES, 4),), (torch.randn(SAMPLES, 4),)).cosine == 0


def test_outputs_of_another_form_fail_the_cell(distilbert: tuple[LoadedModel, Reference]) -> None:
    model, reference = distilbert
    with pytest.raises(GpubenchError, match=r"the outputs have shapes \[\(16, 16\)\]"):
        numerics_of(lambda *inputs: model.module(*inputs)[0], reference)


def test_neighbouring_cells_share_a_reference() -> None:
    spec = Spec(model="distilbert", seq_len=16)
    model = load(spec)
    references = References()
    first = references.of(model, spec)
    assert references.of(model, spec.model_copy(update={"batch": 8, "precision": "amp"})) is first
    assert references.of(model, spec.model_copy(update={"seed": 1})) is not first


def test_an_engine_is_checked_and_its_cold_start_timed_when_it_is_made() -> None:
    stages: list[str] = []
    spec = Spec(model="distilbert", seq_len=8, runtime="eager", device="cpu", threads=1)
    prepared = _prepare.prepare(spec, stages.append)
    assert stages == ["load", "build", "check"]
    assert prepared.numerics is not None
    assert (prepared.numerics.cosine or 0) > LEAST_COSINE
    assert prepared.load_seconds > 0
    assert prepared.first_inference_seconds > 0
    assert prepared.engine.from_cache is None


def test_the_price_of_wrong_answers_is_marked_in_the_table() -> None:
    wrong_answers = outputs_differ(Numerics(cosine=0.5, relative_error=0.8), "fp32")
    assert wrong_answers is not None
    wrong = factories.result(instance="c7i.xlarge", reasons=(wrong_answers,))
    right = factories.result(instance="c7i.xlarge", batch=2)
    text = markdown.text(result_tables([wrong, right]))
    assert text.count("wrong answers: the outputs differ") == 1
    assert "cosine" in text
