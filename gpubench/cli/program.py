"""The `gpubench` command.

A command is one file in this folder: `gpubench/cli/NAME.py` holds a click command called `command`,
and a line of COMMANDS describes it. It may return an exit status (None is 0) and raises InputError
or GpubenchError for everything that a user should read. Its file is imported when it is asked for;
what is slow to import (torch, numpy, pyarrow) is imported inside its functions, so that its own
help is there at once too.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import click

from gpubench.cli import streams
from gpubench.cli.command_group import CommandGroup
from gpubench.errors import GpubenchError, InputError, shorten
from gpubench.system import interrupts

__all__ = ["BAD_INPUT", "COMMANDS", "FAILED", "GATE_FAILED", "explain", "fail", "main", "program"]

# In the order in which a newcomer meets them.
COMMANDS = {
    "run": "Measure one model at one point.",
    "search": "Find the highest load that meets an objective.",
    "sweep": "Measure a grid of settings into a run directory.",
    "train": "Measure one step of training, and what training costs.",
    "launch": "Measure a sweep on machines that a service starts.",
    "worker": "Measure jobs of a launch on this machine.",
    "cold": "Measure how long a configuration takes to start.",
    "report": "Show what was measured, and what it costs.",
    "export": "Write what was measured to an experiment tracker.",
    "plan": "Say which setting to rent, on which instance.",
    "compare": "Say which of two sides is faster and cheaper.",
    "ab": "Measure two settings in turn, and say which is better.",
    "prices": "Look up what cloud instances cost.",
    "build": "Build engines ahead, also for GPUs that are not here.",
    "cache": "List or clear what was built and kept.",
    "doctor": "Say whether this machine is fit for measuring.",
    "paths": "Print where the C++ library of this installation is.",
}

FAILED = 1
BAD_INPUT = 2
GATE_FAILED = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; `argv` is without the program's name.

    Signals are the caller's business: KeyboardInterrupt is an interruption, whatever raised it.
    """
    try:
        status = program.main(
            None if argv is None else list(argv), prog_name="gpubench", standalone_mode=False
        )
        streams.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 0
    except click.UsageError as error:
        return fail(explain(error), BAD_INPUT)
    except InputError as error:
        return fail(str(error), BAD_INPUT)
    except (GpubenchError, click.ClickException) as error:
        return fail(str(error), FAILED)
    except BrokenPipeError:  # whoever reads has enough, as head has
        return FAILED
    except OSError as error:
        return fail(_unwritable(error), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted", interrupts.exit_status())


class _Commands(CommandGroup):
    """Imports a command's file only when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"gpubench.cli.{name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # without importing them
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        print(f"gpubench {_version()}")
        context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def program() -> None:
    """What does an inference cost, and how fast is it?

    Drives a model with a timed request queue, and reports throughput, P50/P95/P99 latency and the
    price of a million inferences.

    \b
    Example:
      gpubench run --model resnet50 --batch 4 --instance c7i.xlarge

    gpubench COMMAND --help explains each command and its flags.
    """


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gpubench-inference")
    except PackageNotFoundError:
        return "(not installed)"


def fail(message: str, status: int) -> int:
    """Print an error in one line, which a terminal shows with line breaks. Returns `status`."""
    from gpubench.report import escape

    text = f"gpubench: {shorten(escape.terminal(' '.join(message.split())))}"
    with suppress(OSError):  # nobody reads it: a closed terminal, a pipe whose reader has ended
        print(streams.wrapped(text, sys.stderr), file=sys.stderr)
    return status


def _unwritable(error: OSError) -> str:
    """What failed in the middle of things, such as a disk that is full."""
    place, reason = error.filename or "the output", error.strerror or error
    is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    remedy = "make room" if is_full else "look at its permissions"
    return f"{place} cannot be read or written: {reason}; {remedy}, or choose another place"


def explain(error: click.UsageError) -> str:
    """What is wrong with a command line and how to mend it, in one line."""
    context = error.ctx
    command = context.command_path if context else "gpubench"
    if isinstance(error, click.NoSuchOption) and context:
        from gpubench.errors import nearest

        flags = [flag for parameter in context.command.params for flag in parameter.opts]
        hint = nearest(error.option_name, [*flags, "--help"], otherwise=f"see {command} --help")
        return f"unknown flag {error.option_name}; {hint}"
    problem = error.format_message().rstrip(".")
    return f"{problem}; see {command} --help"
