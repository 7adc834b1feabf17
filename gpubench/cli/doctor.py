"""`gpubench doctor`: is this machine fit for measuring?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

import click

from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.options import json_file, json_option
from gpubench.cli.output import emit
from gpubench.cli.sections import Command
from gpubench.cli.settings import tell
from gpubench.cli.streams import wrapped
from gpubench.report.format import ABSENT, two_digits

if TYPE_CHECKING:
    from gpubench.doctor import Finding
    from gpubench.doctor.event_clock import ClockCheck
    from gpubench.doctor.same_thing import SystemCheck
    from gpubench.doctor.truth import TruthPart
    from gpubench.report.table import Table
    from gpubench.statistics.repeatability import Share

_SCHEMA = 1
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command("doctor", cls=Command)
@click.option(
    "--gpu", is_flag=True, help="Also compare the clock of each GPU's events with its timer."
)
@click.option(
    "--truth",
    is_flag=True,
    help="Also test this machine against what is known: queues against theory, and repeats of the "
    "same thing against each other. Says how small a difference can be found. Takes minutes.",
)
@json_option("the findings")
def command(gpu: bool, truth: bool, json_path: str | None) -> int:
    """Say whether this machine is fit for measuring, and what to do where it is not.

    Each line is ok, a warning (it can measure, and the figures suffer) or a problem (it cannot).
    Exit status: 0 without a problem, 1 with one.

    \b
    Example:
      gpubench doctor --truth
    """
    json_output = json_file(json_path)

    findings: list[Finding] = []
    shown = sys.stdout if json_path is None else None
    with foreign_code():
        from gpubench.doctor import examine
        from gpubench.system.machine import this_machine

        for finding in examine(this_machine()):
            findings.append(finding)
            if shown is not None:
                _show(finding, shown)
        checks = _event_clocks() if gpu else []
    for check in checks:
        findings.append(check.finding)
        if shown is not None:
            _show(check.finding, shown)
            _show_rows(check)
    told, interrupted = _truth(findings, shown) if truth else (None, False)
    if json_path is not None:
        text = json.dumps(_document(findings, checks, told), indent=2)
        emit(text + "\n", json_output)
    if interrupted:
        raise KeyboardInterrupt
    return 1 if any(finding.status == "problem" for finding in findings) else 0


def _event_clocks() -> list[ClockCheck]:
    from gpubench.doctor.event_clock import ClockCheck, check_event_clock
    from gpubench.doctor.finding import from_error
    from gpubench.system.gpus import NoCuda, visible_gpus

    try:
        gpus = visible_gpus()
    except NoCuda as error:  # asked for, so it is a problem here
        return [ClockCheck("", (), from_error("event clock", error))]
    return [check_event_clock(gpu.number) for gpu in gpus]


def _truth(findings: list[Finding], shown: TextIO | None) -> tuple[dict[str, object], bool]:
    """Test this machine, and add to `findings`. Returns all figures, and whether Ctrl-C ended it.

    What was measured before Ctrl-C is among the figures.
    """
    parts: list[TruthPart] = []
    with foreign_code():
        from gpubench.doctor import truth
        from gpubench.doctor.same_thing import SystemCheck
        from gpubench.report.format import elapsed
        from gpubench.system.machine import this_machine

        systems = truth.systems()
        seconds = elapsed(truth.seconds(systems))
        tell(f"--truth takes about {seconds}; run nothing else until it ends")
        try:
            for part in truth.examine_truth(this_machine(), systems):
                parts.append(part)
                for finding in truth.findings_of(part):
                    findings.append(finding)
                    if shown is not None:
                        _show(finding, shown)
                if shown is not None and isinstance(part, SystemCheck):
                    _show_repeats(part, shown)
        except KeyboardInterrupt:
            return truth.document(parts), True
    return truth.document(parts), False


def _show(finding: Finding, file: TextIO) -> None:
    status = click.style(f"{finding.status:8}", fg=_COLOURS[finding.status])
    indent = " " * 9
    said = f"{indent}{finding.check}: {finding.found}"
    click.echo(status + wrapped(said, file).removeprefix(" " * 8), file=file)
    if finding.remedy:
        click.echo(wrapped(f"{'':8}   -> {finding.remedy}", file, " " * 14), file=file)


def _show_rows(check: ClockCheck) -> None:
    if not check.rows:
        return
    click.echo(
        f"{'':8} {'asked us':>10} {'timer us':>12} {'events us':>12} {'empty us':>9} "
        f"{'error us':>9} {'worst us':>9}"
    )
    for row in check.rows:
        click.echo(
            f"{'':8} {row.length_ns / 1e3:>10,.0f} {row.kernel_ns / 1e3:>12,.1f} "
            f"{row.event_ns / 1e3:>12,.1f} {row.empty_ns / 1e3:>9,.1f} "
            f"{row.error_ns / 1e3:>9,.1f} {row.largest_error_ns / 1e3:>9,.1f}"
        )


def _show_repeats(check: SystemCheck, file: TextIO) -> None:
    from gpubench.report import terminal

    text = terminal.text([_repeats_table(check)], terminal.shown_width())
    click.echo(text.rstrip("\n") + "\n", file=file)


def _repeats_table(check: SystemCheck) -> Table:
    from gpubench.report.table import Column, DraftCell, make_table

    def span(each: Share) -> str:
        return " to ".join(map(two_digits, each.ideal))

    titles = (
        *("spread", "ten rounds", "false differences", "single runs", "5 hold the rest"),
        "5 in a row",
    )
    rows = []
    for name, figure in check.figures.items():
        claimed = figure.claimed_by_single_runs
        rows.append(
            [
                name,
                two_digits(figure.spread),
                f"±{two_digits(figure.half_width)}",
                two_digits(figure.false_differences.share),
                ABSENT if claimed is None else two_digits(claimed),
                two_digits(figure.coverage.share),
                two_digits(figure.coverage_in_a_row.share),
            ]
        )
    ideal = check.throughput  # the ranges of both figures are the same
    covered = span(ideal.coverage), span(ideal.coverage_in_a_row)
    rows.append(["ideal repeats", "", "", span(ideal.false_differences), "", *covered])
    columns = [Column("figure", "left", is_key=True), *map(Column, titles)]
    return make_table(columns, [[DraftCell(text) for text in row] for row in rows])


def _document(
    findings: Sequence[Finding], checks: Sequence[ClockCheck], truth: dict[str, object] | None
) -> dict[str, object]:
    """What scripts read: every finding, the tables of --gpu, and the figures of --truth."""
    names = ("length", "kernel", "event", "empty", "tick", "error", "largest_error")
    return {
        "schema": _SCHEMA,
        "findings": [asdict(finding) for finding in findings],
        "event_clock": [
            {
                "device": check.device,
                "rows": [
                    {f"{name}_ns": getattr(row, f"{name}_ns") for name in names}
                    for row in check.rows
                ],
            }
            for check in checks
            if check.rows
        ],
        "truth": truth,
    }
