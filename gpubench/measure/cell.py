"""Measure one cell: the whole path from a spec to a result.

spec -> plan -> engine -> drive (warm-up, measured run) -> analysis -> verdict -> costs -> result
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack, overload

from gpubench.cells import resolve
from gpubench.errors import GpubenchError, first_line, reason_of, shorten
from gpubench.measure.assemble import blank, describe_engine, fill
from gpubench.measure.executors import synthetic_executors, torch_executors
from gpubench.measure.run import Drive, drive, hung_threads
from gpubench.results.result import (
    Failure,
    Result,
)
from gpubench.spec.parse import given_spec
from gpubench.spec.settings import Settings
from gpubench.spec.spec import Spec
from gpubench.system.interrupts import Deferral, raise_if_received, received
from gpubench.system.machine import Machine, this_machine

if TYPE_CHECKING:
    from gpubench.measure.engine import Prepared
    from gpubench.measure.output_check import References


Say = Callable[[str], None]
Keep = Callable[[Result], None]


def _silent(stage: str) -> None:
    pass


def _nowhere(result: Result) -> None:
    pass


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during the measured run. `result` holds what was measured until then."""

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted")
        self.result = result


@overload
def run(spec: Spec, say: Say = ..., keep: Keep = ...) -> Result: ...


@overload
def run(*, say: Say = ..., keep: Keep = ..., **settings: Unpack[Settings]) -> Result: ...


def run(
    spec: Spec | None = None, say: Say = _silent, keep: Keep = _nowhere, **settings: Any
) -> Result:
    """Measure one cell on this machine: that of a Spec, or of settings (model="resnet50", batch=4).

    `say` is called with each stage as it begins: load, build, measure. `keep` is given the result
    as soon as it is whole, while signals are still put off. A cell that fails in one of the stages
    comes back with `error` set and whatever was measured before.

    Handlers of signals stay those of the program that calls this. Only where Ctrl-C has Python's
    own handler, it is put off while a result is made; KeyboardInterrupt, from whatever handler,
    ends the measured run.

    Raises InputError for settings that are not valid or that this machine cannot measure, before
    anything is loaded, and Interrupted, with the partial result, on KeyboardInterrupt.
    """
    spec = given_spec(spec, settings)
    machine = this_machine()
    return Bench(machine, say).measure(resolve.resolve(spec, machine), keep)


class Bench:
    """Measures cells one after another; neighbours with the same engine share it."""

    def __init__(self, machine: Machine, say: Say = _silent) -> None:
        self._machine = machine
        self._say = say
        self._stage = "load"
        self._hung_before = hung_threads()
        self._prepared: Prepared | None = None
        self._references: References | None = None
        self._key: tuple[object, ...] | None = None

    def measure(self, spec: Spec, keep: Keep = _nowhere) -> Result:
        """The result of one resolved spec; see `run`.

        `keep` is given the result as soon as it is whole, and no Ctrl-C comes in between.
        """
        result = blank(spec, self._machine)
        driven: Drive | None = None
        interrupted = False
        with Deferral() as deferral:  # begun by the measured run: a signal ends it, no more
            try:
                driven = self._drive(spec, result, deferral)
            except KeyboardInterrupt:
                interrupted = True
            except (Exception, SystemExit) as error:  # a cell must never take the sweep down
                result.error = Failure(stage=self._stage, message=one_line(error))
                interrupted = received()  # C++ code turns KeyboardInterrupt into what it likes
            deferral.begin()
            if interrupted:
                result.error = Failure(
                    stage=self._stage, message="interrupted before it was measured"
                )
            if driven is None or driven.error is not None:
                self._forget_engine()
            if driven is not None:
                fill(result, driven, self._machine)
                interrupted = driven.interrupted
            if driven is not None or not interrupted:
                keep(result)
        if interrupted or deferral.pressed:
            raise Interrupted(result)
        return result

    @property
    def worn_out(self) -> bool:
        """Whether a batch hung, so that its thread still runs and would disturb further cells."""
        return hung_threads() > self._hung_before

    def _drive(self, spec: Spec, result: Result, deferral: Deferral) -> Drive:
        """Load what is needed and measure; what is known of the engine goes into the result."""
        if spec.model == "synthetic":
            self._enter("measure")
            return drive(spec, synthetic_executors(spec), deferral)
        from gpubench.measure.python_workers import with_around

        prepared = self._prepare(spec)
        result.engine = describe_engine(prepared, spec, self._machine)
        result.numerics = prepared.numerics
        if spec.device != "cpu":
            from gpubench.measure.cuda_graphs import NotCapturable

            self._enter("capture")
            try:
                executors = prepared.graph_executors(spec)
            except NotCapturable as reason:
                result.harness.not_captured = str(reason)
                spec = spec.model_copy(update={"depth": 1})  # Python waits for each batch
            else:
                result.engine.captured = True
                self._enter("measure")
                return drive(spec, executors, deferral)
        self._enter("measure")
        workers = prepared.workers(spec)
        driven = drive(spec, torch_executors(workers), deferral)
        return replace(driven, samples=with_around(driven.samples, workers))

    def _enter(self, stage: str) -> None:
        raise_if_received()  # foreign code of the last stage may have caught it
        self._stage = stage
        self._say(stage)

    def _prepare(self, spec: Spec) -> Prepared:
        from gpubench.measure.engine import engine_key, prepare
        from gpubench.measure.output_check import References

        self._references = self._references or References()

        key = engine_key(spec)
        if self._prepared is None or self._key != key:
            self._forget_engine()  # before the next is loaded: both may not fit
            self._prepared, self._key = prepare(spec, self._enter, self._references), key
        return self._prepared

    def _forget_engine(self) -> None:
        self._prepared = self._key = None
        gc.collect()


def one_line(error: BaseException) -> str:
    """What an error says, in one line; with its type where that is not gpubench's own."""
    if isinstance(error, GpubenchError):
        return shorten(first_line(error))
    return f"{type(error).__name__}: {reason_of(error)}"
