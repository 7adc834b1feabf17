"""`gpubench run`: measure one cell."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from gpubench.cli._options import check_output_file, json_file
from gpubench.cli._output import emit, emit_tables
from gpubench.cli._settings import given, setting_options, tell
from gpubench.cost import check_prices
from gpubench.errors import InputError
from gpubench.report.results import result_tables
from gpubench.result import Result
from gpubench.spec import make_spec


@click.command("run")
@setting_options
@click.option("--json", "json_path", metavar="PATH|-", help="Write the result; - is stdout alone.")
@click.option(
    "--samples", type=click.Path(path_type=Path), help="Write every request's stamps (Parquet)."
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(json_path: str | None, samples: Path | None, quiet: bool, **flags: Any) -> int:
    """Measure one model at one point: throughput, latency, and the price of a million inferences.

    Example: gpubench run --model resnet50 --batch 4 --instance c7i.xlarge
    """
    spec = make_spec(given(flags))
    check_prices(spec.instance)
    json_output = json_file(json_path)
    if samples == Path("-"):
        raise InputError("--samples -: a Parquet file is not for reading; name a file")
    check_output_file(samples, "--samples")

    from gpubench._run import Interrupted, run

    interrupted = False
    try:
        with redirect_stdout(sys.stderr):  # of what models and libraries may have to say
            result = run(spec, lambda stage: tell(f"{spec.model}: {stage}", quiet))
    except Interrupted as stop:
        result, interrupted = stop.result, True
    _show(result, json_path)  # first, since a file may find its disk full
    if json_output is not None:
        emit(result.to_json() + "\n", json_output)
    if samples is not None and result.samples is not None:
        from gpubench.store import write_samples

        write_samples(samples, result.samples)
    if interrupted:
        raise KeyboardInterrupt
    return 0 if result.error is None else 1


def _show(result: Result, json_path: str | None) -> None:
    if json_path == "-":
        emit(result.to_json() + "\n", None)
    else:
        emit_tables(result_tables([result]), None)
