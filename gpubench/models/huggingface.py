"""Any text or image model of Hugging Face's: hub:ID, or a folder of one.

`--weights random` makes the weights from the configuration alone; `pretrained` loads them.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, random_weights_label

if TYPE_CHECKING:
    from gpubench.spec import Spec


class _TensorsOnly(torch.nn.Module):
    """Inputs by name, and of the outputs the tensors that lead them."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        outputs = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=False)
        tensors = []
        for output in outputs:
            if not isinstance(output, torch.Tensor):
                break
            tensors.append(output)
        return tuple(tensors)


def load(spec: Spec) -> LoadedModel:
    import transformers

    transformers.logging.set_verbosity_error()
    source = spec.model.removeprefix("hub:")
    try:
        configuration = transformers.AutoConfig.from_pretrained(source)
        family = getattr(transformers, (configuration.architectures or [""])[0])
        if spec.weights == "random":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(spec.seed)
                model, label = family(configuration), random_weights_label(spec.seed)
        else:
            model = family.from_pretrained(source, dtype=torch.float32)
            label = f"pretrained: {source}"
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        reason = reason_of(error)
        raise GpubenchError(
            f"{source} could not be loaded ({reason}); give a folder with a config.json that names "
            "its architecture (and / at its end), or a function of yours: FILE.py:function"
        ) from error
    return _with_inputs(model.float().eval(), configuration, spec, label, Path(source).name)


def _with_inputs(model: Any, configuration: Any, spec: Spec, label: str, name: str) -> LoadedModel:
    parameters = inspect.signature(model.forward).parameters
    if "input_ids" in parameters and getattr(configuration, "vocab_size", None):
        seq_len, vocabulary = spec.seq_len or 128, int(configuration.vocab_size)

        def tokens(generator: torch.Generator, samples: int) -> Tensors:
            ids = torch.randint(0, vocabulary, (samples, seq_len), generator=generator)
            return ids, torch.ones_like(ids)

        module = _TensorsOnly(model, ("input_ids", "attention_mask")).eval()
        return LoadedModel(module, label, tokens)
    if "pixel_values" in parameters:
        size = int(getattr(configuration, "image_size", None) or 224)
        channels = int(getattr(configuration, "num_channels", None) or 3)

        def images(generator: torch.Generator, samples: int) -> Tensors:
            return (torch.randn(samples, channels, size, size, generator=generator),)

        return LoadedModel(_TensorsOnly(model, ("pixel_values",)).eval(), label, images)
    raise GpubenchError(
        f"{name} takes neither input_ids nor pixel_values; write a function that makes its inputs, "
        "and give it as FILE.py:function (docs/extending.md)"
    )
