"""Hugging Face models that take text, images or both: hub:ID, or the folder of a model.

`--weights random` makes the weights from the configuration only; `pretrained` loads them. Code that
belongs to a model runs only with --allow-code. Every call passes this setting to transformers:
otherwise transformers would ask on the terminal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, draw_samples, random_weights_label
from gpubench.models.huggingface_folder import code_in, positions
from gpubench.models.inputs_file import InputsFile

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_FUNCTION = "write a function that makes its inputs, and give it as FILE.py:function"


class _LeadingTensors(torch.nn.Module):
    """Passes the inputs by name, and returns the outputs that come before the first non-tensor.

    `as_tuple` would return more: also the tensors that follow a cache, and nested ones.
    """

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


def load(cell: Cell) -> LoadedModel:
    import transformers

    transformers.logging.set_verbosity_error()
    source = cell.model.removeprefix("hub:")
    try:
        as_written, _ = transformers.PreTrainedConfig.get_config_dict(source)
        if not cell.allow_code and (code := code_in(as_written)):
            raise GpubenchError(
                f"the config.json of {source} {code}; if you trust it, add --allow-code"
            )
        configuration = transformers.AutoConfig.from_pretrained(
            source, trust_remote_code=cell.allow_code
        )
        family = _family(source, configuration, cell)
        if cell.weights == "random":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(cell.seed)
                model, label = family(configuration), random_weights_label(cell.seed)
        else:
            model = family.from_pretrained(
                source,
                dtype=torch.float32,
                trust_remote_code=cell.allow_code,
                weights_only=True,  # nothing in a pickled file is executed
            )
            label = f"pretrained: {source}"
    except (OSError, ValueError, RuntimeError, AttributeError, ImportError) as error:
        raise GpubenchError(
            f"{source} could not be loaded ({reason_of(error)}); give a folder, with / at its end, "
            "whose config.json names the architecture, or a function that makes the model: "
            "FILE.py:function"
        ) from error
    return _with_inputs(model.float().eval(), configuration, cell, label)


def _family(source: str, configuration: Any, cell: Cell) -> Any:
    """The class of the model. It comes from the folder if that contains code."""
    import transformers

    name = (configuration.architectures or [""])[0]
    classes = dict(getattr(configuration, "auto_map", None) or {})
    reference = next((each for each in classes.values() if str(each).endswith(f".{name}")), None)
    if cell.allow_code and reference is not None:
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        return get_class_from_dynamic_module(reference, source)
    return getattr(transformers, name)


Make = Callable[[torch.Generator, int], torch.Tensor]


def _with_inputs(model: Any, configuration: Any, cell: Cell, label: str) -> LoadedModel:
    if cell.inputs_file is not None:
        return _with_file(model, cell.inputs_file, cell, label)
    parameters = inspect.signature(model.forward).parameters
    makers: dict[str, Make] = {}  # by the name of the input
    if "input_ids" in parameters and "text" in _modalities(model, parameters):
        makers |= _texts(configuration, cell, with_decoder="decoder_input_ids" in parameters)
    if "pixel_values" in parameters and "image" in _modalities(model, parameters):
        if makers and _text_contains_images(configuration):
            raise GpubenchError(
                f"{cell.model} takes images within its text; {_FUNCTION} (docs/extending.md), or "
                "give them with --inputs-file"
            )
        makers |= _images(configuration)
    if not makers:
        required = ", ".join(list(parameters)[:3])
        raise GpubenchError(
            f"{cell.model} takes neither text nor images (its inputs are {required}, ...); "
            f"{_FUNCTION} (docs/extending.md), or give them with --inputs-file"
        )

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return tuple(make(generator, samples) for make in makers.values())

    names = tuple(makers)
    module = _LeadingTensors(model, names).eval()
    return LoadedModel(module, label, make_inputs, input_names=names)


def _modalities(model: Any, parameters: Any) -> tuple[str, ...]:
    """The kinds of inputs that the model takes: text, image.

    A model whose code comes from its folder may not name them; its parameters then decide.
    """
    named = getattr(model, "input_modalities", None)
    if named is None or type(model).__module__.startswith("transformers_modules"):
        return ("text",) if "input_ids" in parameters else ("image",)
    return (named,) if isinstance(named, str) else tuple(named)


def _text_contains_images(configuration: Any) -> bool:
    return any(hasattr(configuration, name) for name in ("image_token_id", "image_token_index"))


def _texts(configuration: Any, cell: Cell, *, with_decoder: bool) -> dict[str, Make]:
    """Random tokens of one length, without masked ones. A decoder gets the same number."""
    text = configuration.get_text_config()
    vocabulary, seq_len = int(text.vocab_size), cell.seq_len or 128
    most = positions(configuration.to_dict())
    if most is not None and seq_len > most:
        raise GpubenchError(
            f"--seq-len {seq_len}: {cell.model} has {most} positions; use --seq-len {most} or less"
        )

    def tokens(generator: torch.Generator, samples: int) -> torch.Tensor:
        return torch.randint(0, vocabulary, (samples, seq_len), generator=generator)

    def mask(_: torch.Generator, samples: int) -> torch.Tensor:
        return torch.ones(samples, seq_len, dtype=torch.int64)

    makers: dict[str, Make] = {"input_ids": tokens, "attention_mask": mask}
    return makers | ({"decoder_input_ids": tokens} if with_decoder else {})


def _images(configuration: Any) -> dict[str, Make]:
    """Random images of the size in the configuration."""
    vision = getattr(configuration, "vision_config", None) or configuration
    size = getattr(vision, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    channels = int(getattr(vision, "num_channels", None) or 3)

    def images(generator: torch.Generator, samples: int) -> torch.Tensor:
        return torch.randn(samples, channels, height, width, generator=generator)

    return {"pixel_values": images}


def _with_file(model: Any, path: Path, cell: Cell, label: str) -> LoadedModel:
    """The model with the arrays of --inputs-file as inputs, by the parameters of `forward`."""
    parameters = list(inspect.signature(model.forward).parameters)
    try:
        arrays = InputsFile.open(path).match(parameters, cell.model)
    except ValueError as error:
        raise GpubenchError(str(error)) from None
    lengths = {len(array) for array in arrays.values() if array.ndim}
    if len(lengths) != 1:
        raise GpubenchError(
            f"--inputs-file: the arrays of {path} have {sorted(lengths)} samples in "
            "their first dimensions; give all arrays the same number"
        )
    tensors = [torch.from_numpy(array) for array in arrays.values()]
    tensors = [each.float() if each.is_floating_point() else each for each in tensors]
    axes = [0 if tensor.ndim else None for tensor in tensors]

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return draw_samples(tensors, axes, generator, samples)

    names = tuple(arrays)
    module = _LeadingTensors(model, names).eval()
    return LoadedModel(module, label, make_inputs, input_names=names)
