"""What the cells of a sweep share: a model's weights, operations, reference, answers and requests.

Only presets share these, since everything that they depend on is known. A user's own model is
loaded and run again for each cell: its files, or what its function returns, may have changed.

Sharing changes no figure. An engine is built from a copy of the model that has separate modules and
parameters, so building it does not change the model that is kept. A parameter of the copy uses the
memory of the kept one until the engine converts it or moves it to a GPU.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import torch

from gpubench.measure.accuracy import Evaluations
from gpubench.measure.python_workers import KeptRequests
from gpubench.measure.reference import References
from gpubench.models.base import LoadedModel, load, preset_inputs
from gpubench.models.local_files import state_of_files
from gpubench.registry import MODELS
from gpubench.spec.cell import Cell


class Kept:
    """A model on the CPU in fp32, as it was loaded."""

    def __init__(self, cell: Cell) -> None:
        """Load the model of `cell`. Raises what `load` raises."""
        self._key = _key(cell)  # first: a file may change while it is read
        started = time.monotonic()
        self.model = load(cell)
        self.seconds = time.monotonic() - started
        self._seq_len = cell.seq_len
        self._versions = self._current_versions()

    def serves(self, cell: Cell) -> bool:
        """Whether `cell` would load the same weights, and nothing has written to them.

        If its requests have another length than those of the last cell, the file of the preset must
        also be able to make requests without weights.
        """
        if self._key != _key(cell) or self._versions != self._current_versions():
            return False
        return self._seq_len == cell.seq_len or preset_inputs(cell) is not None

    def make_inputs_for(self, cell: Cell) -> None:
        """Let the model make the requests of `cell`, which it must serve."""
        if self._seq_len != cell.seq_len and (make_inputs := preset_inputs(cell)):
            self.model = replace(self.model, make_inputs=make_inputs)
            self._seq_len = cell.seq_len

    def copy(self) -> LoadedModel:
        """The model with separate modules and parameters, which use the same memory."""
        same_memory: dict[int, object] = {
            id(each): torch.nn.Parameter(each.detach(), each.requires_grad)
            for each in self.model.module.parameters()
        }
        return replace(self.model, module=copy.deepcopy(self.model.module, same_memory))

    def _current_versions(self) -> list[int]:
        """torch counts the writes to a tensor and to all tensors that use its memory."""
        module = self.model.module
        return [each._version for each in (*module.parameters(), *module.buffers())]


class Shared:
    """What cells share. Of the models it keeps only the last one.

    With `keep` false it keeps no model and no requests, so a single cell needs no memory for them.
    """

    def __init__(self, *, keep: bool) -> None:
        self.references = References()
        self.evaluations = Evaluations()
        self.requests = KeptRequests() if keep else None
        self.flops: dict[tuple[str, int | None], float | None] = {}  # by model and seq_len
        self._keep = keep
        self._kept: Kept | None = None

    def kept(self, cell: Cell) -> Kept | None:
        """The model of `cell`, if an earlier cell has loaded it and nothing has changed it."""
        if self._kept is None or not self._kept.serves(cell):
            return None
        self._kept.make_inputs_for(cell)
        return self._kept

    def load(self, cell: Cell) -> Kept:
        """Load the model of `cell`, and keep it in place of the last one if it is a preset."""
        self._kept = None  # first, since the memory may be too small for two models
        loaded = Kept(cell)
        if self.keeps(cell):
            self._kept = loaded
        return loaded

    def keeps(self, cell: Cell) -> bool:
        """Whether the model of `cell` is kept for later cells."""
        return self._keep and cell.model in MODELS

    def forget_other_model(self, cell: Cell) -> bool:
        """Free the model that is kept, unless `cell` uses it. Returns whether one was freed."""
        if self._kept is None or self._kept.serves(cell):
            return False
        self._kept = None
        return True


def _key(cell: Cell) -> tuple[object, ...]:
    """What the weights of a preset depend on."""
    seed = cell.seed if cell.weights == "random" else None
    return cell.model, cell.weights, cell.sparsity, seed, state_of_files(cell)
