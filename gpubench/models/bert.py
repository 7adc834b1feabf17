"""BERT for question answering: bert-base, bert-large and distilbert.

The architectures are those of the checkpoints below. They are built from the published
configurations, so random weights need no download.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, MakeInputs, Tensors, random_weights_label

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

PRETRAINED = {
    "bert-base": "twmkn9/bert-base-uncased-squad2",
    "bert-large": "google-bert/bert-large-uncased-whole-word-masking-finetuned-squad",
    "distilbert": "distilbert/distilbert-base-uncased-distilled-squad",
}

# Token numbers of the uncased WordPiece vocabulary, which all three models use.
PAD, CLS, SEP, FIRST_WORD = 0, 101, 102, 1996
VOCABULARY = 30522


class _AnswerLogits(torch.nn.Module):
    """Takes tensors and returns (start_logits, end_logits), as tracing and exporting need it.

    Each logits tensor has shape (batch, seq_len).
    """

    def __init__(self, model: torch.nn.Module, *, token_types: bool) -> None:
        super().__init__()
        self.model = model
        self.token_types = token_types

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, *token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        names = {"token_type_ids": token_type_ids[0]} if self.token_types else {}
        start, end = self.model(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=False, **names
        )[:2]
        return start, end


def load(cell: Cell) -> LoadedModel:
    """BertForQuestionAnswering or DistilBertForQuestionAnswering, fp32, eval mode."""
    distilled = cell.model == "distilbert"
    model, label = _model(cell, distilled)
    module = _AnswerLogits(model, token_types=not distilled).eval()
    return LoadedModel(module, label, make_inputs_for(cell), answers=("start", "end"))


def make_inputs_for(cell: Cell) -> MakeInputs:
    """The requests of `cell`. They need no weights, so cells of any seq_len share the weights."""
    distilled, seq_len = cell.model == "distilbert", cell.seq_len or 128

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        inputs = question_and_context(generator, samples, seq_len)
        return inputs[:2] if distilled else inputs

    return make_inputs


def _model(cell: Cell, distilled: bool) -> tuple[Any, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both libraries warn about each other on import
        import transformers
    transformers.logging.set_verbosity_error()
    family = (
        transformers.DistilBertForQuestionAnswering
        if distilled
        else transformers.BertForQuestionAnswering
    )
    if cell.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cell.seed)
            return family(_configuration(cell.model)), random_weights_label(cell.seed)
    source = PRETRAINED[cell.model] if cell.weights == "pretrained" else cell.weights
    source = source.removeprefix("hub:")
    try:
        model = family.from_pretrained(
            source, dtype=torch.float32, trust_remote_code=False, weights_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = reason_of(error)
        raise GpubenchError(
            f"weights '{source}' could not be loaded ({reason}); download them on a machine with "
            "a network and give their folder with --weights PATH, or use --weights random"
        ) from error
    label = f"local: {Path(source).name}" if cell.weights == source else f"hub: {source}"
    return model, label


def _configuration(name: str) -> Any:
    import transformers

    if name == "distilbert":
        return transformers.DistilBertConfig()
    if name == "bert-large":
        return transformers.BertConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
        )
    return transformers.BertConfig()


def question_and_context(generator: torch.Generator, samples: int, seq_len: int) -> Tensors:
    """Distinct sequences from the seed: [CLS] question [SEP] context [SEP], padded to `seq_len`.

    Lengths vary between half of `seq_len` and `seq_len`, as those of real texts do.
    Returns input_ids, attention_mask and token_type_ids, each int64 of shape (samples, seq_len).
    """

    def draw(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator)

    input_ids = draw(FIRST_WORD, VOCABULARY, samples, seq_len)
    length = draw(max(seq_len // 2, 6), seq_len + 1, samples, 1)
    first_sep = draw(2, 3 + seq_len // 8, samples, 1)  # the position after the question
    position = torch.arange(seq_len).expand(samples, seq_len)

    input_ids[:, 0] = CLS
    input_ids[(position == first_sep) | (position == length - 1)] = SEP
    input_ids[position >= length] = PAD
    attention_mask = (position < length).long()
    token_type_ids = ((position > first_sep) & (position < length)).long()
    return input_ids, attention_mask, token_type_ids
