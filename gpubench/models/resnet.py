"""ResNet50 of torchvision, on 224 x 224 images."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import TYPE_CHECKING, cast

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, random_weights_label

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Channel statistics of ImageNet, by which torchvision's models expect their input normalised.
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def load(cell: Cell) -> LoadedModel:
    """torchvision.models.resnet50, fp32, eval mode."""
    models = _torchvision_models()
    if cell.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cell.seed)
            module = models.resnet50(weights=None)
        label = random_weights_label(cell.seed)
    else:
        module = models.resnet50(weights=None)
        try:
            state, label = _state(cell.weights, models)
            module.load_state_dict(state)
        except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
            reason = reason_of(error)
            raise GpubenchError(
                f"weights '{cell.weights}' could not be loaded ({reason}); give a state dict of "
                "torchvision's resnet50 with --weights PATH, or use --weights random"
            ) from error
    return LoadedModel(module.eval(), label, normalised_images, answers=("top1",))


def _torchvision_models() -> ModuleType:
    try:
        import torchvision.models
    except RuntimeError as error:  # "operator torchvision::nms does not exist"
        raise GpubenchError(
            f"torchvision does not fit the installed torch ({reason_of(error)}); "
            "install both from the same place, a CPU-only torch needs the CPU-only torchvision"
        ) from error
    return cast(ModuleType, torchvision.models)


def _state(weights: str, models: ModuleType) -> tuple[dict[str, torch.Tensor], str]:
    if weights == "pretrained":
        published = models.ResNet50_Weights.DEFAULT
        return published.get_state_dict(progress=False), f"pretrained: torchvision {published}"
    if weights.startswith("hub:"):
        from huggingface_hub import hf_hub_download

        name = weights.removeprefix("hub:")
        return _read(Path(hf_hub_download(name, "model.safetensors"))), f"hub: {name}"
    return _read(Path(weights)), f"local: {Path(weights).name}"


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def normalised_images(generator: torch.Generator, samples: int) -> Tensors:
    """Seeded, distinct images, normalised: float32 (samples, 3, 224, 224).

    Soft patches of colour under fine grain, both uniform. Grain alone would not do: every average
    over an image of it is the same, and the answers to two such images hardly differ.
    """
    colours = torch.rand(samples, 3, 4, 4, generator=generator)
    patches = torch.nn.functional.interpolate(colours, (224, 224), mode="bilinear")
    grain = torch.rand(samples, 3, 224, 224, generator=generator)
    pixels = 0.8 * patches + 0.2 * grain
    return ((pixels - _MEAN) / _STD,)
