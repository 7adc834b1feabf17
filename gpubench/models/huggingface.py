"""Models of Hugging Face's that take text, images or both: hub:ID, or a folder of one.

`--weights random` makes the weights from the configuration alone; `pretrained` loads them. Code
that comes with a model runs with --allow-code alone, which transformers is told in every call: by
default it would ask on the terminal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, random_weights_label, rows_of
from gpubench.models.huggingface_folder import code_in, positions
from gpubench.models.inputs_file import InputsFile

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_FUNCTION = "write a function that makes its inputs, and give it as FILE.py:function"


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
            f"{source} could not be loaded ({reason_of(error)}); give a folder with a config.json "
            "that names its architecture (and / at its end), or a function of yours: "
            "FILE.py:function"
        ) from error
    return _with_inputs(model.float().eval(), configuration, cell, label)


def _family(source: str, configuration: Any, cell: Cell) -> Any:
    """The class of the model, that of the folder's own code where it has some."""
    import transformers

    name = (configuration.architectures or [""])[0]
    own = dict(getattr(configuration, "auto_map", None) or {})
    reference = next((each for each in own.values() if str(each).endswith(f".{name}")), None)
    if cell.allow_code and reference is not None:
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        return get_class_from_dynamic_module(reference, source)
    return getattr(transformers, name)


Make = Callable[[torch.Generator, int], torch.Tensor]


def _with_inputs(model: Any, configuration: Any, cell: Cell, label: str) -> LoadedModel:
    if cell.inputs_file is not None:
        return _with_file(model, cell.inputs_file, cell, label)
    takes = inspect.signature(model.forward).parameters
    made: dict[str, Make] = {}
    if "input_ids" in takes and "text" in _modalities(model, takes):
        made |= _texts(configuration, cell, with_decoder="decoder_input_ids" in takes)
    if "pixel_values" in takes and "image" in _modalities(model, takes):
        if made and _holds_images_in_text(configuration):
            raise GpubenchError(
                f"{cell.model} takes images within its text; {_FUNCTION} (docs/extending.md), or "
                "give them with --inputs-file"
            )
        made |= _images(configuration)
    if not made:
        required = ", ".join(list(takes)[:3])
        raise GpubenchError(
            f"{cell.model} takes neither text nor images (its inputs are {required}, ...); "
            f"{_FUNCTION} (docs/extending.md), or give them with --inputs-file"
        )

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return tuple(make(generator, samples) for make in made.values())

    return LoadedModel(_TensorsOnly(model, tuple(made)).eval(), label, make_inputs)


def _modalities(model: Any, takes: Any) -> tuple[str, ...]:
    """What it takes, by its own word; code of a folder's own may not say it."""
    said = getattr(model, "input_modalities", None)
    if said is None or type(model).__module__.startswith("transformers_modules"):
        return ("text",) if "input_ids" in takes else ("image",)
    return (said,) if isinstance(said, str) else tuple(said)


def _holds_images_in_text(configuration: Any) -> bool:
    return any(hasattr(configuration, name) for name in ("image_token_id", "image_token_index"))


def _texts(configuration: Any, cell: Cell, *, with_decoder: bool) -> dict[str, Make]:
    """Random tokens of one length, with none masked; the decoder, if any, gets as many."""
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

    made: dict[str, Make] = {"input_ids": tokens, "attention_mask": mask}
    return made | ({"decoder_input_ids": tokens} if with_decoder else {})


def _images(configuration: Any) -> dict[str, Make]:
    """Random images of the size that the configuration names."""
    vision = getattr(configuration, "vision_config", None) or configuration
    size = getattr(vision, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    channels = int(getattr(vision, "num_channels", None) or 3)

    def images(generator: torch.Generator, samples: int) -> torch.Tensor:
        return torch.randn(samples, channels, height, width, generator=generator)

    return {"pixel_values": images}


def _with_file(model: Any, path: Path, cell: Cell, label: str) -> LoadedModel:
    """The arrays of --inputs-file, by the names of the arguments of `forward`."""
    takes = list(inspect.signature(model.forward).parameters)
    try:
        arrays = InputsFile.open(path).match(takes, cell.model)
    except ValueError as error:
        raise GpubenchError(str(error)) from None
    lengths = {len(array) for array in arrays.values() if array.ndim}
    if len(lengths) != 1:
        raise GpubenchError(
            f"--inputs-file: the arrays of {path} have {sorted(lengths)} samples in "
            "their first dimensions; give each as many"
        )
    tensors = [torch.from_numpy(array) for array in arrays.values()]
    tensors = [each.float() if each.is_floating_point() else each for each in tensors]
    axes = [0 if tensor.ndim else None for tensor in tensors]

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return rows_of(tensors, axes, generator, samples)

    return LoadedModel(_TensorsOnly(model, tuple(arrays)).eval(), label, make_inputs)
