"""`gpubench run`: measure one cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.options import (
    check_output_file,
    check_suffix,
    json_file,
    json_option,
    quiet_option,
)
from gpubench.cli.output import emit, emit_tables, write_each
from gpubench.cli.sections import Command, Option
from gpubench.cli.settings import given, setting_options, tell
from gpubench.cli.streams import flush
from gpubench.errors import InputError
from gpubench.measure.progress import Progress
from gpubench.pricing.cost import check_prices
from gpubench.report.results import result_tables
from gpubench.results.result import Result
from gpubench.spec.parse import make_spec
from gpubench.system.interrupts import finish


@click.command("run", cls=Command)
@setting_options
@json_option("the result")
@click.option(
    "--samples",
    cls=Option,
    section="Output",
    type=click.Path(path_type=Path),
    metavar="FILE.parquet",
    help="Write the time stamps of every request to this file.",
)
@quiet_option
def command(json_path: str | None, samples: Path | None, quiet: bool, **flags: Any) -> int:
    """Measure one model at one point: throughput, latency, and the price of a million inferences.

    \b
    Example:
      gpubench run --model resnet50 --batch 4 --instance c7i.xlarge
    """
    spec = make_spec(given(flags))
    check_prices(spec.instance)
    json_output = json_file(json_path)
    if samples == Path("-"):
        raise InputError("--samples -: a Parquet file is not for reading; name a file")
    if samples is not None:
        check_suffix(samples, "--samples", (".parquet",), "Parquet")
    check_output_file(samples, "--samples")

    held: list[Result] = []

    def keep(result: Result) -> None:
        held.append(result)
        finish()

    interrupted = False
    with foreign_code(quiet):
        from gpubench.measure.cell import Interrupted, run

        try:
            run(spec, _Progress(spec.model, quiet), keep)
        except Interrupted as stop:
            interrupted = True
            held = held or [stop.result]
    (result,) = held

    def show() -> None:
        if json_path == "-":
            emit(result.to_json() + "\n", None)
        else:
            emit_tables(result_tables([result]), None)
        flush()

    def write_json() -> None:
        if json_output is not None:
            emit(result.to_json() + "\n", json_output)

    def write_samples_file() -> None:
        if samples is not None and result.samples is not None:
            from gpubench.results.run_directory import write_samples

            write_samples(samples, result.samples)

    write_each(show, write_json, write_samples_file)
    if interrupted:
        raise KeyboardInterrupt
    return 0 if result.error is None else 1


class _Progress(Progress):
    """Tells each stage on standard error."""

    def __init__(self, model: str, quiet: bool) -> None:
        self._model, self._quiet = model, quiet

    def stage(self, name: str) -> None:
        tell(f"{self._model}: {name}", self._quiet)
