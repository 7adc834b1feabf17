"""2:4 sparse linear layers in PyTorch: the weights in the format of the GPU's sparse kernels.

The weights were pruned when the model was loaded (gpubench.models.sparsity). PyTorch multiplies by
them with cuSPARSELt, or with CUTLASS if its build has no cuSPARSELt. `torch.sparse` calls the
format a prototype. None of this has been run on a GPU yet.
"""

from __future__ import annotations

import warnings

import torch

from gpubench.models import sparsity


def compress(module: torch.nn.Module) -> None:
    """Store the weights of the pruned layers of a 16-bit module on a GPU as sparse, in place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*SparseSemiStructured", category=UserWarning)
        for layer in sparsity.layers(module):
            compressed = torch.sparse.to_sparse_semi_structured(layer.weight.detach())
            layer.weight = torch.nn.Parameter(compressed, requires_grad=False)
