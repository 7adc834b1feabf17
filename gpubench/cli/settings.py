"""The settings of a cell as flags: one for each field of Spec, under the same name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import click

from gpubench.cli.options import split_names
from gpubench.errors import shorten
from gpubench.report import escape
from gpubench.spec.spec import Spec

Command = TypeVar("Command", bound=Callable[..., Any])

_REPEATABLE = ("instance", "dim")
_SWITCHES = ("allow_emulated", "allow_code")


def setting_options(command: Command) -> Command:
    """Give a command every flag of Spec, uninterpreted: Spec itself checks the values."""
    for name, field in reversed(Spec.model_fields.items()):
        flag = "--" + name.replace("_", "-")
        help_text = field.description or ""
        if field.default is not None and not field.is_required() and name not in _REPEATABLE:
            help_text += f" [default: {_shown(name, field.default)}]"
        if name in _SWITCHES:
            option = click.option(flag, name, is_flag=True, default=None, help=field.description)
        else:
            option = click.option(
                flag, name, multiple=name in _REPEATABLE, help=help_text, metavar="VALUE"
            )
        command = option(command)
    return command


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that stood on the command line."""
    settings = {name: value for name, value in flags.items() if value not in (None, ())}
    if "instance" in settings:
        settings["instance"] = split_names(settings["instance"])
    if "dim" in settings:  # in a sweep, a list of them is an axis
        settings["dim"] = "+".join(settings["dim"])
    return settings


def as_axes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Comma-separated values as lists, for a sweep."""
    return {
        name: [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str) and "," in value
        else value
        for name, value in settings.items()
    }


def _shown(name: str, default: object) -> str:
    return f"{default:g}s" if name == "warmup" else str(default)


def tell(line: str, quiet: bool = False) -> None:
    """Progress: on stderr, so that stdout holds results alone. A measurement goes on without it."""
    if not quiet:
        with suppress(OSError):
            print(shorten(escape.terminal(line)), file=sys.stderr, flush=True)
