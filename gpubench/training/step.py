"""One optimiser step: forward, backward and optimiser, each timed as a stage.

    for each of the `accumulate` batches: copy the inputs -> forward and loss -> backward
    optimiser step (with unscaling), gradients set to None

The times of the batches are added up. On a GPU they come from CUDA events, and the step ends when
the GPU has reached its last event: no backward pass is timed without its end. On a CPU they come
from the monotonic clock. The copies of the inputs and the time between the stages belong to none
of them, so the three together are at most the `compute` of the request.

With data parallelism the backward pass contains the exchange of the gradients, as in torch's DDP,
which overlaps the two. Batches before the last one of a step exchange nothing (`no_sync`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from gpubench.engines.precision import autocast_dtype
from gpubench.models.base import Tensors
from gpubench.spec.cell import Cell, Training
from gpubench.spec.settings import Optimizer
from gpubench.training.losses import Loss

# They change no time. With them the loss falls on one batch within a few steps, for BERT and
# ResNet50 from random weights.
ADAMW_LEARNING_RATE = 1e-4
SGD_LEARNING_RATE = 1e-2
SGD_MOMENTUM = 0.9


@dataclass(frozen=True)
class Batch:
    """The inputs of one batch and its targets, where the cell has its inputs."""

    inputs: Tensors
    targets: Tensors


class StageNanoseconds(NamedTuple):
    """Where the time of one step went."""

    forward: int
    backward: int
    optimizer: int


def make_optimizer(
    name: Optimizer, parameters: Sequence[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser with torch's own settings, but for the learning rate and the momentum."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=SGD_LEARNING_RATE, momentum=SGD_MOMENTUM)
    return torch.optim.AdamW(parameters, lr=ADAMW_LEARNING_RATE)


class Marks(Protocol):
    """Moments of the device in one step."""

    def mark(self) -> None:
        """The device has done everything before this point."""

    def ends(self) -> list[int]:
        """Wait until the device has reached the last mark. Nanoseconds from the first mark to
        each."""


class HostMarks:
    def __init__(self) -> None:
        self._stamps: list[int] = []

    def mark(self) -> None:
        self._stamps.append(time.monotonic_ns())

    def ends(self) -> list[int]:
        return [stamp - self._stamps[0] for stamp in self._stamps]


class DeviceMarks:
    """CUDA events on the current stream of the calling thread."""

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._events.append(event)

    def ends(self) -> list[int]:
        self._events[-1].synchronize()
        # Between neighbours: the time of a long interval has a coarser resolution.
        total, found = 0.0, [0]
        for earlier, later in zip(self._events, self._events[1:], strict=False):
            total += earlier.elapsed_time(later) * 1e6
            found.append(round(total))
        return found


class OptimizerStep:
    """The step of one replica. `forward(*inputs)` is its model in training mode.

    `without_exchange` makes a block in which a backward pass exchanges no gradients.
    """

    def __init__(
        self,
        forward: Callable[..., object],
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        cell: Cell,
        training: Training,
        device: torch.device,
        without_exchange: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._forward, self._loss, self._optimizer = forward, loss, optimizer
        self._accumulate, self._device = training.accumulate, device
        self._precision = cell.precision
        self._without_exchange = without_exchange
        # Gradients in fp16 are so small that they become zero. bf16 has the range of fp32.
        needs_scaler = cell.precision == "amp" and device.type == "cuda"
        self._scaler = torch.amp.GradScaler("cuda", enabled=needs_scaler)
        # The mean loss of the last step, on the device.
        self.last_loss = torch.zeros((), device=device)

    def run(self, batches: Sequence[Batch]) -> StageNanoseconds:
        """Train on `accumulate` batches. Returns when the device has done it."""
        marks: Marks = DeviceMarks() if self._device.type == "cuda" else HostMarks()
        losses = []
        for number, batch in enumerate(batches, 1):
            last = number == self._accumulate
            with nullcontext() if last else self._without_exchange():
                losses.append(self._backward(batch, marks))
        marks.mark()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        marks.mark()
        self.last_loss = sum(losses[1:], losses[0])
        return _stages(marks.ends(), self._accumulate)

    def _backward(self, batch: Batch, marks: Marks) -> torch.Tensor:
        """Add the gradients of one batch. Returns its part of the loss, without its graph."""
        inputs, targets = self._here(batch.inputs), self._here(batch.targets)
        marks.mark()
        with autocast(self._precision, self._device):
            loss = self._loss.of(self._forward(*inputs), targets) / self._accumulate
        marks.mark()
        self._scaler.scale(loss).backward()
        marks.mark()
        return loss.detach()

    def _here(self, tensors: Tensors) -> Tensors:
        return tuple(each.to(self._device, non_blocking=True) for each in tensors)


def _stages(ends: Sequence[int], batches: int) -> StageNanoseconds:
    """The stages from the marks of a step: three for each batch, then two."""
    forward = sum(ends[3 * n + 1] - ends[3 * n] for n in range(batches))
    backward = sum(ends[3 * n + 2] - ends[3 * n + 1] for n in range(batches))
    return StageNanoseconds(forward, backward, ends[-1] - ends[-2])


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The block of a forward pass. It is entered in each step: the weights change in between."""
    dtype = torch.bfloat16 if precision == "bf16" else autocast_dtype(device.type)
    return torch.autocast(device.type, dtype=dtype, enabled=precision in {"amp", "bf16"})
