"""Measures one cell, from the settings to the result.

Spec -> Cell -> engine -> executors -> measured run (warm-up and window) -> Result
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from gpubench import core
from gpubench.cells.resolve import resolve
from gpubench.errors import one_line
from gpubench.measure.assemble import Attempt, assemble
from gpubench.measure.cooling import cool_down
from gpubench.measure.engine_key import engine_key
from gpubench.measure.environment import environment
from gpubench.measure.executors import synthetic_executors, torch_executors
from gpubench.measure.progress import Opening, Progress
from gpubench.measure.run import AfterWarmUp, MeasuredRun, hung_threads, measured_run
from gpubench.measure.stage_times import StageTimes
from gpubench.measure.time_left import window_seconds
from gpubench.measure.warm_up import WarmedUp
from gpubench.results.result import INTERRUPTED, Failure, Result
from gpubench.spec.cell import Cell
from gpubench.spec.parse import given_spec, shows_settings
from gpubench.spec.settings import Settings
from gpubench.spec.spec import Spec
from gpubench.statistics.stages import mean_service_ms
from gpubench.system.affinity import on_cores
from gpubench.system.device_locks import locked_devices
from gpubench.system.garbage import LongLived
from gpubench.system.interrupts import Deferral, raise_if_received, received
from gpubench.system.machine import Machine, this_machine

if TYPE_CHECKING:
    from gpubench.measure.engine import Prepared
    from gpubench.measure.shared import Shared

Keep = Callable[[Result], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during the measured run. `result` holds what was measured until then."""

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted")
        self.result = result


@overload
def run(spec: Spec, progress: Progress | None = ..., keep: Keep | None = ...) -> Result: ...


@overload
def run(
    *, progress: Progress | None = ..., keep: Keep | None = ..., **settings: Unpack[Settings]
) -> Result: ...


@shows_settings
def run(
    spec: Spec | None = None,
    progress: Progress | None = None,
    keep: Keep | None = None,
    **settings: Any,
) -> Result:
    """Measure one cell on this machine, given as a Spec or as settings (model="resnet50", batch=4).

    `progress.stage` is called when a stage begins: load, build, check, accuracy, capture,
    cool, measure.
    `keep` is called with the complete result, while signals are still deferred. If a stage fails,
    the result has `error` set, and holds what was measured before.

    The signal handlers of the calling program stay in place, with one exception: if SIGINT has the
    default handler of Python, Ctrl-C is deferred while the result is made. A KeyboardInterrupt from
    any handler ends the measured run.

    Raises InputError, before anything is loaded, if the settings are not valid or if this machine
    cannot measure them. On KeyboardInterrupt it raises Interrupted, with the partial result.
    """
    spec = given_spec(spec, settings)
    machine = this_machine()
    return Bench(machine, progress).measure(resolve(spec, machine), keep)


class Bench:
    """Measures cells one after another. Neighbouring cells that need the same engine share it.

    As a context manager it also keeps what only the engines differ in: see gpubench.measure.shared.
    The end of the block frees it.
    """

    def __init__(self, machine: Machine, progress: Progress | None = None) -> None:
        self._machine = machine
        self._progress = progress or Progress()
        self._stage = "load"
        self._hung_before = hung_threads()
        self._prepared: Prepared | None = None
        self._key: tuple[object, ...] | None = None
        self._keeps = False
        self._shared: Shared | None = None
        self._long_lived: LongLived | None = None
        self._times = StageTimes()

    def __enter__(self) -> Self:
        self._keeps, self._long_lived = True, LongLived()
        self._long_lived.collect()  # the plan of a large sweep is visited once, not for each cell
        return self

    def __exit__(self, *_: object) -> None:
        if self._long_lived is not None:
            self._long_lived.release()
        self._keeps, self._shared, self._long_lived = False, None, None
        self.forget_engine()

    def measure(self, cell: Cell, keep: Keep | None = None) -> Result:
        """Measure one cell; see `run`.

        `keep` is called with the complete result, before a Ctrl-C can interrupt it. If another
        process measures on a device of the cell, it waits for that process first.
        """
        # A model server is driven by the cores of this machine.
        devices = ("cpu",) if cell.on_cpu else cell.devices
        # The cores come first: a cell on the CPU locks those on which it may run.
        with on_cores(cell.cpus), locked_devices(devices, self._progress.waits):
            return self._measure(cell, keep)

    def _measure(self, cell: Cell, keep: Keep | None) -> Result:
        self._times = StageTimes()
        here = environment(self._machine, cell)
        attempt = Attempt(times=self._times)
        interrupted = False
        with Deferral() as deferral:  # from the measured run on, a signal only ends that run
            try:
                attempt.run = self._run(cell, attempt, deferral)
            except KeyboardInterrupt:
                interrupted = True
            except (Exception, SystemExit) as error:  # a cell that fails must not end the sweep
                attempt.error = Failure(stage=self._stage, message=one_line(error))
                interrupted = received()  # C++ code may turn KeyboardInterrupt into another error
            deferral.begin()
            if interrupted:
                attempt.error = Failure(
                    stage=self._stage, message=f"{INTERRUPTED} before it was measured"
                )
            if attempt.run is None or attempt.run.error is not None:
                self.forget_engine()
            result = assemble(cell, here, attempt)
            if attempt.run is not None:
                interrupted = attempt.run.interrupted
            if attempt.run is not None or not interrupted:
                if keep is not None:
                    keep(result)
                self._progress.measured(result)
        if interrupted or deferral.pressed:
            raise Interrupted(result)
        return result

    @property
    def has_hung_batch(self) -> bool:
        """Whether a batch hung. Its thread still runs and would disturb further cells."""
        return hung_threads() > self._hung_before

    def _run(self, cell: Cell, attempt: Attempt, deferral: Deferral) -> MeasuredRun:
        """Load the model, build the engine, and measure. Fills in the engine in `attempt`."""
        if cell.service is not None:
            self._cool_down(cell, attempt)
            return self._measured_run(cell, synthetic_executors(cell), deferral)
        if cell.training is not None:
            return self._train(cell, attempt, deferral)
        from gpubench.measure.input_repetition import InputRepetitionCheck
        from gpubench.measure.python_workers import with_processing_times

        prepared = self._prepare(cell)
        attempt.engine = prepared.describe(cell, self._machine)
        attempt.numerics, attempt.accuracy = prepared.numerics, prepared.accuracy
        if not cell.on_cpu:
            from gpubench.measure.cuda_graphs import NotCapturable

            self._enter("capture")
            if prepared.has_graphs(cell):
                self._times.share("capture")
            else:
                self._times.enter("capture")
            try:
                executors = prepared.graph_executors(cell)
            except NotCapturable as reason:
                attempt.not_captured = str(reason)
                cell = replace(cell, depth=1)  # a worker in Python waits for each batch
            else:
                attempt.engine.captured = True
                self._cool_down(cell, attempt)
                return self._measured_run(cell, executors, deferral)
        self._cool_down(cell, attempt)
        workers = prepared.workers(cell)
        make = prepared.make_request
        repetition = None if make is None else InputRepetitionCheck(cell, workers, make)
        served_by = prepared.engine.served_by
        if served_by is not None:
            attempt.server = served_by.report()
        run = self._measured_run(
            cell,
            torch_executors(workers),
            deferral,
            None if repetition is None else repetition.run,
            None if served_by is None else served_by.begin,
            prepared.engine.compilations,
        )
        if served_by is not None:
            attempt.server = served_by.report(mean_service_ms(run.samples))
        warm_up = run.warmup_samples
        return replace(
            run,
            inputs=None if repetition is None else repetition.found(),
            samples=with_processing_times(run.samples, workers),
            warmup_samples=warm_up and with_processing_times(warm_up, workers),
        )

    def _train(self, cell: Cell, attempt: Attempt, deferral: Deferral) -> MeasuredRun:
        """Load the model, let it train, and measure its steps. Fills in both in `attempt`."""
        from gpubench.measure.shared import Shared
        from gpubench.measure.training import prepared_training

        self.forget_engine()  # first, since the memory may be too small for both
        self._shared = self._shared or Shared(keep=self._keeps)
        with prepared_training(
            cell, self._machine, self._enter, self._shared, self._times
        ) as prepared:
            attempt.engine, attempt.training = prepared.engine, prepared.report(measured=False)
            attempt.tokens_per_sample = prepared.tokens_per_sample
            self._cool_down(cell, attempt)
            run = self._measured_run(
                cell,
                prepared.executors(),
                deferral,
                helpers_cpu_seconds=prepared.replicas_cpu_seconds,
            )
            attempt.training = prepared.report(measured=run.error is None)
            warm_up = run.warmup_samples
            return replace(
                run,
                samples=prepared.with_steps(run.samples),
                warmup_samples=warm_up and prepared.with_steps(warm_up),
            )

    def _measured_run(
        self,
        cell: Cell,
        executors: Sequence[core.Executor],
        deferral: Deferral,
        after_warm_up: AfterWarmUp | None = None,
        before_window: Callable[[], None] | None = None,
        compilations: Callable[[], int] | None = None,
        helpers_cpu_seconds: Callable[[], float] | None = None,
    ) -> MeasuredRun:
        def opens(warmed_up: WarmedUp) -> None:
            requests_per_second = warmed_up.requests_per_second
            self._progress.window_opens(
                Opening(
                    seconds=window_seconds(cell, requests_per_second),
                    warmup_per_second=requests_per_second * cell.samples_per_request,
                    warmup_p95_ms=warmed_up.p95_ns / 1e6,
                )
            )
            if before_window is not None:
                before_window()

        try:
            return measured_run(
                cell,
                executors,
                deferral,
                self._times,
                after_warm_up,
                opens,
                compilations,
                helpers_cpu_seconds,
            )
        finally:
            self._progress.window_closed()

    def _cool_down(self, cell: Cell, attempt: Attempt) -> None:
        """Wait as --cool-to says, and enter the stage of the measurement."""
        if cell.cool_to_c is not None:
            self._enter("cool")
            self._times.enter("cool")
            attempt.cooling = cool_down(cell)
        self._enter("measure")

    def _enter(self, stage: str) -> None:
        raise_if_received()  # code of a library or a model may have caught KeyboardInterrupt
        self._stage = stage
        self._progress.stage(stage)

    def _prepare(self, cell: Cell) -> Prepared:
        from gpubench.measure.engine import prepare
        from gpubench.measure.shared import Shared

        self._shared = self._shared or Shared(keep=self._keeps)
        key = engine_key(cell)
        if self._prepared is not None and self._key == key:
            self._times.share("load", "flops", "reference", "build", "check", "inputs")
            if cell.eval is not None:
                self._times.share("accuracy")
            return self._prepared
        if self._shared.forget_other_model(cell) and self._long_lived is not None:
            self._long_lived.release()  # the model itself may be garbage for the collector
        self.forget_engine()  # first, since the memory may be too small for two engines
        self._prepared = prepare(cell, self._enter, self._shared, self._times)
        self._key = key
        return self._prepared

    def forget_engine(self) -> None:
        """Free the engine. The next cell builds its own, even if it could have shared this one."""
        self._prepared = self._key = None
        if self._long_lived is not None:
            self._long_lived.collect()
        else:
            gc.collect()
