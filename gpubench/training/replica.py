"""One replica: a copy of the model with its optimiser and the batches on which it trains.

The process that measures has the replica 0. Each other replica of data parallelism has a process of
its own (see replicas.py), and makes the same steps at the same time. All have the same weights, and
each has batches of its own, from the seed and its number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from gpubench import cache
from gpubench.engines import memory_format, precision
from gpubench.engines.compile import function_of
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, seeded
from gpubench.results.result import LossKind
from gpubench.spec.cell import Cell, Training
from gpubench.training.checkpointing import checkpoint_blocks
from gpubench.training.losses import Loss, loss_of
from gpubench.training.step import (
    Batch,
    OptimizerStep,
    StageNanoseconds,
    autocast,
    make_optimizer,
)

# Distinct batches, in turn. As many as fit into these bytes, within the limits.
_POOL_BYTES = 64 << 20
_POOL_LEAST, _POOL_MOST = 4, 32


@dataclass
class Replica:
    """A model that is ready to train."""

    module: torch.nn.Module
    step: OptimizerStep
    loss: LossKind
    batches: list[Batch]
    accumulate: int
    takes_tokens: bool  # whether an input has the tokens of a text
    turn: int = 0

    def take_step(self) -> StageNanoseconds:
        """One step on the next batches."""
        chosen = [self._batch(self.turn + number) for number in range(self.accumulate)]
        self.turn += self.accumulate
        return self.step.run(chosen)

    def repeat_step(self) -> StageNanoseconds:
        """One step on the same batches each time."""
        return self.step.run([self._batch(number) for number in range(self.accumulate)])

    def _batch(self, number: int) -> Batch:
        return self.batches[number % len(self.batches)]


def device_of(cell: Cell, number: int) -> torch.device:
    """The device of a replica."""
    return torch.device("cpu" if cell.on_cpu else cell.devices[number])


def build(model: LoadedModel, cell: Cell, number: int) -> Replica:
    """The replica with this number. It changes `model`.

    If the cell has several replicas, the process group of torch.distributed exists already. Raises
    GpubenchError if the model cannot be trained.
    """
    training = cell.training
    assert training is not None
    device = device_of(cell, number)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.manual_seed((cell.seed + number) % 2**63)  # of dropout
    layout = memory_format.of_cell(cell)
    module = memory_format.convert(model.module.to(device), layout).train()
    _without_cache(module)
    if training.checkpointing:
        checkpoint_blocks(module)
    generator = seeded(cell.seed + 1 + number)
    first = _inputs(model, cell, generator)
    loss = _probe(model, module, first, cell, device)
    batches = _batches(model, cell, loss, first, generator, device)
    forward, replicated = _forward(module, cell, training)
    trained = [each for each in module.parameters() if each.requires_grad]
    step = OptimizerStep(
        forward,
        loss,
        make_optimizer(training.optimizer, trained),
        cell,
        training,
        device,
        nullcontext if replicated is None else replicated.no_sync,
    )
    takes_tokens = any(
        each.dtype in (torch.int64, torch.int32) and each.dim() == 2 for each in first
    )
    return Replica(module, step, loss.kind, batches, training.accumulate, takes_tokens)


def _without_cache(module: torch.nn.Module) -> None:
    """Keep no keys and values of attention, which serve the generation of text only.

    A block that is computed again would find those of its first pass. transformers turns the cache
    off in the same way when it trains.
    """
    for each in module.modules():
        config: Any = getattr(each, "config", None)
        if getattr(config, "use_cache", False):
            config.use_cache = False


def _inputs(model: LoadedModel, cell: Cell, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    made = model.make_inputs(generator, cell.batch)
    return memory_format.arrange(made, memory_format.of_cell(cell))


def _probe(
    model: LoadedModel,
    module: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    cell: Cell,
    device: torch.device,
) -> Loss:
    """The loss of the model. It comes from one forward and backward pass that trains nothing.

    Parameters that get no gradient are frozen: an optimiser would leave them alone, and the
    exchange of gradients would wait for them.
    """
    with autocast(cell.precision, device):
        with _explained_batch_norm():
            outputs = module(*(each.to(device) for each in inputs))
        loss = loss_of(model, outputs)
        targets = tuple(each.to(device) for each in loss.draw(seeded(cell.seed)))
        figure = loss.of(outputs, targets)
    if not figure.requires_grad:
        raise GpubenchError(
            "the loss has no gradient, so the model cannot be trained; do not freeze all of its "
            "parameters, and compute its outputs from them with torch"
        )
    figure.backward()
    for parameter in module.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
    return loss


@contextmanager
def _explained_batch_norm() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise GpubenchError(
            "the batch normalisation of the model needs more than one value of each channel to "
            "train; use --batch 2 or more"
        ) from error


def _batches(
    model: LoadedModel,
    cell: Cell,
    loss: Loss,
    first: tuple[torch.Tensor, ...],
    generator: torch.Generator,
    device: torch.device,
) -> list[Batch]:
    """Distinct batches from the seed, where the cell has its inputs."""

    def place(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if cell.inputs == "device":
            return tuple(each.to(device) for each in tensors)
        return tuple(each.pin_memory() for each in tensors) if cell.inputs == "pinned" else tensors

    size = max(1, sum(each.nbytes for each in first))
    assert cell.training is not None
    least = max(_POOL_LEAST, cell.training.accumulate)
    count = min(max(_POOL_BYTES // size, least), max(_POOL_MOST, least))
    batches = [Batch(place(first), place(loss.draw(generator)))]
    while len(batches) < count:
        inputs = _inputs(model, cell, generator)
        batches.append(Batch(place(inputs), place(loss.draw(generator))))
    return batches


def _forward(
    module: torch.nn.Module, cell: Cell, training: Training
) -> tuple[Callable[..., object], DistributedDataParallel | None]:
    """What a step calls, and the module that exchanges the gradients; None without others."""
    replicated = DistributedDataParallel(module) if training.replicas > 1 else None
    forward = replicated or module
    if cell.runtime == "compile":
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache.folder("inductor")))
        # DDP divides the graph where it exchanges gradients.
        compiled = torch.compile(function_of(forward), dynamic=False, fullgraph=replicated is None)
        return _explained(compiled, cell.model), replicated
    return forward, replicated


def _explained(compiled: Callable[..., object], model: str) -> Callable[..., object]:
    """`compiled`, with a GpubenchError in place of what TorchDynamo and TorchInductor raise."""

    def forward(*inputs: torch.Tensor) -> object:
        try:
            return compiled(*inputs)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            raise GpubenchError(
                f"{model} cannot be compiled ({reason_of(error)}); use --runtime eager"
            ) from error

    return forward


def set_arithmetic(cell: Cell) -> None:
    """Set how this process computes fp32 products."""
    precision.set_fp32_arithmetic(cell.precision)
