"""A command with subcommands: help without arguments, a hint for a mistyped one."""

from __future__ import annotations

import click

from gpubench.cli.sections import Command


class CommandGroup(click.Group):
    command_class = Command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(context)
        is_mistyped = args[0] not in known and not args[0].startswith("-")
        if is_mistyped and not context.resilient_parsing:  # as when a shell completes a line
            from gpubench.errors import nearest

            raise click.UsageError(f"unknown command '{args[0]}'; {nearest(args[0], known)}")
        return super().resolve_command(context, args)
