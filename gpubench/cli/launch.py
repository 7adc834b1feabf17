"""`gpubench launch`: a sweep on several machines, and what became of it.

Each command is in a file of its own, which is imported only when it is asked for.
"""

from __future__ import annotations

from importlib import import_module

import click

from gpubench.cli.command_group import CommandGroup

# What starts machines comes first. The file of a command is gpubench/cli/launch_NAME.py.
COMMANDS = {
    "aws-batch": "Launch a sweep on AWS Batch.",
    "kubernetes": "Launch a sweep on a Kubernetes cluster.",
    "ray": "Launch a sweep on a running Ray cluster.",
    "skypilot": "Launch a sweep on virtual machines that SkyPilot starts.",
    "slurm": "Launch a sweep on a Slurm cluster.",
    "status": "Show what is measured, and the bill.",
    "collect": "Copy what is measured into a local directory.",
    "cancel": "End the machines of a launch.",
}


class _Commands(CommandGroup):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = import_module(f"gpubench.cli.launch_{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # without importing them
            formatter.write_dl(list(COMMANDS.items()))


@click.group("launch", cls=_Commands)
def command() -> None:
    """Measure a sweep on machines that a service starts.

    Each cell is measured once on each type of instance that the sweep names. docs/launching.md has
    a recipe for each service.
    """
