"""BERT for question answering: bert-base, bert-large and distilbert.

The architectures are those of the checkpoints named below, built from their published
configurations, so that random weights need no download.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, random_weights_label

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

PRETRAINED = {
    "bert-base": "twmkn9/bert-base-uncased-squad2",
    "bert-large": "google-bert/bert-large-uncased-whole-word-masking-finetuned-squad",
    "distilbert": "distilbert/distilbert-base-uncased-distilled-squad",
}

# Of the uncased WordPiece vocabulary that all three share.
PAD, CLS, SEP, FIRST_WORD = 0, 101, 102, 1996
VOCABULARY = 30522


class _AnswerLogits(torch.nn.Module):
    """Tensors in, (start_logits, end_logits) out: what tracing and exporting need.

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
    seq_len = cell.seq_len or 128
    model, label = _model(cell, distilled)

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        inputs = question_and_context(generator, samples, seq_len)
        return inputs[:2] if distilled else inputs

    module = _AnswerLogits(model, token_types=not distilled).eval()
    return LoadedModel(module, label, make_inputs, answers=("start", "end"))


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
            f"weights '{source}' could not be loaded ({reason}); download them where there is a "
            "network and give their folder with --weights PATH, or use --weights random"
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
    """Seeded, distinct sequences: [CLS] question [SEP] context [SEP], padded to `seq_len`.

    Lengths vary from half of `seq_len` to all of it, as real questions and paragraphs do.
    Returns input_ids, attention_mask and token_type_ids, each int64 of shape (samples, seq_len).
    """

    def draw(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator)

    input_ids = draw(FIRST_WORD, VOCABULARY, samples, seq_len)
    length = draw(max(seq_len // 2, 6), seq_len + 1, samples, 1)
    question = draw(2, 3 + seq_len // 8, samples, 1)  # place of the first [SEP]
    place = torch.arange(seq_len).expand(samples, seq_len)

    input_ids[:, 0] = CLS
    input_ids[(place == question) | (place == length - 1)] = SEP
    input_ids[place >= length] = PAD
    attention_mask = (place < length).long()
    token_type_ids = ((place > question) & (place < length)).long()
    return input_ids, attention_mask, token_type_ids
