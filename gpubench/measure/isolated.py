"""Measures cells in processes of their own: one for each engine.

This file is the side of the process that asks. It imports no torch, and it does not compute while
requests are measured: it waits for the next message. The other side is
gpubench.measure.isolated_child. docs/many_machines.md says what happens if a process ends too
early.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Self

from gpubench.cells.resolve import cell_of, resolve
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.cell_channel import CellRequest, Message, SpecRequest
from gpubench.measure.cell_process import GRACE_S, CellProcess, death
from gpubench.measure.cooling import LONGEST_WAIT_S
from gpubench.measure.engine_key import engine_key
from gpubench.measure.measured_cell import MeasuredCell as MeasuredCell
from gpubench.measure.measured_cell import cell_in, failed_cell, with_failure
from gpubench.measure.progress import Opening, Progress
from gpubench.results.result import Failure, Repeat
from gpubench.results.run_directory import CellFiles
from gpubench.spec.cell import Cell
from gpubench.spec.isolation import DEFAULT_MAX_CELL_S
from gpubench.spec.spec import Spec
from gpubench.system.interrupts import Deferral
from gpubench.system.machine import Machine
from gpubench.system.process_template import ProcessEnded, ProcessSilent, Template

_LONGEST_WARMUP_S = 60.0  # of --warmup auto
_LONGEST_START_S = 600.0
_NO_ENGINE = "none"
# What each process with an engine imports: torch itself needs torch._dynamo to count operations.
_SLOW_MODULES = (
    "gpubench.measure.isolated_child",
    "gpubench.measure.engine",
    "torch._dynamo",
    "pyarrow.parquet",
)
_START = "from gpubench.cli.engine_process import start; start()"


class EngineProcesses:
    """Measures one cell at a time. Neighbouring cells with the same engine share a process.

    It knows nothing of directories. Use it as a context manager: the end of the block ends the
    process. `machine` is the one on which it runs, and `progress` is told what the process does.
    """

    def __init__(
        self,
        machine: Machine,
        progress: Progress | None = None,
        *,
        max_cell_s: float = DEFAULT_MAX_CELL_S,
        fresh: bool = False,
    ) -> None:
        """A process is ended if it reports nothing for `max_cell_s` seconds.

        The time of the warm-up and of the window comes on top. With `fresh`, each measurement has a
        process that shares nothing with others: not even where the libraries lie in its memory.
        """
        self._machine, self._progress = machine, progress or Progress()
        self._max_cell_s, self._fresh = max_cell_s, fresh
        self._template: Template | None = None
        self._process: CellProcess | None = None
        self._engine = _NO_ENGINE  # that the process has
        self._libraries: list[str] = []  # that the cells until now have imported
        self._made: set[str] = set()  # engines that were built
        self._failures: dict[str, Failure] = {}  # of engines whose process ended before that
        self._stage = "start"  # of the cell in work
        self._is_measuring = False  # whether its window has opened
        self._presses = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_process()
        self._end_template()

    def measure(
        self,
        cell: Cell,
        repeat: Repeat | None = None,
        keep: Callable[[MeasuredCell], None] | None = None,
        lost_attempts: int | None = None,
    ) -> MeasuredCell:
        """Measure one cell. If the process dies, the result has the error.

        `repeat` and `lost_attempts` become part of the document. `keep` is called with the complete
        cell, before a Ctrl-C can interrupt it. On Ctrl-C the process ends, `keep` is called with
        what was measured until then, if there is anything, and KeyboardInterrupt is raised.
        """
        with self._interruptible():
            measured = self._measured(cell, repeat, lost_attempts)
            if measured is None:
                raise KeyboardInterrupt
            if keep is not None:
                keep(measured)
            self._progress.measured(measured.result)
        return measured

    def resolve(self, spec: Spec, machine: Machine) -> Cell:
        """As gpubench.cells.resolve, which imports torch. A process imports it, and this one not.

        Raises InputError as it does, GpubenchError if the process ends early, and KeyboardInterrupt
        on Ctrl-C.
        """
        if spec.synthetic:
            return resolve(spec, machine)
        request = SpecRequest(spec=spec, allow_code=spec.allow_code, machine=machine)
        with self._interruptible():
            try:
                process = self._process_for(_NO_ENGINE)
                process.send({"resolve": request.model_dump(mode="json", exclude_unset=True)})
                message, _ = process.receive(_LONGEST_START_S)
            except (ProcessEnded, ProcessSilent) as error:
                if self._presses:
                    raise KeyboardInterrupt from None
                raise GpubenchError(
                    f"the settings cannot be checked in a new process: {_why(error)}"
                ) from None
        if message["event"] == "refused":
            raise InputError(message["reason"])
        found = Spec.model_validate(message["spec"])
        return cell_of(found.model_copy(update={"allow_code": spec.allow_code}))

    def end_process(self) -> None:
        """End the process. The next cell is measured in a new one, even if it shares the engine."""
        if self._process is not None:
            self._process.end()
            self._process = None
        if self._fresh:
            self._end_template()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """On a signal, the block goes on until the process has ended, and raises KeyboardInterrupt.

        An error in the block ends the process at once.
        """
        self._presses, self._is_measuring = 0, False
        with Deferral() as deferral:
            deferral.begin(self._interrupt)
            try:
                yield
            except BaseException:  # also a KeyboardInterrupt of a handler of the calling program
                if self._template is not None:
                    self._template.kill()
                self._forget_process()
                raise
        if deferral.pressed:
            raise KeyboardInterrupt

    def _forget_process(self) -> None:
        """After a process has ended by itself: the next one may need a new template."""
        self.end_process()
        if self._template is not None and self._template.has_ended:
            self._end_template()

    def _end_template(self) -> None:
        if self._template is not None:
            self._template.close()
            self._template = None

    def _interrupt(self) -> None:
        """A signal has come that ends this program."""
        self._presses += 1
        template, process = self._template, self._process
        if template is None:
            return
        if process is None or self._presses > 1:
            template.kill()
            return
        process.terminate()
        if not self._is_measuring:  # there is nothing to keep, and a library may not react
            timer = Timer(GRACE_S, template.kill)
            timer.daemon = True
            timer.start()

    def _measured(
        self, cell: Cell, repeat: Repeat | None, lost_attempts: int | None
    ) -> MeasuredCell | None:
        """The measured cell. None: this program was interrupted before anything was measured."""
        engine = repr(engine_key(cell))

        def failed(failure: Failure) -> MeasuredCell:
            return failed_cell(cell, self._machine, failure, repeat, lost_attempts)

        if engine in self._failures:
            return failed(self._failures[engine])
        partial = None
        try:
            return self._ask(cell, repeat, lost_attempts, engine)
        except ProcessEnded as end:
            reason = _why(end)
        except ProcessSilent as silence:
            reason = _why(silence)
            partial = self._end_early()
        self._forget_process()
        if self._presses:
            return partial
        failure = Failure(stage="process", message=f"{reason}; its last stage was {self._stage}")
        if engine not in self._made:
            self._failures[engine] = failure
        if partial is None:
            return failed(failure)
        return with_failure(partial, failure)

    def _ask(
        self, cell: Cell, repeat: Repeat | None, lost_attempts: int | None, engine: str
    ) -> MeasuredCell:
        """Let a process measure the cell. Raises ProcessEnded and ProcessSilent."""
        process = self._process_for(engine, imports_torch=cell.service is None)
        request = CellRequest(
            spec=cell.spec,
            allow_code=cell.allow_code,
            machine=self._machine,
            repeat=repeat,
            lost_attempts=lost_attempts,
        )
        # Settings that nobody gave stay so: some are then those of the model's file.
        process.send({"measure": request.model_dump(mode="json", exclude_unset=True)})
        timeout_s: float | None = self._max_cell_s
        while True:
            message, data = process.receive(timeout_s)
            event = message["event"]
            if event == "measured":
                return self._received(message, data)
            timeout_s = self._max_cell_s
            if event == "stage":
                self._stage = message["name"]
                if self._stage in {"capture", "cool", "measure"}:
                    self._made.add(engine)
                if self._stage == "cool":
                    timeout_s += LONGEST_WAIT_S
                if self._stage == "measure":
                    timeout_s += _LONGEST_WARMUP_S if cell.warmup_s is None else cell.warmup_s
                self._progress.stage(self._stage)
            elif event == "window_opens":
                opening = Opening(**message["opening"])
                self._is_measuring = True
                timeout_s += opening.seconds or 0.0
                self._progress.window_opens(opening)
            elif event == "window_closed":
                self._progress.window_closed()
            elif event == "waits":
                timeout_s = None  # until another program has measured
                self._progress.waits(message["reason"])
            process.send({"event": "told"})

    def _process_for(self, engine: str, imports_torch: bool = True) -> CellProcess:
        """The process that has this engine, or a new one."""
        began = time.monotonic()
        if self._engine != engine or (self._fresh and engine != _NO_ENGINE):
            self.end_process()
        if self._process is None:
            self._stage = "start"
            if self._template is None:
                self._template = Template(_START)
            modules = [*_SLOW_MODULES, *self._libraries] if imports_torch else []
            try:
                self._process = CellProcess(self._template, modules, _LONGEST_START_S)
            except ProcessSilent:
                self._template.kill()
                raise
            self._engine = engine
            if self._presses:  # it came before there was a process that could be told
                self._template.kill()
            self._progress.process_started(time.monotonic() - began)
        return self._process

    def _received(self, message: Message, data: list[bytes]) -> MeasuredCell:
        self._libraries = message["imported"]
        measured = cell_in(CellFiles(data[0], data[1] if len(data) > 1 else None))
        if measured.result.error is not None or message["has_hung_batch"]:
            # An error may leave a CUDA context that cannot be used, and a hung batch a thread.
            self.end_process()
        return measured

    def _end_early(self) -> MeasuredCell | None:
        """End a process that is overdue. Returns what it has measured, if it has."""
        process = self._process
        if process is None:  # it has not begun
            return None
        process.terminate()
        try:
            while True:
                message, data = process.receive(GRACE_S)
                if message["event"] == "measured":
                    return self._received(message, data)
                process.send({"event": "told"})
        except ProcessEnded:
            return None
        except ProcessSilent:
            process.kill()
            return None


def _why(error: ProcessEnded | ProcessSilent) -> str:
    """Why a process has written no result."""
    if isinstance(error, ProcessEnded):
        return death(error.status)
    return (
        f"its process reported nothing for {error.seconds:g} s and was ended; a larger "
        "--max-cell-time gives it more time"
    )
