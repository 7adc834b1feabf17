"""`gpubench run`: measure one cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gpubench.cells.grid import PlannedCells
from gpubench.cli.cell_progress import CellProgress
from gpubench.cli.display import displayed
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.metrics import metrics_options
from gpubench.cli.options import (
    Decorated,
    check_output_file,
    check_suffix,
    json_file,
    json_option,
    prices_option,
    quiet_option,
)
from gpubench.cli.output import emit_tables, summarise, write_result
from gpubench.cli.repeats import (
    directory_option,
    repeat_options,
    repetition,
    run_directory,
    tell_nothing_measured,
)
from gpubench.cli.require import require_option, status
from gpubench.cli.sections import Command, Option
from gpubench.cli.settings import given, setting_options, tell
from gpubench.errors import InputError
from gpubench.measure.progress import Listeners, Progress
from gpubench.pricing.cost import check_prices
from gpubench.report.results import result_tables
from gpubench.report.summary import cell_lines
from gpubench.results.result import Result
from gpubench.spec.parse import make_spec
from gpubench.spec.repetition import ONCE, Repetition
from gpubench.spec.spec import Spec
from gpubench.system.interrupts import finish


def run_options(command: Decorated) -> Decorated:
    """The flags of `run` beside the settings: what is written, and how often it is measured."""
    samples = click.option(
        "--samples",
        cls=Option,
        section="Output",
        type=click.Path(path_type=Path),
        metavar="FILE.parquet",
        help="Write the time stamps of every request to this file.",
    )
    options = (
        *(prices_option, json_option("the result"), samples, directory_option, quiet_option),
        *(require_option, repeat_options, metrics_options),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("run", cls=Command)
@setting_options
@run_options
def command(**flags: Any) -> int:
    """Measure one model at one point: throughput, latency, and the price of a million inferences.

    \b
    Example:
      gpubench run --model resnet50 --batch 4 --instance c7i.xlarge
    """
    return measure(**flags)


def measure(
    json_path: str | None,
    samples: Path | None,
    output: str | None,
    quiet: bool,
    require: str | None,
    metrics: Progress,
    **flags: Any,
) -> int:
    """Measure the cell of these flags, and show or write its result. Returns the exit status."""
    repeated, flags = repetition(flags)
    spec = make_spec(given(flags))
    check_prices(spec.instance)
    json_output = json_file(json_path)
    in_directory = output is not None or repeated != ONCE
    if samples is not None:
        _check_samples(samples, in_directory)

    if in_directory:
        results, interrupted = _run_into_directory(spec, output, repeated, quiet, metrics)
    else:
        results, interrupted = _run_once(spec, quiet, metrics)
    if not results:
        raise KeyboardInterrupt
    from gpubench.statistics.repeats import combine

    document = combine(results)[-1].to_json() + "\n"

    def show() -> None:
        emit_tables(result_tables(results), None)

    def write_samples_file() -> None:
        if samples is not None and results[0].samples is not None:
            from gpubench.results.run_directory import write_samples

            write_samples(samples, results[0].samples)

    write_result(document, json_path, json_output, show, write_samples_file)
    summarise(quiet, lambda: cell_lines(combine(results), output))
    if interrupted:
        raise KeyboardInterrupt
    return status(results, require)


def _check_samples(samples: Path, in_directory: bool) -> None:
    """Raises InputError if the samples cannot be written to this file."""
    if in_directory:
        raise InputError(
            "--samples is for a single measurement; with --repeats, --until, --max-time, --fresh "
            "and --output, the directory of --output holds the samples: remove --samples"
        )
    if samples == Path("-"):
        raise InputError("--samples -: a Parquet file is not for reading; name a file")
    check_suffix(samples, "--samples", ".parquet", "Parquet")
    check_output_file(samples, "--samples")


def _run_once(spec: Spec, quiet: bool, metrics: Progress) -> tuple[list[Result], bool]:
    """The result, and whether Ctrl-C ended the measurement."""
    held: list[Result] = []

    def keep(result: Result) -> None:
        held.append(result)
        finish()

    progress = _Progress(spec.model, quiet)
    with displayed(Listeners(progress, metrics), quiet) as listener, foreign_code(quiet):
        from gpubench.measure.cell import Interrupted, run

        try:
            run(spec, listener, keep)
        except Interrupted as stop:
            return held or [stop.result], True
    return held, False


def _run_into_directory(
    spec: Spec, output: str | None, repeated: Repetition, quiet: bool, metrics: Progress
) -> tuple[list[Result], bool]:
    """The repeats, and whether Ctrl-C ended the measurement. It is made as a sweep of one cell.

    Without `output` the run directory is a temporary one.
    """
    progress = CellProgress(quiet, repeated)
    with (
        run_directory(output) as directory,
        displayed(Listeners(progress, metrics), quiet) as listener,
        foreign_code(quiet),
    ):
        from gpubench.cells.resolve import resolve
        from gpubench.measure.sweep import measure_cells
        from gpubench.system.machine import this_machine

        machine = this_machine()
        planned = PlannedCells([resolve(spec, machine)], {})
        measured = measure_cells(planned, directory, machine, listener, repeated)
        finish()
    if progress.to_measure == 0:
        tell_nothing_measured(output)
    if output is None:  # the sample files are gone
        gone = {"sample_file": None}
        return [each.model_copy(update=gone) for each in measured.results], measured.interrupted
    return measured.results, measured.interrupted


class _Progress(Progress):
    """Tells each stage on standard error."""

    def __init__(self, model: str, quiet: bool) -> None:
        self._model, self._quiet = model, quiet

    def stage(self, name: str) -> None:
        tell(f"{self._model}: {name}", self._quiet)
