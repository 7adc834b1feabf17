"""`gpubench ab`: two settings, measured in turn, and the answer in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gpubench.cli.ab_sides import two_sides
from gpubench.cli.cell_progress import CellProgress
from gpubench.cli.completion import FolderParam
from gpubench.cli.display import displayed
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.options import (
    fail_if_option,
    json_file,
    json_option,
    prices_option,
    quiet_option,
    within_option,
)
from gpubench.cli.output import emit, emit_sentence, emit_tables, say, warn, write_result
from gpubench.cli.program import FAILED, GATE_FAILED
from gpubench.cli.sections import Command, Option
from gpubench.cli.settings import setting_options, tell
from gpubench.errors import GpubenchError, InputError
from gpubench.planning.compare import Comparison, compare
from gpubench.planning.gates import Gate, GateResult, apply_gates, parse_gate
from gpubench.planning.matching import other_stages, refuse_other_load
from gpubench.planning.metrics import USD
from gpubench.report import comparison_files, terminal
from gpubench.report.comparison import tall_table, wide_table
from gpubench.report.comparison_sentences import gate_sentences, latency_sentence, sentence
from gpubench.report.comparison_summary import summary
from gpubench.report.format import count, elapsed
from gpubench.report.side_names import side_names
from gpubench.spec.repetition import DEFAULT_ROUNDS, LEAST_ROUNDS, Repetition, check_rounds
from gpubench.spec.share import parse_share
from gpubench.spec.spec import Spec
from gpubench.system.interrupts import finish
from gpubench.system.machine import Machine, this_machine

if TYPE_CHECKING:
    from gpubench.measure.two_sides import MeasuredSides
    from gpubench.spec.cell import Cell


@click.command("ab", cls=Command)
@click.argument(
    "sides",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[A.yaml B.yaml | -- FLAGS OF A -- FLAGS OF B]",
)
@click.option(
    "--rounds",
    type=int,
    default=DEFAULT_ROUNDS,
    show_default=True,
    metavar="N",
    help="Measure each side twice in each of N rounds.",
)
@click.option(
    "--same-process",
    is_flag=True,
    help="Measure in this process, and not each time in a new one. It is faster. But what a "
    "process decides once may then look like a difference.",
)
@within_option
@fail_if_option
@click.option(
    "--force",
    is_flag=True,
    help="Compare different work: inputs in other places, or a closed and an open loop.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["terminal", "markdown"]),
    default="terminal",
    show_default=True,
    help="Of what is printed on stdout.",
)
@json_option("the comparison")
@click.option(
    "--output",
    cls=Option,
    section="Output",
    metavar="DIR",
    type=FolderParam(),
    help="Keep the results in the run directories DIR/a and DIR/b. If they exist, the same command "
    "continues there.",
)
@quiet_option
@setting_options
@prices_option
def command(
    sides: tuple[str, ...],
    rounds: int,
    same_process: bool,
    within: str,
    fail_if: tuple[str, ...],
    force: bool,
    format_name: str,
    json_path: str | None,
    output: str | None,
    quiet: bool,
    **flags: Any,
) -> int | None:
    """Measure two settings, A and B, in turn, and say which one is faster and cheaper.

    The flags before the first -- are those of both sides. The flags of A follow it, then another
    --, and the flags of B. Instead, two sweep files of one cell each may be given; flags override
    both. A round measures A, B, B, A, and the next one B, A, A, B. Each measurement is made in a
    new process.

    \b
    Example:
      gpubench ab --model resnet50 --rounds 10 \\
          -- --runtime torchscript -- --runtime compile
    """
    check_rounds(rounds)
    margin = parse_share(within, "--within")
    gates = list(dict.fromkeys(map(parse_gate, fail_if)))
    json_output = json_file(json_path)
    machine = this_machine()
    a, b = two_sides(sides, flags, machine)
    if machine.instance is None:  # otherwise its price is the default
        _refuse_gates_without_price(gates, a.cell, b.cell)

    if not force:
        refuse_other_load(a.cell.spec, b.cell.spec)
    measured = _measure(a.cell, b.cell, machine, rounds, not same_process, output, quiet)
    if measured.interrupted:
        _tell_interrupted(measured.rounds, output)
        if measured.rounds < LEAST_ROUNDS:
            raise KeyboardInterrupt

    comparison = compare(measured.a, measured.b, force=True, within=margin)
    tested, problem = _tested(gates, comparison)
    names = side_names(a.cell.spec, b.cell.spec, a.asked, b.asked)
    (pair,) = comparison.pairs
    if not force and (difference := other_stages(pair.a, pair.b)):
        warn([f"{difference}, so the two sides are not the same work"])
    document = comparison_files.json_text([(comparison, *names)], tested)

    def show() -> None:
        if format_name == "markdown":
            emit(summary([(comparison, *names)], tested), None)
        else:
            _show(comparison, names)

    write_result(document, json_path, json_output, show)
    if measured.interrupted:
        raise KeyboardInterrupt
    if problem is not None:
        raise problem
    if gates:
        say(gate_sentences(tested))
    if any(gate.outcome == "failed" for gate in tested):
        return GATE_FAILED
    return FAILED if any(result.error for result in measured.a + measured.b) else None


def _measure(
    a: Cell, b: Cell, machine: Machine, rounds: int, fresh: bool, output: str | None, quiet: bool
) -> MeasuredSides:
    progress = _Progress(quiet, Repetition(2 * rounds, fresh=fresh))
    with displayed(progress, quiet) as listener, foreign_code(quiet):
        from gpubench.measure.two_sides import measure_two_sides

        measured = measure_two_sides(
            a, b, machine, rounds, fresh=fresh, output=output, progress=listener
        )
        finish()
    if progress.to_measure == 0:  # also where progress is not wanted: nobody expects old figures
        tell(
            f"nothing was measured: {output} has these rounds already; choose another --output to "
            "measure them anew, or more --rounds"
        )
    return measured


def _refuse_gates_without_price(gates: Sequence[Gate], *sides: Cell) -> None:
    """A gate on the cost needs a price. Other figures may be absent, too; only measuring tells."""
    for gate in gates:
        if gate.metric is USD and not all(s.spec.instance or s.spec.usd_per_hour for s in sides):
            raise InputError(
                f"--fail-if '{gate.text}': a side has no price; add --instance NAME or "
                "--usd-per-hour X"
            )


def _tested(
    gates: Sequence[Gate], comparison: Comparison
) -> tuple[list[GateResult], GpubenchError | None]:
    """The gates, or why one of them cannot be tested. What was measured is then still shown."""
    try:
        return apply_gates(gates, [comparison]), None
    except InputError as error:
        return [], GpubenchError(str(error))


def _show(comparison: Comparison, names: tuple[str, str]) -> None:
    (pair,) = comparison.pairs
    for text in (sentence, latency_sentence):
        emit_sentence(f"{text(pair, comparison.within, *names)}.")
    emit("\n", None)
    wide = wide_table(comparison, *names)
    fits = terminal.fits(wide, terminal.shown_width())
    emit_tables([wide if fits else tall_table(comparison, *names)], None)


def _tell_interrupted(rounds: int, output: str | None) -> None:
    kept = f"; what was measured is in {output}. The same command goes on from there"
    tell(f"stopped after {count(rounds, 'complete round')}{'' if output is None else kept}")


class _Progress(CellProgress):
    def __init__(self, quiet: bool, repetition: Repetition) -> None:
        super().__init__(quiet, repetition)
        self._fresh = repetition.fresh

    def rounds_planned(self, cells: int, rounds: int, run_s: float | None) -> None:
        what = f"{count(rounds, 'round')} of 4 measurements"
        if run_s is None:
            tell(f"{what}: how long that takes is known after the first one", self._quiet)
            return
        rest = "starting processes, loading" if self._fresh else "loading"
        tell(
            f"{what}: about {elapsed(run_s)} of warm-up and measured runs, and {rest} and building",
            self._quiet,
        )

    def rounds_ended(
        self, ended: int, planned: int, unreached: Sequence[tuple[Spec, float | None]]
    ) -> None:
        if ended < planned:
            tell(
                f"ended after {ended} of {count(planned, 'round')}: each measurement of a side "
                "failed",
                self._quiet,
            )
