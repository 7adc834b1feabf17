"""Makes the step of a cell that trains, and the worker that makes one step for each request.

Load the model -> start the other replicas -> build -> toy task -> one worker of the core. The
worker's thread writes down the stages of each step; `with_steps` adds them to the samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from gpubench import core
from gpubench.cells.devices import native_precision
from gpubench.engines import weights_bytes
from gpubench.measure.engine import flops_of, refuse_memory_format, torch_threads
from gpubench.measure.python_workers import entries_of_batches
from gpubench.measure.shared import Shared
from gpubench.measure.stage_times import StageTimes
from gpubench.models.base import LoadedModel, load
from gpubench.results.result import EngineInfo, TrainingReport
from gpubench.results.samples import Samples
from gpubench.spec.cell import Cell
from gpubench.statistics.achieved import TRAINING_FLOP_FACTOR
from gpubench.system.cpu_threads import limited, on_ending_thread
from gpubench.system.machine import Machine, usable_cores
from gpubench.system.process_memory import ResidentPeak
from gpubench.training.replica import Replica, build, device_of, set_arithmetic
from gpubench.training.replicas import STEP, TOY_STEP, Replicas
from gpubench.training.toy_task import ToyTask, run_toy_task


class TrainingWorker:
    """Makes one step of all replicas for each request. The core calls it on its thread."""

    def __init__(self, replica: Replica, replicas: Replicas | None, cell: Cell) -> None:
        self._replica, self._replicas, self._cell = replica, replicas, cell
        self._threads = ExitStack()
        # For each step: its start, and its forward, backward and optimizer times, ns.
        self.log: list[tuple[int, int, int, int]] = []

    def open(self) -> None:
        self._threads.enter_context(limited(self._cell.threads))
        device = device_of(self._cell, 0)
        if device.type == "cuda":
            torch.cuda.set_device(device)

    def run(self, _: NDArray[np.int64]) -> None:
        """One step. Raises GpubenchError if another replica has ended."""
        began = time.monotonic_ns()
        with _explained(self._replicas):
            if self._replicas is not None:
                self._replicas.begin(STEP)
            self.log.append((began, *self._replica.take_step()))

    def close(self) -> None:
        self._threads.close()


@contextmanager
def _explained(replicas: Replicas | None) -> Iterator[None]:
    """Raise the reason of a replica that has ended, and not what the exchange then says."""
    try:
        yield
    except RuntimeError as error:
        if replicas is not None and (reason := replicas.ended()):
            raise reason from error
        raise


@dataclass(frozen=True)
class PreparedTraining:
    """A step that is ready to be measured."""

    cell: Cell
    replica: Replica
    replicas: Replicas | None  # the other ones; None: there are none
    worker: TrainingWorker
    engine: EngineInfo
    toy: ToyTask

    def executors(self) -> list[core.Executor]:
        worker = self.worker
        return [core.PythonExecutor(worker.run, open=worker.open, close=worker.close)]

    def replicas_cpu_seconds(self) -> float:
        """CPU time of the processes of the other replicas."""
        return 0.0 if self.replicas is None else self.replicas.cpu_seconds()

    @property
    def tokens_per_sample(self) -> int | None:
        """None if the model takes no text."""
        return self.cell.seq_len if self.replica.takes_tokens else None

    def with_steps(self, samples: Samples) -> Samples:
        """`samples` with the stages of each step."""
        found = entries_of_batches(samples, [self.worker.log], 4)
        return replace(samples, step_ns=found[:, 1:])

    def report(self, *, measured: bool) -> TrainingReport:
        """What the result says about the training. `measured`: steps of the window were made."""
        training, toy = self.cell.training, self.toy
        assert training is not None
        finite = math.isfinite(float(self.replica.step.last_loss)) if measured else None
        return TrainingReport(
            optimizer=training.optimizer,
            replicas=training.replicas,
            samples_per_step=self.cell.samples_per_request,
            loss=self.replica.loss,
            toy_steps=toy.steps,
            toy_first_loss=toy.first_loss,
            toy_last_loss=toy.last_loss,
            parameters_changed=toy.parameters_changed,
            trains=toy.trains,
            last_loss_finite=finite,
            flop_factor=TRAINING_FLOP_FACTOR,
        )


@contextmanager
def prepared_training(
    cell: Cell,
    machine: Machine,
    enter: Callable[[str], None],
    shared: Shared,
    times: StageTimes,
) -> Iterator[PreparedTraining]:
    """The step of `cell`, after its toy task. The processes of other replicas end with the block.

    `enter` is called for each stage, and `times` gets the parts. As for an engine, the work runs on
    threads that end before the block begins. Raises GpubenchError if the model cannot be loaded or
    trained, or if a replica ends.
    """
    peak = ResidentPeak()
    with ExitStack() as stack:
        replicas = None
        if cell.replicas > 1:
            replicas = Replicas(cell)
            stack.callback(replicas.close)
        model, engine = on_ending_thread(lambda: _load(cell, machine, enter, shared, times))
        replica, toy, seconds = on_ending_thread(
            lambda: _build(model, cell, replicas, enter, times)
        )
        worker = TrainingWorker(replica, replicas, cell)
        engine = engine.model_copy(
            update={
                "build_seconds": seconds[0],
                "first_inference_seconds": seconds[1],
                "build_peak_host_bytes": peak.bytes(),
            }
        )
        yield PreparedTraining(cell, replica, replicas, worker, engine, toy)


def _load(
    cell: Cell,
    machine: Machine,
    enter: Callable[[str], None],
    shared: Shared,
    times: StageTimes,
) -> tuple[LoadedModel, EngineInfo]:
    set_arithmetic(cell)
    with torch_threads(usable_cores()):
        enter("load")
        times.enter("load")
        began = time.monotonic()
        model = load(cell)  # always a new one, since training changes it
        seconds = time.monotonic() - began
        refuse_memory_format(model, cell)
        flops = flops_of(model, cell, shared, times)
    return model, EngineInfo(
        parameters=model.parameters,
        flops=flops,
        load_seconds=seconds,
        artifact_bytes=weights_bytes.of_module(model.module),
        library=f"torch {torch.__version__}, TorchInductor" if cell.runtime == "compile" else None,
        weights=model.weights,
        intra_op_threads=cell.threads if cell.on_cpu else None,
        threads_note=_threads_note(cell, cell.cores_of(machine.cores)) if cell.on_cpu else None,
        native_precision=native_precision(cell, machine),
    )


def _threads_note(cell: Cell, cores: int) -> str:
    """How the cores of the CPU are divided among the replicas."""
    replicas = "1 replica" if cell.replicas == 1 else f"{cell.replicas} replicas"
    return f"{cores} cores, {replicas}, {cell.threads} intra-op threads in each"


def _build(
    model: LoadedModel,
    cell: Cell,
    replicas: Replicas | None,
    enter: Callable[[str], None],
    times: StageTimes,
) -> tuple[Replica, ToyTask, tuple[float, float]]:
    """The replica 0, its toy task, and the seconds of building it and of its first step."""
    with torch_threads(cell.threads), _explained(replicas):
        enter("build")
        times.enter("build")
        began = time.monotonic()
        if replicas is not None:
            replicas.connect()
        replica = build(model, cell, 0)
        built = time.monotonic()
        enter("check")
        times.enter("check")
        first_s: list[float] = []

        def repeat_step() -> None:
            if replicas is not None:
                replicas.begin(TOY_STEP)
            replica.repeat_step()
            first_s.append(time.monotonic() - built)

        toy = run_toy_task(replica, repeat_step)
    return replica, toy, (built - began, first_s[0])
