"""One optimiser step: its gradients, its loss and its stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from factories import a_cell

from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors
from gpubench.spec.cell import Cell
from gpubench.training.checkpointing import checkpoint_blocks
from gpubench.training.losses import Loss, loss_of
from gpubench.training.step import Batch, DeviceMarks, OptimizerStep, make_optimizer

CPU = torch.device("cpu")


class Block(torch.nn.Module):
    """A layer with dropout, and what calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)
        self.dropout = torch.nn.Dropout(0.5)
        self.calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        outputs: torch.Tensor = inputs + self.dropout(torch.relu(self.layer(inputs)))
        return outputs


def a_module(blocks: int = 0) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(*(Block() for _ in range(blocks)), torch.nn.Linear(8, 4))


def cell(**settings: Any) -> Cell:
    return a_cell(model="resnet50", task="train", **settings)


def squared_error(outputs: object, targets: Tensors) -> torch.Tensor:
    assert isinstance(outputs, torch.Tensor)
    return (outputs - targets[0]).square().mean()


def a_step(module: torch.nn.Module, of: Cell) -> OptimizerStep:
    assert of.training is not None
    loss = Loss("own", squared_error, lambda _: ())
    optimizer = make_optimizer(of.training.optimizer, list(module.parameters()))
    return OptimizerStep(module, loss, optimizer, of, of.training, CPU)


def batches(sizes: Sequence[int]) -> list[Batch]:
    """Batches of these sizes. Together they have the same samples, whatever the sizes are."""
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(8, 8, generator=generator), torch.randn(8, 4, generator=generator)
    return [
        Batch((x,), (y,))
        for x, y in zip(inputs.split(list(sizes)), targets.split(list(sizes)), strict=True)
    ]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_accumulated_batches_change_the_weights_as_one_large_batch(optimizer: str) -> None:
    one, four = a_module(), a_module()
    whole = a_step(one, cell(batch=8, optimizer=optimizer))
    parts = a_step(four, cell(batch=2, accumulate=4, optimizer=optimizer))
    for _ in range(2):
        whole.run(batches([8]))
        parts.run(batches([2, 2, 2, 2]))
        torch.testing.assert_close(parts.last_loss, whole.last_loss)
    for a, b in zip(one.parameters(), four.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(next(one.parameters()), next(a_module().parameters()))


def test_checkpointed_blocks_compute_twice_and_give_the_same_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        module = a_module(blocks=2).train()
        if checkpointing:
            assert checkpoint_blocks(module) == 2
        torch.manual_seed(3)  # of dropout
        module(batches([8])[0].inputs[0]).square().mean().backward()
        calls = [each.calls for each in module.children() if isinstance(each, Block)]
        assert calls == [1 + checkpointing] * 2
        gradients.append([parameter.grad for parameter in module.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again, rtol=0, atol=0)


def test_a_model_without_blocks_cannot_be_checkpointed() -> None:
    with pytest.raises(GpubenchError, match="--checkpointing: the model has no blocks"):
        checkpoint_blocks(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))


def test_the_blocks_of_a_list_inside_a_list_are_found_once() -> None:
    layers = torch.nn.Sequential(Block(), Block())
    assert checkpoint_blocks(torch.nn.ModuleList([layers, torch.nn.ModuleList([Block()])])) == 3


@pytest.mark.parametrize("precision", ["amp", "bf16"])
def test_autocast_computes_in_bf16_and_weights_and_gradients_stay_fp32(precision: str) -> None:
    seen: list[torch.dtype] = []

    class Layer(torch.nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(inputs)
            seen.append(outputs.dtype)
            outputs.register_hook(lambda gradient: seen.append(gradient.dtype))
            return outputs

    layer = Layer(8, 4)
    a_step(layer, cell(batch=8, precision=precision, allow_emulated=True)).run(batches([8]))
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float32}


def test_marks_of_a_device_wait_for_the_last_event_and_add_up_between_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On events that stand for those of a GPU: each is reached a millisecond after the last."""
    reached: list[int] = []

    class Event:
        made = 0

        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.number, Event.made = Event.made, Event.made + 1

        def record(self) -> None:
            pass

        def synchronize(self) -> None:
            reached.append(self.number)

        def elapsed_time(self, later: Event) -> float:
            assert reached == [3], "the last event is waited for first"
            assert later.number == self.number + 1
            return 1.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    marks = DeviceMarks()
    for _ in range(4):
        marks.mark()
    assert marks.ends() == [0, 1_000_000, 2_000_000, 3_000_000]


def a_model(
    answers: tuple[str, ...] = (), loss: Any = None, module: torch.nn.Module | None = None
) -> LoadedModel:
    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return (torch.randn(samples, 8, generator=generator),)

    return LoadedModel(module or a_module(), "random", make_inputs, answers, loss=loss)


def test_models_with_answers_have_the_cross_entropy_of_fixed_classes() -> None:
    start, end = torch.zeros(2, 5, requires_grad=True), torch.zeros(2, 5, requires_grad=True)
    found = loss_of(a_model(("start", "end")), (start, end))
    targets = found.draw(torch.Generator().manual_seed(0))
    again = found.draw(torch.Generator().manual_seed(0))
    assert found.kind == "cross-entropy"
    assert [each.tolist() for each in targets] == [each.tolist() for each in again]
    assert all(each.shape == (2,) and 0 <= int(each.max()) < 5 for each in targets)
    figure = found.of((start, end), targets)
    torch.testing.assert_close(figure, torch.tensor(5.0).log())  # all classes are as likely


def test_other_models_have_the_mean_squared_error_of_their_outputs_with_gradients() -> None:
    outputs = {"x": torch.zeros(2, 3, requires_grad=True), "ids": torch.zeros(2, dtype=torch.int64)}
    found = loss_of(a_model(), outputs)
    (target,) = found.draw(torch.Generator().manual_seed(0))
    assert (found.kind, target.shape) == ("mean-squared-error", (2, 3))
    torch.testing.assert_close(found.of(outputs, (target,)), target.square().mean())


def test_the_loss_of_an_own_model_takes_what_its_module_returned() -> None:
    found = loss_of(a_model(loss=lambda outputs: outputs["x"].sum()), {})
    assert (found.kind, found.draw(torch.Generator())) == ("own", ())
    outputs = {"x": torch.ones(3, requires_grad=True)}
    assert float(found.of(outputs, ()).detach()) == 3.0
    for wrong in (torch.ones(3), torch.tensor(1.0), 1.0):
        bad = loss_of(a_model(loss=lambda _, wrong=wrong: wrong), {})
        with pytest.raises(GpubenchError, match="must return one number with a gradient"):
            bad.of({}, ())


def test_outputs_without_a_gradient_cannot_be_trained() -> None:
    with pytest.raises(GpubenchError, match="no output of the model has a gradient"):
        loss_of(a_model(), torch.zeros(2, 3))
