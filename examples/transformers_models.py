"""Models of transformers, from their configurations: no download, random weights.

gpubench run --model examples/transformers_models.py:vit --batch 8
gpubench sweep examples/models.yaml --allow-code --output results/models

| function | sizes of | one sample | output of a sample |
|---|---|---|---|
| whisper_encoder | whisper-base | 30 s of sound: 80 mel bands x 3000 frames | 1500 x 512 states |
| vit | vit-base-patch16-224 | an image of 3 x 224 x 224 | 1000 class logits |
| sentence_embedding | all-MiniLM-L6-v2 | 128 tokens | 384 numbers, norm 1 |
| translation_encoder | opus-mt-en-de | 64 tokens | 64 x 512 states |

Half to all of the tokens of a text are real, and the others are padding, which the mask excludes.

Speed and size are those of the trained models, and the outputs mean nothing. The encoders of
Whisper and of the translation model run once for each request; their decoders, which run once for
each token of the answer, are not part of these models. The text is already tokens: for a tokenizer
on the CPU, give gpubench.OwnModel a function `preprocess`, as examples/detector.py does.

Each function takes another configuration in place of its own, for other sizes.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize
from transformers import (
    BertConfig,
    BertModel,
    MarianConfig,
    ViTConfig,
    ViTForImageClassification,
    WhisperConfig,
)
from transformers.models.marian.modeling_marian import MarianEncoder
from transformers.models.whisper.modeling_whisper import WhisperEncoder

import gpubench

SENTENCE_TOKENS = 128
TRANSLATION_TOKENS = 64

WHISPER_BASE = WhisperConfig(
    d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048
)
VIT_BASE = ViTConfig()
VIT_BASE.num_labels = 1000
MINILM_L6 = BertConfig(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
)
OPUS_MT = MarianConfig(
    d_model=512,
    encoder_layers=6,
    encoder_attention_heads=8,
    encoder_ffn_dim=2048,
    activation_function="swish",
    max_position_embeddings=512,
    scale_embedding=True,
)


def whisper_encoder(config: WhisperConfig = WHISPER_BASE) -> gpubench.OwnModel:
    frames = 2 * config.max_source_positions  # the second convolution halves their number

    def features(generator: torch.Generator, samples: int) -> tuple[torch.Tensor]:
        return (torch.randn(samples, config.num_mel_bins, frames, generator=generator),)

    return gpubench.OwnModel(First(WhisperEncoder(config)), features)


def vit(config: ViTConfig = VIT_BASE) -> gpubench.OwnModel:
    size = config.image_size
    assert isinstance(size, int)  # not (height, width)
    shape = (config.num_channels, size, size)

    def images(generator: torch.Generator, samples: int) -> tuple[torch.Tensor]:
        return (torch.randn(samples, *shape, generator=generator),)

    module = First(ViTForImageClassification(config))
    return gpubench.OwnModel(module, images, answers=("top1",))


def sentence_embedding(
    config: BertConfig = MINILM_L6, tokens: int = SENTENCE_TOKENS
) -> gpubench.OwnModel:
    def sentences(generator: torch.Generator, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        return padded_tokens(generator, samples, tokens, config.vocab_size)

    return gpubench.OwnModel(SentenceEmbedding(config), sentences)


def translation_encoder(
    config: MarianConfig = OPUS_MT, tokens: int = TRANSLATION_TOKENS
) -> gpubench.OwnModel:
    def sentences(generator: torch.Generator, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        return padded_tokens(generator, samples, tokens, config.vocab_size)

    return gpubench.OwnModel(First(MarianEncoder(config)), sentences)


class First(torch.nn.Module):
    """The first output of a model of transformers: its last states, or its logits."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.model(*inputs, return_dict=False)[0]
        return outputs


class SentenceEmbedding(torch.nn.Module):
    """The mean of the states of all real tokens, with norm 1: (batch, hidden size)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.model = BertModel(config, add_pooling_layer=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = self.model(input_ids, attention_mask, return_dict=False)[0]
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return normalize(mean, dim=1)


def padded_tokens(
    generator: torch.Generator, samples: int, tokens: int, vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token numbers and attention mask, int64 (samples, tokens): half to all of them are real."""
    input_ids = torch.randint(1, vocabulary, (samples, tokens), generator=generator)
    lengths = torch.randint(tokens // 2, tokens + 1, (samples, 1), generator=generator)
    mask = (torch.arange(tokens) < lengths).long()
    return input_ids * mask, mask
