"""Measures the same thing again and again, to see what differs although nothing has changed.

Each repeat is measured in a process of its own, as in a comparison of two settings. Any of the
repeats can be A or B of such a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gpubench.cells.resolve import resolve
from gpubench.doctor.finding import Finding, ok, warning
from gpubench.errors import GpubenchError
from gpubench.measure.progress import Progress
from gpubench.measure.rounds import RepeatedCell, Turn, measure_rounds, missing_turns
from gpubench.report.format import two_digits
from gpubench.results.result import Interval, Result
from gpubench.results.run_directory import open_run, temporary_folder
from gpubench.spec.cell import Cell
from gpubench.spec.repetition import Repetition
from gpubench.spec.spec import Spec
from gpubench.statistics.repeatability import (
    LEAST,
    PER_ROUND,
    ROUNDS,
    Repeatability,
    repeatability,
)
from gpubench.system.machine import Machine


@dataclass(frozen=True)
class System:
    """Something that is measured again and again."""

    name: str
    spec: Spec
    seconds: float  # of one repeat, about; longer on a machine that imports torch slowly
    judged: tuple[str, ...] = ("throughput", "P95")


NULL = System(
    "the null system",
    Spec(model="synthetic", device="cpu", service_time=0.0, warmup=0.1, duration=0.1),
    seconds=0.9,
    judged=("throughput",),  # P95 is some tens of ns, and the clock resolves 1 ns
)
SMALL_MODEL = System(
    "a small torch model",
    Spec(model="gpubench.doctor.small_model:small_model", warmup=0.3, duration=1.0),
    seconds=4.0,
)
# No repeat begins that would probably end after this multiple of the usual time.
_MOST_OF_USUAL = 2.0

MeasureAgain = Callable[[System, Machine], Sequence[Result]]


@dataclass(frozen=True)
class SystemCheck:
    """What differs between the repeats of one system."""

    system: str
    device: str
    judged: tuple[str, ...]
    throughput: Repeatability
    p95: Repeatability

    @property
    def figures(self) -> dict[str, Repeatability]:
        return {"throughput": self.throughput, "P95": self.p95}

    @property
    def findings(self) -> list[Finding]:
        return list(_findings(self))


class _EndIfFailed(Progress):
    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        if result.error is not None:
            raise GpubenchError(f"{result.spec.model} failed: {result.error.message}")


def measure_again(cell: Cell, machine: Machine, count: int, repetition: Repetition) -> list[Result]:
    """Repeats of a cell, one after another: `count`, or fewer in the time of `repetition`.

    Raises KeyboardInterrupt on Ctrl-C, GpubenchError if a repeat fails, and what `measure_rounds`
    raises.
    """
    with temporary_folder() as folder:
        repeated = RepeatedCell(cell, cell.spec.key(machine.identity), open_run(folder))
        repeated.directory.check_writable()
        plan = [[Turn(repeated, number)] for number in range(1, count + 1)]
        turns = [turn for (turn,) in plan]
        if not measure_rounds(plan, frozenset(turns), machine, _EndIfFailed(), repetition):
            raise KeyboardInterrupt
        missing = missing_turns(plan)
        return [turn.document() for turn in turns if turn not in missing]


def _usual_repeats(system: System, machine: Machine) -> list[Result]:
    count = ROUNDS * PER_ROUND
    limit_s = _MOST_OF_USUAL * system.seconds * count
    repetition = Repetition(fresh=True, max_time_s=limit_s)
    return measure_again(resolve(system.spec, machine), machine, count, repetition)


def check_system(
    system: System, machine: Machine, repeats: MeasureAgain = _usual_repeats
) -> SystemCheck:
    """Raises what `measure_again` raises, and GpubenchError for too few repeats."""
    results = repeats(system, machine)
    if len(results) < LEAST:
        raise GpubenchError(
            f"{system.name} was measured {len(results)} times in the time that there is, and "
            f"{LEAST} are needed; end other programs and try again"
        )
    return SystemCheck(
        system=system.name,
        device=results[0].spec.device,
        judged=system.judged,
        throughput=_over(
            (result.throughput_per_second, result.throughput_interval) for result in results
        ),
        p95=_over((result.latency_ms.p95, result.latency_ms.p95_interval) for result in results),
    )


def _over(figures: Iterable[tuple[float | None, Interval | None]]) -> Repeatability:
    known = [(figure, interval) for figure, interval in figures if figure is not None]
    if len(known) < LEAST:
        raise GpubenchError(
            f"{LEAST} repeats with enough requests are needed; end other programs and try again"
        )
    return repeatability([figure for figure, _ in known], [interval for _, interval in known])


def _findings(check: SystemCheck) -> Iterator[Finding]:
    name = f"A/A of {check.system}"
    count = check.throughput.count
    found = f"{count} repeats of the same settings on {check.device}, each in a new process"
    untrue, narrow, slow = [], [], []
    for figure in check.judged:
        each = check.figures[figure]
        if each.false_differences.is_above:
            untrue.append(
                f"{two_digits(each.false_differences.share)} of the comparisons of its {figure} "
                "with itself find a difference"
            )
        if each.coverage.is_below:
            narrow.append(f"intervals of five repeats hold the {figure} of the others too rarely")
        elif each.coverage_in_a_row.is_below:
            slow.append(
                f"intervals of five repeats in a row hold the {figure} of the others too rarely"
            )
    for wrong, remedy in (
        (
            untrue,
            "do not trust small differences of this machine: end other programs, and measure each "
            "repeat for longer (--duration)",
        ),
        (
            narrow,
            "a few repeats differ much from all others: end other programs, and measure more "
            "repeats (--repeats 10)",
        ),
        (
            slow,
            "the machine changes slowly: spread repeats over a longer time, and compare settings "
            "in rounds, in which slow changes cancel",
        ),
    ):
        if wrong:
            yield warning(name, f"{found}: {', '.join(wrong)}", remedy)
    if not untrue and not narrow and not slow:
        yield ok(name, f"{found}; they agree as well as independent repeats do")
