"""The side of `sweep --on ray` that runs on a node: it says what it can measure, and measures it.

Ray starts a `NodeWorker` in a process of its own on each node. This file does not import Ray.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from gpubench.cells.resolve import cell_of, resolve
from gpubench.errors import GpubenchError, InputError
from gpubench.launch.ray.messages import (
    ANSWERS,
    ASKED,
    JOB,
    AskedCell,
    NodeAnswer,
    NodeFacts,
    NodeSettings,
)
from gpubench.measure.cell import Bench
from gpubench.measure.environment import DISTRIBUTION
from gpubench.measure.fresh import THIS_PROCESS
from gpubench.measure.isolated import EngineProcesses
from gpubench.pricing.names import parse_price_name
from gpubench.results.result import Repeat
from gpubench.results.run_directory import CellFiles, cell_files
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine, this_machine

# Documents record their versions.
_COMPARED = {
    "gpubench": DISTRIBUTION,
    "torch": "torch",
    "torchvision": "torchvision",
    "transformers": "transformers",
    "onnxruntime": "onnxruntime",
    "jax": "jax",
    "torch-neuronx": "torch-neuronx",
    "openvino": "openvino",
    "executorch": "executorch",
}
_OWN_ENVIRONMENT = Path("/proc/self/environ")  # as the process was started with

# A cell begins (None), or was measured: its document, and its sample file if it has samples.
CellReport = tuple[bytes, bytes | None] | None


class NodeWorker:
    """Measures jobs on its node, one after another. Its methods take and return JSON.

    The cells of a job share an engine. As in a sweep of one machine, cells that run foreign code
    are measured in a process of their own: see gpubench.measure.isolated.
    """

    def __init__(self, instance: str | None, settings: bytes) -> None:
        """`instance` is the type that Ray's description of the node names, if it names one.

        `settings` are NodeSettings.
        """
        _measure_as_a_command_would()
        machine = this_machine()
        self._machine = replace(machine, instance=machine.instance or instance)
        self._settings = NodeSettings.model_validate_json(settings)
        self._processes = EngineProcesses(
            self._machine, max_cell_s=self._settings.max_cell_s, fresh=self._settings.fresh
        )
        self._bench = Bench(self._machine).__enter__()

    def facts(self) -> bytes:
        """NodeFacts of this node."""
        facts = NodeFacts(
            machine=self._machine,
            versions=software_versions(),
            priority=os.getpriority(os.PRIO_PROCESS, 0),
        )
        return facts.model_dump_json().encode()

    def plan(self, asked: bytes) -> bytes:
        """A NodeAnswer for each AskedCell."""
        resolved = self._processes.resolve if self._settings.isolate else resolve
        answers = answers_of(ASKED.validate_json(asked), self._machine, resolved)
        self._processes.end_process()
        return ANSWERS.dump_json(answers, exclude_unset=True)

    def measure(self, job: bytes) -> Iterator[CellReport]:
        """Measure the NodeCells of a job one after another.

        Raises GpubenchError if a batch hangs in this process: it must not measure any more.
        """
        for asked in JOB.validate_json(job):
            yield None
            cell = cell_of(asked.spec.model_copy(update={"allow_code": asked.allow_code}))
            files = self._measured(cell, asked.repeat)
            yield files.document, files.samples
            if self._bench.has_hung_batch:
                raise GpubenchError("a batch of its last cell hung")
        # The next job builds its own engine, even if that is the same one in the next round.
        self._processes.end_process()
        if cell.service is None:
            self._bench.forget_engine()

    def _measured(self, cell: Cell, repeat: Repeat | None) -> CellFiles:
        fresh = self._settings.fresh
        if fresh or (self._settings.isolate and cell.service is None):
            return self._processes.measure(cell, repeat).files
        result = self._bench.measure(cell)
        result.repeat = repeat and repeat.model_copy(update={"process": THIS_PROCESS})
        return cell_files(result, result.samples)


def answers_of(
    asked: Sequence[AskedCell],
    machine: Machine,
    resolved: Callable[[Spec, Machine], Cell] = resolve,
) -> list[NodeAnswer]:
    """What this machine can measure, in the same order. `resolved` is as `resolve`."""
    return [_answer(each, machine, resolved) for each in asked]


def _answer(
    asked: AskedCell, machine: Machine, resolved: Callable[[Spec, Machine], Cell]
) -> NodeAnswer:
    if asked.only_on not in {None, machine.kind}:
        return NodeAnswer()
    spec = asked.spec.model_copy(update={"allow_code": asked.allow_code})
    if spec.instance:
        here = prices_of(spec, machine.instance)
        if not here:
            return NodeAnswer()
        spec = spec.model_copy(update={"instance": here})
    try:
        return NodeAnswer(cell=resolved(spec, machine).spec)
    except InputError as error:
        return NodeAnswer(refusal=str(error))


def prices_of(spec: Spec, instance: str | None) -> tuple[str, ...]:
    """The prices of `spec` that are prices of this type of instance: on demand, spot, ..."""
    return tuple(name for name in spec.instance if parse_price_name(name).instance == instance)


def software_versions() -> dict[str, str | None]:
    """The versions on which figures depend, without the kind of build: "2.9.0", not "2.9.0+cpu"."""
    versions: dict[str, str | None] = {"python": python_version()}
    for name, distribution in _COMPARED.items():
        try:
            versions[name] = version(distribution).partition("+")[0]
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _measure_as_a_command_would() -> None:
    """Undo what Ray sets in its processes and what would change the figures.

    Ray gives them a low priority (RAY_worker_niceness), and sets OMP_NUM_THREADS to the number of
    CPUs that they reserve, unless the user has set it. Ray does the second in the running process,
    so the environment with which the process was started does not have it. Source: "Configuring
    Ray" and "Resources" of Ray's documentation.
    """
    with suppress(PermissionError):  # only root may raise a priority; the user is told what it is
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    started_with = _OWN_ENVIRONMENT.read_bytes().split(b"\0")
    if not any(each.startswith(b"OMP_NUM_THREADS=") for each in started_with):
        os.environ.pop("OMP_NUM_THREADS", None)
