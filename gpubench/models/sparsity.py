"""2:4 sparsity: of each four neighbouring weights of a linear layer, at most two are not zero.

NVIDIA GPUs from Ampere on (compute capability 8.0) multiply by such weights up to twice as fast.
`prune_2_of_4` keeps the two weights with the largest magnitude of each four along the inputs of a
layer, the dimension over which a product is summed. It is done when a model is loaded, in fp32 on
the CPU. So the reference, too, is the pruned model: the check of the outputs shows faults of the
engine, and the accuracy on real data shows what pruning loses.

Source of the pattern: A. Mishra et al., Accelerating Sparse Deep Neural Networks, 2021,
https://arxiv.org/abs/2104.08378
"""

from __future__ import annotations

import torch

from gpubench.errors import GpubenchError

# The sizes of weights (outputs, inputs) that PyTorch's sparse kernels take are multiples of these.
_MULTIPLES = (32, 64)


def layers(module: torch.nn.Module) -> list[torch.nn.Linear]:
    """The layers that are pruned. Subclasses are not, since other code may read their weights."""
    return [
        layer
        for layer in module.modules()
        if type(layer) is torch.nn.Linear
        and layer.out_features % _MULTIPLES[0] == 0
        and layer.in_features % _MULTIPLES[1] == 0
    ]


def prune_2_of_4(module: torch.nn.Module, model: str) -> None:
    """Set half of the weights of the linear layers to zero, in place.

    Raises GpubenchError, which names the `model`, if none of its layers can be pruned.
    """
    found = layers(module)
    if not found:
        raise GpubenchError(
            f"--sparsity 2:4: {model} has no linear layer whose inputs are a multiple of "
            f"{_MULTIPLES[1]} and whose outputs are a multiple of {_MULTIPLES[0]}; remove it"
        )
    with torch.no_grad():
        for layer in found:
            layer.weight *= mask_2_of_4(layer.weight)


def mask_2_of_4(weight: torch.Tensor) -> torch.Tensor:
    """True for the two largest magnitudes of each four weights: (outputs, inputs), boolean.

    The number of inputs is a multiple of 4. Of equal magnitudes, any two are kept.
    """
    fours = weight.abs().reshape(-1, 4)
    kept = fours.topk(2, dim=1).indices
    return torch.zeros_like(fours, dtype=torch.bool).scatter_(1, kept, True).reshape(weight.shape)
