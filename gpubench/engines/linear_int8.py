"""int8 for linear layers, by torchao, before TorchInductor compiles the module.

Weights are quantised once, per row; what comes into a layer is quantised as it comes, per token, so
no sample inputs are needed. Everything else stays fp32: it pays where linear layers are most of the
work, as in transformers.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpubench.engines import precision, refusals
from gpubench.errors import GpubenchError
from gpubench.models.base import Tensors

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

PACKAGE = refusals.INT8_PACKAGE
# Of a model's operations. With less, what is quantised is not what takes the time.
_LEAST_SHARE = 0.5
# The int8 products of GPUs take multiples of this, and a smaller layer gains nothing anywhere.
_MULTIPLE = 16


refusal = refusals.of_linear_int8


def library() -> str:
    return f"{PACKAGE} {version(PACKAGE)}"


def quantise(module: torch.nn.Module, example: Tensors, cell: Cell) -> None:
    """Replace the weights of the module's linear layers, in place.

    Raises GpubenchError for a model whose work is elsewhere.
    """
    share = linear_share(module, example)
    if share < _LEAST_SHARE:
        raise GpubenchError(
            f"--precision int8: {cell.model} has {share:.0%} of its operations in linear layers, "
            f"and {cell.runtime} has int8 for no others; use "
            f"--runtime {precision.int8_of_any_layer(cell)}"
        )
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import should_reduce_range

    config = Int8DynamicActivationInt8WeightConfig(
        set_inductor_config=False,  # which would stay set for every other cell
        # Without VNNI two int8 products are added up in 16 bits, which overflow.
        reduce_range=should_reduce_range(torch.device(cell.device)),
    )
    quantize_(module, config, filter_fn=lambda layer, name: _is_quantised(layer))


def linear_share(module: torch.nn.Module, example: Tensors) -> float:
    """The part of the module's floating-point operations that `quantise` makes int8."""
    counter = FlopCounterMode(display=False)
    # Attention in its plain form, since fused kernels are counted only from some versions on.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        module(*example)
    by_layer = counter.get_flop_counts()
    root = type(module).__name__
    linear = sum(
        sum(by_layer.get(f"{root}.{name}" if name else root, {}).values())
        for name, layer in module.named_modules()
        if _is_quantised(layer)
    )
    return linear / (counter.get_total_flops() or 1)


def quantised_layers(module: torch.nn.Module) -> list[str]:
    """The names of the layers whose weights `quantise` replaces."""
    return [name for name, layer in module.named_modules() if _is_quantised(layer)]


def _is_quantised(layer: torch.nn.Module) -> bool:
    return (
        isinstance(layer, torch.nn.Linear)
        and layer.in_features % _MULTIPLE == 0
        and layer.out_features % _MULTIPLE == 0
    )
