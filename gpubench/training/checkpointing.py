"""Activation checkpointing: a block keeps only its inputs, and computes the rest again.

The blocks of a model are the members of its lists of layers: the 12 layers of BERT-base, the 16
bottlenecks of ResNet50. The gradients are the same, since random numbers (dropout) are drawn again
from the same state. A batch normalisation updates its running statistics twice in a step; they
play no part in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from gpubench.errors import GpubenchError

_LISTS = (torch.nn.ModuleList, torch.nn.Sequential)


def checkpoint_blocks(module: torch.nn.Module) -> int:
    """Let every block of `module` compute its activations again. Returns the number of blocks.

    Raises GpubenchError if it has none.
    """
    blocks = list(_blocks(module))
    if not blocks:
        raise GpubenchError(
            "--checkpointing: the model has no blocks, which are modules with layers of their own "
            "in an nn.ModuleList or nn.Sequential; remove it"
        )
    for block in blocks:
        # Only the method of this object changes, and so no name in its state dict.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)


def _blocks(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The outermost members of lists of layers that have layers of their own."""
    for child in module.children():
        if isinstance(module, _LISTS) and _has_layers(child):
            yield child
        else:
            yield from _blocks(child)


def _has_layers(module: torch.nn.Module) -> bool:
    """Whether `module` is more than one layer, and no list of layers itself."""
    return not isinstance(module, _LISTS) and any(True for _ in module.children())
