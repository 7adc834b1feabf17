"""The accuracy of an engine on the labelled data of --eval, and its drop from the fp32 model.

The fp32 eager model and the engine answer the same samples. The engine runs them in batches of the
cell's size, on the first device, before the measured run. Only the answers are kept, so the data
may be larger than the memory. docs/accuracy.md defines the answers, the metrics and the intervals
(gpubench.statistics.accuracy has the formulas).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError
from gpubench.measure.output_check import run_engine
from gpubench.measure.reference import run_model, weights_of
from gpubench.models.base import LoadedModel, Tensors
from gpubench.models.labelled_data import LabelledData, labelled_data
from gpubench.models.local_files import state_of_files
from gpubench.registry import MODELS
from gpubench.results.result import Accuracy, AccuracyData
from gpubench.spec.cell import Cell
from gpubench.spec.settings import EvalMetric
from gpubench.statistics.accuracy import (
    IGNORED,
    NO_ANSWER,
    AccuracyMetric,
    Scores,
    drop_interval,
    interval,
    scores,
)

# The fp32 model of a preset runs batches of this size: it computes each sample on its own.
_PRESET_BATCH = 4

AnswerKind = Literal["class", "span", "sequence"]

_RANDOM_WEIGHTS = (
    "the weights are random, so the accuracy says nothing; the drop says how often the answers "
    "of engine and fp32 model differ"
)


@dataclass(frozen=True)
class LabelledAnswers:
    """What a model answered for every sample. See gpubench.statistics.accuracy for the shapes."""

    labels: NDArray[np.int64]
    answers: NDArray[np.int64]
    kind: AnswerKind
    classes: int | None  # that an answer can be; None: unknown


@dataclass(frozen=True)
class Evaluation:
    """The data for one model, and the answers of the fp32 model."""

    data: LabelledData
    metric: EvalMetric
    names: tuple[str, ...]  # LoadedModel.answers
    reference: Scores | None  # None: the CPU cannot run the model
    random_weights: bool


class Evaluations:
    """The answers of the fp32 model of a preset. The cells of a sweep share them.

    A user's own model answers again for each engine, since its files may have changed.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._evaluation: Evaluation | None = None

    def has(self, model: LoadedModel, cell: Cell) -> bool:
        """Whether `get` needs no run of `model`."""
        return cell.model in MODELS and self._key == _key(model, cell)

    def get(self, model: LoadedModel, cell: Cell, data: LabelledData) -> Evaluation:
        """The answers of `model`, which must not have been changed since it was loaded.

        Raises GpubenchError if the samples or their labels do not fit the model.
        """
        if self._evaluation is not None and self.has(model, cell):
            return self._evaluation
        self._evaluation = self._key = None
        evaluation = _evaluate(model, cell, data)
        if cell.model in MODELS:
            self._evaluation, self._key = evaluation, _key(model, cell)
        return evaluation


def _key(model: LoadedModel, cell: Cell) -> tuple[object, ...]:
    settings = cell.eval, cell.eval_metric, cell.seed, cell.seq_len
    return *weights_of(model, cell), *settings, state_of_files(cell)


def open_data(model: LoadedModel, cell: Cell) -> LabelledData | None:
    """The data of --eval; None if the cell has none. Raises GpubenchError if they do not fit."""
    if cell.eval is None:
        return None
    if cell.max_drop is not None and not model.callable_on_cpu:
        raise GpubenchError(
            f"--max-drop: {cell.model} runs only in its own runtime, so there is no fp32 model to "
            "compare it with; remove --max-drop"
        )
    return labelled_data(model, cell)


def _evaluate(model: LoadedModel, cell: Cell, data: LabelledData) -> Evaluation:
    batch = _PRESET_BATCH if cell.model in MODELS else cell.batch
    reference = None
    if model.callable_on_cpu:
        with torch.inference_mode():
            answered = _answers(
                lambda inputs: run_model(model.module, inputs), data, batch, model.answers
            )
        reference = _scores(answered, cell.eval_metric, data.name)
    random_weights = cell.weights == "random" and not cell.model_entry.has_weights
    return Evaluation(data, cell.eval_metric, model.answers, reference, random_weights)


def measure_accuracy(engine: Engine, evaluation: Evaluation, batch: int) -> Accuracy:
    """The accuracy of `engine`, which runs batches of `batch` samples.

    The thread has entered the modes of the engine. Raises GpubenchError if the answers or the
    labels do not fit the metric.
    """
    data = evaluation.data
    answered = _answers(lambda inputs: run_engine(engine, inputs)[0], data, batch, evaluation.names)
    found = _scores(answered, evaluation.metric, data.name)
    reference = evaluation.reference
    return Accuracy(
        metric=_metric(evaluation.metric, answered.kind),
        value=found.mean,
        interval=interval(found),
        samples=len(answered.labels),
        reference=None if reference is None else reference.mean,
        drop=None if reference is None else reference.mean - found.mean,
        drop_interval=None if reference is None else drop_interval(reference, found),
        data=AccuracyData(name=data.name, sha256=data.sha256),
        note=_RANDOM_WEIGHTS if evaluation.random_weights else None,
    )


def _metric(asked: EvalMetric, kind: AnswerKind) -> AccuracyMetric:
    if asked != "auto":
        return asked
    return "top1" if kind == "class" else "exact-match"


def _scores(answered: LabelledAnswers, asked: EvalMetric, name: str) -> Scores:
    metric = _metric(asked, answered.kind)
    if metric == "top1" and answered.kind != "class":
        raise GpubenchError(
            f"--eval-metric top1: a label of {name} is not one class; use exact-match, or f1 for a "
            "start and an end"
        )
    try:
        return scores(
            metric,
            answered.labels,
            answered.answers,
            spans=answered.kind == "span",
            classes=answered.classes,
        )
    except ValueError as error:
        raise GpubenchError(f"--eval {name}: {error}") from None


def _answers(
    run: Callable[[Tensors], Tensors], data: LabelledData, batch: int, names: tuple[str, ...]
) -> LabelledAnswers:
    """Run all samples in batches of `batch`, and read the answers from the outputs."""
    labels: list[NDArray[np.int64]] = []
    answers: list[NDArray[np.int64]] = []
    kind: AnswerKind = "class"
    classes: int | None = None
    for labelled in data.batches(batch):
        outputs = run(labelled.inputs)
        kind = _kind(labelled.labels, labelled.spans)
        _refuse_other_answers(kind, names, data.name)
        found, classes = _read(outputs, kind, names, batch, data.name)
        if not labels and data.known_labels is not None:  # all of them, before most of the work
            _check_labels(data.known_labels, kind, found, classes, data.name)
        _check_labels(labelled.labels, kind, found, classes, data.name, _count(labels))
        labels.append(labelled.labels)
        answers.append(found[: labelled.count])
    return LabelledAnswers(np.concatenate(labels), np.concatenate(answers), kind, classes)


def _count(parts: list[NDArray[np.int64]]) -> int:
    return sum(map(len, parts))


def _kind(labels: NDArray[np.int64], spans: bool) -> AnswerKind:
    if spans:
        return "span"
    return "class" if labels.ndim == 1 else "sequence"


def _refuse_other_answers(kind: AnswerKind, names: tuple[str, ...], data: str) -> None:
    if kind == "class" and {"start", "end"} <= set(names):
        raise GpubenchError(
            f"--eval {data}: the model answers with a start and an end; give the columns start and "
            "end, or the pair (start, end), as labels"
        )


def _read(
    outputs: Tensors, kind: AnswerKind, names: tuple[str, ...], batch: int, data: str
) -> tuple[NDArray[np.int64], int | None]:
    """(the answer for each sample of a batch, how many classes or positions there are).

    It is the position of the largest value in the last dimension of an output. An output of
    integers is itself the answer. A sample with NaN among its values has no answer.
    """
    if kind == "span":
        numbers = [names.index(each) if each in names else default for default, each in _ENDS]
        if max(numbers) >= len(outputs):
            raise GpubenchError(
                f"--eval {data}: a label is a start and an end, and the model has one output; give "
                "one label for each sample"
            )
        both = [_largest(outputs[number], 1, batch, data) for number in numbers]
        ends = [positions for positions, _ in both]
        lengths = [length for _, length in both if length is not None]
        return np.stack(ends, axis=1), min(lengths, default=None)
    number = names.index("top1") if "top1" in names else 0
    return _largest(outputs[number], 1 if kind == "class" else 2, batch, data)


_ENDS = ((0, "start"), (1, "end"))


def _largest(
    output: torch.Tensor, ndim: int, batch: int, data: str
) -> tuple[NDArray[np.int64], int | None]:
    """The answers in one output, with `ndim` dimensions; the number of classes if it is known."""
    is_integer = not (output.is_floating_point() or output.is_complex() or output.is_quantized)
    if is_integer and output.ndim == ndim + 1 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    if is_integer and output.ndim == ndim and len(output) == batch:
        return output.long().numpy(), None
    if (
        not output.is_floating_point()
        or output.ndim != ndim + 1
        or len(output) != batch
        or output.shape[-1] < 2
    ):
        raise GpubenchError(
            f"--eval {data}: the model returns {list(output.shape)}, which are no answers to such "
            f"labels; let it return [batch, {'places, ' if ndim == 2 else ''}classes] with two "
            "classes or more, or the numbers of the classes as integers"
        )
    values = output.float()
    found = values.argmax(-1).masked_fill(values.isnan().any(-1), NO_ANSWER)
    return found.numpy(), output.shape[-1]


def _check_labels(
    labels: NDArray[np.int64],
    kind: AnswerKind,
    answers: NDArray[np.int64],
    classes: int | None,
    data: str,
    first: int = 0,
) -> None:
    """Raises GpubenchError for a label that no answer of the model can equal."""
    if kind == "sequence" and labels.shape[1:] != answers.shape[1:]:
        raise GpubenchError(
            f"--eval {data}: a label has {labels.shape[1]} values, and an answer of the model "
            f"{answers.shape[1]}; give as many (those of {IGNORED} are not compared)"
        )
    bad = labels < 0
    if classes is not None:
        bad |= labels >= classes
    if kind == "sequence":
        bad &= labels != IGNORED
    what = "positions" if kind == "span" else "classes"
    if bad.any():
        place = tuple(int(each) for each in np.argwhere(bad)[0])
        most = "" if classes is None else f" to {classes - 1:,}"
        raise GpubenchError(
            f"--eval {data}: the label of sample {first + place[0]:,} is {labels[place]}, and the "
            f"{what} of the model are 0{most}; correct it"
        )
    if kind == "span" and (backwards := np.flatnonzero(labels[:, 1] < labels[:, 0])).size:
        raise GpubenchError(
            f"--eval {data}: the label of sample {first + int(backwards[0]):,} ends before it "
            "starts; correct it"
        )
