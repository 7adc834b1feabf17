"""Help that shows options in sections, for example those of the settings of a cell."""

from __future__ import annotations

from typing import Any

import click

_OTHERS = "Options"
_WIDTH = 26  # of the column of flags; the text of a longer flag begins in the next line


class Option(click.Option):
    """An option of one section: `click.option("--json", cls=Option, section="Output")`."""

    def __init__(self, *names: Any, section: str = _OTHERS, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.section = section


class Command(click.Command):
    """Shows the sections in the order of their first options."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.UsageError as error:  # click's parser does not always say of which command
            error.ctx = error.ctx or context
            raise

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if isinstance(parameter, click.Option) and record is not None:
                flag, text = record
                section = getattr(parameter, "section", _OTHERS)
                sections.setdefault(section, []).append((flag.ljust(_WIDTH), text))
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=_WIDTH)
