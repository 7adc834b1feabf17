"""`gpubench worker`: measure jobs of a launch on this machine."""

from __future__ import annotations

import os
from typing import Any

import click

from gpubench.cli.cell_progress import CellProgress
from gpubench.cli.completion import FolderParam, Known, instances
from gpubench.cli.display import displayed
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.isolation import isolation, isolation_options
from gpubench.cli.launch_options import seconds
from gpubench.cli.launch_status import launch_option
from gpubench.cli.metrics import metrics_options
from gpubench.cli.options import quiet_option
from gpubench.cli.program import FAILED
from gpubench.cli.sections import Command
from gpubench.cli.settings import tell
from gpubench.errors import InputError
from gpubench.measure.progress import Listeners, Progress
from gpubench.report.format import count


@click.command("worker", cls=Command)
@click.argument("url", type=FolderParam())
@launch_option
@click.option(
    "--instance",
    type=Known(instances),
    metavar="TYPE",
    help="The type of this machine. If the machine tells another one, it is refused. "
    "[default: what it tells]",
)
@click.option(
    "--machines",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Machines of this type. Each measures every N-th engine. [default: this worker takes "
    "every engine on which no other works]",
)
@click.option(
    "--index",
    type=int,
    metavar="I",
    help="Number of this machine among them, from 0. [default: what Kubernetes, Slurm or AWS Batch "
    "say]",
)
@click.option(
    "--max-time",
    metavar="TIME",
    help="End after this time, for example 2h, and begin no engine that would probably end later.",
)
@click.option("--allow-code", is_flag=True, help="Run the code of models that the launch names.")
@isolation_options
@quiet_option
@metrics_options
def command(
    url: str,
    launch: str | None,
    instance: str | None,
    machines: int | None,
    index: int | None,
    max_time: str | None,
    allow_code: bool,
    quiet: bool,
    metrics: Progress,
    **flags: Any,
) -> int:
    """Measure the cells of a launch on this machine, into the directory URL.

    It ends with exit status 0 if everything was measured, 1 if a cell failed, 2 for bad input, and
    143 after SIGTERM: start it again then, and it goes on with what is missing.

    \b
    Example:
      gpubench worker s3://bucket/run --instance g5.xlarge
    """
    progress = CellProgress(quiet)
    limit_s = seconds(max_time, "--max-time")
    number = _number(index, machines)
    isolated, _ = isolation(flags, searches=False)
    with displayed(Listeners(progress, metrics), quiet) as listener, foreign_code(quiet):
        from gpubench.launch.worker import WorkerWishes, work
        from gpubench.system.machine import this_machine

        wishes = WorkerWishes(
            launch, instance, number, machines or 1, limit_s, allow_code, isolated
        )
        outcome = work(url, this_machine(), wishes, listener)
    if outcome.interrupted:
        if outcome.out_of_time:
            tell("--max-time: it is over; what was measured is kept")
        raise KeyboardInterrupt
    progress.tell_where_time_went()
    if outcome.unpriced:
        names = ", ".join(sorted(outcome.unpriced))
        tell(f"this machine does not know the price of {names}; give --prices to gpubench report")
    if outcome.out_of_time:
        tell("--max-time: engines are left, and the next one would probably end after the limit")
    failed = f"{count(outcome.failed, 'measurement')} failed, " if outcome.failed else ""
    impossible = (
        f"{count(outcome.impossible, 'cell')} cannot be measured here, "
        if outcome.impossible
        else ""
    )
    left = (
        f", {count(outcome.left_to_others, 'measurement')} left to other workers"
        if outcome.left_to_others
        else ""
    )
    tell(f"{failed}{impossible}{count(outcome.measured, 'measurement')} made{left}", quiet)
    return FAILED if outcome.failed or outcome.impossible or outcome.out_of_time else 0


def _number(index: int | None, machines: int | None) -> int | None:
    """The number of this machine in its fleet; None if it takes free jobs."""
    from gpubench.launch.services.service import INDEX_VARIABLES

    if machines is None:
        if index is not None:
            raise InputError("--index: it is the number of one of several; add --machines N")
        return None
    if index is not None or machines == 1:
        return index or 0
    for variable in INDEX_VARIABLES:
        if (text := os.environ.get(variable)) is not None:
            if not text.isdecimal():
                raise InputError(f"{variable} is '{text}', not a number from 0; give --index I")
            return int(text)
    raise InputError(
        f"--machines {machines}: the number of this machine is not known; give --index 0 to "
        f"{machines - 1}, or set one of {', '.join(INDEX_VARIABLES)}"
    )
