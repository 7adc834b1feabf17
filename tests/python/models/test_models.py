"""The preset models and the inputs made for them."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from factories import a_cell

from gpubench.errors import GpubenchError
from gpubench.models.base import load, seeded
from gpubench.models.bert import CLS, PAD, SEP, question_and_context
from gpubench.models.resnet import normalised_images

SHORT = 16  # tokens, where only the plumbing is tested


@pytest.mark.parametrize(
    ("name", "parameters", "inputs"),
    [("bert-base", 108_893_186, 3), ("distilbert", 66_364_418, 2), ("resnet50", 25_557_032, 1)],
)
def test_presets_are_the_published_architectures(name: str, parameters: int, inputs: int) -> None:
    model = load(a_cell(model=name))
    assert model.parameters == parameters
    assert not model.module.training
    request = model.make_inputs(seeded(0), 2)
    assert len(request) == inputs
    with torch.inference_mode():
        outputs = model.module(*request)
    if name == "resnet50":
        assert outputs.shape == (2, 1000)
    else:
        assert [tuple(output.shape) for output in outputs] == [(2, 128), (2, 128)]


def test_bert_large_has_24_layers_of_1024() -> None:
    from gpubench.models.bert import _configuration

    configuration = _configuration("bert-large")
    assert (configuration.num_hidden_layers, configuration.hidden_size) == (24, 1024)


def test_random_weights_come_from_the_seed_and_say_so() -> None:
    first, again = load(a_cell(model="resnet50", seed=3)), load(a_cell(model="resnet50", seed=3))
    other = load(a_cell(model="resnet50", seed=4))
    assert first.weights == "random (seed 3)"
    weight = first.module.state_dict()["conv1.weight"]
    assert torch.equal(weight, again.module.state_dict()["conv1.weight"])
    assert not torch.equal(weight, other.module.state_dict()["conv1.weight"])


def test_making_random_weights_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load(a_cell(model="resnet50"))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not here")
def test_loading_a_transformer_says_nothing_on_stderr() -> None:
    """Where torchao is installed, transformers imports it, and torch remarks on its code."""
    program = (
        "from gpubench.cells.resolve import resolve; from gpubench.models.base import load;"
        "from gpubench.spec.spec import Spec; from gpubench.system.machine import this_machine;"
        "load(resolve(Spec("
    )
    program += "model='distilbert'), this_machine()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("module", "kept"), [("torchao.quantization.common", False), ("own", True)]
)
def test_remarks_of_torch_on_other_code_than_torchao_are_kept(module: str, kept: bool) -> None:
    load(a_cell(model="resnet50"))
    log = logging.getLogger("torch.utils._pytree")
    enum = type("Kernel", (), {"__module__": module})
    told = log.makeRecord(log.name, logging.WARNING, "", 0, "%s is an Enum subclass", (enum,), None)
    assert bool(log.filter(told)) is kept
    other = log.makeRecord(log.name, logging.WARNING, "", 0, "%s is odd", (enum,), None)
    assert log.filter(other)


@pytest.mark.parametrize("seq_len", [8, 16, 128, 512])
def test_sequences_are_a_question_and_a_context_between_special_tokens(seq_len: int) -> None:
    ids, mask, types = question_and_context(seeded(1), 64, seq_len)
    length = mask.sum(dim=1)
    assert (ids[:, 0] == CLS).all()
    assert ((ids == SEP).sum(dim=1) == 2).all()
    assert (ids.gather(1, (length - 1).unsqueeze(1)) == SEP).all()
    assert (ids[mask == 0] == PAD).all()
    assert (ids[mask == 1] != PAD).all()
    assert (length >= min(6, seq_len)).all()
    assert (length <= seq_len).all()
    assert (types[mask == 0] == 0).all()
    assert (types.sum(dim=1) > 0).all()  # every sequence has a context
    assert (types.diff(dim=1).abs().sum(dim=1) <= 2).all()  # in one piece


def test_lengths_vary_as_real_texts_do() -> None:
    _, mask, _ = question_and_context(seeded(1), 256, 128)
    lengths = mask.sum(dim=1)
    assert lengths.min() < 72
    assert lengths.max() > 120


def test_no_sample_stands_twice_in_a_batch() -> None:
    ids, _, _ = question_and_context(seeded(2), 32, 128)
    assert len(torch.unique(ids, dim=0)) == 32
    (images,) = normalised_images(seeded(2), 4)
    assert len(torch.unique(images.flatten(1), dim=0)) == 4


def test_images_are_normalised_by_channel() -> None:
    (images,) = normalised_images(seeded(0), 32)
    assert images.shape == (32, 3, 224, 224)
    # Pixels have mean 1/2, and are from 0 to 1, before normalisation.
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(images.mean(dim=(0, 2, 3)), (0.5 - mean) / deviation, atol=0.1)
    assert (images.amin(dim=(0, 2, 3)) >= -mean / deviation).all()
    assert (images.amax(dim=(0, 2, 3)) <= (1 - mean) / deviation).all()


def test_images_differ_in_more_than_grain() -> None:
    """So that a network's answers to them differ, even one with random weights."""
    (images,) = normalised_images(seeded(0), 8)
    assert images.mean(dim=(2, 3)).std(dim=0).min() > 0.1


def test_inputs_come_from_the_seed() -> None:
    same = [question_and_context(seeded(5), 2, SHORT)[0] for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], question_and_context(seeded(6), 2, SHORT)[0])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_resnet_weights_load_from_a_file(tmp_path: Path, suffix: str) -> None:
    state = load(a_cell(model="resnet50", seed=9)).module.state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    loaded = load(a_cell(model="resnet50", weights=str(path)))
    assert loaded.weights == f"local: weights{suffix}"
    assert torch.equal(loaded.module.state_dict()["fc.weight"], state["fc.weight"])


def test_bert_weights_load_from_a_folder(tmp_path: Path) -> None:
    original = load(a_cell(model="distilbert", seed=9))
    original.module.model.save_pretrained(tmp_path / "squad")  # type: ignore[union-attr,operator]
    loaded = load(a_cell(model="distilbert", weights=str(tmp_path / "squad")))
    assert loaded.weights == "local: squad"
    request = loaded.make_inputs(seeded(0), 1)
    with torch.inference_mode():
        for ours, theirs in zip(loaded.module(*request), original.module(*request), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("model", ["resnet50", "distilbert"])
def test_weights_that_do_not_fit_are_one_line_with_the_fix(tmp_path: Path, model: str) -> None:
    path = tmp_path / "other.pt"
    torch.save({"layer": torch.zeros(1)}, path)
    with pytest.raises(GpubenchError) as failure:
        load(a_cell(model=model, weights=str(path)))
    assert "could not be loaded" in str(failure.value)
    assert "--weights random" in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_a_file_that_is_no_state_dict_is_one_line_with_the_fix(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(GpubenchError, match=r"could not be loaded .*--weights random"):
        load(a_cell(model="resnet50", weights=str(path)))
